from __future__ import annotations

import asyncio
import pathlib
import stat
import threading
import wave
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from gateway.errors import MediaError
from gateway.media import recorder as recorders
from gateway.media.recorder import PARTIAL, Recorder, Recording
from gateway.media.rtp import Packet
from gateway.media.tape import LEFT, RIGHT
from tests.media.ends import PCMA, SAFETY, alaw, loudest, packet, sine

MakeRecorder = Callable[..., Recorder]


@pytest.fixture
async def make_recorder(tmp_path: pathlib.Path) -> AsyncIterator[MakeRecorder]:
    made: list[Recorder] = []

    def make(folder: str = str(tmp_path), form: str = "wav") -> Recorder:
        made.append(Recorder(folder, form))
        return made[-1]

    yield make
    for one in made:
        await one.close()


class Talk:
    """An end that says a tone into a recording, packet by packet."""

    def __init__(self, recording: Recording, channel: int, frequency: float) -> None:
        self._packet, self._taken = Packet(), 0
        self._take = recording.tap(channel, (PCMA,), self._packet, self._count)
        self._sound, self._said = alaw(sine(frequency, 80_000)), 0
        self.begin = asyncio.get_running_loop().time()

    def _count(self, now: float) -> None:
        self._taken += 1

    def say(self, packets: int) -> None:
        for _ in range(packets):
            at = self._said * 160
            self._packet.fill(packet(8, self._said, at, 7, self._sound[at : at + 160]))
            self._take(self.begin + self._said * 0.02)
            self._said += 1

    @property
    def taken(self) -> int:
        return self._taken


