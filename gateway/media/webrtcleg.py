"""A leg with ICE, DTLS and SRTP on one port (RFC 5764, 8834: one component, RTCP muxed).

    open ── connect() ──> checking ── a pair is nominated ──> handshake ── keys ──> connected
                              │                                  │                     │
                              └─ 20 s ─> Lost(MEDIA_FAILED)      └─> Lost(SECURITY)    └─ no consent ─> Lost(MEDIA_LOST)

A ClientHello may come before our side has seen a nomination, because the far end may be done first: from an authentic
source it is kept for the handshake. Everything from others is dropped and counted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media import ice
from gateway.media.dtls import Certificate, Handshake
from gateway.media.leg import Leg, Patience, Tell
from gateway.media.ports import Bind, Ports
from gateway.media.rtp import Packet, is_rtp
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
    ) -> None:
        super().__init__(call, name, packet, tell)
        self._loop = asyncio.get_running_loop()
        self._ports, self._patience, self._certificate = ports, patience, certificate
        self._sockets: tuple[socket.socket, ...]
        self._port, self._sockets = ports.bind([(bind.address, 0) for bind in binds])
        self._agent = ice.Agent(
            controlling=controlling, packet=packet, reach=reach, on_media=self._media, on_stranger=self._stranger
        )
        candidates = self._agent.open(list(zip(binds, self._sockets, strict=True)))
        self.transport = Transport(
            binds[0].announced,
            self._port,
            rtcp_mux=True,
            ice=Ice(self._agent.local_username, self._agent.local_password, candidates, ("trickle",), complete=True),
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
            raise MediaError("an ICE restart is not supported")
        self.agree(stream)
        if self._run_task is None:
            self._agent.expect(remote.ice)
            await self._add(remote.ice.candidates)
            self._run_task = asyncio.create_task(self._run(remote.fingerprint, client=setup is Setup.ACTIVE))
        else:
            await self._add(remote.ice.candidates)

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
        if self._run_task is not None:
            self._run_task.cancel()
            await asyncio.gather(self._run_task, return_exceptions=True)
        if self._sockets:
            await self._agent.close()
            self._ports.give_back(self._port, self._sockets, self._loop.time())
            self._sockets = ()

    def send(self) -> None:
        srtp, selected = self._srtp, self._agent.selected
        packet = self.packet
        if srtp is None or selected is None or self.over:
            self.dropped["unconnected"] += 1
            return
        octets = packet.length
        if not srtp.protect():
            self.dropped["repeated"] += 1
            return
        try:
            selected[0].sendto(packet.view[: packet.length], selected[1])
        except OSError:
            self.dropped["unsent"] += 1
            return
        self.sent(octets)

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
                await self._agent.connect()
                self._shake_hands(remote, client=client)
                await self.connected.wait()
            while await self._agent.get_event() is not None:
                self.lose(Cause.MEDIA_LOST, "the far end no longer answers (ICE consent)")
        except TimeoutError:
            stage = "no working ICE pair" if self._agent.selected is None else "no end of the DTLS handshake"
            self.lose(Cause.MEDIA_FAILED, f"{stage} within {self._patience.connect:g} s")
        except ConnectionError as error:
            self.lose(Cause.MEDIA_FAILED, f"ICE: {error}")

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
        selected = self._agent.selected
        if self._handshake is None or selected is None:
            return
        for datagram in self._handshake.take():
            try:
                selected[0].sendto(datagram, selected[1])
            except OSError:
                self.dropped["unsent"] += 1  # DTLS repeats it

    def _stranger(self) -> None:
        self.dropped["stranger"] += 1

    def _media(self, address: ice.Address) -> None:
        """What came on our socket and is no STUN (RFC 7983 §7)."""
        packet = self.packet
        first = packet.data[0]
        if 128 <= first <= 191:
            self._protected(address)
        elif 20 <= first <= 63 and address in self._agent.sources:
            datagram = bytes(packet)
            if self._handshake is not None:
                self._handshake.receive(datagram)
                self._progress()
            elif len(self._early) < _EARLY:
                self._early.append(datagram)
        else:
            self.dropped["stranger"] += 1

    def _protected(self, address: ice.Address) -> None:
        srtp, packet = self._srtp, self.packet
        if srtp is None or self.over:
            self.dropped["early" if address in self._agent.sources else "stranger"] += 1
        elif is_rtp(packet):
            if srtp.unprotect():
                now = self._loop.time()
                self._agent.heard_at = now
                self.heard(now)
            else:
                self.dropped["unauthentic" if address in self._agent.sources else "stranger"] += 1
        else:
            self.dropped["rtcp" if srtp.unprotect_rtcp() else "stranger"] += 1
