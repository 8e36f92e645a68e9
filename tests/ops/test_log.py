from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.ops.log import LINES, REDACTED, Format, Level, configure, redact, teller


class Closed(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def written(level: Level = "info", format: Format = "json") -> io.StringIO:
    out = io.StringIO()
    configure(level, format, out)
    return out


def entries(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_is_one_object_a_line_with_time_level_and_call() -> None:
    out = written()
    structlog.get_logger().info("call ended", call="c1", cause="busy")
    (entry,) = entries(out)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "call ended", "level": "info", "call": "c1", "cause": "busy"}


def test_text_is_one_line_that_people_read() -> None:
    out = written(format="text")
    structlog.get_logger().warning("call ended", call="c1", cause="no answer")
    (line,) = out.getvalue().splitlines()
    assert "[warning  ] call ended" in line
    assert "call=c1 cause='no answer'" in line


def test_lines_below_the_level_are_not_written() -> None:
    out = written("warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("gateway").info("quiet")
    structlog.get_logger().error("loud")
    assert [entry["event"] for entry in entries(out)] == ["loud"]


@pytest.mark.parametrize(
    "key", ["secret", "password", "Authorization", "proxy-authorization", "client_secret", "auth_token", "pwd", "ha1"]
)
def test_a_key_that_is_named_like_a_secret_is_blanked(key: str) -> None:
    assert redact(None, "info", {key: "xyzzy"}) == {key: REDACTED}


@pytest.mark.parametrize("key", ["secretary", "keyboard", "authority", "tokenised", "key", "call"])
def test_a_key_that_only_looks_like_one_is_left(key: str) -> None:
    assert redact(None, "info", {key: "xyzzy"}) == {key: "xyzzy"}


def test_that_there_is_no_secret_may_be_said() -> None:
    assert redact(None, "info", {"password": None, "secret": ""}) == {"password": None, "secret": ""}


@pytest.mark.parametrize(
    "value",
    [
        {"trunk": {"name": "carrier", "password": "xyzzy"}},
        {"headers": [("Via", "SIP/2.0/UDP a"), ("Authorization", "Digest xyzzy")]},
        {"deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": "xyzzy"}}}}}}}},
        {"text": 'REGISTER sip:a\r\nAuthorization: Digest username="u", response="xyzzy"\r\nTo: b'},
        {"text": "proxy-authorization :Digest xyzzy"},
        {"text": b"Authorization: Basic xyzzy"},
        {"sdp": "a=ice-ufrag:u\r\na=ice-pwd:xyzzy\r\n"},
        {"sdp": "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xyzzy|2^20|1:4"},
        {"jingle": "<transport ufrag='u' pwd='xyzzy'/>"},
        {"sent": "<handshake xmlns='jabber:component:accept'>xyzzy</handshake>"},
        {"url": "postgresql://gateway:xyzzy@db/calls"},
    ],
    ids=str,
)
def test_a_secret_inside_a_value_is_blanked(value: dict[str, Any]) -> None:
    cleaned = str(redact(None, "info", value))
    assert "xyzzy" not in cleaned
    assert REDACTED in cleaned or "…" in cleaned


def test_what_stands_around_a_secret_stays() -> None:
    text = "INVITE sip:b\r\nAuthorization: Digest xyzzy\r\nTo: b\r\na=crypto:1 X inline:xyzzy|2^20"
    assert redact(None, "info", {"text": text})["text"] == (
        f"INVITE sip:b\r\nAuthorization: Digest {REDACTED}\r\nTo: b\r\na=crypto:1 X inline:{REDACTED}|2^20"
    )


def test_long_texts_of_peers_are_searched_in_linear_time() -> None:
    text = "authorization" * 20_000 + "://" * 20_000 + "<handshake" * 20_000
    assert redact(None, "info", {"text": text})["text"] == text


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_tells_neither_its_secret_nor_local_variables(format: Format) -> None:
    out = written(format=format)
    a_local_variable = "xyzzy"
    try:
        raise ValueError("postgresql://u:" + a_local_variable + "@db")
    except ValueError:
        structlog.get_logger().exception("failed", call="c1")
    assert "Traceback" in out.getvalue()
    assert f"postgresql://u:{REDACTED}@db" in out.getvalue()
    assert "xyzzy" not in out.getvalue()


@pytest.mark.parametrize("forged", ["a\nb", "a\r\nb", "\x1b[2J", "\x9b2J", "a\u2028b", "a\x7f", "\u202eabc"])
def test_a_peer_cannot_forge_a_line_of_text(forged: str) -> None:
    out = written(format="text")
    structlog.get_logger().info(f"from {forged}", call=forged)
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()


def test_libraries_write_through_the_same_handler_and_are_redacted() -> None:
    out = written()
    logging.getLogger("slixmpp.xmlstream").warning("SEND: %s", "<handshake>xyzzy</handshake>")
    (entry,) = entries(out)
    assert entry["event"] == f"SEND: <handshake>{REDACTED}</handshake>"
    assert (entry["level"], entry["logger"]) == ("warning", "slixmpp.xmlstream")


