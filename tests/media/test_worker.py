from __future__ import annotations

import asyncio
import json
import pathlib
import re
import socket
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from gateway.errors import MediaError, NgError
from gateway.media import ng, opus
from gateway.media.engine import Connected, LegKind
from gateway.media.pairs import Call
from gateway.media.prompts import Prompts, Sound
from gateway.media.wire import pack
from gateway.media.worker import MAX_LEGS, Worker, WorkerSettings, listen_address
from tests.media.ends import EVENT_8, PCMA, PCMU, Events, Phone, alaw, loudest, sine, stream

Command = Callable[..., Awaitable[Any]]


@pytest.fixture
async def worker(ports: tuple[int, int]) -> AsyncIterator[Worker]:
    worker = Worker(WorkerSettings("127.0.0.1", None, *ports, ("127.0.0.0/8",)), Events())
    yield worker
    await worker.close()


@pytest.fixture
def command(worker: Worker) -> Command:
    """A command as it comes over the wire."""

    async def run(name: str, **arguments: Any) -> Any:
        answer = await worker.handle(ng.message(ng.encode({"command": name, **arguments})))
        return ng.decode(ng.encode(answer))

    return run


async def test_a_call_goes_from_allocation_to_release_in_commands(command: Command, phone: Phone) -> None:
    assert await command("ping") == {"result": "pong", "calls": 0}
    ours = (await command("allocate", call="c", leg="a", kind="rtp"))["transport"]
    assert await command("allocate", call="c", leg="a", kind="rtp") == {"result": "ok", "transport": ours}
    await command("connect", call="c", leg="a", remote=pack(phone.transport), stream=pack(stream(PCMA)))
    await command("loop", call="c", leg="a")
    phone.far = (ours["address"], ours["port"])
    phone.say(PCMA, b"echo", 160)
    assert (await phone.hear())[12:] == b"echo"
    counted = (await command("statistics", call="c"))["legs"]["a"]
    assert (counted["received_packets"], counted["sent_packets"], counted["codec"]) == (1, 1, "PCMA")
    assert (await command("release", call="c", leg="b"))["legs"] == {}
    assert (await command("release", call="c"))["legs"] == {"a": counted}
    assert (await command("release", call="c"))["legs"] == {}
    assert (await command("statistics", call="c"))["legs"] == {}
    assert await command("ping") == {"result": "pong", "calls": 0}


@pytest.mark.parametrize("address", ["127.0.0.1,::1", "::1,127.0.0.1"])
async def test_a_leg_speaks_the_version_of_ip_that_it_is_asked_for(ports: tuple[int, int], address: str) -> None:
    worker = Worker(WorkerSettings(address, None, *ports, ("127.0.0.0/8",)), Events())
    told = [
        (await worker.handle({"command": "allocate", "call": "c", "leg": f"l{ip}", "kind": "rtp", **asked}))[
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
        ours[other] = (await worker.handle(asked))["transport"]
        assert ours[other]["address"] == "127.0.0.1"
    for leg, remote in ours.items():
        said = {"call": leg, "leg": leg, "remote": remote, "stream": pack(stream(PCMA))}
        await worker.handle({"command": "connect", **said})
        await worker.handle({"command": "play", "call": leg, "leg": leg, "prompt": "ringback"})
    for leg in ours:
        await events.of(Connected, leg)
    await worker.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"command": "publish"}, "Unrecognized command"),
        ({}, "command is missing"),
        ({"command": "allocate", "call": "c", "leg": "b", "kind": "pigeon"}, "LegKind"),
        ({"command": "allocate", "call": "c", "kind": "rtp"}, "leg is missing"),
        ({"command": "allocate", "call": "c", "leg": "a", "kind": "webrtc"}, "other kind"),
        ({"command": "connect", "call": "c", "leg": "a", "remote": {}, "stream": {}}, "Stream"),
        ({"command": "candidates", "call": "c", "leg": "x", "candidates": []}, "unknown leg"),
        ({"command": "play", "call": "x", "leg": "a", "prompt": "echo"}, "unknown leg"),
        ({"command": "play", "call": "c", "leg": "a", "prompt": "../../etc/passwd"}, "no prompt"),
        ({"command": "play", "call": "c", "leg": "a", "prompt": "opera"}, "no prompt"),
        ({"command": "stop playing", "call": "c", "leg": "x"}, "unknown leg"),
        ({"command": "restart", "call": "c", "leg": "a", "ice": {"ufrag": "x", "pwd": "y"}}, "no ICE"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "12x"}, "not digits"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": ""}, "not digits"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "1" * 65}, "not digits"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "1", "duration": 10**9}, "lasts between"),
        ({"command": "dtmf", "call": "c", "leg": "a", "digits": "1", "duration": "long"}, "lasts between"),
    ],
)
async def test_what_cannot_be_done_is_said(worker: Worker, arguments: Any, reason: str) -> None:
    await worker.allocate("c", "a", LegKind.RTP)
    with pytest.raises((NgError, MediaError), match=reason):
        await worker.handle(arguments)
    assert list(await worker.release("c", None)) == ["a"]


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
    assert await worker.handle({"command": "ping"}) == {"result": "pong", "calls": 1}
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


