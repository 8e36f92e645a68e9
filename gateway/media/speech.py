"""Who speaks to a leg in place of its peer: prompts and digits in turn, music or a tone when nothing else is said.

play(once) ──┐
dial(digits) ┴─> one after the other ──> the leg's stream, a frame each 10 to 60 ms
play(endless) ─────── in between, until stop() ──┘
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.errors import MediaError
from gateway.media import tones
from gateway.media.prompts import Sound, encoded
from gateway.media.rtp import Outgoing, steps
from gateway.media.transcode import can, carries_tones
from gateway.session.model import Stream

MAX_WAITING = 32  # prompts and runs of digits


class Voice(Protocol):
    """What is needed of a leg."""

    log: structlog.typing.FilteringBoundLogger
    out: Outgoing
    ready: asyncio.Event
    stream: Stream | None

    def write(self, pt: int, timestamp: int, body: bytes, *, marker: bool) -> None: ...

    def spoken(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Digits:
    digits: str
    duration: int  # ms, of each


class Speaker:
    """`busy` is true while the leg shall not hear its peer."""

    def __init__(self, leg: Voice) -> None:
        self.busy = False
        self._leg = leg
        self._waiting: deque[Sound | Digits] = deque()
        self._current: Sound | None = None
        self._endless: Sound | None = None
        self._task: asyncio.Task[None] | None = None
        self._dialling = False

    def play(self, sound: Sound) -> None:
        """As soon as the leg is ready. An endless sound takes the place of another. Raises MediaError."""
        if sound.endless:
            self._endless = sound
            self._begin()
        else:
            self._queue(sound)

    def dial(self, digits: Digits) -> None:
        """Raises MediaError."""
        self._queue(digits)

    def stop(self) -> None:
        """No sound any more; digits are still sent."""
        self._waiting = deque(work for work in self._waiting if isinstance(work, Digits))
        if self._task is not None and not self._waiting and not self._dialling:
            self._task.cancel()
            self._ended()
        self._endless = None
        if not self._dialling:
            self._current = None

    async def close(self) -> None:
        self._waiting.clear()
        self._endless = self._current = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _queue(self, work: Sound | Digits) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise MediaError("too much to say at once")
        self._waiting.append(work)
        self._begin()

    def _begin(self) -> None:
        self._set(True)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def _ended(self) -> None:
        self._task = None
        self._set(False)

    def _set(self, busy: bool) -> None:
        if busy is not self.busy:
            self.busy = busy
            self._leg.spoken()

    async def _run(self) -> None:
        await self._leg.ready.wait()
        heard = 0  # frames of the endless sound: digits interrupt it, and it goes on where it was
        sound: Sound | None = None
        while self._waiting or self._endless is not None:
            if not self._waiting:
                if self._endless is not sound:
                    sound, heard = self._endless, 0
                heard = await self._say(sound, heard) if sound is not None else 0
                continue
            work = self._waiting.popleft()
            if isinstance(work, Digits):
                self._dialling = True
                await self._dial(work)
                self._dialling = False
            else:
                await self._say(work, 0)
        self._ended()

    async def _say(self, sound: Sound, number: int) -> int:
        """From this frame to the sound's end, or to what interrupts it; the frame that comes next."""
        leg, loop = self._leg, asyncio.get_running_loop()
        self._current = sound
        while (stream := leg.stream) is not None and can(stream.send):
            frames = encoded(sound, stream.send.name.lower(), stream.ptime)
            step = frames.frame_ms * stream.send.clock_rate // 1000
            start, sent = loop.time(), 0
            _, timestamp = leg.out.begin(frames, start)
            while leg.stream == stream:  # else it goes on in another codec, or another frame
                frame = frames.frame(number)
                if frame is None or self._is_interrupted(sound):
                    return number
                leg.write(stream.send.pt, timestamp + sent * step, frame, marker=sent == 0)
                number, sent = number + 1, sent + 1
                if frames.frame(number) is None:
                    return number
                await until(start + sent * frames.frame_ms / 1000)
        leg.log.info("no prompt in this codec", codec=stream.send.name if stream else None)
        if sound is self._endless:
            self._endless = None
        return 0

    def _is_interrupted(self, sound: Sound) -> bool:
        if sound.endless:
            return bool(self._waiting) or self._endless is not sound
        return self._current is not sound

    async def _dial(self, work: Digits) -> None:
        leg = self._leg
        stream = leg.stream
        codec = stream.send_dtmf if stream is not None else None
        if codec is None:
            if stream is not None and carries_tones(stream.send):
                await self._say(Sound("digits", tones.digits(work.digits, work.duration)), 0)
            else:
                leg.log.info("digits not sent: the far end takes no telephone events, nor would it hear tones")
            return
        start = asyncio.get_running_loop().time()
        _, timestamp = leg.out.begin(work, start)
        clock = leg.out.clock
        for step in steps(work.digits, work.duration, codec.clock_rate):
            await until(start + step.at)
            # Events are on the voice's timeline (RFC 4733 §2.1), their duration is in their own clock.
            leg.write(codec.pt, timestamp + step.timestamp * clock // codec.clock_rate, step.body, marker=step.marker)


async def until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
