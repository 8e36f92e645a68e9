"""The process of a media worker: one core, many calls, and where its commands come from.

    signalling ══ ng over a unix socket ══> Commands ──> Worker
               <══ events over another ═══

It ends when its parent does (the pipe on stdin breaks), so that no port stays taken behind a gateway that crashed.
Started with `--ng udp:HOST:PORT` it stands alone and speaks the public commands of ng (public.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import Callable

import structlog

from gateway.errors import MediaError, NgError
from gateway.media.commands import Commands
from gateway.media.engine import Lost, MediaEvent
from gateway.media.ng import Endpoint, NgServer, encode
from gateway.media.public import Public
from gateway.media.wire import pack, unpack
from gateway.media.worker import Worker, WorkerSettings

log = structlog.get_logger()


async def serve_parent(settings: WorkerSettings, commands: socket.socket, events: socket.socket) -> None:
    """Work for the process that started this one, until it is gone or says TERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to handle
    loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing is ever written there: readable means closed
    out = Endpoint(events, lambda *_: None)
    worker = Worker(settings, lambda event: out.send(encode({"event": type(event).__name__, "fields": pack(event)})))
    server = NgServer(commands, Commands(worker).handle)
    gc.collect()
    gc.freeze()  # what was imported stays; no collection need look at it again
    await stop.wait()
    loop.remove_reader(sys.stdin.fileno())
    await worker.close()
    server.close()
    out.close()


async def serve_public(settings: WorkerSettings, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Speak the public commands on a UDP port until TERM or INT; `ready` is told the port. Raises MediaError."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    endings: set[asyncio.Task[None]] = set()

    def happened(event: MediaEvent) -> None:
        if isinstance(event, Lost):
            ending = asyncio.create_task(public.lost(event.call))
            endings.add(ending)
            ending.add_done_callback(endings.discard)

    worker = Worker(settings, happened)
    public = Public(worker, time.time)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        await worker.close()
        raise MediaError(f"{host}:{port}: {error.strerror}") from error
    server = NgServer(sock, public.handle)
    ready(sock.getsockname()[1])
    await stop.wait()
    await asyncio.gather(*endings)
    await worker.close()
    server.close()


def main(arguments: list[str] | None = None) -> int:
    """A worker of the engine (`--fds`), or one that stands alone (`--ng`).

    The exit status: 0, or 2 for wrong settings.
    """
    parser = argparse.ArgumentParser(prog="gateway media-worker")
    parser.add_argument("--settings", default="{}", help="WorkerSettings as JSON")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--fds", help="two inherited unix datagram sockets: commands, events")
    way.add_argument("--ng", help="where to take public commands, as udp:127.0.0.1:2223")
    chosen = parser.parse_args(arguments)
    try:
        settings = unpack(WorkerSettings, json.loads(chosen.settings))
        configure_log(settings.json_log)
        if chosen.fds is not None:
            commands, events = (socket.socket(fileno=int(number)) for number in chosen.fds.split(","))
            asyncio.run(serve_parent(settings, commands, events))
        else:
            host, port = listen_address(chosen.ng)
            asyncio.run(serve_public(settings, host, port, lambda bound: log.info("media worker listens", port=bound)))
    except (MediaError, NgError) as error:
        log.error("media worker cannot start", error=str(error))
        return 2
    return 0


def configure_log(as_json: bool) -> None:
    """Lines like the parent's, on the stderr that is shared with it."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info, structlog.processors.JSONRenderer()] if as_json else [plain]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def listen_address(text: str) -> tuple[str, int]:
    """`udp:HOST:PORT`, IPv6 in brackets. Raises MediaError."""
    found = re.fullmatch(r"udp:(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):([0-9]{1,5})", text)
    if found is None or int(found[3]) > 65_535:
        raise MediaError(f"{text!r} is not of the form udp:127.0.0.1:2223")
    return found[1] or found[2], int(found[3])


if __name__ == "__main__":
    sys.exit(main())
