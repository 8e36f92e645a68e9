from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.media.component import Component
from gateway.media.dtls import Certificate
from gateway.media.ports import Bind
from gateway.media.rtp import Packet
from gateway.reach import Reach
from gateway.session.model import Fingerprint, Ice, Setup
from tests.media.ends import SAFETY, packet

CERTIFICATES = (Certificate(), Certificate())


class Leg:
    """What a component tells."""

    def __init__(self) -> None:
        self.over = False
        self.dropped: Counter[str] = Counter()
        self.taken = asyncio.Event()
        self.reported = asyncio.Event()
        self.told: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self.take: Callable[[float], None] = lambda now: self.taken.set()

    def heard_control(self, now: float) -> None:
        self.reported.set()

    def heard_at(self) -> float:
        return 0.0

    def moved(self, component: Component) -> None: ...

    def secured(self, component: Component) -> None:
        self.told.put_nowait(("secured",))

    def failed(self, component: Component, text: str, *, insecure: bool) -> None:
        self.told.put_nowait(("failed", text, "insecure" if insecure else "broken"))

    def unanswered(self, component: Component) -> None:
        self.told.put_nowait(("unanswered",))

    def given_up(self, component: Component) -> None:
        self.told.put_nowait(("given up",))


class Side:
    """A component with a socket of its own."""

    def __init__(self, number: int, certificate: Certificate, *, controlling: bool, beside: Side | None = None) -> None:
        self.leg, self.packet, self.certificate = Leg(), Packet(), certificate
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(("127.0.0.1", 0))
        self.component: Component = Component(
            number,
            self.leg,
            self.packet,
            binds=(Bind("127.0.0.1", "127.0.0.1"),),
            sockets=(self.sock,),
            reach=Reach(("127.0.0.0/8",)),
            certificate=certificate,
            controlling=controlling,
            beside=beside.component if beside is not None else None,
        )

    @property
    def ice(self) -> Ice:
        agent = self.component.agent
        return Ice(agent.local_username, agent.local_password, self.component.candidates)

    async def meet(self, other: Side) -> None:
        self.component.expect(other.ice)
        await self.component.add(other.ice.candidates)
        self.component.seek()

    def secure(self, other: Side, *, client: bool, shown: Certificate | None = None) -> asyncio.Task[None]:
        announced = Fingerprint("sha-256", (shown or other.certificate).fingerprint, Setup.ACTIVE)
        return asyncio.ensure_future(self.component.secure(announced, client=client))

    async def hears(self) -> tuple[str, ...]:
        return await asyncio.wait_for(self.leg.told.get(), SAFETY)

    def say(self, data: bytes) -> None:
        """Protected, as what it is: RTP or RTCP."""
        assert self.component.srtp is not None
        assert self.component.path is not None
        self.packet.fill(data)
        control = 192 <= data[1] <= 223
        assert self.component.srtp.protect_rtcp() if control else self.component.srtp.protect()
        sock, address = self.component.path
        sock.sendto(bytes(self.packet), address)

    async def close(self) -> None:
        await self.component.close()
        self.sock.close()


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    two = Side(1, CERTIFICATES[0], controlling=True), Side(1, CERTIFICATES[1], controlling=False)
    yield two
    for side in two:
        await side.close()


async def secured(one: Side, other: Side) -> None:
    await one.meet(other)
    await other.meet(one)
    securing = one.secure(other, client=True), other.secure(one, client=False)
    await asyncio.wait_for(asyncio.gather(*securing), SAFETY)
    assert await one.hears() == await other.hears() == ("secured",)


async def test_two_components_find_a_path_and_keys_and_tell_voice_from_reports(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await secured(one, other)
    one.say(packet(8, 1, 160, 7, bytes(160)))
    await asyncio.wait_for(other.leg.taken.wait(), SAFETY)
    assert not other.leg.reported.is_set()
    one.say(b"\x80\xc9\x00\x01" + bytes(4))
    await asyncio.wait_for(other.leg.reported.wait(), SAFETY)
    assert not other.leg.dropped


async def test_a_certificate_that_was_not_announced_is_told_as_what_it_is(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await one.meet(other)
    await other.meet(one)
    securing = one.secure(other, client=True, shown=CERTIFICATES[0]), other.secure(one, client=False)
    failure, _, kind = await one.hears()
    assert (failure, kind) == ("failed", "insecure")
    assert one.component.srtp is None
    for task in securing:
        task.cancel()


async def test_a_client_hello_of_an_address_that_showed_nothing_is_a_strangers(sides: tuple[Side, Side]) -> None:
    one, _ = sides
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\x16\xfe\xfd" + bytes(30), one.sock.getsockname())
        async with asyncio.timeout(SAFETY):
            while not one.leg.dropped:  # noqa: ASYNC110 -- a counter tells nobody
                await asyncio.sleep(0.001)
    assert one.leg.dropped == {"stranger": 1}
    assert one.component.early == []


async def test_components_of_one_session_share_its_name_and_each_takes_its_own_candidates(
    sides: tuple[Side, Side],
) -> None:
    rtp, far = sides
    rtcp = Side(2, CERTIFICATES[0], controlling=True, beside=rtp)
    assert (rtcp.ice.ufrag, rtcp.ice.pwd) == (rtp.ice.ufrag, rtp.ice.pwd)
    assert [(c.component, c.port) for c in rtcp.component.candidates] == [(2, rtcp.sock.getsockname()[1])]
    assert rtcp.component.candidates[0].priority < rtp.component.candidates[0].priority
    await rtcp.component.add(far.ice.candidates)
    assert rtcp.component.agent.remote_candidates == []
    assert not rtcp.leg.dropped
    await rtcp.close()


async def test_the_path_before_a_restart_is_kept_until_there_is_another(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await secured(one, other)
    first = one.ice
    one.component.renew()
    assert one.ice.ufrag != first.ufrag
    assert one.component.path is not None
    one.component.expect(Ice("gone", "x" * 22))
    one.component.seek(0.05)
    async with asyncio.timeout(SAFETY):
        while not one.component.overdue:  # noqa: ASYNC110 -- nobody is told: it goes on
            await asyncio.sleep(0.001)
    one.say(packet(8, 1, 160, 7, bytes(160)))
    await asyncio.wait_for(other.leg.taken.wait(), SAFETY)
    assert one.leg.told.empty()


async def test_a_restart_that_comes_to_nothing_without_a_path_before_it_is_told(sides: tuple[Side, Side]) -> None:
    one, _ = sides
    one.component.renew()
    one.component.expect(Ice("gone", "x" * 22))
    one.component.seek(0.05)
    assert await one.hears() == ("given up",)
