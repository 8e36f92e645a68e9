from __future__ import annotations

import asyncio

import pytest

from gateway.errors import MediaError
from gateway.media import speech as module
from gateway.media.g711 import encode_alaw
from gateway.media.prompts import Sound
from gateway.media.rtp import Packet
from gateway.media.speech import MAX_WAITING, Digits
from gateway.media.tones import digits
from gateway.session.model import Codec, Stream
from tests.media.ends import EVENT_8, OPUS, PCMA, SAFETY, ListLeg, sine, stream

SHORT = Sound("short", sine(400, 480).tobytes())  # three frames
MUSIC = Sound("music", sine(500, 800).tobytes(), endless=True)  # five frames
TONE = Sound("tone", sine(600, 800).tobytes(), endless=True)


class Told(ListLeg):
    def __init__(self, agreed: Stream | None = None) -> None:
        super().__init__("call", "a", Packet(), lambda event: None)
        self.more = asyncio.Event()
        if agreed is not None:
            self.agree(agreed)
            self.ready.set()

    def sent(self, octets: int) -> None:
        super().sent(octets)
        self.more.set()

    async def heard(self, count: int) -> list[bytes]:  # type: ignore[override]  # what this end heard, not what it said
        async with asyncio.timeout(SAFETY):
            while len(self.got) < count:
                self.more.clear()
                await self.more.wait()
        return [body for *_, body in self.got]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sounds and digits take no time."""

    async def until(when: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(module, "until", until)


def frame(hertz: int, number: int) -> bytes:
    return encode_alaw(sine(hertz, 160, 160 * number).tobytes())


async def test_an_endless_sound_goes_round_until_it_is_stopped() -> None:
    leg = Told(stream(PCMA))
    leg.play(MUSIC)
    assert leg.speaker.busy
    heard = await leg.heard(7)
    assert heard[:7] == [frame(500, number % 5) for number in range(7)]
    leg.stop_playing()
    leg.stop_playing()
    assert not leg.speaker.busy
    count = len(leg.got)
    await asyncio.sleep(0)
    assert len(leg.got) == count
    assert [seq - leg.got[0][1] for _, seq, _, _ in leg.got] == list(range(count))
    assert [at - leg.got[0][2] for _, _, at, _ in leg.got] == [160 * number for number in range(count)]
    await leg.close()


async def test_one_endless_sound_takes_the_place_of_another() -> None:
    leg = Told(stream(PCMA))
    leg.play(TONE)
    await leg.heard(1)
    leg.play(MUSIC)
    heard = await leg.heard(4)
    assert heard[-1] in [frame(500, number) for number in range(5)]
    assert heard[0] == frame(600, 0)
    await leg.close()


async def test_a_prompt_and_digits_interrupt_music_which_then_goes_on() -> None:
    leg = Told(stream(PCMA, EVENT_8))
    leg.play(MUSIC)
    await leg.heard(2)
    leg.play(SHORT)
    leg.dial("1", 60)
    await leg.heard(14)
    kinds = [(pt, body if pt == 8 else body[:1]) for pt, _, _, body in leg.got]
    begin = kinds.index((8, frame(400, 0)))
    assert kinds[begin : begin + 3] == [(8, frame(400, number)) for number in range(3)]
    assert kinds[begin + 3 : begin + 8] == [(101, b"\x01")] * 5
    assert kinds[begin + 8] == (8, frame(500, begin % 5))
    await leg.close()


async def test_to_stop_music_does_not_stop_digits() -> None:
    leg = Told(stream(PCMA, EVENT_8))
    leg.play(MUSIC)
    leg.play(SHORT)
    leg.dial("12", 60)
    leg.stop_playing()
    await leg.heard(10)
    await asyncio.sleep(0)
    assert {pt for pt, *_ in leg.got} == {101}
    leg.dial("3", 60)
    await leg.heard(12)
    leg.stop_playing()
    assert [body[0] for *_, body in leg.got if body[1] & 0x80] == [1] * 3 + [2] * 3
    await leg.close()


async def test_music_that_is_stopped_before_it_could_begin_is_never_heard() -> None:
    leg = Told()
    leg.play(MUSIC)
    leg.stop_playing()
    assert not leg.speaker.busy
    leg.agree(stream(PCMA))
    leg.ready.set()
    await asyncio.sleep(0)
    assert leg.got == []


async def test_music_goes_on_when_the_codec_changes() -> None:
    leg = Told(stream(PCMA))
    leg.play(MUSIC)
    await leg.heard(2)
    leg.agree(stream(OPUS))
    await leg.heard(5)
    assert [pt for pt, *_ in leg.got] == [8, 8, 111, 111, 111]
    assert leg.got[4][2] - leg.got[3][2] == 960
    assert [seq - leg.got[0][1] for _, seq, _, _ in leg.got] == list(range(5))
    await leg.close()


async def test_in_a_codec_that_cannot_be_spoken_the_peer_is_heard_instead() -> None:
    leg = Told(stream(Codec(96, "AMR", 8_000)))
    leg.play(MUSIC)
    leg.play(SHORT)
    async with asyncio.timeout(SAFETY):
        while leg.speaker.busy:  # noqa: ASYNC110 -- nobody is told
            await asyncio.sleep(0)
    assert leg.got == []


async def test_only_so_much_waits() -> None:
    leg = Told()
    for _ in range(MAX_WAITING):
        leg.speaker.dial(Digits("1", 100))
    with pytest.raises(MediaError, match="too much"):
        leg.play(SHORT)
    leg.play(MUSIC)
    await leg.close()
    with pytest.raises(MediaError, match="over"):
        leg.play(SHORT)


async def test_an_end_that_takes_no_events_hears_tones_instead() -> None:
    leg = Told(stream(PCMA))
    leg.dial("1", 100)
    leg.dial("2", 100)
    heard = await leg.heard(18)
    assert b"".join(heard) == encode_alaw(digits("12", 100))
    await leg.close()