def channels(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    with wave.open(str(path)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return both[0::2], both[1::2]


def files(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def later(recorder: Recorder, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder's clock goes on."""
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(recorder._loop, "time", lambda: time() + seconds)


async def test_a_file_is_complete_when_it_has_its_name(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder()
    recording = await recorder.begin("c1", "20260102T030405Z-c1")
    assert files(tmp_path) == ["20260102T030405Z-c1.wav" + PARTIAL]
    left, right = Talk(recording, LEFT, 500), Talk(recording, RIGHT, 800)
    left.say(50)
    right.say(50)
    await later(recorder, 1.0, monkeypatch)
    recorded = await recorder.end(recording)
    assert (recorded.file, recorded.fault) == ("20260102T030405Z-c1.wav", "")
    assert files(tmp_path) == [recorded.file]
    assert stat.S_IMODE((tmp_path / recorded.file).stat().st_mode) & 0o007 == 0
    one, other = channels(tmp_path / recorded.file)
    assert loudest(one[:8_000]) == pytest.approx(500, abs=2)
    assert loudest(other[:8_000]) == pytest.approx(800, abs=2)
    assert left.taken == 50


async def test_it_is_written_while_the_call_goes_on(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder()
    recording = await recorder.begin("c1", "name")
    Talk(recording, LEFT, 500).say(50)
    await later(recorder, 5.0, monkeypatch)
    partial = tmp_path / f"{recording.name}{PARTIAL}"
    async with asyncio.timeout(SAFETY):
        while partial.stat().st_size < 16_000 * 4:  # noqa: ASYNC110 -- the thread tells nobody
            await asyncio.sleep(0.02)
    assert not recording.waiting


async def test_an_opus_file_is_smaller_and_has_its_suffix(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder(form="opus")
    recording = await recorder.begin("c1", "name")
    Talk(recording, LEFT, 500).say(100)
    await later(recorder, 2.0, monkeypatch)
    recorded = await recorder.end(recording)
    assert recorded.file == "name.opus"
    assert 1_000 < (tmp_path / recorded.file).stat().st_size < 20_000


async def test_a_full_disk_ends_the_recording_and_says_so(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder()
    recording = await recorder.begin("c1", "name")
    assert recording._file is not None
    recording._file.close()
    recording._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, ASYNC230 -- the recording closes it
    talk = Talk(recording, LEFT, 500)
    talk.say(50)
    await later(recorder, 5.0, monkeypatch)
    async with asyncio.timeout(SAFETY):
        while not recording.over:  # noqa: ASYNC110 -- the thread tells nobody
            await asyncio.sleep(0.02)
    talk.say(10)
    assert talk.taken == 60
    assert "No space left" in (await recorder.end(recording)).fault
    assert files(tmp_path) == ["name.wav"]


async def test_a_disk_that_is_too_slow_ends_the_recording_and_not_the_memory(
    make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "MAX_WAITING", 100)
    recorder = make_recorder()
    recording = await recorder.begin("c1", "name")
    monkeypatch.setattr(recorder, "_write", lambda recordings: None)
    talk = Talk(recording, LEFT, 500)
    talk.say(500)
    assert len(recording.waiting) == 101
    assert talk.taken == 500
    recording.write(asyncio.get_running_loop().time())
    assert "slower" in (await recorder.end(recording)).fault


async def test_a_recording_ends_at_its_greatest_length(
    make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "LONGEST", 1.0)
    recorder = make_recorder()
    recording = await recorder.begin("c1", "name")
    recording.write(asyncio.get_running_loop().time() + 2.0)
    assert "longer than" in (await recorder.end(recording)).fault


async def test_a_folder_that_is_not_there_is_an_error(make_recorder: MakeRecorder, tmp_path: pathlib.Path) -> None:
    with pytest.raises(MediaError, match=r"name\.wav cannot be written: No such file"):
        await make_recorder(str(tmp_path / "none")).begin("c1", "name")


async def test_nothing_is_written_over(make_recorder: MakeRecorder) -> None:
    recorder = make_recorder()
    await recorder.begin("c1", "name")
    with pytest.raises(MediaError, match="File exists"):
        await recorder.begin("c2", "name")


@pytest.mark.parametrize("name", ["", "../name", "a/b", "a.b", "n" * 81, "name\n", "näme"])
async def test_a_name_that_could_lead_elsewhere_is_refused(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, name: str
) -> None:
    with pytest.raises(MediaError, match="no name"):
        await make_recorder().begin("c1", name)
    assert not files(tmp_path)


async def test_without_a_folder_nothing_is_recorded(make_recorder: MakeRecorder) -> None:
    with pytest.raises(MediaError, match="no folder"):
        await make_recorder("").begin("c1", "name")
    with pytest.raises(MediaError, match="'mp3'"):
        make_recorder(form="mp3")


async def test_a_worker_that_ends_completes_its_files(make_recorder: MakeRecorder, tmp_path: pathlib.Path) -> None:
    recorder = make_recorder()
    for number in range(3):
        await recorder.begin(f"c{number}", f"name{number}")
    await recorder.close()
    assert files(tmp_path) == ["name0.wav", "name1.wav", "name2.wav"]


async def test_a_fault_of_ours_is_one_recordings_alone(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder()
    broken, whole = await recorder.begin("c1", "broken"), await recorder.begin("c2", "whole")
    monkeypatch.setattr(broken, "write", lambda now: 1 / 0)
    recorder._write([broken, whole])
    assert (await recorder.end(broken)).fault == "internal error"
    assert (await recorder.end(whole)).fault == ""


async def test_a_disk_that_hangs_does_not_hold_up_the_end_of_a_call(
    make_recorder: MakeRecorder, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "PATIENCE", 0.0)
    recorder, hanging = make_recorder(), threading.Event()
    recording = await recorder.begin("c1", "name")
    monkeypatch.setattr(recording, "_hear", hanging.wait)
    assert "not complete yet" in (await recorder.end(recording)).fault
    hanging.set()
    monkeypatch.undo()
    await recorder.end(await recorder.begin("c2", "another"))
    assert files(tmp_path) == ["another.wav", "name.wav"]


async def test_only_voices_are_put_aside(make_recorder: MakeRecorder) -> None:
    recording, box, passed = await make_recorder().begin("c1", "name"), Packet(), 0

    def take(now: float) -> None:
        nonlocal passed
        passed += 1

    tapped = recording.tap(LEFT, (PCMA,), box, take)
    for pt in (8, 101, 96, 8 | 0x80):
        box.fill(packet(pt & 0x7F, 1, 160, 7, b"x" * 160, marker=pt > 127))
        tapped(0.0)
    assert passed == 4
    assert len(recording.waiting) == 2
