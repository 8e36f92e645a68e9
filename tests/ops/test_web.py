from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import uvicorn

from gateway.errors import GatewayError
from gateway.ops.metrics import Metrics
from gateway.ops.web import CONNECTIONS, HEADERS, Health, Web, application, parse_listen


class State:
    """What the gateway says of itself."""

    def __init__(self) -> None:
        self.health = Health(link=True, workers=2, configured=2)


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def pages(state: State) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(Metrics(), lambda: state.health))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def web(state: State) -> AsyncIterator[Web]:
    server = Web("127.0.0.1:0", Metrics(), lambda: state.health)
    await server.start()
    yield server
    await server.stop()


def url(web: Web, path: str) -> str:
    if web.address is None:
        raise AssertionError("not started")
    return f"http://{web.address[0]}:{web.address[1]}{path}"


@pytest.mark.parametrize(
    ("health", "code", "status"),
    [
        (Health(link=True, workers=2, configured=2), 200, "ok"),
        (Health(link=True, workers=1, configured=2), 200, "degraded"),
        (Health(link=True, workers=2, configured=2, bookings=False), 200, "degraded"),
        (Health(link=True, workers=0, configured=2), 503, "down"),
        (Health(link=False, workers=2, configured=2), 503, "down"),
    ],
)
async def test_health_says_whether_calls_can_be_made(
    pages: httpx.AsyncClient, state: State, health: Health, code: int, status: str
) -> None:
    state.health = health
    answer = await pages.get("/health")
    assert answer.status_code == code
    assert answer.json() == {
        "status": status,
        "xmpp": {"link": health.link},
        "media": {"workers": health.workers, "configured": 2},
        "bookings": {"answered": health.bookings},
    }


async def test_metrics_show_the_health_of_the_moment(pages: httpx.AsyncClient, state: State) -> None:
    assert "gateway_xmpp_link_up 1.0" in (await pages.get("/metrics")).text
    state.health = Health(link=False, workers=1, configured=2)
    answer = await pages.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert "gateway_xmpp_link_up 0.0" in answer.text
    assert "gateway_media_workers_alive 1.0" in answer.text
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


async def test_there_is_nothing_else_and_nothing_is_taken(pages: httpx.AsyncClient) -> None:
    assert (await pages.get("/")).status_code == 404
    assert (await pages.post("/health")).status_code == 405


async def test_it_serves_in_the_running_loop_and_ends(web: Web) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(url(web, "/health"))
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        assert "server" not in answer.headers
        target = url(web, "/health")
        await web.stop()
        assert web.address is None
        with pytest.raises(httpx.ConnectError):
            await client.get(target)
    await web.stop()


async def test_the_signal_handlers_stay_the_gateways_own(state: State) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    web = Web("127.0.0.1:0", Metrics(), lambda: state.health)
    await web.start()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    await web.stop()


async def test_a_port_that_is_taken_is_an_error_and_not_the_end_of_the_process(web: Web, state: State) -> None:
    if web.address is None:
        raise AssertionError("not started")
    other = Web(f"127.0.0.1:{web.address[1]}", Metrics(), lambda: state.health)
    with pytest.raises(GatewayError, match=r"\[http\] listen 127.0.0.1:\d+: Address already in use"):
        await other.start()
    await other.stop()


async def test_it_can_be_started_again_on_its_port(web: Web, state: State) -> None:
    if web.address is None:
        raise AssertionError("not started")
    port = web.address[1]
    await web.stop()
    again = Web(f"127.0.0.1:{port}", Metrics(), lambda: state.health)
    await again.start()
    await again.stop()


async def test_a_page_that_fails_is_a_500_and_the_next_one_is_served(state: State) -> None:
    answers: Iterator[Exception | Health] = iter([ZeroDivisionError(), state.health])

    def health() -> Health:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    web = Web("127.0.0.1:0", Metrics(), health)
    await web.start()
    async with httpx.AsyncClient() as client:
        assert (await client.get(url(web, "/health"))).status_code == 500
        assert (await client.get(url(web, "/health"))).status_code == 200
    await web.stop()


async def test_a_server_that_cannot_start_is_an_error_and_not_the_end_of_the_process(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def startup(*_: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    web = Web("127.0.0.1:0", Metrics(), lambda: state.health)
    with pytest.raises(GatewayError, match="did not start"):
        await web.start()
    await web.stop()


async def test_a_visitor_who_never_finishes_does_not_hold_up_the_end(web: Web) -> None:
    if web.address is None:
        raise AssertionError("not started")
    _, writer = await asyncio.open_connection(*web.address)
    writer.write(b"GET /health HTTP/1.1\r\nHost: ")
    await writer.drain()
    await web.stop()
    writer.close()


async def test_a_head_without_end_is_refused(web: Web) -> None:
    if web.address is None:
        raise AssertionError("not started")
    reader, writer = await asyncio.open_connection(*web.address)
    writer.write(b"GET /health HTTP/1.1\r\nX: " + b"x" * (HEADERS + 1))
    assert b" 400 " in await reader.readline()
    writer.close()


async def test_more_visitors_than_we_have_room_for_are_turned_away(web: Web) -> None:
    if web.address is None:
        raise AssertionError("not started")
    opened = [await asyncio.open_connection(*web.address) for _ in range(CONNECTIONS + 1)]
    reader, writer = opened[-1]
    writer.write(b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert b" 503 " in await reader.readline()
    for _, each in opened:
        each.close()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_an_address_to_listen_on_is_read(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize("text", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "::1:8080", "a:99999", "a:-1", "a:٣"])
def test_an_address_that_cannot_be_listened_on_is_a_clear_error(text: str) -> None:
    with pytest.raises(GatewayError, match=r"\[http\] listen"):
        parse_listen(text)
