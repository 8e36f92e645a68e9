"""A picture between a browser and a telephone, through an engine with its worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pylibsrtp import Error

from gateway.errors import MediaError
from gateway.media import feedback, video
from gateway.media.embedded import EmbeddedEngine
from gateway.media.engine import Connected, LegKind, LegStatistics, Lost, PictureWanted
from gateway.media.rtcp import Report, read, write
from gateway.session.model import Codec, Setup, Transport
from tests.media.conftest import MakeEngine
from tests.media.ends import PCMA, PCMU, SAFETY, Browser, End, Phone, packet, stream
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

SAID = ("nack", "nack pli", "ccm fir")
VP8 = Codec(96, "VP8", 90_000, feedback=SAID)
FAR = replace(VP8, pt=101)  # the same under the telephone's number


class Camera(Phone):
    """A telephone's video: a socket for pictures, and one above it for its RTCP."""

    def __init__(self) -> None:
        super().__init__()
        self.control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.control.setblocking(False)
        self.control.bind((self.address[0], 0))
        self.reports: asyncio.Queue[bytes] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(self.control.fileno(), self._report)

    @property
    def transport(self) -> Transport:
        return Transport(*self.address, rtcp_port=self.control.getsockname()[1])

    def _report(self) -> None:
        self.reports.put_nowait(self.control.recv(2_048))

    def complain(self, said: bytes) -> None:
        assert self.far is not None
        self.control.sendto(write(Report(self.ssrc, None, ()), "camera") + said, (self.far[0], self.far[1] + 1))

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.control.fileno())
        self.control.close()
        await super().close()


@dataclass
class Call:
    """A call that is up, with a picture both ways. `ours` is the SSRC of what each end hears."""

    engine: EmbeddedEngine
    browser: Browser
    phone: Phone
    camera: Camera
    seen_at: int = 0
    seen_by: int = 0

    async def statistics(self, leg: str) -> LegStatistics:
        return (await self.engine.statistics("call"))[leg]

    def film(self, end: End, codec: Codec, body: bytes, step: int = 3_000, *, marker: bool = False) -> None:
        """One packet of a picture."""
        if end is self.browser:
            self.browser.send(packet(codec.pt, self.seq, self.timestamp, 0xB0B0, body, marker=marker))
            self.seq, self.timestamp = self.seq + 1, self.timestamp + step
        else:
            end.say(codec, body, step, marker=marker)

    seq: int = 500
    timestamp: int = 1_000

    async def begin(self) -> None:
        """Both have seen something of each other."""
        self.film(self.camera, FAR, b"begin")
        self.seen_by = ssrc(await self.browser.hear())
        self.film(self.browser, VP8, b"begin")
        self.seen_at = ssrc(await self.camera.hear())


def ssrc(data: bytes) -> int:
    return int.from_bytes(data[8:12])


def seq(data: bytes) -> int:
    return int.from_bytes(data[2:4])


async def until(reports: asyncio.Queue[bytes], about: int) -> feedback.Feedback:
    """The next feedback about this stream; reports go by."""
    async with asyncio.timeout(SAFETY):
        while True:
            said = feedback.read(await reports.get(), about)
            if said.picture or said.lost:
                return said


async def dropped(call: Call, leg: str, most: int) -> None:
    """Until so much feedback is counted as not passed on."""
    async with asyncio.timeout(SAFETY):
        while dict((await call.statistics(leg)).dropped).get("feedback", 0) < most:  # noqa: ASYNC110 -- asked for, not told
            await asyncio.sleep(0.01)


@pytest.fixture
async def camera() -> AsyncIterator[Camera]:
    camera = Camera()
    yield camera
    await camera.close()


@pytest.fixture
async def call(make_engine: MakeEngine, browser: Browser, phone: Phone, camera: Camera) -> Call:
    """The voice first, then the picture on its transport at the browser, and on ports of its own at the telephone."""
    engine = await make_engine()
    return await connected(engine, browser, phone, camera)


