from __future__ import annotations

import asyncio
import pathlib
import wave
from typing import Any

import numpy as np
import pytest

from gateway.errors import MediaError
from gateway.media import opus
from gateway.media.commands import Commands
from gateway.media.engine import Connected, LegKind
from gateway.media.pairs import Call
from gateway.media.prompts import Prompts, Sound
from gateway.media.wire import pack
from gateway.media.worker import MAX_LEGS, Worker, WorkerSettings
from tests.media.conftest import Command
from tests.media.ends import EVENT_8, PCMA, PCMU, Events, Phone, alaw, loudest, sine, stream


@pytest.mark.parametrize("address", ["127.0.0.1,::1", "::1,127.0.0.1"])
async def test_a_leg_speaks_the_version_of_ip_that_it_is_asked_for(ports: tuple[int, int], address: str) -> None:
    worker = Worker(WorkerSettings(address, None, *ports, ("127.0.0.0/8",)), Events())
    told = [
        (await Commands(worker).handle({"command": "allocate", "call": "c", "leg": f"l{ip}", "kind": "rtp", **asked}))[
            "transport"
        ]
        for ip, asked in ((4, {"ip": 4}), (6, {"ip": 6}), (0, {}))
    ]
    assert [transport["address"] for transport in told] == ["127.0.0.1", "::1", address.partition(",")[0]]
    await worker.close()


async def test_two_legs_of_ours_hear_each_other_whatever_addresses_are_permitted(ports: tuple[int, int]) -> None:
    """They may be two workers'; here both calls are one's. Nobody from elsewhere can send to a loopback address."""
    events = Events()
    worker = Worker(WorkerSettings("192.0.2.1", None, *ports), events)
    ours = {}
    for leg, other in (("here", "there"), ("there", "here")):
        asked: dict[str, Any] = {"command": "allocate", "call": leg, "leg": leg, "kind": "rtp", "near": 1}
        ours[other] = (await Commands(worker).handle(asked))["transport"]
        assert ours[other]["address"] == "127.0.0.1"
    for leg, remote in ours.items():
        said = {"call": leg, "leg": leg, "remote": remote, "stream": pack(stream(PCMA))}
        await Commands(worker).handle({"command": "connect", **said})
        await Commands(worker).handle({"command": "play", "call": leg, "leg": leg, "prompt": "ringback"})
    for leg in ours:
        await events.of(Connected, leg)
    await worker.close()


async def test_a_call_that_has_no_legs_left_is_no_call(worker: Worker) -> None:
    for leg in ("a", "b"):
        await worker.allocate("c", leg, LegKind.RTP)
    assert list(await worker.release("c", "a")) == ["a"]
    assert worker.size == 1
    assert list(await worker.release("c", "b")) == ["b"]
    assert worker.size == 0
    with pytest.raises(MediaError, match="unknown call"):
        worker.call("c")


async def test_a_call_has_only_so_many_legs(command: Command) -> None:
    for number in range(MAX_LEGS):
        await command("allocate", call="c", leg=str(number), kind="rtp")
    with pytest.raises(MediaError, match="too many"):
        await command("allocate", call="c", leg="one more", kind="rtp")


async def test_a_leg_without_a_port_leaves_no_call_behind(ports: tuple[int, int]) -> None:
    worker = Worker(WorkerSettings("127.0.0.1", None, ports[0], ports[0] + 1), Events())
    await worker.allocate("c", "a", LegKind.RTP)
    with pytest.raises(MediaError, match="in use"):
        await worker.allocate("d", "a", LegKind.WEBRTC)
    assert await Commands(worker).handle({"command": "ping"}) == {"result": "pong", "calls": 1}
    await worker.close()


def test_peers_are_exclusive_whoever_names_them() -> None:
    call = Call()
    call.meet("callee1", "caller")
    call.meet("callee2", "caller")
    assert call.peers == {"callee2": "caller", "caller": "callee2"}
    call.meet("caller", "caller")
    assert call.peers == {"caller": "caller"}


async def test_two_legs_hear_each_other_whichever_is_connected_first(
    command: Command, phone: Phone, stranger: Phone
) -> None:
    ends = {"a": phone, "b": stranger}
    for name, end in ends.items():
        ours = (await command("allocate", call="c", leg=name, kind="rtp"))["transport"]
        end.far = (ours["address"], ours["port"])
    await command("connect", call="c", leg="b", remote=pack(stranger.transport), stream=pack(stream(PCMU)), peer="a")
    await command("connect", call="c", leg="a", remote=pack(phone.transport), stream=pack(stream(PCMU)))
    phone.say(PCMU, b"from a", 160)
    assert (await stranger.hear())[12:] == b"from a"
    stranger.say(PCMU, b"from b", 160)
    assert (await phone.hear())[12:] == b"from b"


