from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import aioice
import pytest
from aioice import stun
from aioice.ice import CandidatePair

from gateway.media import ice
from gateway.media.ice import Agent
from gateway.media.mux import Mux
from gateway.media.ports import Bind, Ports
from gateway.media.rtp import Packet
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice
from tests.media.ends import SAFETY, Phone

LOOPBACK = Bind("127.0.0.1", "127.0.0.1")


class Opened:
    """An agent on a port of its own, and what it told."""

    def __init__(self, pool: Ports, *, controlling: bool = False, allow: tuple[str, ...] = ()) -> None:
        self.media: list[tuple[bytes, tuple[str, int]]] = []
        self.strangers = 0
        self.packet = Packet()
        self.stranger = asyncio.Event()
        self.selected: list[Agent] = []
        self.agent = Agent(
            controlling=controlling,
            reach=Reach(allow),
            on_selected=self.selected.append,
            on_stranger=self._stranger,
        )
        self.port, self.sockets = pool.bind([("127.0.0.1", 0)])
        self.mux = Mux(
            self.sockets[0],
            self.packet,
            lambda address: self.media.append((bytes(self.packet), address)),
            self._stranger,
            asyncio.get_running_loop(),
        )
        self.candidates = self.agent.open([(LOOPBACK, self.mux)])

    def _stranger(self) -> None:
        self.strangers += 1
        self.stranger.set()

    async def close(self) -> None:
        await self.agent.close()
        self.mux.close()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
async def opened(ports: tuple[int, int]) -> AsyncIterator[Any]:
    made: list[Opened] = []
    pool = Ports(*ports)

    def open_(**options: Any) -> Opened:
        made.append(Opened(pool, **options))
        return made[-1]

    yield open_
    for one in made:
        await one.close()