async def connected(
    engine: EmbeddedEngine, browser: Browser, phone: Phone, camera: Camera, near: Codec = VP8, far: Codec = FAR
) -> Call:
    events: Any = engine.on_event
    theirs = await engine.allocate("call", "callee1", LegKind.RTP, controlling=True)
    pictures = await engine.allocate_video("call", "callee1.video", LegKind.RTP, controlling=True)
    remote = await browser.open(Setup.ACTIVE)
    ours = await engine.allocate("call", "caller", LegKind.WEBRTC, setup=Setup.PASSIVE)
    shared = await engine.allocate_video("call", "caller.video", LegKind.WEBRTC, bundled=True)
    assert shared == replace(ours, source=shared.source)
    assert shared.source is not None
    assert ours.source is not None
    assert shared.source.ssrc != ours.source.ssrc
    assert shared.source.parameters == ours.source.parameters
    phone.far = (str(theirs.address), theirs.port)
    camera.far = (str(pictures.address), pictures.port)
    await engine.connect("call", "callee1", phone.transport, stream(PCMU), peer="caller")
    await engine.connect("call", "caller", remote, stream(PCMA, rtcp_mux=True), peer="callee1", setup=Setup.PASSIVE)
    await engine.connect("call", "callee1.video", camera.transport, stream(far), peer="caller.video")
    await engine.connect("call", "caller.video", remote, stream(near, rtcp_mux=True), peer="callee1.video")
    await browser.connect(ours, Setup.ACTIVE)
    await events.of(Connected, "caller.video")
    return Call(engine, browser, phone, camera)


async def test_pictures_go_both_ways_beside_the_voice(call: Call) -> None:
    await call.begin()
    call.film(call.browser, VP8, b"one", 0)
    call.film(call.browser, VP8, b"two", marker=True)
    one, two = await call.camera.hear(), await call.camera.hear()
    assert (one[12:], one[1], two[12:], two[1]) == (b"one", FAR.pt, b"two", FAR.pt | 0x80)
    assert seq(two) == seq(one) + 1
    assert one[4:8] == two[4:8]  # of one picture
    call.film(call.camera, FAR, b"three", marker=True)
    three = await call.browser.hear()
    assert (three[12:], three[1]) == (b"three", VP8.pt | 0x80)
    call.browser.say(PCMA, bytes(160), 160)
    assert (await call.phone.hear())[1] & 0x7F == PCMU.pt
    call.phone.say(PCMU, bytes(160), 160)
    assert (await call.browser.hear())[1] & 0x7F == PCMA.pt
    counted = await call.statistics("caller.video")
    assert (counted.received_packets, counted.sent_packets, counted.codec) == (3, 2, "VP8")
    assert (counted.mos, counted.far_mos) == (None, None)
    assert (await call.statistics("caller")).received_packets == 1


async def test_the_first_packet_of_a_picture_does_not_end_it(call: Call) -> None:
    """The marker begins a talkspurt of a voice, and ends a picture (RFC 7741 §4.1)."""
    call.film(call.camera, FAR, b"more to come")
    assert (await call.browser.hear())[1] == VP8.pt


async def test_a_whole_picture_is_asked_of_whoever_sends_it(call: Call) -> None:
    await call.begin()
    call.camera.complain(feedback.pli(call.camera.ssrc, call.seen_at))
    assert (await until(call.browser.reports, 0xB0B0)).picture
    await call.browser.dtls._send_rtp(write(Report(1, None, ()), "browser") + feedback.fir(1, call.seen_by, 3))
    assert (await until(call.camera.reports, call.camera.ssrc)).picture


async def test_an_end_that_knows_only_the_command_gets_that(
    make_engine: MakeEngine, browser: Browser, phone: Phone, camera: Camera
) -> None:
    far = replace(FAR, feedback=("ccm fir",))
    call = await connected(await make_engine(), browser, phone, camera, far=far)
    await call.begin()
    await browser.dtls._send_rtp(feedback.pli(1, call.seen_by))
    async with asyncio.timeout(SAFETY):
        while not feedback.read(said := await camera.reports.get(), camera.ssrc).picture:
            pass
    assert feedback.fir(ssrc_of(said), camera.ssrc, 1) in said


