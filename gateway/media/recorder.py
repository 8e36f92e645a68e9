"""Recordings of a worker's calls. What ends say is queued as it comes; one thread decodes it and writes the files.

    tap ── packet ──> Recording.waiting ══ five times a second ══> Tape ──> NAME.wav.part ── end ──> NAME.wav

A file has its final name once it is complete. A disk that is full or slow ends the recording and never the call: what
is written by then is kept, and `Recorded.fault` says what happened. Files are for their owner and his group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Protocol

import structlog

from gateway.errors import MediaError
from gateway.media.engine import Recorded
from gateway.media.opusfile import OpusFile
from gateway.media.rtp import Packet
from gateway.media.tape import Heard, Tape
from gateway.media.wavfile import WavFile
from gateway.session.model import Codec

log = structlog.get_logger()

BEAT = 0.2  # s between writings
PATIENCE = 2.0  # s, how long the end of a call waits for its file
MAX_WAITING = 6_000  # packets of one call: a minute of both ends
LONGEST = 12 * 3600.0  # s; what a WAV file holds is not much more
PARTIAL = ".part"
_MODE = 0o640
_NAME = re.compile(r"[0-9A-Za-z-]{1,80}")
_SWITCH = 0.001  # s, after which the thread lets the packets of others go by


class Container(Protocol):
    suffix: str

    def begin(self) -> bytes: ...

    def feed(self, pcm: bytes) -> bytes: ...

    def end(self) -> bytes: ...

    def head(self) -> bytes: ...


FORMATS: dict[str, Callable[[], Container]] = {"wav": WavFile, "opus": OpusFile}


class Recording:
    """One call's. `waiting` and `over` are shared with the thread, the rest of the methods are the thread's own."""

    def __init__(self, call: str, folder: pathlib.Path, name: str, container: Container, began: float) -> None:
        self.name = f"{name}.{container.suffix}"
        self.call = call
        self.waiting: deque[Heard] = deque()
        self.over = False  # nothing more is taken in
        self._path, self._container, self._began = folder / self.name, container, began
        self._tape = Tape(began)
        self._file: BinaryIO | None = None
        self._fault = ""

    def tap(
        self, channel: int, codecs: tuple[Codec, ...], packet: Packet, take: Callable[[float], None]
    ) -> Callable[[float], None]:
        """`take`, with a copy of each packet of these codecs put aside before."""
        waiting, view, data = self.waiting, packet.view, packet.data
        voices = frozenset(codec.pt for codec in codecs)

        def heard(now: float) -> None:
            if not self.over and data[1] & 0x7F in voices:
                waiting.append(Heard(now, channel, codecs, bytes(view[: packet.length])))
                if len(waiting) > MAX_WAITING:
                    self.over = True
            take(now)

        return heard

    def open(self) -> None:
        """Raises OSError."""
        descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        try:
            self._put(self._container.begin())
        except OSError:
            self._file.close()
            os.unlink(self._partial)
            raise

    def write(self, now: float) -> None:
        """What has come since the last time."""
        if self._fault:
            self.waiting.clear()
            return
        if len(self.waiting) > MAX_WAITING:
            self.stop(f"the disk is slower than the call: {len(self.waiting)} packets wait")
        try:
            self._hear()
            self._put(self._container.feed(self._tape.take(now)))
        except (OSError, MediaError) as error:
            self.stop(_reason(error))
        if now - self._began > LONGEST:
            self.stop(f"longer than {LONGEST / 3600:g} hours")

    def close(self, now: float) -> Recorded:
        """Complete it, and give it its name."""
        self.over = True
        try:
            if not self._fault:
                self._hear()
                self._put(self._container.feed(self._tape.end(now)))
                self._put(self._container.end())
        except (OSError, MediaError) as error:
            self.stop(_reason(error))
        try:
            self._complete()
        except OSError as error:
            self.stop(_reason(error))
        unheard = ", ".join(sorted(self._tape.unheard))
        return Recorded(self.name, self._fault or (f"there is no {unheard} decoder" if unheard else ""))

    @property
    def _partial(self) -> str:
        return f"{self._path}{PARTIAL}"

    def _hear(self) -> None:
        for _ in range(len(self.waiting)):
            self._tape.put(self.waiting.popleft())

    def _put(self, data: bytes) -> None:
        file, rest = self._file, memoryview(data)
        while rest and file is not None:
            rest = rest[file.write(rest) or 0 :]

    def _complete(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with file:
                file.seek(0)
                file.write(self._container.head())
                with contextlib.suppress(OSError):  # what it is on may not be able to
                    os.fsync(file.fileno())
        finally:
            os.rename(self._partial, self._path)  # without its header, too, it can be played

    def stop(self, why: str) -> None:
        """No more of it; the reason is kept."""
        self.over = True
        if not self._fault:
            self._fault = why
            log.error("the recording ends, the call goes on", call=self.call, file=self.name, reason=why)


class Recorder:
    """`folder` is where files go, "" for no recordings; `form` is of FORMATS."""

    def __init__(self, folder: str, form: str) -> None:
        """Raises MediaError."""
        if form not in FORMATS:
            raise MediaError(f"no recordings as {form!r}")
        self._folder, self._form = folder, form
        self._recordings: set[Recording] = set()
        self._thread: ThreadPoolExecutor | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None

    async def begin(self, call: str, name: str) -> Recording:
        """A file that is open. Raises MediaError."""
        if not self._folder:
            raise MediaError("nothing is recorded: [media] recordings names no folder")
        if _NAME.fullmatch(name) is None:
            raise MediaError(f"no name for a recording: {name[:80]!r}")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "recorder")
            sys.setswitchinterval(_SWITCH)
        recording = Recording(call, pathlib.Path(self._folder), name, FORMATS[self._form](), self._loop.time())
        try:
            await self._loop.run_in_executor(self._thread, recording.open)
        except OSError as error:
            raise MediaError(f"{recording.name} cannot be written: {_reason(error)}") from error
        self._recordings.add(recording)
        if self._timer is None:
            self._timer = self._loop.call_later(BEAT, self._beat)
        return recording

    async def end(self, recording: Recording) -> Recorded:
        """Nothing more is recorded; the file once it is complete, or as it is when that takes too long."""
        self._recordings.discard(recording)
        recording.over = True
        closing = self._loop.run_in_executor(self._thread, recording.close, self._loop.time())
        try:
            return await asyncio.wait_for(asyncio.shield(closing), PATIENCE)
        except TimeoutError:
            log.warning("a recording takes long to complete", call=recording.call, file=recording.name)
            return Recorded(recording.name, "not complete yet when the call's record was written")

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for recording in list(self._recordings):
            await self.end(recording)
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _beat(self) -> None:
        self._timer = None
        if not self._recordings:
            return
        if self._writing is None or self._writing.done():  # a disk that hangs is not asked for more
            self._writing = self._loop.run_in_executor(self._thread, self._write, list(self._recordings))
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _write(self, recordings: list[Recording]) -> None:
        for recording in recordings:
            try:
                recording.write(self._loop.time())
            except Exception:  # a fault of ours is one recording's, not everybody's
                log.exception("recording failed", call=recording.call)
                recording.stop("internal error")
            time.sleep(0)  # packets first: who waits for the interpreter gets it now


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
