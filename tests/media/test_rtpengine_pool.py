from __future__ import annotations

import asyncio

import pytest

from gateway.errors import MediaError, NgError
from gateway.media.rtpengine_pool import Address, Node, Pace, Pool, address
from tests.interop.peers.process import free_port
from tests.media import daemon
from tests.media.ends import SAFETY

QUICK = Pace(ping=0.05, answer=2.0, missed=2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("udp:192.0.2.1:2223", Address("192.0.2.1", 2_223)),
        ("udp:[2001:db8::1]:22;weight=3", Address("2001:db8::1", 22, 3)),
        ("udp:media.example:22", Address("media.example", 22)),
    ],
)
def test_a_daemon_is_named_by_its_address(text: str, found: Address) -> None:
    assert address(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "udp", "tcp:192.0.2.1:22", "192.0.2.1:22", "udp:192.0.2.1", "udp:192.0.2.1:x", "udp:192.0.2.1:1;w"),
        *("udp:192.0.2.1:1;weight=0", "udp:192.0.2.1:1;weight=1001", "udp:192.0.2.1:1;weight=\u0661"),
        "udp:192.0.2.1:1;heavy=1",
    ],
)
def test_anything_else_is_no_daemon(text: str) -> None:
    with pytest.raises(MediaError):
        address(text)


def pool(*addresses: Address) -> Pool:
    found = Pool(addresses, QUICK, lambda node: None)
    for node in found.nodes:
        node.usable = True
    return found


def test_calls_are_shared_by_weight() -> None:
    shared = pool(Address("a", 1, 3), Address("b", 1, 1))
    for number in range(40):
        shared.choice(frozenset()).calls.add(str(number))
    assert [len(node.calls) for node in shared.nodes] == [30, 10]


def test_nobody_is_asked_twice_and_nobody_who_is_disabled() -> None:
    three = pool(Address("a", 1), Address("b", 1), Address("c", 1))
    first, second, third = three.nodes
    second.disable()
    assert three.choice(frozenset({first})) is third
    with pytest.raises(MediaError, match="no rtpengine"):
        three.choice(frozenset({first, third}))


async def until(node: Node, usable: bool) -> None:
    async with asyncio.timeout(SAFETY):
        while node.usable is not usable:  # noqa: ASYNC110 -- a ping is asked for, not told
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_daemon_that_comes_back_is_used_again() -> None:
    process = await daemon.start()
    dead: list[Node] = []
    one = Pool((Address(daemon.HOST, process.port),), QUICK, dead.append)
    await one.start()
    (node,) = one.nodes
    node.calls.add("call")
    await process.kill()
    await until(node, usable=False)
    assert dead[0] is node
    again = await daemon.start(process.port)
    await until(node, usable=True)
    with pytest.raises(NgError, match="Unknown call"):
        await node.ask("query", {"call-id": "call"})
    await one.stop()
    with pytest.raises(MediaError, match="not running"):
        await node.ask("ping", {})
    await again.kill()


async def test_a_pool_of_which_nobody_answers_does_not_start() -> None:
    one = Pool((Address(daemon.HOST, free_port()),), QUICK, lambda node: None)
    with pytest.raises(MediaError, match="no rtpengine answers"):
        await one.start()
    await one.stop()


async def test_an_address_that_is_none_does_not_start() -> None:
    one = Pool((Address("none.invalid", 22),), QUICK, lambda node: None)
    with pytest.raises(MediaError, match=r"none\.invalid"):
        await one.start()
    await one.stop()
