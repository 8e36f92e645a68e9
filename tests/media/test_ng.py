from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MediaError, NgError
from gateway.media import ng

values = st.recursive(
    st.integers(-(2**62), 2**62) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    assert ng.decode(ng.encode(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        value = ng.decode(data)
    except NgError:
        return
    assert ng.decode(ng.encode(value)) == value


def test_keys_are_written_in_order() -> None:
    assert ng.encode({"sdp": "v=0", "command": "offer", "a": [1, -2]}) == b"d1:ali1ei-2ee7:command5:offer3:sdp3:v=0e"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i01e",
        b"i-0e",
        b"ie",
        b"i1",
        b"i 1e",
        b"i" + b"9" * 30 + b"e",
        b"02:ab",
        b"3:ab",
        b"-1:a",
        b"d1:a",
        b"d1:ai1e1:ai2ee",
        b"di1ei2ee",
        b"i1ei2e",
        b"x",
        b"l" * 50 + b"e" * 50,
        b"l" + b"i1e" * 5_000 + b"e",
    ],
)
def test_what_is_not_strictly_bencode_is_refused(data: bytes) -> None:
    with pytest.raises(NgError):
        ng.decode(data)


def test_what_bencode_has_no_form_for_is_our_own_mistake() -> None:
    with pytest.raises(TypeError):
        ng.encode({"a": None})


@pytest.mark.parametrize("datagram", [b"", b"cookie", b" d1:ai1ee", b"c" * 65 + b" de"])
def test_a_datagram_without_a_cookie_is_refused(datagram: bytes) -> None:
    with pytest.raises(NgError):
        ng.split(datagram)


def test_a_message_is_a_dictionary() -> None:
    assert ng.message(b"d1:ai1ee") == {"a": 1}
    with pytest.raises(NgError):
        ng.message(b"i1e")


class Pair:
    """A raw socket on one side of a pair, and what runs on the other."""

    def __init__(self) -> None:
        self.raw, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.raw.setblocking(False)

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.raw, 65_536)


async def test_a_repeated_request_runs_once_and_is_answered_twice() -> None:
    runs: list[Mapping[str, Any]] = []

    async def handle(message: ng.Message) -> Mapping[str, Any]:
        runs.append(message)
        return {"result": "pong"}

    pair = Pair()
    server = ng.NgServer(pair.other, handle)
    request = b"c1 d7:command4:pinge"
    pair.raw.send(request)
    first = await pair.receive()
    pair.raw.send(request)
    second = await pair.receive()
    server.close()
    pair.raw.close()
    assert first == second == b"c1 d6:result4:ponge"
    assert runs == [{"command": "ping"}]


async def test_a_request_is_repeated_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ng, "FIRST_REPEAT", 0.01)
    pair = Pair()
    client = ng.NgClient(pair.other)
    asked = asyncio.create_task(client.request("ping"))
    first, second = await pair.receive(), await pair.receive()
    cookie, body = ng.split(second)
    assert first == second
    assert ng.message(body) == {"command": "ping"}
    pair.raw.send(b"other d6:result4:ponge")  # somebody else's cookie
    pair.raw.send(cookie + b" nonsense")
    pair.raw.send(cookie + b" d6:result4:ponge")
    assert await asked == {"result": "pong"}
    client.close()
    pair.raw.close()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (NgError("no such command"), "no such command"),
        (MediaError("no port is left"), "no port is left"),
        (ValueError("a secret"), "internal error: ValueError"),
    ],
)
async def test_a_failure_is_answered_with_its_reason_and_no_more(failure: Exception, reason: str) -> None:
    async def handle(message: ng.Message) -> Mapping[str, Any]:
        raise failure

    pair = Pair()
    pair.raw.setblocking(True)
    client, server = ng.NgClient(pair.raw), ng.NgServer(pair.other, handle)
    with pytest.raises(NgError, match=f"^{reason}$"):
        await client.request("offer")
    client.close()
    server.close()


async def test_nobody_waits_longer_than_his_patience() -> None:
    pair = Pair()
    client = ng.NgClient(pair.other)
    with pytest.raises(MediaError, match="no answer"):
        await client.request("ping", patience=0.01)
    client.close()
    pair.raw.close()


async def test_whoever_waits_when_the_client_is_closed_is_told() -> None:
    pair = Pair()
    client = ng.NgClient(pair.other)
    asked = asyncio.create_task(client.request("ping"))
    await pair.receive()
    client.close("the worker died")
    with pytest.raises(MediaError, match="the worker died"):
        await asked
    pair.raw.close()


async def test_datagrams_wait_while_the_kernel_is_full_and_keep_their_order() -> None:
    pair = Pair()
    sender = ng.Endpoint(pair.other, lambda *_: None)
    for number in range(900):  # more than any kernel queues for a unix socket
        sender.send(b"%d" % number)
    assert [int(await pair.receive()) for _ in range(900)] == list(range(900))
    sender.close()
    pair.raw.close()
