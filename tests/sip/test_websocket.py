"""gateway.sip.websocket: RFC 6455's own examples, and frames that are none."""

from __future__ import annotations

import base64
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SipError
from gateway.sip.websocket import Client, Server, accept_of, masked_with

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
MASK = b"\x37\xfa\x21\x3d"  # §5.7
REGISTER = b"REGISTER sip:proxy.example.com SIP/2.0\r\n\r\n"


def handshake(**changed: str | None) -> bytes:
    fields: dict[str, str | None] = {
        "Host": "sip.example.com",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "chat, sip",
        "Sec-WebSocket-Extensions": "permessage-deflate",
    }
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode()


def opened() -> Server:
    server = Server()
    server.feed(handshake())
    server.pop()
    return server


def frame(payload: bytes, opcode: int = 1, *, final: bool = True, masked: bool = True) -> bytes:
    """One frame, made without the code that is tested."""
    size = len(payload)
    bit = 0x80 if masked else 0
    length = bytes([bit | size]) if size < 126 else bytes([bit | 126]) + struct.pack("!H", size)
    body = bytes(octet ^ MASK[index % 4] for index, octet in enumerate(payload)) if masked else payload
    return bytes([(0x80 if final else 0) | opcode]) + length + (MASK if masked else b"") + body


def test_the_handshake_of_the_rfc() -> None:
    assert accept_of(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    server = Server()
    assert server.feed(handshake()) == []
    answer = server.pop().decode()
    assert answer.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert "Sec-WebSocket-Protocol: sip\r\n" in answer
    assert "Extensions" not in answer
    assert server.open
    assert not server.framed


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake(Upgrade=None), 426),
        (handshake(Connection="close"), 426),
        (handshake(Sec_WebSocket_Version="8"), 426),
        (handshake(Sec_WebSocket_Key="c2hvcnQ="), 400),
        (handshake(Sec_WebSocket_Key="?"), 400),
        (handshake(Sec_WebSocket_Key=None), 400),
        (handshake(Sec_WebSocket_Protocol="chat"), 400),
        (handshake(Sec_WebSocket_Protocol=None), 400),
        (handshake(Host=None), 400),
        (handshake().replace(b"GET", b"POST"), 400),
        (b"OPTIONS sip:a SIP/2.0\r\n\r\n", 400),
        (b"x" * 9000, 431),
        (b"x" * 9000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_handshake_is_told_why(request_: bytes, status: int) -> None:
    server = Server()
    with pytest.raises(SipError):
        server.feed(request_)
    assert server.pop().startswith(f"HTTP/1.1 {status} ".encode())
    assert not server.open
    assert server.feed(handshake()) == []  # it is over


def test_the_masked_hello_of_the_rfc() -> None:
    assert opened().feed(bytes.fromhex("818537fa213d7f9f4d5158")) == [b"Hello"]
    assert masked_with(MASK, b"Hello") == bytes.fromhex("7f9f4d5158")
    assert masked_with(MASK, b"") == b""


def test_the_fragmented_hello_of_the_rfc_with_a_ping_between() -> None:
    server = opened()
    assert server.feed(frame(b"Hel", final=False)) == []
    assert server.midway
    assert server.feed(frame(b"Hello", 9)) == []
    assert server.pop() == bytes.fromhex("8a0548656c6c6f")
    assert server.feed(frame(b"lo", 0)) == [b"Hello"]
    assert not server.midway


@given(st.lists(st.integers(0, 400), max_size=6))
def test_however_it_is_chopped_the_messages_come_whole(cuts: list[int]) -> None:
    stream = handshake() + frame(REGISTER) + frame(b"x" * 300, 2) + frame(b"", 10) + frame(REGISTER)
    server, out = Server(), list[bytes]()
    for start, end in itertools.pairwise([0, *sorted(cuts), len(stream)]):
        out += server.feed(stream[start:end])
    assert out == [REGISTER, b"x" * 300, REGISTER]
    assert server.pongs == 1


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (frame(b"Hello", masked=False), 1002),
        (b"\xc1\x80" + MASK, 1002),  # RSV1: a compressed message, on which nobody agreed
        (frame(b"x", 3), 1002),
        (frame(b"x", 0), 1002),
        (frame(b"x", final=False) + frame(b"x"), 1002),
        (frame(b"x", 9, final=False), 1002),
        (frame(b"x" * 126, 9), 1002),
        (b"\x82\xff" + struct.pack("!Q", 2**63) + MASK, 1009),
        (frame(b"x" * 60_000, final=False) + frame(b"x" * 60_000, 0), 1009),
    ],
)
def test_a_frame_that_makes_no_sense_closes_the_connection_with_a_reason(octets: bytes, code: int) -> None:
    server = opened()
    with pytest.raises(SipError):
        server.feed(octets)
    assert server.pop() == b"\x88\x02" + struct.pack("!H", code)


def test_a_closing_is_answered() -> None:
    server = opened()
    with pytest.raises(SipError):
        server.feed(frame(struct.pack("!H", 1000) + b"bye", 8))
    assert server.pop() == b"\x88\x02\x03\xe8"
    assert server.feed(frame(REGISTER)) == []


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_what_one_end_wraps_the_other_unwraps(size: int) -> None:
    client, server = Client("sip.example.com", b"n" * 16), Server()
    server.feed(client.pop())
    client.feed(server.pop())
    assert client.open
    message = b"\xff" * (size - 1)
    assert server.feed(client.wrap(message)) == [message]
    assert client.feed(server.wrap(REGISTER)) == [REGISTER]
    assert server.feed(client.ping()) == []
    client.feed(server.pop())
    assert client.pongs == 1


def test_text_is_sent_as_text_and_the_rest_as_octets() -> None:
    assert opened().wrap(REGISTER)[0] == 0x81
    assert opened().wrap(b"\xff")[0] == 0x82


def test_no_two_frames_of_a_client_have_one_mask() -> None:
    client = Client("sip.example.com", b"n" * 16)
    frames = {client.wrap(b"x" * 4) for _ in range(100)}
    assert len(frames) == 100


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
        b"SIP/2.0 400 Bad Request\r\n\r\n",
    ],
)
def test_a_client_goes_away_from_what_is_no_websocket(answer: bytes) -> None:
    with pytest.raises(SipError):
        Client("sip.example.com", b"n" * 16).feed(answer)


def test_a_client_wants_sip_and_nothing_else() -> None:
    client = Client("[2001:db8::1]:8080", b"n" * 16)
    request = client.pop().decode()
    assert "\r\nHost: [2001:db8::1]:8080\r\n" in request
    key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
    assert len(base64.b64decode(key)) == 16
    head = f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept_of(key)}\r\n"
    with pytest.raises(SipError, match="subprotocol"):
        client.feed(f"{head}\r\n".encode())