@pytest.mark.parametrize("format", ["json", "text"])
def test_an_event_of_every_message_is_told_as_any_other_is(format: Format) -> None:
    facts = {"call": "c1", "sent": True, "text": "INVITE\nAuthorization: Digest response=1", "password": "juliet"}
    out = written(format=format)
    structlog.get_logger().info("trace", **facts)
    teller("trace")(facts)
    one, other = (line.split(" ", 1)[1].partition('"timestamp"')[0] for line in out.getvalue().splitlines())
    assert one == other
    assert "juliet" not in one
    assert "response" not in one


def test_an_event_of_every_message_is_not_told_where_only_warnings_are() -> None:
    out = written("warning")
    teller("trace")({"call": "c1"})
    assert out.getvalue() == ""


def test_an_event_of_every_message_may_be_dropped_on_its_way() -> None:
    with structlog.testing.capture_logs() as events:
        teller("trace")({"call": "c1"})
    assert events == [{"call": "c1", "event": "trace", "log_level": "info"}]


def test_libraries_are_quiet_unless_something_is_wrong_and_slixmpp_never_writes_stanzas() -> None:
    out = written("info")
    logging.getLogger("aioice.ice").info("Check 1")
    assert out.getvalue() == ""
    out = written("debug")
    logging.getLogger("aioice.ice").info("Check 2")
    logging.getLogger("slixmpp.xmlstream").debug("RECV: <message><body>private</body></message>")
    assert [entry["event"] for entry in entries(out)] == ["Check 2"]


def test_warnings_are_logged() -> None:
    out = written()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in entries(out)[0]["event"]


def test_configured_again_it_writes_once_and_to_the_new_place() -> None:
    before, after = written(), written()
    structlog.get_logger().info("hello")
    assert before.getvalue() == ""
    assert len(entries(after)) == 1


def test_a_log_that_cannot_be_written_harms_nobody() -> None:
    configure("info", "json", Closed())
    structlog.get_logger().info("hello")


class Narrow(io.TextIOWrapper):
    """A stream of few characters, as stderr is where no locale is set."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")

    def text(self) -> str:
        self.seek(0)
        return self.read()


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("strange", ["Zoë", "\udcff"], ids=["not in the stream's characters", "no UTF-8"])
def test_no_spelling_of_a_peer_makes_its_line_vanish(format: Format, strange: str) -> None:
    out = Narrow()
    configure("info", format, out)
    structlog.get_logger().info("hello", name=strange)
    logging.getLogger("library").warning("from %s", strange)
    assert [("hello" in line, "from" in line) for line in out.text().splitlines()] == [(True, False), (False, True)]


def test_a_library_that_logs_what_cannot_be_spelt_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    out = written(format="text")
    logging.getLogger("library").warning("%d calls", "three")
    assert out.getvalue() == ""


def test_text_tells_which_library_speaks_and_where_a_traceback_begins() -> None:
    out = written(format="text")
    try:
        raise ValueError("no such thing")
    except ValueError:
        logging.getLogger("library").exception("failed")
    first, second, *_ = out.getvalue().splitlines()
    assert first.endswith("[library]")
    assert second == "Traceback (most recent call last):"


class Counted(io.StringIO):
    """A stream that knows in which pieces it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[list[str]] = []
        self.flushed = asyncio.Event()

    def write(self, text: str, /) -> int:
        self.pieces.append([json.loads(line)["event"] for line in text.splitlines()])
        return super().write(text)

    def flush(self) -> None:
        self.flushed.set()


async def test_lines_that_an_event_loop_says_soon_after_each_other_are_written_together() -> None:
    out = Counted()
    configure("info", "json", out)
    log = structlog.get_logger()
    for turn in ("a", "b"):
        log.info(f"{turn}1")
        log.info(f"{turn}2")
        await out.flushed.wait()
        out.flushed.clear()
    assert out.pieces == [["a1", "a2"], ["b1", "b2"]]


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
async def test_what_is_wrong_is_written_at_once_after_what_waits(level: str) -> None:
    out = Counted()
    configure("info", "json", out)
    structlog.get_logger().info("before")
    getattr(structlog.get_logger(), level)("wrong")
    logging.getLogger("library").warning("wrong too")
    assert out.pieces == [["before", "wrong"], ["wrong too"]]


async def test_a_loop_that_is_too_busy_to_write_leaves_memory_flat() -> None:
    out = Counted()
    configure("info", "json", out)
    for number in range(LINES + 1):
        structlog.get_logger().info(str(number))
    assert [len(piece) for piece in out.pieces] == [LINES]


def test_what_a_loop_left_behind_is_written_with_the_next_line() -> None:
    async def says() -> None:
        structlog.get_logger().info("in the loop")

    out = written()
    asyncio.run(says())
    asyncio.run(says())
    structlog.get_logger().info("after it")
    assert [entry["event"] for entry in entries(out)] == ["in the loop", "in the loop", "after it"]


@pytest.mark.parametrize(
    "end", ["return", "raise SystemExit(1)", "raise ValueError", "asyncio.get_running_loop().stop()"]
)
def test_a_process_that_ends_writes_what_waits(end: str) -> None:
    program = f"""
import asyncio, structlog
from gateway.ops.log import configure
async def main():
    structlog.get_logger().info("the last words")
    {end}
configure()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.count("the last words") == 1
