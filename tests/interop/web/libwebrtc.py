"""libwebrtc without a browser (npm @roamhq/wrtc), in a process of Node's, as one end of a call."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
from typing import Any, Self

import numpy as np

from gateway.session import sdp
from gateway.session.model import Session

from ..peers import tones
from ..peers.process import PATIENCE, Child, PeerError, program
from .browser import HERE, installed


class LibWebRtc:
    """It says `tone` (Hz) as long as it is connected. Sessions are read and written by the gateway's own SDP."""

    def __init__(self, tone: float) -> None:
        self.tone = tone
        self.sdp = ""  # what it said last
        self._numbers = itertools.count()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        node = program("node", package="nodejs")
        await asyncio.to_thread(installed)
        async with contextlib.AsyncExitStack() as stack:
            child = Child("libwebrtc", [node, "libwebrtc.js", self.tone], directory=HERE, commanded=True)
            self._child = await stack.enter_async_context(child)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._stack.__aexit__(*problem)

    async def offer(self, *, restart: bool = False) -> Session:
        return self._said(await self._do("offer", restart=restart))

    async def answer(self, offer: Session) -> Session:
        return self._said(await self._do("answer", sdp=sdp.render(offer)))

    async def accept(self, answer: Session) -> None:
        await self._do("accept", sdp=sdp.render(answer))

    async def hears(self, frequency: float, seconds: float = 0.75, timeout: float = PATIENCE) -> None:
        """Waits until it has heard this tone for so long at a stretch of listening."""
        await self._do("heard")
        said: dict[str, Any] = {}
        recording = np.zeros(0)
        try:
            async with asyncio.timeout(timeout):
                while tones.seconds_of(frequency, recording, rate := int(said.get("rate", 48_000))) < seconds:
                    await asyncio.sleep(0.3)  # its recording is asked for
                    said = await self._do("heard")
                    piece = np.frombuffer(base64.b64decode(said["samples"]), np.int16) / 32768
                    recording = np.concatenate([recording, piece])
        except TimeoutError:
            raise AssertionError(
                f"libwebrtc was to hear {frequency:.0f} Hz: {tones.describe(recording, rate)}; ICE {said.get('state')}"
            ) from None

    def _said(self, answer: dict[str, Any]) -> Session:
        self.sdp = answer["sdp"]
        return sdp.parse(self.sdp)

    async def _do(self, what: str, **more: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._child.command(json.dumps({"do": what, "number": number, **more}))
        match = await self._child.line(rf'^{{"number":{number}\b.*')
        answer: dict[str, Any] = json.loads(match[0])
        if "error" in answer:
            raise PeerError(f"libwebrtc: {what}: {answer['error']}")
        return answer
