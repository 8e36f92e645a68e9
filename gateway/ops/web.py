"""The gateway's own small web server: metrics and health, in the running loop and off the call path.

    GET /metrics   Prometheus' exposition
    GET /health    200 when calls can be made, else 503; JSON that says what is missing

    {"status": "ok" | "degraded" | "down", "xmpp": {"link": true}, "media": {"workers": 2, "configured": 2},
     "bookings": {"answered": true}}

It must not decide over the process: uvicorn's signal handlers are off (the gateway has its own), and its socket is
bound here, because uvicorn would end the process when the port is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.errors import GatewayError
from gateway.ops.metrics import Metrics

log = structlog.get_logger()

CONNECTIONS = 64  # at a time; one more is answered with 503
HEADERS = 16_384  # bytes of a request's head
STOPPING = 2  # s that an open connection may hold us up at the end


@dataclass(frozen=True, slots=True)
class Health:
    """What calls need: the link to the XMPP server, media workers, `configured` of them, and those that cost a database
    that answers.
    """

    link: bool
    workers: int
    configured: int
    bookings: bool = True

    @property
    def status(self) -> str:
        """One worker of several is enough to make calls; an orchestrator that restarted us for less would end them."""
        if not self.link or self.workers == 0:
            return "down"
        return "ok" if self.workers >= self.configured and self.bookings else "degraded"

    def as_json(self) -> dict[str, object]:
        return {
            "status": self.status,
            "xmpp": {"link": self.link},
            "media": {"workers": self.workers, "configured": self.configured},
            "bookings": {"answered": self.bookings},
        }


def application(metrics: Metrics, health: Callable[[], Health]) -> Starlette:
    """The pages, without a server. Endpoints are coroutines so that they stay on the loop's thread."""

    async def show_metrics(request: Request) -> Response:
        now = health()
        metrics.link(now.link)
        metrics.workers(now.workers, now.configured)
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def show_health(_request: Request) -> Response:
        now = health()
        return JSONResponse(
            now.as_json(), status_code=503 if now.status == "down" else 200, headers={"cache-control": "no-store"}
        )

    return Starlette(routes=[Route("/metrics", show_metrics), Route("/health", show_health)])


class _Server(uvicorn.Server):
    """Uvicorn, without its signal handlers, and telling when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class Web:
    """The server; `listen` is `address:port` or `[IPv6]:port`, port 0 takes a free one."""

    def __init__(self, listen: str, metrics: Metrics, health: Callable[[], Health]) -> None:
        self._host, self._port = parse_listen(listen)
        self._app = application(metrics, health)
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.address: tuple[str, int] | None = None  # what it is bound to, once started

    async def start(self) -> None:
        """Bind and serve. Raises GatewayError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            bound = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            raise GatewayError(f"[http] listen {self._host}:{self._port}: {error.strerror or error}") from error
        host, port = bound.getsockname()[:2]
        self.address = (str(host), int(port))
        server = _Server(
            uvicorn.Config(
                self._app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                limit_concurrency=CONNECTIONS,
                h11_max_incomplete_event_size=HEADERS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=STOPPING,
            )
        )
        self._server = server
        self._task = asyncio.create_task(self._serve(server, bound), name="web")
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise GatewayError("the web server did not start")
        log.info("web server listens", address=self.address[0], port=self.address[1])

    async def stop(self) -> None:
        """End it; connections that are still busy after a moment are cut. Harmless when it does not run."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await asyncio.wait({self._task}, timeout=STOPPING + 1)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        self._server = self._task = self.address = None

    @staticmethod
    async def _serve(server: _Server, bound: socket.socket) -> None:
        # SystemExit is how uvicorn gives up; let loose in a task it would end the process.
        try:
            await server.serve(sockets=[bound])
        except (SystemExit, Exception):
            log.exception("web server failed")
        finally:
            bound.close()


def parse_listen(text: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `[::1]:8080`. Raises GatewayError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise GatewayError(f"[http] listen {text!r}: an IPv6 address is written in brackets")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise GatewayError(f"[http] listen {text!r}: expected address:port")
    return host, int(port)
