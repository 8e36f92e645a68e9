"""What is rtpengine's own; what it shares with the other engine is in contract/."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.errors import MediaError
from gateway.media import rtpengine_words as words
from gateway.media.engine import Digit, LegKind, Lost
from gateway.media.rtpengine import RtpengineEngine, RtpengineSettings
from gateway.media.rtpengine_pool import Address, Pace
from gateway.session.model import Ice
from tests.interop.peers.process import free_port
from tests.media import daemon
from tests.media.ends import EVENT_8, OPUS, PCMA, Events, Phone, stream
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def engine(*daemons: daemon.Daemon, **more: object) -> AsyncIterator[RtpengineEngine]:
    nodes = tuple(Address(daemon.HOST, one.port) for one in daemons)
    settings = RtpengineSettings(nodes, (daemon.HOST, daemons[0].events), ("127.0.0.0/8",), pace=Pace(0.1, 2.0, 2))
    made = RtpengineEngine(replace(settings, **more))  # type: ignore[arg-type]
    made.on_event = Events()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        for one in daemons:
            await one.kill()


async def test_a_call_that_one_daemon_does_not_take_goes_to_the_next() -> None:
    first, second = await daemon.start(), await daemon.start()
    async with engine(first, second, pace=Pace(60.0, 2.0, 2)) as made:
        await first.kill()
        await made.allocate("call", "caller", LegKind.RTP)
        assert made.processes == (second.port,)
        await made.allocate("call", "callee1", LegKind.RTP)
        assert set(await made.statistics("call")) == {"caller", "callee1"}


async def test_a_call_that_nobody_takes_is_an_error_and_is_not_kept() -> None:
    full = await daemon.start(None, "--max-sessions=1")
    async with engine(full) as made:
        await made.allocate("call", "caller", LegKind.RTP)
        with pytest.raises(MediaError, match="no rtpengine takes the call"):
            await made.allocate("next", "caller", LegKind.RTP)
        assert await made.release("next") == {}
        assert made.processes == (full.port,)


async def test_a_daemon_that_was_started_anew_has_lost_its_calls() -> None:
    first = await daemon.start()
    async with engine(first, pace=Pace(60.0, 2.0, 2)) as made:
        await made.allocate("call", "caller", LegKind.RTP)
        phone = Phone()
        await made.connect("call", "caller", phone.transport, stream(PCMA))
        await first.kill()
        again = await daemon.start(first.port)
        assert isinstance(made.on_event, Events)
        assert "lost the call" in (await made.on_event.of(Lost, "caller")).text
        await phone.close()
        await again.kill()


async def test_a_port_stays_the_legs_own_whoever_its_peer_is() -> None:
    phones = [Phone() for _ in range(4)]
    async with engine(await daemon.start()) as made:
        before = {}
        for name, phone in zip(("caller", "callee1", "callee2"), phones, strict=False):
            before[name] = await made.allocate("call", name, LegKind.RTP)
            phone.far = (str(before[name].address), before[name].port)
        await made.connect("call", "caller", phones[0].transport, stream(PCMA), peer="callee1")
        await made.connect("call", "callee1", phones[1].transport, stream(OPUS), peer="caller")
        await made.connect("call", "callee2", phones[2].transport, stream(PCMA), peer="caller")
        await made.connect("call", "callee2", phones[3].transport, stream(PCMA))
        phones[0].say(PCMA, b"\x01" * 160, 160)
        assert (await phones[3].hear())[12:] == b"\x01" * 160
        assert phones[2].heard.empty()
    for phone in phones:
        await phone.close()


async def test_where_nobody_may_send_us_nothing_is_sent() -> None:
    one, other = Phone(), Phone("127.0.0.2")
    async with engine(await daemon.start(), allow=("127.0.0.1/32",)) as made:
        theirs = await made.allocate("call", "caller", LegKind.RTP)
        await made.allocate("call", "callee1", LegKind.RTP)
        one.far = (str(theirs.address), theirs.port)
        await made.connect("call", "caller", one.transport, stream(PCMA), peer="callee1")
        await made.connect("call", "callee1", other.transport, stream(PCMA))
        for _ in range(5):
            one.say(PCMA, b"\x01" * 160, 160)
        while (await made.statistics("call"))["caller"].received_packets < 5:  # noqa: ASYNC110 -- asked for, not told
            await asyncio.sleep(0.01)
        assert other.heard.empty()
    await one.close()
    await other.close()


async def test_what_an_end_says_before_it_has_a_peer_is_sent_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    one, nobody = Phone(), Phone("127.0.0.2")
    placeholder = words.placeholder().replace("192.0.2.1", "127.0.0.2").replace(" 9 ", f" {nobody.address[1]} ")
    monkeypatch.setattr(words, "placeholder", lambda: placeholder)
    async with engine(await daemon.start()) as made:
        theirs = await made.allocate("call", "caller", LegKind.RTP)
        one.far = (str(theirs.address), theirs.port)
        await made.connect("call", "caller", one.transport, stream(PCMA))
        for _ in range(5):
            one.say(PCMA, b"\x01" * 160, 160)
        while (await made.statistics("call"))["caller"].received_packets < 5:  # noqa: ASYNC110 -- asked for, not told
            await asyncio.sleep(0.01)
        assert nobody.heard.empty()
    await one.close()
    await nobody.close()


async def test_a_line_of_the_log_about_somebody_elses_call_is_not_told() -> None:
    process = await daemon.start()
    async with engine(process) as made:
        await made.allocate("call", "caller", LegKind.RTP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            for call, leg in (("other", "caller"), ("call", "other"), ("call", "caller")):
                line = {"callid": call, "source_tag": leg, "type": "DTMF", "event": 5, "duration": 100}
                log.sendto(json.dumps(line).encode(), (daemon.HOST, process.events))
        events = made.on_event
        assert isinstance(events, Events)
        await events.of(Digit, "caller")
        assert events.all == [Digit("call", "caller", "5", 100)]


async def test_what_is_no_digit_and_what_has_no_ice_is_refused() -> None:
    one, other = Phone(), Phone()
    async with engine(await daemon.start()) as made:
        for name, peer, phone in (("caller", "callee1", one), ("callee1", "caller", other)):
            await made.allocate("call", name, LegKind.RTP)
            await made.connect("call", name, phone.transport, stream(PCMA, EVENT_8), peer=peer)
        with pytest.raises(MediaError, match="no digit"):
            await made.dtmf("call", "caller", "x")
        with pytest.raises(MediaError, match="no ICE"):
            await made.restart("call", "caller", Ice("u", "p" * 22))
        with pytest.raises(MediaError, match="no prompt"):
            await made.play("call", "caller", "nothing")
        with pytest.raises(MediaError, match="unknown leg"):
            await made.play("call", "callee9", "hold")
    await one.close()
    await other.close()


@pytest.mark.parametrize("more", [{"allow": ("10.0.0.0/99",)}, {"hold": "none.wav"}, {"events": ("192.0.2.1", 5_000)}])
async def test_settings_that_cannot_work_are_refused(more: dict[str, object]) -> None:
    settings = RtpengineSettings((Address(daemon.HOST, free_port()),), pace=Pace(0.1, 0.1, 1))
    with pytest.raises(MediaError):
        await RtpengineEngine(replace(settings, **more)).start()  # type: ignore[arg-type]


async def test_who_was_warned_hears_the_other_one_again_when_the_tone_is_over() -> None:
    one, other = Phone(), Phone()
    async with engine(await daemon.start()) as made:
        for name, peer, phone in (("caller", "callee1", one), ("callee1", "caller", other)):
            ours = await made.allocate("call", name, LegKind.RTP)
            phone.far = (str(ours.address), ours.port)
            await made.connect("call", name, phone.transport, stream(PCMA), peer=peer)
        one.say(PCMA, b"\x01" * 160, 160)
        await other.hear()
        await made.play("call", "caller", "warning")
        async with asyncio.timeout(PATIENCE):
            while True:
                other.say(PCMA, b"\x01" * 160, 160)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        if (await one.hear())[12:] == b"\x01" * 160:
                            break
    await one.close()
    await other.close()
