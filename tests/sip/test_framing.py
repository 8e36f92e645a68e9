"""gateway.sip.framing: streams, chopped up in every way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SipError
from gateway.sip.framing import MAX_HEAD, PING, PONG, Framer, content_length

ONE = b"OPTIONS sip:a SIP/2.0\r\nl: 5\r\n\r\nhello"
TWO = b"SIP/2.0 200 OK\r\nContent-Length : 0\r\n\r\n"


@given(st.lists(st.integers(0, len(ONE + TWO + PING + ONE)), max_size=8))
def test_however_it_is_chopped_the_messages_come_whole(cuts: list[int]) -> None:
    stream, framer, out = ONE + TWO + PING + ONE, Framer(), list[bytes]()
    edges = [0, *sorted(cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        out += framer.feed(stream[start:end])
    assert out == [ONE, TWO, ONE]
    assert framer.pop() == PONG


def test_a_ping_is_answered_and_a_pong_counted() -> None:
    framer = Framer()
    assert framer.pop() == b""
    assert framer.feed(PING * 1000) == []
    assert framer.pop() == PONG  # one answer is as good as a thousand
    assert framer.pop() == b""
    assert framer.pongs == 0
    assert framer.feed(PONG + ONE) == [ONE]
    assert framer.feed(PONG) == []
    assert framer.pongs == 2
    assert framer.pop() == b""


def test_a_stream_carries_messages_as_they_are() -> None:
    framer = Framer()
    assert (framer.open, framer.framed) == (True, True)
    assert framer.wrap(ONE) == ONE
    assert framer.ping() == PING


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * (MAX_HEAD + 1),
        b"OPTIONS sip:a SIP/2.0\r\nl: 70000\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nl: 1\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nl: x\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nl: 9999999999\r\n\r\n",
    ],
)
def test_a_stream_that_makes_no_sense_is_given_up(stream: bytes) -> None:
    with pytest.raises(SipError):
        Framer().feed(stream)


def test_content_length_is_found_in_any_spelling() -> None:
    assert content_length(b"X\r\nCONTENT-LENGTH:7") == 7


def test_it_is_known_whether_a_message_was_begun() -> None:
    framer = Framer()
    assert not framer.midway
    framer.feed(b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n")
    assert framer.midway
    assert len(framer.feed(b"\r\n")) == 1
    assert not framer.midway