def ssrc_of(report: bytes) -> int:
    found = read(report)
    assert found
    return found[0].ssrc


async def test_who_knows_no_feedback_is_asked_in_signalling_and_not_too_often(
    make_engine: MakeEngine, browser: Browser, phone: Phone, camera: Camera
) -> None:
    call = await connected(await make_engine(), browser, phone, camera, far=replace(FAR, feedback=()))
    await call.begin()
    events: Any = call.engine.on_event
    for _ in range(3):
        await browser.dtls._send_rtp(feedback.pli(1, call.seen_by) + feedback.nack(1, call.seen_by, [1]))
    await dropped(call, "callee1.video", 5)
    wanted = [event for event in events.all if isinstance(event, PictureWanted)]
    assert wanted == [PictureWanted("call", "callee1.video")]
    assert all(not feedback.read(said, camera.ssrc).picture for said in _drained(camera.reports))


def _drained(queue: asyncio.Queue[bytes]) -> list[bytes]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_signalling_asks_too(call: Call) -> None:
    await call.begin()
    await call.engine.ask_picture("call", "callee1.video")
    assert (await until(call.camera.reports, call.camera.ssrc)).picture
    with pytest.raises(MediaError, match="no video"):
        await call.engine.ask_picture("call", "callee1")


async def test_pictures_are_not_asked_for_all_the_time(call: Call) -> None:
    await call.begin()
    for _ in range(20):
        call.camera.complain(feedback.pli(call.camera.ssrc, call.seen_at))
    assert (await until(call.browser.reports, 0xB0B0)).picture
    await dropped(call, "caller.video", 19)


async def test_a_packet_that_was_lost_behind_us_comes_again_as_it_was(call: Call) -> None:
    await call.begin()
    for body in (b"one", b"two", b"three"):
        call.film(call.browser, VP8, body)
    one, two, three = [await call.camera.hear() for _ in range(3)]
    call.camera.complain(feedback.nack(call.camera.ssrc, call.seen_at, [seq(one), seq(three)]))
    assert [await call.camera.hear(), await call.camera.hear()] == [one, three]
    del two


class Lossy:
    """The keys of a browser that loses what comes first."""

    def __init__(self, keys: Any) -> None:
        self._keys, self._lost = keys, False

    def unprotect(self, data: bytes) -> bytes:
        if not self._lost:
            self._lost = True
            raise Error("lost on the way")
        return bytes(self._keys.unprotect(data))


async def test_a_browser_gets_a_lost_packet_again_too(call: Call) -> None:
    """Protected as it was before: with a new nonce under the same number it could not be read."""
    await call.begin()
    call.browser.dtls._rx_srtp = Lossy(call.browser.dtls._rx_srtp)  # type: ignore[assignment]
    call.film(call.camera, FAR, b"lost")
    call.film(call.camera, FAR, b"next")
    following = await call.browser.hear()
    assert following[12:] == b"next"
    await call.browser.dtls._send_rtp(feedback.nack(1, call.seen_by, [seq(following) - 1]))
    assert (await call.browser.hear())[12:] == b"lost"


async def test_a_packet_that_was_lost_before_us_is_asked_of_its_sender(call: Call) -> None:
    await call.begin()
    call.seq += 2  # two are lost on their way to us
    call.film(call.browser, VP8, b"behind the gap")
    behind = await call.camera.hear()
    missing = [seq(behind) - 2, seq(behind) - 1]
    call.camera.complain(feedback.nack(call.camera.ssrc, call.seen_at, missing))
    assert (await until(call.browser.reports, 0xB0B0)).lost == (501, 502)


async def test_a_packet_is_not_sent_again_for_ever(call: Call) -> None:
    await call.begin()
    call.film(call.browser, VP8, b"one")
    one = await call.camera.hear()
    for _ in range(video.AGAIN + 1):
        call.camera.complain(feedback.nack(call.camera.ssrc, call.seen_at, [seq(one)]))
    for _ in range(video.AGAIN):
        assert await call.camera.hear() == one
    await dropped(call, "callee1.video", 1)
    assert call.camera.heard.empty()