@pytest.mark.slow
async def test_a_worker_that_loses_its_parent_ends_by_itself(ports: tuple[int, int]) -> None:
    commands, their_commands = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    events, their_events = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    fds = (their_commands.fileno(), their_events.fileno())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.media.worker",
        "--settings",
        json.dumps(pack(WorkerSettings("127.0.0.1", None, *ports))),
        "--fds",
        f"{fds[0]},{fds[1]}",
        stdin=asyncio.subprocess.PIPE,
        pass_fds=fds,
    )
    client = ng.NgClient(commands)
    with their_commands, their_events, events:
        assert await client.request("ping", patience=10.0) == {"result": "pong", "calls": 0}
        assert process.stdin is not None
        process.stdin.close()  # as the kernel does when the parent dies
        assert await process.wait() == 0
    client.close()


@pytest.mark.slow
def test_a_worker_imports_neither_xmpp_nor_storage_nor_operations() -> None:
    """What is not imported takes no memory in each of the workers."""
    script = "import sys, gateway.media.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "gateway.media.webrtcleg" in loaded
    assert not {"slixmpp", "sqlalchemy", "gateway.ops", "gateway.sip", "gateway.xmpp", "pydantic"} & set(loaded)


@pytest.mark.slow
async def test_a_worker_that_stands_alone_speaks_ng_over_udp(ports: tuple[int, int]) -> None:
    settings = json.dumps(pack(WorkerSettings("127.0.0.1", None, *ports)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.media.worker", "--settings", settings, "--ng", "udp:127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    line = re.sub(r"\x1b\[[0-9;]*m", "", (await process.stderr.readline()).decode())
    port = int(line.rpartition("port=")[2])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    client = ng.NgClient(sock)
    assert await client.request("ping") == {"result": "pong"}
    with pytest.raises(NgError, match="Unrecognized command"):
        await client.request("allocate", {"call": "c", "leg": "a", "kind": "rtp"})
    client.close()
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.parametrize("where", ["2223", "udp:127.0.0.1", "udp:127.0.0.1:99999", "tcp:127.0.0.1:2223", "udp::1:2223"])
def test_a_place_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(MediaError):
        listen_address(where)


def test_a_place_may_be_of_either_family() -> None:
    assert listen_address("udp:127.0.0.1:2223") == ("127.0.0.1", 2_223)
    assert listen_address("udp:[::1]:2223") == ("::1", 2_223)


@pytest.mark.slow
def test_a_worker_writes_its_lines_as_its_parent_does(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "gateway.media.worker", "--ng", "nonsense", "--settings", '{"json_log": true}']
    assert subprocess.run(command, check=False).returncode == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "media worker cannot start"


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
        await worker.handle({"command": "record", "call": "c", "name": "name"})
        await say("caller", 500)
        await worker.handle({"command": "play", "call": "c", "leg": "callee1", "prompt": "hold"})
        await say("caller", 700)  # to nobody: the other one hears music
        await join("callee2", "caller")
        await say("callee1", 800)  # who talks with nobody any more
        await say("callee2", 1_000)
        answer: Any = await worker.handle({"command": "recorded", "call": "c"})
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
