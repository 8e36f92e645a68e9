"""A leg with ICE, DTLS and SRTP (RFC 5764, 8834): one component with RTCP muxed, or two (component.py).

    open ── connect() ──> checking ── a pair is nominated ──> handshake ── keys ──> connected
                              │                                  │                     │
                              └─ 20 s ─> Lost(MEDIA_FAILED)      └─> Lost(SECURITY)    └─ no consent ─> Lost(MEDIA_LOST)

RTCP has a component of its own for an end that muxes nothing, and while an end that we made an offer to has not said
whether it does (RFC 8035 §3). What becomes of it changes nothing for the voice: without it there are no reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol

from gateway.call.causes import Cause
from gateway.errors import MediaError
from gateway.media.component import Component
from gateway.media.dtls import Certificate
from gateway.media.ice import Address
from gateway.media.lane import Inlet, Lane, Outlet
from gateway.media.leg import Leg, Patience, Tell
from gateway.media.pace import Pacer
from gateway.media.poller import Readers
from gateway.media.ports import Bind, Ports, quieten
from gateway.media.rtp import Packet
from gateway.media.srtp import Srtp
from gateway.reach import Reach
from gateway.session.model import Candidate, Fingerprint, Ice, Setup, Stream, Transport

_FAREWELL = 3.0  # s between the far end's DTLS close and Lost: its signalling is usually on the way


class Beside(Protocol):
    """What the leg of another stream on this transport is told (video.py)."""

    payloads: frozenset[int]
    take: Callable[[float], None]

    def heard_control(self, now: float) -> None: ...

    def tell_connected(self) -> None: ...


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
        rtcp_mux: bool = True,
        pacer: Pacer | None = None,
        readers: Readers | None = None,
    ) -> None:
        """Without `rtcp_mux` there is a second component, until connect() says that it is not needed."""
        super().__init__(call, name, packet, tell, pacer)
        self._loop = asyncio.get_running_loop()
        self._ports, self._patience = ports, patience
        offsets = (0,) if rtcp_mux else (0, 1)
        self._sockets: tuple[socket.socket, ...]
        self._port, self._sockets = ports.bind([(bind.address, offset) for offset in offsets for bind in binds])

        def component(number: int, beside: Component | None = None) -> Component:
            return Component(
                number,
                self,
                packet,
                binds=binds,
                sockets=self._sockets[(number - 1) * len(binds) : number * len(binds)],
                reach=reach,
                certificate=certificate,
                controlling=controlling,
                readers=readers,
                beside=beside,
            )

        self._rtp = component(1)
        self._rtcp = self._rtp if rtcp_mux else component(2, self._rtp)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting = False
        self.beside: Beside | None = None  # a stream on the same transport (BUNDLE)
        self.transport = Transport(
            binds[0].announced,
            self._port,
            rtcp_port=None if rtcp_mux else self._port + 1,
            rtcp_mux=rtcp_mux,
            ice=self._credentials(),
            fingerprint=Fingerprint("sha-256", certificate.fingerprint, setup),
            source=self.source,
        )

    @property
    def _components(self) -> tuple[Component, ...]:
        return (self._rtp,) if self._rtcp is self._rtp else (self._rtp, self._rtcp)

    async def connect(self, remote: Transport, stream: Stream, setup: Setup) -> None:
        """Start ICE towards the far end, DTLS after it; later calls change the stream and add candidates.

        Raises MediaError.
        """
        if remote.ice is None or remote.fingerprint is None:
            raise MediaError("the far end has no ICE credentials or no fingerprint")
        if self._connecting and remote.ice.ufrag != self._rtp.agent.remote_username:
            raise MediaError("these are the credentials of an ICE restart, which asks for restart()")
        self.agree(stream)
        if self._connecting:
            await self._add(remote.ice.candidates)
            return
        if stream.rtcp_mux:
            await self._mux()
        for component in self._components:
            component.expect(remote.ice)
        await self._add(remote.ice.candidates)
        self._connecting = True
        for component in self._components:
            self._start(self._secure(component, remote.fingerprint, client=setup is Setup.ACTIVE))
            component.seek()

    async def restart(self, remote: Ice) -> Transport:
        """Look for a path to these credentials, on new ones of our own; what to tell the far end.

        The same again, for the same credentials. Raises MediaError before connect() and after the end.
        """
        if not self._connecting or self.over:
            raise MediaError("there is no ICE session that could be restarted")
        if remote.ufrag == self._rtp.agent.remote_username:
            return self.transport
        for component in self._components:
            component.renew(beside=None if component is self._rtp else self._rtp)
            component.expect(remote)
        self.transport = replace(self.transport, ice=self._credentials())
        await self._add(remote.candidates)
        for component in self._components:
            component.seek(self._patience.connect)
        self.log.info("ICE restart", generation=self._rtp.agent.generation)
        return self.transport

    async def candidates(self, candidates: Sequence[Candidate], remote: Ice | None) -> None:
        """Trickled candidates, before connect() or after it.

        Those of other credentials are of a session that is over.
        """
        expected = self._rtp.agent.remote_username
        if remote is None or expected is None or remote.ufrag in ("", expected):
            await self._add((*candidates, *(remote.candidates if remote else ())))

    async def close(self) -> None:
        await super().close()
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._sockets:
            for component in self._components:
                await component.close()
            self._ports.give_back(self._port, self._sockets, self._loop.time())
            self._sockets = ()

    def send(self) -> None:
        rtp, packet = self._rtp, self.packet
        srtp, path = rtp.srtp, rtp.path
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
        self.sent(octets)

    @property
    def srtp(self) -> Srtp | None:
        """What protects packets, once DTLS is done."""
        return self._rtp.srtp

    @property
    def pair(self) -> tuple[socket.socket, Address] | None:
        """The socket that packets leave by, and where they go, once ICE has found both."""
        return self._rtp.path

    def heard(self, now: float) -> None:
        beside = self.beside
        if beside is not None and self.packet.data[1] & 0x7F in beside.payloads:
            beside.take(now)
        else:
            super().heard(now)

    def heard_control(self, now: float) -> None:
        super().heard_control(now)
        if self.beside is not None:
            self.beside.heard_control(now)

    def send_control(self) -> None:
        srtp, path = self._rtcp.srtp, self._rtcp.path
        packet = self.packet
        if srtp is not None and path is not None and srtp.protect_rtcp():
            with contextlib.suppress(OSError):  # the next report says more
                path[0].sendto(packet.view[: packet.length], path[1])

    def inlet(self) -> Inlet | None:
        return self._rtp.inlet()

    def outlet(self) -> Outlet | None:
        return self._rtp.outlet()

    def read_by(self, lane: Lane | None) -> None:
        self._rtp.read_by(lane)

    def tick(self, now: float) -> None:
        super().tick(now)
        closed_at = self._rtp.closed_at
        if closed_at is not None and now - closed_at >= _FAREWELL:
            self.lose(Cause.MEDIA_LOST, "the far end closed its media")

    async def _add(self, candidates: Sequence[Candidate]) -> None:
        for component in self._components:
            await component.add(candidates)
        numbers = {component.number for component in self._components}
        self.dropped["candidate"] += sum(candidate.component not in numbers for candidate in candidates)

    async def _mux(self) -> None:
        """The far end takes RTCP where RTP is (RFC 5761 §5.1.3): what was kept ready for it is not needed."""
        unneeded, self._rtcp = self._rtcp, self._rtp
        if unneeded is self._rtp:
            return
        self.transport = replace(self.transport, rtcp_port=None, rtcp_mux=True, ice=self._credentials())
        await unneeded.close()
        for sock in self._sockets[len(self._sockets) // 2 :]:
            quieten(sock)

    def _credentials(self) -> Ice:
        agent = self._rtp.agent
        candidates = tuple(candidate for component in self._components for candidate in component.candidates)
        return Ice(agent.local_username, agent.local_password, candidates, ("trickle",), complete=True)

    async def _secure(self, component: Component, remote: Fingerprint, *, client: bool) -> None:
        try:
            async with asyncio.timeout(self._patience.connect):
                await component.secure(remote, client=client)
        except TimeoutError:
            stage = "no working ICE pair" if component.path is None else "no end of the DTLS handshake"
            self.failed(component, f"{stage} within {self._patience.connect:g} s")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # what components tell

    def heard_at(self) -> float:
        self.settle()
        return self.control.reception.at

    def moved(self, component: Component) -> None:
        if component is self._rtp:
            self.open_lanes()

    def secured(self, component: Component) -> None:
        if component is self._rtp:
            self.open_lanes()
            self.tell_connected()
            if self.beside is not None:
                self.beside.tell_connected()

    def failed(self, component: Component, text: str, *, insecure: bool = False) -> None:
        """COMPAT: QXmpp shows another certificate on component 2 than it announced (QXmppCallStream.cpp leaves open
        why): no keys are taken from it, and the voice goes on without reports.
        """
        if component is self._rtp:
            self.lose(Cause.SECURITY if insecure else Cause.MEDIA_FAILED, text)
        else:
            self.log.info("no RTCP", reason=text)

    def unanswered(self, component: Component) -> None:
        if component is self._rtp:
            self.lose(Cause.MEDIA_LOST, "the far end no longer answers (ICE consent)")

    def given_up(self, component: Component) -> None:
        self.failed(component, f"no working ICE pair within {self._patience.connect:g} s of a restart")
