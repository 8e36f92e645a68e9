"""A leg with ICE, DTLS and SRTP on one port (RFC 5764, 8834: one component, RTCP muxed).

    open ── connect() ──> checking ── a pair is nominated ──> handshake ── keys ──> connected
                              │                                  │                     │
                              └─ 20 s ─> Lost(MEDIA_FAILED)      └─> Lost(SECURITY)    └─ no consent ─> Lost(MEDIA_LOST)

A ClientHello may come before our side has seen a nomination, because the far end may be done first: from an authentic
source it is kept for the handshake. Everything from others is dropped and counted.

When the far end restarts ICE (RFC 8445 §9), a second session looks for a path on the same sockets while the first one
carries on. DTLS and SRTP do not notice: their association is with a certificate, not with an address.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media import ice
from gateway.media.dtls import Certificate, Handshake
from gateway.media.leg import Leg, Patience, Tell
from gateway.media.mux import Mux
from gateway.media.pace import Pacer
from gateway.media.poller import Readers
from gateway.media.ports import Bind, Ports
from gateway.media.rtp import MINIMUM, Packet, is_rtp
from gateway.media.srtp import Srtp
from gateway.reach import Reach
from gateway.session.model import Candidate, Fingerprint, Ice, Setup, Stream, Transport

_EARLY = 16  # DTLS datagrams that are kept until the handshake begins
_FAREWELL = 3.0  # s between the far end's DTLS close and Lost: its signalling is usually on the way


class WebRtcLeg(Leg):
    def __init__(
        self,
        call: str,
        name: str,
        packet: Packet,
        tell: Tell,
        *,
        ports: Ports,
        binds: Sequence[Bind],
        reach: Reach,
        patience: Patience,
        certificate: Certificate,
        controlling: bool,
        setup: Setup,
        pacer: Pacer | None = None,
        readers: Readers | None = None,
    ) -> None:
        super().__init__(call, name, packet, tell, pacer)
        self._loop = asyncio.get_running_loop()
        self._ports, self._patience, self._certificate, self._reach = ports, patience, certificate, reach
        self._binds = binds
        self._sockets: tuple[socket.socket, ...]
        self._port, self._sockets = ports.bind([(bind.address, 0) for bind in binds])
        self._muxes = [Mux(sock, packet, self._media, self._stranger, readers or self._loop) for sock in self._sockets]
        self._agent = self._make_agent(controlling)
        self._before: ice.Agent | None = None  # whose path is used until its successor has one
        self._path: tuple[socket.socket, ice.Address] | None = None
        self._reached = asyncio.Event()  # there is a path
        self._overdue = False  # the restart has not come to anything in time
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport = Transport(
            binds[0].announced,
            self._port,
            rtcp_mux=True,
            ice=self._credentials(),
            fingerprint=Fingerprint("sha-256", certificate.fingerprint, setup),
        )
        self._handshake: Handshake | None = None
        self._srtp: Srtp | None = None
        self._early: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._run_task: asyncio.Task[None] | None = None
        self._closed_at: float | None = None

    async def connect(self, remote: Transport, stream: Stream, setup: Setup) -> None:
        """Start ICE towards the far end, DTLS after it; later calls change the stream and add candidates.

        Raises MediaError.
        """
        if remote.ice is None or remote.fingerprint is None:
            raise MediaError("the far end has no ICE credentials or no fingerprint")
        if self._run_task is not None and remote.ice.ufrag != self._agent.remote_username:
            raise MediaError("these are the credentials of an ICE restart, which asks for restart()")
        self.agree(stream)
        if self._run_task is None:
            self._agent.expect(remote.ice)
            await self._add(remote.ice.candidates)
            self._run_task = asyncio.create_task(self._run(remote.fingerprint, client=setup is Setup.ACTIVE))
            self._start(self._seek(self._agent))
        else:
            await self._add(remote.ice.candidates)

    async def restart(self, remote: Ice) -> Transport:
        """Look for a path to these credentials, on new ones of our own; what to tell the far end.

        The same again, for the same credentials. Raises MediaError before connect() and after the end.
        """
        if self._run_task is None or self.over:
            raise MediaError("there is no ICE session that could be restarted")
        if remote.ufrag == self._agent.remote_username:
            return self.transport
        given_up = self._agent
        if given_up.selected is not None:
            self._before = given_up
        # RFC 8445 §6.1.1: the roles persist over a restart.
        self._agent = self._make_agent(given_up.ice_controlling, given_up.generation + 1)
        if given_up is not self._before:
            self._start(given_up.close())
        self.transport = replace(self.transport, ice=self._credentials())
        self._overdue = False
        self._agent.expect(remote)
        await self._add(remote.candidates)
        self._start(self._seek(self._agent))
        self.log.info("ICE restart", generation=self._agent.generation)
        return self.transport

    async def candidates(self, candidates: Sequence[Candidate], remote: Ice | None) -> None:
        """Trickled candidates, before connect() or after it.

        Those of other credentials are of a session that is over.
        """
        expected = self._agent.remote_username
        if remote is None or expected is None or remote.ufrag in ("", expected):
            await self._add((*candidates, *(remote.candidates if remote else ())))

    async def close(self) -> None:
        await super().close()
        if self._timer is not None:
            self._timer.cancel()
        if self._handshake is not None and self._run_task is not None:
            self._handshake.close()
            self._flush()
        running = [task for task in (self._run_task, *self._tasks) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._sockets:
            for agent in filter(None, (self._agent, self._before)):
                await agent.close()
            for mux in self._muxes:
                mux.close()
            self._ports.give_back(self._port, self._sockets, self._loop.time())
            self._sockets = ()

    def send(self) -> None:
        srtp, path = self._srtp, self._path
        packet = self.packet
        if srtp is None or path is None or self.over:
            self.dropped["unconnected"] += 1
            return
        octets = packet.length
        if not srtp.protect():
            self.dropped["repeated"] += 1
            return
        try:
            path[0].sendto(packet.view[: packet.length], path[1])
        except OSError:
            self.dropped["unsent"] += 1
            return
        self.sent_packets += 1
        self.sent_octets += octets

    def send_control(self) -> None:
        srtp, path = self._srtp, self._path
        packet = self.packet
        if srtp is not None and path is not None and srtp.protect_rtcp():
            with contextlib.suppress(OSError):  # the next report says more
                path[0].sendto(packet.view[: packet.length], path[1])

    def tick(self, now: float) -> None:
        super().tick(now)
        if self._closed_at is not None and now - self._closed_at >= _FAREWELL:
            self.lose(Cause.MEDIA_LOST, "the far end closed its media")

    async def _add(self, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            if not await self._agent.named(candidate):
                self.dropped["candidate"] += 1

    async def _run(self, remote: Fingerprint, *, client: bool) -> None:
        try:
            async with asyncio.timeout(self._patience.connect):
                await self._reached.wait()
                self._shake_hands(remote, client=client)
                await self.connected.wait()
        except TimeoutError:
            stage = "no working ICE pair" if self._path is None else "no end of the DTLS handshake"
            self.lose(Cause.MEDIA_FAILED, f"{stage} within {self._patience.connect:g} s")

    # ICE sessions: one, or two while the second looks for a path

    def _make_agent(self, controlling: bool, generation: int = 0) -> ice.Agent:
        agent = ice.Agent(
            controlling=controlling,
            reach=self._reach,
            on_selected=self._selected,
            on_stranger=self._stranger,
            heard_at=lambda: self.control.reception.at,
            generation=generation,
        )
        self._candidates = agent.open(list(zip(self._binds, self._muxes, strict=True)))
        return agent

    def _credentials(self) -> Ice:
        agent = self._agent
        return Ice(agent.local_username, agent.local_password, self._candidates, ("trickle",), complete=True)

    async def _seek(self, agent: ice.Agent) -> None:
        """Connect, and stay until the far end answers no more."""
        timer = None
        if agent.generation:  # the first session is timed together with DTLS
            timer = self._loop.call_later(self._patience.connect, self._give_up, agent)
        try:
            await agent.connect()
        except ConnectionError:
            return  # closed, as another restart took its place
        finally:
            if timer is not None:
                timer.cancel()
        while await agent.get_event() is not None:
            self._unanswered(agent)

    def _selected(self, agent: ice.Agent) -> None:
        if agent is self._agent:
            before, self._before = self._before, None
            if before is not None:
                self._start(before.close())
        elif agent is not self._before:
            return
        self._path = agent.selected
        self._reached.set()

    def _unanswered(self, agent: ice.Agent) -> None:
        """Consent is gone (RFC 7675): the end, unless there is another path or one is still being looked for."""
        if agent is self._before:
            self._before = None
            if not self._overdue:
                return
        elif agent is not self._agent:
            return
        self.lose(Cause.MEDIA_LOST, "the far end no longer answers (ICE consent)")

    def _give_up(self, agent: ice.Agent) -> None:
        """A restart came to nothing in time: the path before it is kept for as long as the far end answers there."""
        if agent is not self._agent or agent.selected is not None:
            return
        self._overdue = True
        if self._before is None:
            self.lose(Cause.MEDIA_FAILED, f"no working ICE pair within {self._patience.connect:g} s of a restart")
        else:
            self.log.info("ICE restart failed, the path before it is kept")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_source(self, address: ice.Address) -> bool:
        """An address that sent an authentic check."""
        return address in self._agent.sources or (self._before is not None and address in self._before.sources)

    def _shake_hands(self, remote: Fingerprint, *, client: bool) -> None:
        handshake = self._handshake = Handshake(self._certificate, remote, client=client)
        handshake.start()
        early, self._early = self._early, []
        for datagram in early:
            handshake.receive(datagram)
        self._progress()

    def _progress(self) -> None:
        handshake = self._handshake
        if handshake is None:
            return
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if handshake.failure is not None:
            self.lose(Cause.SECURITY if handshake.insecure else Cause.MEDIA_FAILED, handshake.failure)
        elif handshake.keys is not None:
            if self._srtp is None:
                self._srtp = Srtp(handshake.keys, self.packet)
                self.tell_connected()
            if handshake.closed and self._closed_at is None:
                self._closed_at = self._loop.time()
        elif handshake.deadline is not None:
            self._timer = self._loop.call_later(max(handshake.deadline, 0.01), self._expired)

    def _expired(self) -> None:
        self._timer = None
        if self._handshake is not None:
            self._handshake.expired()
            self._progress()

    def _flush(self) -> None:
        path = self._path
        if self._handshake is None or path is None:
            return
        for datagram in self._handshake.take():
            try:
                path[0].sendto(datagram, path[1])
            except OSError:
                self.dropped["unsent"] += 1  # DTLS repeats it

    def _stranger(self) -> None:
        self.dropped["stranger"] += 1

    def _media(self, address: ice.Address) -> None:
        """What came on our socket and is no STUN (RFC 7983 §7)."""
        packet, srtp = self.packet, self._srtp
        first = packet.data[0]
        if 128 <= first <= 191:
            rtp = packet.length >= MINIMUM and not 192 <= packet.data[1] <= 223  # as is_rtp() says
            if rtp and srtp is not None and not self.over and srtp.unprotect():
                self.take(time.monotonic())  # which is the loop's time too
            else:
                self._protected(address)
        elif 20 <= first <= 63 and self._is_source(address):
            datagram = bytes(packet)
            if self._handshake is not None:
                self._handshake.receive(datagram)
                self._progress()
            elif len(self._early) < _EARLY:
                self._early.append(datagram)
        else:
            self.dropped["stranger"] += 1

    def _protected(self, address: ice.Address) -> None:
        """RTCP, or RTP that cannot be read."""
        srtp, packet = self._srtp, self.packet
        if srtp is None or self.over:
            self.dropped["early" if self._is_source(address) else "stranger"] += 1
        elif is_rtp(packet):
            self.dropped["unauthentic" if self._is_source(address) else "stranger"] += 1
        elif srtp.unprotect_rtcp():
            self.heard_control(self._loop.time())
        else:
            self.dropped["stranger"] += 1
