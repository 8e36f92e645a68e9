"""One ICE component (RFC 8445 §4): sockets, the path that was found on them, a DTLS association of its own (RFC 5764
§5.1) and the keys that come of it.

    idle ── seek() ──> checking ── a pair is nominated ──> secure(): handshake ── keys ──> host.secured()
                                                             │
                                                             └─> host.failed(): a handshake that went wrong

A ClientHello may come before our side has seen a nomination, because the far end may be done first: from an authentic
source it is kept for the handshake. Everything from others is dropped and counted.

When the far end restarts ICE (RFC 8445 §9), a second session looks for a path on the same sockets while the first one
carries on. DTLS and SRTP do not notice: their association is with a certificate, not with an address.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from gateway.media import ice
from gateway.media.dtls import Certificate, Handshake
from gateway.media.lane import Inlet, Lane, Outlet
from gateway.media.mux import Mux
from gateway.media.poller import Readers
from gateway.media.ports import Bind
from gateway.media.rtp import MINIMUM, Packet, is_rtp
from gateway.media.srtp import Srtp
from gateway.reach import Reach
from gateway.session.model import Candidate, Fingerprint, Ice

_EARLY = 16  # DTLS datagrams that are kept until the handshake begins


class Host(Protocol):
    """The leg that a component belongs to."""

    over: bool
    dropped: Counter[str]
    take: Callable[[float], None]

    def heard_control(self, now: float) -> None: ...

    def heard_at(self) -> float:
        """When media came last."""
        ...

    def moved(self, component: Component) -> None:
        """The path is another one."""

    def secured(self, component: Component) -> None:
        """Packets can be protected from now on."""

    def failed(self, component: Component, text: str, *, insecure: bool) -> None:
        """DTLS came to nothing; `insecure` when the certificate was not the one that signalling announced."""

    def unanswered(self, component: Component) -> None:
        """Consent is gone (RFC 7675) and there is no other path."""

    def given_up(self, component: Component) -> None:
        """A restart found no path in time, and there is none from before."""


class Component:
    """`number` is 1 for RTP and all that is muxed with it, 2 for RTCP (RFC 8445 §4)."""

    def __init__(
        self,
        number: int,
        host: Host,
        packet: Packet,
        *,
        binds: Sequence[Bind],
        sockets: Sequence[socket.socket],
        reach: Reach,
        certificate: Certificate,
        controlling: bool,
        readers: Readers | None = None,
        beside: Component | None = None,
    ) -> None:
        """`beside` is the other component of the leg: one session, so one user name and password (RFC 8839 §4.4)."""
        self._loop = asyncio.get_running_loop()
        self.number, self._host, self._packet = number, host, packet
        self._binds, self._reach, self._certificate = binds, reach, certificate
        readers = readers or self._loop
        self._muxes = [Mux(sock, packet, self._media, self._stranger, readers, self._unasked) for sock in sockets]
        self.agent = self._make_agent(controlling, beside=beside)
        self.before: ice.Agent | None = None  # whose path is used until its successor has one
        self.path: tuple[socket.socket, ice.Address] | None = None
        self.srtp: Srtp | None = None
        self.closed_at: float | None = None  # when the far end closed its DTLS
        self.overdue = False  # the restart has not come to anything in time
        self.early: list[bytes] = []
        self._reached = asyncio.Event()  # there is a path
        self._secure = asyncio.Event()  # there are keys
        self._handshake: Handshake | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ICE sessions: one, or two while the second looks for a path

    def expect(self, remote: Ice) -> None:
        self.agent.expect(remote)

    async def add(self, candidates: Sequence[Candidate]) -> None:
        """Those of this component; what is not tried is counted."""
        for candidate in candidates:
            if candidate.component == self.number and not await self.agent.named(candidate):
                self._host.dropped["candidate"] += 1

    def seek(self, patience: float | None = None) -> None:
        """Look for a path. `patience` is that of a restart; the first session is timed together with DTLS."""
        self._start(self._seek(self.agent, patience))

    def renew(self, beside: Component | None = None) -> None:
        """A session with credentials of its own takes over (RFC 8445 §9), the same ports and the same role."""
        given_up = self.agent
        if given_up.selected is not None:
            self.before = given_up
        # RFC 8445 §6.1.1: the roles persist over a restart.
        self.agent = self._make_agent(given_up.ice_controlling, given_up.generation + 1, beside)
        if given_up is not self.before:
            self._start(given_up.close())
        self.overdue = False

    async def secure(self, remote: Fingerprint, *, client: bool) -> None:
        """Until there are keys: a path, and DTLS on it."""
        await self._reached.wait()
        handshake = self._handshake = Handshake(self._certificate, remote, client=client)
        handshake.start()
        early, self.early = self.early, []
        for datagram in early:
            handshake.receive(datagram)
        self._progress()
        await self._secure.wait()

    async def close(self) -> None:
        """The sockets themselves are their owner's."""
        if self._timer is not None:
            self._timer.cancel()
        if self._handshake is not None:
            self._handshake.close()
            self._flush()
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for agent in filter(None, (self.agent, self.before)):
            await agent.close()
        for mux in self._muxes:
            mux.close()
        self.path = self.srtp = None

    def _make_agent(self, controlling: bool, generation: int = 0, beside: Component | None = None) -> ice.Agent:
        agent = ice.Agent(
            controlling=controlling,
            reach=self._reach,
            on_selected=self._selected,
            on_stranger=self._stranger,
            heard_at=self._host.heard_at,
            generation=generation,
            component=self.number,
            beside=None if beside is None else beside.agent,
        )
        self.candidates = agent.open(list(zip(self._binds, self._muxes, strict=True)))
        return agent

    async def _seek(self, agent: ice.Agent, patience: float | None) -> None:
        """Connect, and stay until the far end answers no more."""
        timer = None if patience is None else self._loop.call_later(patience, self._give_up, agent)
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
        if agent is self.agent:
            before, self.before = self.before, None
            if before is not None:
                self._start(before.close())
        elif agent is not self.before:
            return
        if self.path != agent.selected:
            self.path = agent.selected
            self._host.moved(self)
        self._reached.set()

    def _unanswered(self, agent: ice.Agent) -> None:
        """The end, unless there is another path or one is still being looked for."""
        if agent is self.before:
            self.before = None
            if not self.overdue:
                return
        elif agent is not self.agent:
            return
        self._host.unanswered(self)

    def _give_up(self, agent: ice.Agent) -> None:
        """A restart came to nothing in time: the path before it is kept for as long as the far end answers there."""
        if agent is not self.agent or agent.selected is not None:
            return
        self.overdue = True
        if self.before is None:
            self._host.given_up(self)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_source(self, address: ice.Address) -> bool:
        """An address that sent an authentic check."""
        return address in self.agent.sources or (self.before is not None and address in self.before.sources)

    # DTLS

    def _progress(self) -> None:
        handshake = self._handshake
        if handshake is None:
            return
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if handshake.failure is not None:
            self._host.failed(self, handshake.failure, insecure=handshake.insecure)
        elif handshake.keys is not None:
            if self.srtp is None:
                self.srtp = Srtp(handshake.keys, self._packet)
                self._secure.set()
                self._host.secured(self)
            if handshake.closed and self.closed_at is None:
                self.closed_at = self._loop.time()
        elif handshake.deadline is not None:
            self._timer = self._loop.call_later(max(handshake.deadline, 0.01), self._expired)

    def _expired(self) -> None:
        self._timer = None
        if self._handshake is not None:
            self._handshake.expired()
            self._progress()

    def _flush(self) -> None:
        path = self.path
        if self._handshake is None or path is None:
            return
        for datagram in self._handshake.take():
            try:
                path[0].sendto(datagram, path[1])
            except OSError:
                self._host.dropped["unsent"] += 1  # DTLS repeats it

    # what comes, and where to

    def inlet(self) -> Inlet | None:
        """The socket of the path; None until there are keys, or while libsrtp cannot be called directly."""
        path, srtp, mux = self.path, self.srtp, self._reading
        if path is None or srtp is None or srtp.inward is None or mux is None:
            return None
        return Inlet(mux.sock, False, srtp.inward, mux.sort)

    def outlet(self) -> Outlet | None:
        path, srtp = self.path, self.srtp
        return None if path is None or srtp is None or srtp.outward is None else Outlet(*path, srtp.outward)

    def read_by(self, lane: Lane | None) -> None:
        """Have the path's socket read by this lane, or by nobody but ourselves."""
        for mux in self._muxes:
            mux.read_by(lane.shared if lane is not None and mux is self._reading else None)

    @property
    def _reading(self) -> Mux | None:
        path = self.path
        return next((mux for mux in self._muxes if path is not None and mux.sock is path[0]), None)

    def _stranger(self) -> None:
        self._host.dropped["stranger"] += 1

    def _unasked(self) -> None:
        self._host.dropped["unasked"] += 1

    def _media(self, address: ice.Address) -> None:
        """What came on our socket and is no STUN (RFC 7983 §7)."""
        packet, srtp, host = self._packet, self.srtp, self._host
        first = packet.data[0]
        if 128 <= first <= 191:
            rtp = packet.length >= MINIMUM and not 192 <= packet.data[1] <= 223  # as is_rtp() says
            if rtp and srtp is not None and not host.over and srtp.unprotect():
                host.take(time.monotonic())  # which is the loop's time too
            else:
                self._protected(address)
        elif 20 <= first <= 63 and self._is_source(address):
            datagram = bytes(packet)
            if self._handshake is not None:
                if self.srtp is not None:
                    host.dropped["DTLS"] += 1  # a flight that is repeated, a close, or nobody's
                self._handshake.receive(datagram)
                self._progress()
            elif len(self.early) < _EARLY:
                self.early.append(datagram)
        else:
            host.dropped["stranger"] += 1

    def _protected(self, address: ice.Address) -> None:
        """RTCP, or RTP that cannot be read."""
        srtp, packet, host = self.srtp, self._packet, self._host
        if srtp is None or host.over:
            host.dropped["early" if self._is_source(address) else "stranger"] += 1
        elif is_rtp(packet):
            host.dropped["unauthentic" if self._is_source(address) else "stranger"] += 1
        elif srtp.unprotect_rtcp():
            host.heard_control(self._loop.time())
        else:
            host.dropped["stranger"] += 1
