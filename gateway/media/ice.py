"""ICE (RFC 8445, trickle: RFC 8838) on aioice, with the gateway's own sockets, rules and clocks.

What differs from a stock aioice connection:

- sockets come from the configured port range, and are shared with media and with the session before a restart (mux.py);
- a candidate that somebody names is tried only where policy permits; a source that sends an authenticated check itself
  is taken as peer-reflexive whatever its address: it has shown that it is there and wants us;
- strangers get no answer, not even a STUN error;
- it may start without any remote candidate, and waits for checks; its owner says when to give up;
- whoever becomes controlling in a conflict of roles nominates what was found before;
- of several nominated pairs one is selected, and a later nomination is followed (see `Agent.nominated`);
- consent (RFC 7675) is lost after 30 s without an answer, on links with a round trip over half a second too.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from typing import cast

import aioice
import structlog
from aioice import stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol

from gateway.media.mux import Datagrams, Mux
from gateway.media.ports import Bind, plain
from gateway.reach import Reach
from gateway.session.model import Candidate, Ice

log = structlog.get_logger()

MAX_CANDIDATES = 64  # that a far end may name, and sources that it may send checks from
CONSENT_INTERVAL = 5.0
CONSENT_EXPIRES = 30.0  # RFC 7675 §5.1
QUIET = 2.0  # s without anything on the selected pair, after which any other nomination is followed at once

Address = tuple[str, int]


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
        self._refused = False
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
        self._refused = False
        super().request_received(message, addr, protocol)
        if self._refused:
            self._on_stranger()
        else:
            self.sources.add(addr)

    def respond_error(
        self, request: stun.Message, addr: Address, protocol: StunProtocol, error_code: tuple[int, str]
    ) -> None:
        if error_code[0] in (400, 401):
            self._refused = True  # not authentic: no answer, so that a scanner finds nothing here
            return
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
        elif current is not None:
            self._nominated[self.component] = current

    def _follow(self, current: CandidatePair, pair: CandidatePair, again: bool, now: float) -> bool:
        if again or now - max(self._nominated_at, self._heard_at()) > QUIET:
            return True
        return pair.remote_candidate.priority >= current.remote_candidate.priority

    async def query_consent(self) -> None:
        loop = asyncio.get_running_loop()
        key = (self.remote_password or "").encode()
        granted = loop.time()
        while loop.time() - granted < CONSENT_EXPIRES:
            # RFC 7675 §5.1: not in lockstep with others
            await asyncio.sleep(CONSENT_INTERVAL * random.uniform(0.8, 1.2))  # noqa: S311 -- no secret
            pair = self._nominated.get(self.component)
            if pair is None:
                continue
            request = self.build_request(pair, nominate=False)
            try:
                await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=2)
                granted = loop.time()
            except stun.TransactionError:
                continue
        self._query_consent_task = None
        await self.close()
