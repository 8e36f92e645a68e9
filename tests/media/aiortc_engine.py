"""aiortc behind the ng protocol, to measure against (bench.py): Opus over WebRTC to PCMA over plain RTP, as it comes.

One peer connection a call. aiortc's jitter buffer, decoder, resampler and encoder do all the work; what is ours is the
plain RTP side, whose frames go through aiortc's own G.711.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import random
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any

import aioice.ice
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.g711 import PcmaDecoder, PcmaEncoder
from aiortc.jitterbuffer import JitterFrame

from gateway.media.ng import NgServer
from gateway.session import sdp
from gateway.session.model import Codec, Media, Session, Transport

LOOPBACK = "127.0.0.1"
_HEADER = struct.Struct("!BBHII")


class Telephone(MediaStreamTrack):
    """The plain RTP side: a track of what it says, and a sink of what it shall hear."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((LOOPBACK, 0))
        self.port: int = self.sock.getsockname()[1]
        self.far: tuple[str, int] | None = None
        self._frames: asyncio.Queue[Any] = asyncio.Queue()
        self._decoder = PcmaDecoder()
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._readable)

    def _readable(self) -> None:
        data = self.sock.recv(2_048)
        _, _, _, timestamp, _ = _HEADER.unpack_from(data)
        frame: Any
        for frame in self._decoder.decode(JitterFrame(data=data[_HEADER.size :], timestamp=timestamp)):
            frame.pts, frame.time_base, frame.sample_rate = timestamp, fractions.Fraction(1, 8_000), 8_000
            self._frames.put_nowait(frame)

    async def recv(self) -> Any:
        return await self._frames.get()

    async def hear(self, track: Any) -> None:
        encoder, seq, timestamp, ssrc = PcmaEncoder(), 0, 0, random.getrandbits(32)
        while True:
            payloads, _ = encoder.encode(await track.recv())
            for payload in payloads:
                seq, timestamp = seq + 1 & 0xFFFF, timestamp + 160 & 0xFFFFFFFF
                if self.far is not None:
                    with contextlib.suppress(OSError):
                        self.sock.sendto(_HEADER.pack(0x80, 8, seq, timestamp, ssrc) + payload, self.far)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock.fileno())
        self.sock.close()


class Engine:
    def __init__(self) -> None:
        self._calls: dict[str, tuple[RTCPeerConnection, Telephone, list[asyncio.Task[None]]]] = {}

    async def handle(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        match message["command"]:
            case "ping":
                return {"result": "pong"}
            case "offer":
                return await self._offer(message["call-id"], message["sdp"])
            case "answer":
                return await self._answer(message["call-id"], message["sdp"])
            case "delete":
                connection, telephone, tasks = self._calls.pop(message["call-id"])
                for task in tasks:
                    task.cancel()
                telephone.close()
                await connection.close()
        return {"result": "ok"}

    async def _offer(self, call: str, offer: str) -> Mapping[str, Any]:
        connection, telephone = RTCPeerConnection(), Telephone()
        tasks: list[asyncio.Task[None]] = []
        self._calls[call] = connection, telephone, tasks

        @connection.on("track")
        def heard(track: Any) -> None:
            tasks.append(asyncio.create_task(telephone.hear(track)))

        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        connection.addTrack(telephone)
        here = Media("0", "audio", (Codec(8, "PCMA", 8_000),), Transport(LOOPBACK, telephone.port))
        return {"result": "ok", "sdp": sdp.render(Session((here,)))}

    async def _answer(self, call: str, answer: str) -> Mapping[str, Any]:
        connection, telephone, _ = self._calls[call]
        telephone.far = (LOOPBACK, sdp.parse(answer).media[0].transport.port)
        description = await connection.createAnswer()
        await connection.setLocalDescription(description)
        return {"result": "ok", "sdp": connection.localDescription.sdp}


async def main(port: int) -> None:
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [LOOPBACK]  # which it leaves out otherwise
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK, port))
    server = NgServer(sock, Engine().handle)
    await asyncio.Event().wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