async def test_a_stranger_cannot_send_pictures(call: Call, stranger: Phone) -> None:
    await call.begin()
    stranger.far = call.camera.far
    stranger.say(FAR, b"mine", 3_000)
    call.film(call.camera, FAR, b"yours")
    assert (await call.browser.hear())[12:] == b"yours"
    assert (await call.statistics("caller.video")).sent_packets == 2


async def test_a_covered_camera_ends_nothing(
    make_engine: MakeEngine, browser: Browser, phone: Phone, camera: Camera
) -> None:
    engine = await make_engine(first=0.2, silence=0.2)
    call = await connected(engine, browser, phone, camera)
    events: Any = engine.on_event
    await events.of(Lost, "callee1")  # the voice's own leg, which heard nothing either
    await call.begin()
    assert not [event for event in events.all if isinstance(event, Lost) and event.leg.endswith(".video")]


async def test_a_picture_may_be_larger_than_a_voice(call: Call) -> None:
    await call.begin()
    for _ in range(300):  # 0.36 MB at once: more than a voice's leg lets by in its burst
        call.film(call.camera, FAR, bytes(1_200))
        await call.browser.hear()
    assert "flood" not in dict((await call.statistics("callee1.video")).dropped)


async def test_the_voice_goes_on_when_the_picture_is_given_back(call: Call) -> None:
    await call.begin()
    counted = await call.engine.release("call", "caller.video")
    assert counted["caller.video"].codec == "VP8"
    call.film(call.browser, VP8, b"unwanted")
    call.browser.say(PCMA, bytes(160), 160)
    assert (await call.phone.hear())[1] & 0x7F == PCMU.pt
    assert dict((await call.statistics("caller")).dropped)["payload"] == 1


async def test_voice_and_picture_of_one_end_have_one_name(call: Call) -> None:
    """RFC 3550 §6.5.1: so that they are played in time."""
    await call.begin()
    async with asyncio.timeout(PATIENCE):
        names: dict[int, bytes] = {}
        while len(names) < 2:
            call.film(call.camera, FAR, b"x")
            call.phone.say(PCMU, bytes(160), 160)
            await asyncio.sleep(0.05)
            for report in _drained(call.browser.reports):
                names[ssrc_of(report)] = report.partition(b"\x81\xca")[2][8:26]
    assert len(set(names.values())) == 1


async def test_an_end_that_does_not_bundle_has_a_path_for_each(
    make_engine: MakeEngine, browser: Browser, phone: Phone, camera: Camera
) -> None:
    engine = await make_engine()
    events: Any = engine.on_event
    pictures = await engine.allocate_video("call", "callee1.video", LegKind.RTP, controlling=True)
    remote = await browser.open(Setup.ACTIVE)
    ours = await engine.allocate_video("call", "caller.video", LegKind.WEBRTC, setup=Setup.PASSIVE)
    camera.far = (str(pictures.address), pictures.port)
    await engine.connect("call", "callee1.video", camera.transport, stream(FAR), peer="caller.video")
    await engine.connect(
        "call", "caller.video", remote, stream(VP8, rtcp_mux=True), peer="callee1.video", setup=Setup.PASSIVE
    )
    await browser.connect(ours, Setup.ACTIVE)
    await events.of(Connected, "caller.video")
    call = Call(engine, browser, phone, camera)
    await call.begin()
    await browser.dtls._send_rtp(feedback.pli(1, call.seen_by) + feedback.nack(1, call.seen_by, [9]))
    assert (await until(camera.reports, camera.ssrc)).picture


async def test_there_is_no_picture_on_the_transport_of_nobody(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    with pytest.raises(MediaError, match="no transport"):
        await engine.allocate_video("call", "caller.video", LegKind.WEBRTC, bundled=True)
    await engine.allocate("call", "callee1", LegKind.RTP)
    with pytest.raises(MediaError, match="no transport"):
        await engine.allocate_video("call", "callee1.video", LegKind.RTP, bundled=True)
