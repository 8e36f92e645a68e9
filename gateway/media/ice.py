"""ICE (RFC 8445, trickle: RFC 8838) on aioice, with the gateway's own sockets, rules and clocks.

What differs from a stock aioice connection:

- sockets come from the configured port range, and are shared with media and with the session before a restart (mux.py);
- a candidate that somebody names is tried only where policy permits; a source that sends an authenticated check itself
  is taken as peer-reflexive whatever its address: it has shown that it is there and wants us;
- strangers get no answer, not even a STUN error;
- it may start without any remote candidate, and waits for checks; its owner says when to give up;
- whoever becomes controlling in a conflict of roles nominates what was found before;
- of several nominated pairs one is selected, and a later nomination is followed (see `Agent.nominated`);
- consent (RFC 7675) is lost after 30 s without an answer, on links with a round trip over half a second too; what is
  asked and answered for it is most of a call's STUN, and is not composed and read anew each time (consent.py).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import aioice
import structlog
from aioice import stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol

from gateway.media import consent
from gateway.media.mux import Datagrams, Mux
from gateway.media.ports import Bind, plain
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice

log = structlog.get_logger()

MAX_CANDIDATES = 64  # that a far end may name, and sources that it may send checks from
CONSENT_INTERVAL = 5.0
CONSENT_EXPIRES = 30.0  # RFC 7675 §5.1
_STRANGE = (400, 401)  # not authentic: no answer, so that a scanner finds nothing here
_ASKED = 8  # checks for consent whose answer may yet come: those of that time
QUIET = 2.0  # s without anything on the selected pair, after which any other nomination is followed at once

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Check:
    """One that the far end sent on the selected pair, and that went well; all of it but its transaction."""

    pair: CandidatePair
    attributes: bytes
    controlling: bool  # our role then
    nominates: bool
    answer: consent.Answer


@dataclass(frozen=True, slots=True)
class _Asked:
    """A transaction of ours that asks for consent, as aioice wants to see one. Whoever is asked has to answer himself,
    from the address that media goes to (RFC 7675 §5.1).
    """

    agent: Agent
    pair: CandidatePair

    def response_received(self, message: stun.Message, addr: Address) -> None:
        if (
            message.message_class is stun.Class.RESPONSE
            and addr == self.pair.remote_addr
            and message.check_message_integrity(self.agent.their_key)
        ):
            self.agent.consented(message.transaction_id)


class Agent(aioice.Connection):
    """One component of an ICE session.

    `on_selected(agent)` is called when `selected` changes, `on_stranger()` for each check that is not authentic.
    `generation` counts the restarts before it (RFC 8445 §9). `beside` is the agent of the session's other component:
    they share what names the session, and look for a path each by itself.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        reach: Reach,
        on_selected: Callable[[Agent], None],
        on_stranger: Callable[[], None],
        heard_at: Callable[[], float] = lambda: 0.0,
        generation: int = 0,
        component: int = 1,
        beside: Agent | None = None,
    ) -> None:
        super().__init__(
            ice_controlling=controlling,
            local_username=beside.local_username if beside is not None else None,
            local_password=beside.local_password if beside is not None else None,
        )
        if beside is not None:
            self._tie_breaker = beside._tie_breaker  # RFC 8445 §7.1.3: one for all checks
        self.component = component
        self._components = {component}
        self.generation = generation
        self.selected: tuple[socket.socket, Address] | None = None
        self._heard_at = heard_at  # when media came last
        self.sources: set[Address] = set()  # far ends that are authentic
        self._reach = reach
        self._on_selected = on_selected
        self._on_stranger = on_stranger
        self._error = 0  # what the check in hand was answered
        self._said = b""  # its attributes, but for those that prove it
        self._check: _Check | None = None  # what is answered in short
        self._question: tuple[CandidatePair, bool, bytes] | None = None  # the last of ours: pair, role, attributes
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()
        self._consented_at = 0.0
        self._named = 0
        self._last_nominated: CandidatePair | None = None
        self._nominated_at = 0.0
        self.selected_pair: CandidatePair | None = None

    # our side

    def open(self, bound: Sequence[tuple[Bind, Mux]]) -> tuple[Candidate, ...]:
        """Take part in these sockets; the candidates to announce."""
        self._local_candidates_start = True
        for index, (bind, mux) in enumerate(bound):
            transport = mux.join(self)
            port = mux.sock.getsockname()[1]
            candidate = aioice.Candidate(
                foundation=candidate_foundation("host", "udp", bind.announced)[:8],
                component=self.component,
                transport="udp",
                # RFC 8421 §4: interleave families by local preference, not by luck
                priority=candidate_priority(self.component, "host", 65_535 - index),
                host=bind.announced,
                port=port,
                type="host",
            )
            transport.protocol.local_candidate = candidate
            self._protocols.append(transport.protocol)
            self._local_candidates.append(candidate)
        self._local_candidates_end = True
        return tuple(
            Candidate(
                c.foundation,
                c.component,
                c.transport,
                c.priority,
                c.host,
                c.port,
                c.type,
                generation=self.generation,
                id=f"c{self.generation}-{self.component}-{number}",
            )
            for number, c in enumerate(self._local_candidates)
        )

    # their side

    async def named(self, candidate: Candidate) -> bool:
        """A candidate that signalling brought; False when it is not tried."""
        if candidate.component != self.component or candidate.protocol.lower() != "udp":
            return False
        if self._named >= MAX_CANDIDATES:
            return False
        if not self._reach.permits(candidate.ip, candidate.port):
            return False
        kind = candidate.type if candidate.type in ("host", "srflx", "relay") else "host"
        self._named += 1
        await self.add_remote_candidate(
            aioice.Candidate(
                foundation=candidate.foundation or "1",
                component=self.component,
                transport="udp",
                priority=candidate.priority,
                host=plain(candidate.ip),
                port=candidate.port,
                type=kind,
            )
        )
        return True

    def expect(self, remote: Ice) -> None:
        """The far end's credentials."""
        self.remote_username, self.remote_password = remote.ufrag, remote.pwd
        self.remote_is_lite = remote.lite

    # what aioice would do otherwise

    def request_received(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        if addr not in self.sources and len(self.sources) >= MAX_CANDIDATES:
            self._on_stranger()
            return
        # A check for consent need not have one (RFC 7675 §5.1), and aioice takes it for granted.
        message.attributes.setdefault("PRIORITY", 1)
        self._error = 0
        super().request_received(message, addr, protocol)
        if self._error in _STRANGE:
            self._on_stranger()
            return
        self.sources.add(addr)
        pair = self.selected_pair
        if not self._error and pair is not None and pair.protocol is protocol and pair.remote_addr == addr:
            nominates = "USE-CANDIDATE" in message.attributes
            self._check = _Check(pair, self._said, self.ice_controlling, nominates, consent.Answer(*addr))

    def respond_error(
        self, request: stun.Message, addr: Address, protocol: StunProtocol, error_code: tuple[int, str]
    ) -> None:
        self._error = error_code[0]
        if self._error not in _STRANGE:
            super().respond_error(request, addr, protocol, error_code)

    def data_received(self, data: bytes, component: int) -> None:
        self._on_stranger()  # no STUN that can be read; the base class would queue it for nobody

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        for pair in self._check_list:
            # A check that was cancelled when another pair won may be asked for again.
            if pair.protocol is protocol and pair.remote_addr == addr and pair.task is not None and pair.task.done():
                pair.task = None
                if pair.state is CandidatePair.State.IN_PROGRESS:
                    pair.state = CandidatePair.State.WAITING
        super().check_incoming(message, addr, protocol)

    def switch_role(self, ice_controlling: bool) -> None:
        super().switch_role(ice_controlling)
        if ice_controlling:
            # Pairs that were found while we were controlled wait for a nomination that is ours now: check them again.
            for pair in self._check_list:
                if pair.state is CandidatePair.State.SUCCEEDED and not pair.nominated:
                    pair.state = CandidatePair.State.WAITING

    def check_complete(self, pair: CandidatePair) -> None:
        super().check_complete(pair)
        if pair.state is CandidatePair.State.SUCCEEDED:
            self.sources.add(pair.remote_addr)
            if pair.nominated:
                self.nominated(pair, asyncio.get_running_loop().time())

    def nominated(self, pair: CandidatePair, now: float) -> None:
        """Select this pair, or stay.

        RFC 8445 nominates one pair. Clients with aggressive nomination (RFC 5245 §8.1.1.2) nominate each, over and
        over, where the highest priority counts; those that move to another network nominate a lower one, and no longer
        the old. So a nomination is followed if its priority is not lower, if the selected pair has gone quiet, or if it
        comes twice without one for the selected pair in between.
        """
        current = self.selected_pair
        again = self._last_nominated is pair
        self._last_nominated = pair
        if current is None or pair is current or self._follow(current, pair, again, now):
            self.selected_pair = pair
            self._nominated_at = now
            transport = cast(Datagrams, pair.protocol.transport)  # as open() made it
            self.selected = (transport.sock, pair.remote_addr)
            self._on_selected(self)
            if pair is not current and self._query_consent_task is not None:
                self._ask(pair)  # at once: what the old path was granted may be over soon, and says nothing of this one
        elif current is not None:
            self._nominated[self.component] = current

    def _follow(self, current: CandidatePair, pair: CandidatePair, again: bool, now: float) -> bool:
        if again or now - max(self._nominated_at, self._heard_at()) > QUIET:
            return True
        return pair.remote_candidate.priority >= current.remote_candidate.priority

    # the same again

    def received(self, data: bytes, addr: Address, protocol: StunProtocol) -> None:
        """STUN for this session. Raises what aioice does for malformed attributes: ValueError and the like."""
        if data[:2] == consent.REQUEST:
            if self._is_again(data, addr, protocol):
                return
        elif (
            (asked := self._asked.get(transaction := data[8 : consent.HEAD])) is not None
            and addr == asked.pair.remote_addr
            and consent.is_authentic(data, consent.RESPONSE, self.their_key)
        ):
            self.consented(transaction)
            return
        self._said = data[consent.HEAD : -consent.TAIL]
        protocol.datagram_received(data, addr)

    def _is_again(self, data: bytes, addr: Address, protocol: StunProtocol) -> bool:
        """Answer a check that is like the last one, if that would come to the same."""
        check = self._check
        if (
            check is None
            or check.pair is not self.selected_pair
            or check.pair is not self._nominated.get(self.component)
            or check.pair.state is not CandidatePair.State.SUCCEEDED
            or check.pair.protocol is not protocol
            or check.pair.remote_addr != addr
            or check.controlling is not self.ice_controlling
            or check.attributes != data[consent.HEAD : -consent.TAIL]
            or not consent.is_authentic(data, consent.REQUEST, key := self.local_password.encode())
        ):
            return False
        if check.nominates and not self.ice_controlling:
            self._last_nominated, self._nominated_at = check.pair, asyncio.get_running_loop().time()
        protocol.transport.sendto(check.answer.to(data[8 : consent.HEAD], key), addr)
        return True

    @property
    def their_key(self) -> bytes:
        return (self.remote_password or "").encode()

    def consented(self, transaction: bytes) -> None:
        """An authentic answer to this came; one by a path that was left says nothing of the present one."""
        pair = self._asked[transaction].pair
        self._forget(transaction)
        if pair is self._nominated.get(self.component):
            self._consented_at = asyncio.get_running_loop().time()

    async def query_consent(self) -> None:
        loop = asyncio.get_running_loop()
        self._consented_at = loop.time()
        while (left := self._consented_at + CONSENT_EXPIRES - loop.time()) > 0:
            # RFC 7675 §5.1: not in lockstep with others
            await asyncio.sleep(min(left, CONSENT_INTERVAL * random.uniform(0.8, 1.2)))  # noqa: S311 -- no secret
            pair = self._nominated.get(self.component)
            if pair is not None:
                self._ask(pair)
        self._query_consent_task = None
        await self.close()

    def _ask(self, pair: CandidatePair) -> None:
        """RFC 7675 §5.1: a transaction of its own, sent once; its answer may come behind a later one's."""
        question = self._question
        if question is None or question[0] is not pair or question[1] is not self.ice_controlling:
            attributes = bytes(self.build_request(pair, nominate=False))[consent.HEAD :]
            question = self._question = (pair, self.ice_controlling, attributes)
        transaction = secrets.token_bytes(12)
        if len(self._asked) >= _ASKED:
            self._forget(next(iter(self._asked)))
        asked = self._asked[transaction] = _Asked(self, pair)
        pair.protocol.transactions[transaction] = cast(stun.Transaction, asked)
        request = consent.compose(consent.REQUEST, transaction, question[2], self.their_key)
        pair.protocol.transport.sendto(request, pair.remote_addr)

    def _forget(self, transaction: bytes) -> None:
        del self._asked[transaction].pair.protocol.transactions[transaction]
        del self._asked[transaction]