@pytest.fixture
async def foreign(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A stock aioice connection that knows where the agent is, whereas the agent knows only its credentials."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    made: list[aioice.Connection] = []

    async def make(of: Opened, *, controlling: bool) -> aioice.Connection:
        connection = aioice.Connection(ice_controlling=controlling)
        made.append(connection)
        await connection.gather_candidates()
        connection.remote_username, connection.remote_password = of.agent.local_username, of.agent.local_password
        own = of.candidates[0]
        await connection.add_remote_candidate(
            aioice.Candidate(own.foundation, 1, "udp", own.priority, own.ip, own.port, "host")
        )
        await connection.add_remote_candidate(None)
        of.agent.expect(Ice(connection.local_username, connection.local_password))
        return connection

    yield make
    for connection in made:
        await connection.close()


@pytest.mark.parametrize("controlling", [True, False])
async def test_an_end_whose_candidates_are_unknown_connects_by_its_own_checks(
    opened: Any, foreign: Any, controlling: bool
) -> None:
    ours = opened(controlling=controlling)
    theirs = await foreign(ours, controlling=not controlling)
    async with asyncio.timeout(SAFETY):
        await asyncio.gather(ours.agent.connect(), theirs.connect())
    sock, address = ours.agent.selected
    assert address in ours.agent.sources
    sock.sendto(b"\x80media", address)
    async with asyncio.timeout(SAFETY):
        assert await theirs.recv() == b"\x80media"


async def test_a_conflict_of_roles_is_settled(opened: Any, foreign: Any) -> None:
    ours = opened(controlling=True)
    theirs = await foreign(ours, controlling=True)
    async with asyncio.timeout(SAFETY):
        await asyncio.gather(ours.agent.connect(), theirs.connect())
    assert ours.agent.selected is not None


async def test_checks_that_come_before_we_connect_are_kept(opened: Any, foreign: Any) -> None:
    ours = opened()
    theirs = await foreign(ours, controlling=True)
    connecting = asyncio.ensure_future(theirs.connect())
    async with asyncio.timeout(SAFETY):
        while not ours.agent.sources:  # noqa: ASYNC110 -- a set tells nobody
            await asyncio.sleep(0.001)
        await ours.agent.connect()
        await connecting


def named(ip: str, port: int = 5_000, **more: Any) -> Candidate:
    return Candidate("1", 1, "udp", 100, ip, port, more.pop("type", "host"), **more)


@pytest.mark.parametrize(
    ("candidate", "tried"),
    [
        (named("8.8.8.8"), True),
        (named("::ffff:8.8.8.8"), True),
        (named("8.8.8.8", type="prflx"), True),
        (named("10.0.0.1"), False),
        (named("127.0.0.1"), False),
        (named("169.254.169.254"), False),
        (named("224.0.0.1"), False),
        (named("::1"), False),
        (named("fe80::1"), False),
        (named("::ffff:10.0.0.1"), False),
        (named("0f8e2f0a-6c4e-4f2b-9a54-2a8f8ac0a3ad.local"), False),
        (named("8.8.8.8", port=0), False),
        (Candidate("1", 2, "udp", 100, "8.8.8.8", 5_000, "host"), False),
        (Candidate("1", 1, "tcp", 100, "8.8.8.8", 5_000, "host", tcp_type="active"), False),
    ],
)
async def test_a_named_candidate_is_tried_only_where_policy_permits(
    opened: Any, candidate: Candidate, tried: bool
) -> None:
    ours = opened()
    assert await ours.agent.named(candidate) is tried
    assert len(ours.agent.remote_candidates) == tried


async def test_an_operator_may_allow_a_range(opened: Any) -> None:
    ours = opened(allow=("10.0.0.0/8",))
    assert await ours.agent.named(named("10.0.0.1"))
    assert not await ours.agent.named(named("192.168.0.1"))


async def test_nobody_names_candidates_without_end(opened: Any) -> None:
    ours = opened()
    tried = [await ours.agent.named(named("8.8.8.8", port)) for port in range(1_000, 1_000 + ice.MAX_CANDIDATES + 5)]
    assert sum(tried) == ice.MAX_CANDIDATES


def check(username: str, password: str, *, priority: bool = True) -> bytes:
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = username
    if priority:
        request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLING"] = 1
    request.add_message_integrity(password.encode())
    return bytes(request)


async def test_strangers_get_no_answer(opened: Any, stranger: Phone) -> None:
    ours = opened()
    stranger.far = ("127.0.0.1", ours.port)
    user, password = ours.agent.local_username, ours.agent.local_password
    unsigned = bytes(stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST))
    bad = [
        check(f"{user}:x", "wrong" * 5),
        check("else:x", password),
        unsigned,
        b"\x00\x01",
        b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x00\x19\x00\x00",  # an attribute too short
    ]
    for number, data in enumerate(bad, start=1):
        ours.stranger.clear()
        stranger.send(data)
        async with asyncio.timeout(SAFETY):
            await ours.stranger.wait()
        assert ours.strangers == number
    for priority in (True, False):
        stranger.send(check(f"{user}:x", password, priority=priority))
        answer = stun.parse_message(await stranger.hear())
        assert answer.message_class is stun.Class.RESPONSE
    assert stranger.heard.empty()
    assert ours.agent.sources == {stranger.address}


# which nominated pair is selected


def nominee(priority: int, port: int) -> CandidatePair:
    remote = SimpleNamespace(priority=priority, _network_host="192.0.2.1", port=port)
    local = SimpleNamespace(foundation="1", component=1, priority=1)
    protocol = SimpleNamespace(transport=SimpleNamespace(sock=None), local_candidate=local)
    return CandidatePair(cast(Any, protocol), cast(Any, remote))


@pytest.fixture
async def selecting(opened: Any) -> Agent:
    agent: Agent = opened().agent
    return agent


async def test_the_higher_of_two_nominated_pairs_stays_selected(selecting: Agent) -> None:
    low, high = nominee(1, 1), nominee(2, 2)
    for now, pair in enumerate([low, high, low, high, low, high]):
        selecting.nominated(pair, now / 10)
    assert selecting.selected_pair is high
    selecting.nominated(low, 0.7)
    assert selecting.selected_pair is high
    assert selecting._nominated == {1: high}


async def test_a_lower_pair_that_is_nominated_again_and_again_is_followed(selecting: Agent) -> None:
    low, high = nominee(1, 1), nominee(2, 2)
    for now, pair in enumerate([high, low, low]):
        selecting.nominated(pair, now / 10)
    assert selecting.selected_pair is low
    assert selecting.selected == (None, ("192.0.2.1", 1))


async def test_a_lower_pair_is_followed_at_once_when_the_selected_one_is_quiet(selecting: Agent) -> None:
    low, high = nominee(1, 1), nominee(2, 2)
    selecting.nominated(high, 0.0)
    selecting._heard_at = lambda: 10.0
    selecting.nominated(low, 10.5)
    assert selecting.selected_pair is high
    selecting._last_nominated = None
    selecting.nominated(low, 13.0)
    assert selecting.selected_pair is low


