"""gateway.sip.parser: reading tolerantly, and how much work that is. Vectors are RFC 4475's and of real programs."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SipError
from gateway.sip import headers as headers_module
from gateway.sip.message import Request, respond
from gateway.sip.parser import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, MalformedError, parse
from tests.sip.torture import VECTORS, octets

MINIMAL = (
    "OPTIONS sip:gw@gw.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:gw@gw.example>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n"
)


def test_a_scanner_whose_port_is_none_is_read() -> None:
    message = parse(octets(VECTORS / "sip" / "friendly_scanner_options.sip"))
    assert (message.label, message.via.host, message.via.port) == ("OPTIONS", "192.0.2.77", None)


def test_folded_lines_become_one() -> None:
    message = parse(MINIMAL.encode() + b"Subject: one\r\n two\r\n\tthree\r\n\r\n")
    assert message.headers["Subject"] == "one two three"


def test_bare_line_feeds_are_taken() -> None:
    assert parse((MINIMAL + "\r\n").replace("\r\n", "\n").encode()).call_id == "x"


def test_octets_behind_the_body_of_a_datagram_are_ignored() -> None:
    assert parse(MINIMAL.encode() + b"Content-Length: 2\r\n\r\nhi there").body == b"hi"
    assert parse(MINIMAL.encode() + b"\r\nhi there").body == b"hi there"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"\xff\xfe\x00", 400),
        (b"x" * (MAX_MESSAGE + 1), 513),
        (b"SIP/2.0 99 Low\r\n\r\n", 400),
        (b"SIP/2.0 2000 High\r\n\r\n", 400),
        (b"SIP/3.0 200 OK\r\n\r\n", 505),
        (b"OPTIONS sip:a SIP/7.0\r\n\r\n", 505),
        (b"OPTIONS <sip:a> SIP/2.0\r\n\r\n", 400),
        (b"OPTIONS sip:a; x SIP/2.0\r\n\r\n", 400),
        (b"OPT(IONS sip:a SIP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (MINIMAL.encode() + b"Content-Length: -1\r\n\r\n", 400),
        (MINIMAL.encode() + b"Content-Length: 9\r\n\r\nshort", 400),
        (MINIMAL.encode() + b"Content-Length: 0\r\nl: 1\r\n\r\nx", 400),
        (MINIMAL.encode() + b"Call-ID: y\r\n\r\n", 400),
        (MINIMAL.encode() + b"no colon here\r\n\r\n", 400),
        (MINIMAL.encode() + b"Subject: a\rb\r\n\r\n", 400),
        (MINIMAL.encode() + b"Subject: a\0b\r\n\r\n", 400),
        (MINIMAL.encode() + b"X: y\r\n" * MAX_HEADERS + b"\r\n", 400),
        (MINIMAL.encode() + b"X: " + b"y" * MAX_LINE + b"\r\n\r\n", 400),
        (MINIMAL.encode() + b"X: y\r\n" + b" zzzzzzzz\r\n" * 2000 + b"\r\n", 400),
        (MINIMAL.encode(), 400),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(data)
    assert caught.value.status == status


def test_a_fault_in_a_request_comes_with_the_request_to_answer() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(MINIMAL.encode() + b"Content-Length: 9\r\n\r\n")
    assert caught.value.request is not None
    assert bytes(respond(caught.value.request, 400, tag="t")).startswith(b"SIP/2.0 400 Bad Request\r\nVia: ")


@given(st.binary(max_size=400))
def test_no_octets_raise_anything_else(data: bytes) -> None:
    for candidate in (data, MINIMAL.encode() + data, MINIMAL.encode() + b"\r\n" + data):
        try:
            message = parse(candidate)
            bytes(message)
        except MalformedError:
            pass


def peak(work: Callable[[], object]) -> int:
    """Octets that a piece of work allocates at its peak: what a scanner that copies its input again and again shows."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Counting(str):
    """A text that counts how often a single character of it is looked at."""

    __slots__ = ()
    looks = 0

    def __getitem__(self, index: object) -> str:
        Counting.looks += 1
        return super().__getitem__(index)  # type: ignore[index]


@pytest.mark.parametrize(
    "evil",
    ["a" * 4000, '"' * 4000, "<" * 4000, ";=" * 2000, "\\" * 4000, '"\\' * 2000, ",;" * 2000, '="' * 2000, " " * 4000],
)
def test_scanners_look_at_each_character_a_bounded_number_of_times(evil: str) -> None:
    def looks(text: str) -> int:
        Counting.looks = 0
        for separator in ",;":
            headers_module.split(Counting(text), separator)
        headers_module.unquote(Counting(f'"{text}"'))
        with contextlib.suppress(SipError):
            headers_module.NameAddr.parse(Counting(text))
        return Counting.looks

    once, twice = looks(evil), looks(evil * 2)
    assert twice <= 2.5 * once + 50


def test_reading_a_message_of_twice_the_size_takes_twice_the_memory() -> None:
    def message(lines: int) -> bytes:
        return MINIMAL.encode() + b"X: y\r\n" + b" folded\r\n" * lines + b"\r\n"

    once, twice = (peak(partial(parse, message(n))) for n in (500, 1000))
    assert twice <= 2.5 * once


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python a piece of work runs, whatever the machine does besides."""
    count = 0

    def tracer(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def everything_of(data: bytes) -> None:
    """Read a message, each of its fields, write it back, and answer it."""
    with contextlib.suppress(SipError):
        message = parse(data)
        for name in ("via", "from_", "to", "cseq", "contact", "call_id", "content_type"):
            with contextlib.suppress(SipError):
                getattr(message, name)
        for name in ("Via", "Contact", "Route", "Supported"):
            message.headers.listed(name)
        bytes(message)
        if isinstance(message, Request):
            bytes(respond(message, 400, tag="t"))


LARGE: dict[str, Callable[[int], str]] = {
    "fields": lambda n: "X: y\r\n" * (n // 32),
    "folds": lambda n: "X: y\r\n" + " z\r\n" * n,
    "hops": lambda n: "Via: " + "SIP/2.0/UDP h;branch=z9hG4bKa, " * (n // 8) + "SIP/2.0/UDP h\r\n",
    "contacts": lambda n: "Contact: " + '"a, b" <sip:x@y>;q=0.1, ' * (n // 8) + "<sip:x@y>\r\n",
    "open quote": lambda n: 'Contact: "' + '\\"' * n + "\r\n",
    "open brackets": lambda n: "Contact: " + "<" * n + "\r\n",
    "parameters": lambda n: "Contact: <sip:x@y>" + ';a="b;c"' * (n // 4) + "\r\n",
    "separators": lambda n: "Contact: " + ",;" * n + "\r\n",
    "a long URI": lambda n: "Contact: <sip:" + "x" * n + "@y>\r\n",
    "no name": lambda n: ":\r\n" * (n // 32),
    "tokens": lambda n: "Supported: " + "a," * n + "\r\n",
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_message_of_twice_the_size_takes_at_most_two_and_a_half_times_the_steps(kind: str) -> None:
    def steps_of(size: int) -> int:
        message = (MINIMAL + LARGE[kind](size) + "Content-Length: 0\r\n\r\n").encode()
        return lines_run(lambda: everything_of(message))

    assert steps_of(4000) <= 2.5 * steps_of(2000)