async def test_a_leg_is_told_something_and_then_hears_itself(
    command: Command, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenth = Sound("echo", sine(400, 800).tobytes())
    monkeypatch.setattr(Prompts, "named", lambda self, name: tenth)
    ours = (await command("allocate", call="c", leg="a", kind="rtp"))["transport"]
    await command("connect", call="c", leg="a", remote=pack(phone.transport), stream=pack(stream(PCMA)))
    await command("play", call="c", leg="a", prompt="echo")
    await command("loop", call="c", leg="a")
    phone.far = (ours["address"], ours["port"])
    phone.say(PCMA, b"too early", 160)
    assert b"".join([(await phone.hear())[12:] for _ in range(5)]) == alaw(sine(400, 800))
    heard = b""
    while heard != b"my own voice":
        phone.say(PCMA, b"my own voice", 160)
        heard = (await phone.hear())[12:]


async def test_digits_go_out_before_the_far_end_has_spoken(command: Command, phone: Phone) -> None:
    await command("allocate", call="c", leg="a", kind="rtp")
    await command("connect", call="c", leg="a", remote=pack(phone.transport), stream=pack(stream(PCMA, EVENT_8)))
    await command("dtmf", call="c", leg="a", digits="7", duration=40)
    heard = await phone.hear()
    assert (heard[1] & 0x7F, heard[12]) == (101, 7)


@pytest.mark.parametrize(
    ("address", "low", "allow"),
    [("nowhere", 20_000, ()), ("127.0.0.1", 20_001, ()), ("127.0.0.1", 20_000, ("10.0.0.0/40",))],
)
async def test_settings_that_cannot_work_are_refused(address: str, low: int, allow: tuple[str, ...]) -> None:
    with pytest.raises(MediaError):
        Worker(WorkerSettings(address, None, low, 20_001, allow), Events())


async def test_music_plays_until_it_is_stopped_and_then_the_peer_is_heard(
    command: Command, phone: Phone, stranger: Phone
) -> None:
    ends = {"a": phone, "b": stranger}
    for name, end in ends.items():
        ours = (await command("allocate", call="c", leg=name, kind="rtp"))["transport"]
        end.far = (ours["address"], ours["port"])
        more = {"peer": "b"} if name == "a" else {}
        await command("connect", call="c", leg=name, remote=pack(end.transport), stream=pack(stream(PCMA)), **more)
    await command("play", call="c", leg="a", prompt="hold")
    stranger.say(PCMA, b"not heard", 160)
    heard = [await phone.hear() for _ in range(5)]
    assert not any(b"not heard" in one for one in heard)
    await command("stop playing", call="c", leg="a")
    while True:
        stranger.say(PCMA, b"heard again", 160)
        heard.append(await phone.hear())
        if heard[-1][12:] == b"heard again":
            break
    first = int.from_bytes(heard[0][2:4])
    assert [int.from_bytes(one[2:4]) - first for one in heard] == list(range(len(heard)))
    assert len({one[8:12] for one in heard}) == 1


async def test_a_worker_that_is_busy_has_its_encoders_try_less(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opus.Encoder, "common", opus.Encoder.common)
    steps = iter([3, 3, 4])
    monkeypatch.setattr(worker._effort, "observe", lambda now, spent: next(steps))
    tried = []
    for _ in range(3):
        worker._try()
        tried.append(opus.Encoder.common)
    assert tried == [3, 3, 4]
    assert capsys.readouterr().out.count("Opus complexity") == 2


async def test_a_recording_has_what_the_other_could_hear_and_goes_on_over_a_transfer(
    ports: tuple[int, int], phone: Phone, tmp_path: pathlib.Path
) -> None:
    settings = WorkerSettings("127.0.0.1", None, *ports, ("127.0.0.0/8",), recordings=str(tmp_path))
    worker, first, second = Worker(settings, Events()), Phone(), Phone("127.0.0.2")
    ends = {"caller": phone, "callee1": first, "callee2": second}

    async def join(name: str, peer: str) -> None:
        ours = await worker.allocate("c", name, LegKind.RTP)
        ends[name].far = (str(ours.address), ours.port)
        await worker.connect("c", name, ends[name].transport, stream(PCMA), peer=peer)

    async def say(name: str, frequency: float) -> None:
        coded = alaw(sine(frequency, 3_200))
        for at in range(0, len(coded), 160):
            ends[name].say(PCMA, coded[at : at + 160], 160)
            await asyncio.sleep(0.02)

    try:
        await join("callee1", "caller")
        await join("caller", "callee1")
        await Commands(worker).handle({"command": "record", "call": "c", "name": "name"})
        await say("caller", 500)
        await Commands(worker).handle({"command": "play", "call": "c", "leg": "callee1", "prompt": "hold"})
        await say("caller", 700)  # to nobody: the other one hears music
        await join("callee2", "caller")
        await say("callee1", 800)  # who talks with nobody any more
        await say("callee2", 1_000)
        answer: Any = await Commands(worker).handle({"command": "recorded", "call": "c"})
        assert answer["recorded"] == {"file": "name.wav", "fault": ""}
    finally:
        await first.close()
        await second.close()
        await worker.close()
    with wave.open(str(tmp_path / "name.wav")) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    left, right = (strongest(channel) for channel in (both[0::2], both[1::2]))
    assert left == {500}
    assert right == {1_000}


def strongest(channel: np.ndarray) -> set[int]:
    """The tones that were said, to the hundred, each 50 ms."""
    pieces = [channel[at : at + 400] for at in range(0, len(channel) - 400, 400)]
    loud = [round(loudest(piece), -2) for piece in pieces if np.abs(piece.astype(int)).max() > 4_000]
    return {int(one) for one in loud if loud.count(one) > 2}


@pytest.mark.parametrize("adapts", [True, False])
async def test_complexity_may_be_left_alone(
    ports: tuple[int, int], adapts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opus.Encoder, "common", opus.Encoder.common)
    worker = Worker(WorkerSettings("127.0.0.1", None, *ports, ("127.0.0.0/8",), adapts=adapts), Events())
    monkeypatch.setattr(worker._effort, "observe", lambda now, spent: 1)
    before = opus.Encoder.common
    worker._tick()
    await worker.close()
    assert opus.Encoder.common == (1 if adapts else before)