async def test_consent_that_is_no_longer_given_closes_the_agent(
    opened: Any, foreign: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice, "CONSENT_INTERVAL", 0.01)
    monkeypatch.setattr(ice, "CONSENT_EXPIRES", 0.05)
    ours = opened()
    theirs = await foreign(ours, controlling=True)
    async with asyncio.timeout(SAFETY):
        await asyncio.gather(ours.agent.connect(), theirs.connect())
        await theirs.close()
        assert await ours.agent.get_event() is not None


@pytest.fixture
async def talking(opened: Any, foreign: Any) -> tuple[Agent, aioice.Connection]:
    """Two that have found each other; ours is controlled."""
    ours = opened()
    theirs = await foreign(ours, controlling=True)
    async with asyncio.timeout(SAFETY):
        await asyncio.gather(ours.agent.connect(), theirs.connect())
    return ours.agent, theirs


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> list[stun.Message]:
    """What aioice is given to read."""
    read: list[stun.Message] = []
    parse = stun.parse_message

    def parsing(data: bytes) -> stun.Message:
        read.append(parse(data))
        return read[-1]

    monkeypatch.setattr(stun, "parse_message", parsing)
    return read


async def asks(theirs: aioice.Connection, **more: Any) -> None:
    """Until it is answered, and the answer is authentic."""
    pair, key = theirs._nominated[1], cast(str, theirs.remote_password).encode()
    request = theirs.build_request(pair, nominate=False)
    request.attributes.update(more)
    async with asyncio.timeout(SAFETY):
        await pair.protocol.request(request, pair.remote_addr, integrity_key=key)


def requests(read: list[stun.Message]) -> int:
    return sum(message.message_class is stun.Class.REQUEST for message in read)


@pytest.mark.parametrize("more", [{}, {"USE-CANDIDATE": None}])
async def test_a_check_that_is_repeated_is_answered_without_being_read_again(
    talking: tuple[Agent, aioice.Connection], long_way: list[stun.Message], more: dict[str, None]
) -> None:
    _, theirs = talking
    await asks(theirs, **more)
    before = requests(long_way)
    for _ in range(3):
        await asks(theirs, **more)
    assert requests(long_way) == before


async def test_a_check_that_says_something_else_is_read(
    talking: tuple[Agent, aioice.Connection], long_way: list[stun.Message]
) -> None:
    ours, theirs = talking
    await asks(theirs)
    before = requests(long_way)
    await asks(theirs, **{"USE-CANDIDATE": None})
    assert requests(long_way) == before + 1
    ours._nominated.clear()  # nor is one answered in short when another pair is used by now
    await asks(theirs, **{"USE-CANDIDATE": None})
    assert requests(long_way) == before + 2


async def test_a_repeated_nomination_of_the_selected_pair_keeps_it_selected(
    talking: tuple[Agent, aioice.Connection],
) -> None:
    ours, theirs = talking
    selected, other = ours.selected_pair, nominee(1, 1)
    for _ in range(2):
        await asks(theirs, **{"USE-CANDIDATE": None})
    ours._heard_at = asyncio.get_running_loop().time
    ours.nominated(other, asyncio.get_running_loop().time())
    await asks(theirs, **{"USE-CANDIDATE": None})
    ours.nominated(other, asyncio.get_running_loop().time())
    assert ours.selected_pair is selected


async def test_a_repeated_check_that_is_forged_is_a_strangers(opened: Any, foreign: Any) -> None:
    ours = opened()
    theirs = await foreign(ours, controlling=True)
    async with asyncio.timeout(SAFETY):
        await asyncio.gather(ours.agent.connect(), theirs.connect())
    await asks(theirs)
    request = theirs.build_request(theirs._nominated[1], nominate=False)
    request.add_message_integrity(b"x" * 22)
    ours.stranger.clear()
    theirs._nominated[1].protocol.send_stun(request, ("127.0.0.1", ours.port))
    async with asyncio.timeout(SAFETY):
        await ours.stranger.wait()


async def test_an_answer_in_whatever_form_is_consent(
    talking: tuple[Agent, aioice.Connection], long_way: list[stun.Message]
) -> None:
    ours, theirs = talking
    pair = ours._nominated[1]
    ours._consented_at = 0.0
    ours._ask(pair)
    async with asyncio.timeout(SAFETY):
        while not ours._consented_at:  # noqa: ASYNC110 -- nobody is told
            await asyncio.sleep(0.001)
    assert not any(message.message_class is stun.Class.RESPONSE for message in long_way)
    ours._consented_at = 0.0
    ours._asked[b"twelve bytes"] = asked = ice._Asked(ours, pair)
    pair.protocol.transactions[b"twelve bytes"] = cast(Any, asked)
    for key, consents in ((b"x" * 22, False), (theirs.local_password.encode(), True)):
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, b"twelve bytes", {"SOFTWARE": "a telephone"})
        answer.add_message_integrity(key)
        del answer.attributes["FINGERPRINT"]
        ours.received(bytes(answer), pair.remote_addr, pair.protocol)
        assert bool(ours._consented_at) is consents
    assert not ours._asked
    assert not pair.protocol.transactions


async def test_an_answer_from_elsewhere_is_no_consent_to_send_there(talking: tuple[Agent, aioice.Connection]) -> None:
    ours, theirs = talking
    pair = ours._nominated[1]
    for text in ("", "a telephone"):  # the short form, and another
        ours._consented_at = 0.0
        ours._ask(pair)
        transaction = list(ours._asked)[-1]
        more = {"SOFTWARE": text} if text else {"XOR-MAPPED-ADDRESS": ("127.0.0.1", 9)}
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction, more)
        answer.add_message_integrity(theirs.local_password.encode())
        ours.received(bytes(answer), ("127.0.0.1", 9), pair.protocol)
        assert not ours._consented_at
        ours.received(bytes(answer), pair.remote_addr, pair.protocol)
        assert ours._consented_at


async def test_a_path_that_is_moved_to_is_asked_at_once_and_answers_for_itself(
    talking: tuple[Agent, aioice.Connection],
) -> None:
    ours, _ = talking
    old = ours._nominated[1]
    ours._ask(old)
    (left,) = ours._asked
    ours._consented_at = 0.0
    ours._nominated[1] = new = CandidatePair(old.protocol, old.remote_candidate)
    ours.nominated(new, asyncio.get_running_loop().time())
    assert [asked.pair for asked in ours._asked.values()] == [old, new]
    ours.consented(left)
    assert not ours._consented_at
    async with asyncio.timeout(SAFETY):
        while not ours._consented_at:  # noqa: ASYNC110 -- nobody is told
            await asyncio.sleep(0.001)


async def test_a_refusal_is_no_consent(talking: tuple[Agent, aioice.Connection]) -> None:
    ours, theirs = talking
    ours._consented_at = 0.0
    ours._ask(pair := ours._nominated[1])
    (transaction,) = ours._asked
    refusal = stun.Message(stun.Method.BINDING, stun.Class.ERROR, transaction, {"ERROR-CODE": (403, "Forbidden")})
    refusal.add_message_integrity(theirs.local_password.encode())
    ours.received(bytes(refusal), pair.remote_addr, pair.protocol)
    assert not ours._consented_at


async def test_what_was_asked_and_is_not_answered_is_forgotten(talking: tuple[Agent, aioice.Connection]) -> None:
    ours, theirs = talking
    await theirs.close()
    pair = ours._nominated[1]
    for _ in range(20):
        ours._ask(pair)
    assert set(pair.protocol.transactions) == set(ours._asked)
    assert len(ours._asked) == ice._ASKED


async def test_who_becomes_controlling_nominates_what_was_found_before(opened: Any) -> None:
    agent = opened(controlling=False).agent
    found = nominee(1, 1)
    found.state = CandidatePair.State.SUCCEEDED
    agent._check_list.append(found)
    agent.check_complete(found)
    assert agent.selected is None
    agent.switch_role(ice_controlling=True)
    assert found.state is CandidatePair.State.WAITING


def test_both_components_of_a_session_go_by_one_name_and_announce_their_own_numbers() -> None:
    def agent(component: int, beside: Agent | None = None) -> Agent:
        return Agent(
            controlling=True,
            reach=Reach(()),
            on_selected=lambda agent: None,
            on_stranger=lambda: None,
            component=component,
            beside=beside,
        )

    rtp = agent(1)
    rtcp = agent(2, rtp)
    assert (rtcp.local_username, rtcp.local_password) == (rtp.local_username, rtp.local_password)
    assert rtcp._tie_breaker == rtp._tie_breaker
    assert (rtp.component, rtcp.component) == (1, 2)
