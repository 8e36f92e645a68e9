"""What becomes of a call: what the dialplan says, made into what its machine is told, under the limits that it counts
for.

    a user calls ─────> decide ──> offer_from_user ──┐
    somebody sends an INVITE ────> offer_from_sip ───┴─> ev.Offered | ev.Refused
    an end sends another elsewhere (REFER, 3xx) ─> elsewhere ──> stages, or why not

1. Limits are booked when a call is routed, under the call's id; the switchboard gives them back with its record.
2. An emergency call goes above all of them. What a call may cost is booked after them, and before anybody is asked
   (accounts.py).
3. What becomes of a stranger's call is one thing and takes one time, whoever he asks for, until somebody's telephone
   rings (safety rule 4).
4. Whoever sends a user elsewhere spends that user's money: the new target goes through the dialplan as the user's own
   call, at most five times in one call, and only where the rule or the trunk lets him (safety rule 5).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from gateway import contacts
from gateway.accounts import Accounts
from gateway.addresses import SipUri
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Consulted, Destination
from gateway.call.journal import MOST_ATTEMPTS
from gateway.call.limits import Book
from gateway.call.machine import Call, Patience, State
from gateway.dialplan import plan as dialplan
from gateway.dialplan.naptr import Listed, Listing
from gateway.dialplan.plan import Limit
from gateway.errors import AddressError
from gateway.junction import JOINED, target_of
from gateway.line import NOBODY, Fare, Line
from gateway.reach import version_of
from gateway.session.model import Dtmf, Session
from gateway.session.policy import Policy, Transcode
from gateway.session.protection import Srtp
from gateway.sip import telephony as sip
from gateway.sip.overload import Source, Standing, network_of
from gateway.trunks import LookUp, Whereabouts

log = structlog.get_logger()

# A trunk that cannot take the call leads to the next one; a callee's own word does not: busy is busy everywhere.
TRUNK_FAILURES = frozenset({Cause.CERTIFICATE, Cause.CONGESTION, Cause.TIMEOUT, Cause.INTERNAL})
# In a ring sequence everything but success leads to the next user.
RING_ON = frozenset(Cause) - {Cause.NORMAL, Cause.CANCELLED, Cause.SHUTDOWN}

_CHANCE = secrets.SystemRandom()

# Towards phones that are no trunk's, the best first.
DIRECT = Policy(("opus", "G722", "PCMA", "PCMU"))

RING_SECONDS = 55.0  # an XMPP user's devices ring that long (clients give up between 30 and 60 s)
SEQUENCE_SECONDS = 25.0  # one user of a sequence
MOST_SECONDS = 170.0  # all of a call from a trunk: below Timer C of proxies (RFC 3261 §16.6 step 11)
MOST_HOPS = 5  # transfers and redirections of one call
MOST_TARGETS = 5  # of one redirection

Stages = tuple[tuple[Destination, ...], ...]
# The SIP URIs that ENUM has for a number below these suffixes, or why nobody knows.
AskEnum = Callable[[str, Sequence[str]], Awaitable[tuple[SipUri, ...] | str]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be at a time: in the whole gateway, of one user or source, of all strangers from SIP together, and of
    strangers who ask for one and the same name. `per_minute` is how often one stranger, or any for one name, may begin.
    """

    calls: int = 1000
    per_user: int = 20
    strangers: int = 200
    per_name: int = 5
    per_minute: int = 60


@dataclass(frozen=True, slots=True)
class NotSent:
    """Why an end was not sent elsewhere, for people."""

    reason: str


class Routing:
    """The dialplan, the limits, and where the trunks are. `plan` may be exchanged at any time: a call keeps the one it
    began with. `now` is the loop's clock, `unix_now` the calendar's, `draw` a number in [0, 1) for rules with weights;
    `direct` is what may be spoken with SIP addresses that are no trunk's.
    """

    def __init__(
        self,
        plan: dialplan.Plan,
        *,
        sip_domain: str,
        limits: Limits,
        look_up: LookUp,
        accounts: Accounts,
        now: Callable[[], float],
        unix_now: Callable[[], float],
        draw: Callable[[], float] = _CHANCE.random,
        direct: Policy = DIRECT,
    ) -> None:
        self.plan = plan
        self.book = Book()
        self.whereabouts = Whereabouts(self._trunks, look_up)
        self._direct = direct
        self._sip_domain = sip_domain
        self._limits = limits
        self._accounts = accounts
        self._now = now
        self._unix_now = unix_now
        self._draw = draw
        self.is_down: Callable[[str], bool] = lambda trunk: False
        self.ask_enum: AskEnum = _unasked

    def _trunks(self) -> Iterable[dialplan.Trunk]:
        return self.plan.trunks.values()

    # --- who is who

    def is_trunk(self, address: str) -> bool:
        """Whether an IP address is a trunk's: no SIP URI that a user names may lead there, whenever it resolves so."""
        return self.trunk_at(address) is not None

    def trunk_at(self, address: str, names: Collection[str] = (), account: str | None = None) -> dialplan.Trunk | None:
        """The trunk that a source is: by the password that it knew, by the names in its certificate, which nobody else
        has, or by its address."""
        for trunk in self.plan.trunks.values() if account is not None else ():
            if trunk.inbound_username == account:
                return trunk
        for trunk in self.plan.trunks.values() if names else ():
            if any(name in trunk.tls_names for name in names):
                return trunk
        return self.plan.trunk_of(address, self.whereabouts.addresses)

    def accounts(self) -> dict[str, str]:
        """The names and passwords by which trunks prove to be themselves, wherever they call from."""
        return {
            trunk.inbound_username: trunk.inbound_password
            for trunk in self.plan.trunks.values()
            if trunk.inbound_username is not None and trunk.inbound_password is not None
        }

    def standing(self, source: Source) -> Standing:
        """Who sends us something new: a trunk, somebody who may call where some rule is for all, or a stranger."""
        if self.trunk_at(source.address, source.names) is not None:
            return Standing.TRUNK
        anybody = any(rule.match.any_source for rule in self.plan.inbound)
        return Standing.GUEST if anybody else Standing.STRANGER

    def may_call(self, user: str, local: str) -> bool:
        """Whether the dialplan lets this user call this contact now, as far as that is known without asking DNS."""
        outcome = dialplan.route(self.plan, self._request(user, local))
        return isinstance(outcome, dialplan.Route) or outcome.ask is not None

    def has_video(self, user: str, local: str) -> bool:
        """Whether a call of this user to this contact may have video, as far as that is known without asking DNS."""
        trunks = self.plan.trunks
        able = {name for name, trunk in trunks.items() if trunk.video} | ({"direct"} if self._direct.video else set())
        outcome = dialplan.route(self.plan, self._request(user, local)) if able else None
        return isinstance(outcome, dialplan.Route) and bool(able & set(outcome.via))

    def may_dial(self, user: str) -> bool:
        """Whether any rule lets this user call a number or an address at all."""
        return any(rule.via and rule.via != ("echo",) and self.plan.may(rule.match, user) for rule in self.plan.routes)

    def policy(self, line: Line, to: Destination) -> Policy:
        """What may be spoken on the SIP side of a call to this destination."""
        trunk = line.plan.trunks.get(to.via if to.via != "xmpp" else line.trunk or "")
        policy = self._direct
        if trunk is not None:
            policy = Policy(
                tuple(trunk.codecs), Transcode(trunk.transcode), Srtp(trunk.srtp), Dtmf(trunk.dtmf), trunk.video
            )
        return policy if line.transcode is None else replace(policy, transcode=Transcode(line.transcode))

    async def ip_of(self, line: Line, to: Destination) -> int | None:
        """The version of IP that this destination has, where it has one and not both; nobody waits for a trunk."""
        trunk = line.plan.trunks.get(to.via)
        if trunk is not None:
            found = self.whereabouts.addresses.get(trunk.name, frozenset())
        elif to.via == "direct":
            found = await self.whereabouts.resolved(SipUri.parse(to.target))
        else:
            return None
        versions = {version_of(address) for address in found}
        return versions.pop() if len(versions) == 1 else None

    # --- calls from XMPP

    async def decide(self, plan: dialplan.Plan, caller: str, local: str) -> dialplan.Route | dialplan.Refusal:
        """What the dialplan says. A name can only turn out to lead where nobody may call: it is looked up for those who
        may call it at all, so that no stranger has us ask for names, and for help nobody waits.
        """
        request = self._request(caller, local)
        outcome = dialplan.route(plan, request)
        if isinstance(outcome, dialplan.Route) and not outcome.emergency and (found := await self._host_of(local)):
            request = replace(request, resolved=found, trunk_hosts=self.whereabouts.hosts)
            outcome = dialplan.route(plan, request)
        if (number := outcome.ask) is not None:  # the rule is for this caller, and wants to know
            listing = await self._listing(plan, number)
            request = replace(request, enum={number: listing}, trunk_hosts=self.whereabouts.hosts)
            outcome = dialplan.route(plan, request)
        return outcome

    async def _listing(self, plan: dialplan.Plan, number: str) -> Listing:
        """What ENUM has for a number, and where that leads: it may be a trunk, or we."""
        found = await self.ask_enum(number, plan.enum_suffixes)
        if isinstance(found, str):
            return Listing(failure=found)
        hosts = await asyncio.gather(*map(self.whereabouts.resolved, found))
        return Listing(tuple(map(Listed, found, hosts)))

    def _request(self, caller: str, local: str) -> dialplan.Request:
        return dialplan.Request(caller, local, at=self._date(), draw=self._draw())

    def _date(self) -> datetime:
        return datetime.fromtimestamp(self._unix_now(), UTC)  # rules may have hours

    async def _host_of(self, local: str) -> frozenset[str]:
        """What the host of a contact's SIP URI resolves to: a name for a trunk is that trunk (safety rule 2)."""
        try:
            uri = contacts.contact(local)
        except AddressError:
            return frozenset()
        if not isinstance(uri, SipUri) or uri.scheme == "tel":
            return frozenset()
        return await self.whereabouts.resolved(uri)

    async def offer_from_user(
        self, line: Line, session: Session | None, outcome: dialplan.Route | dialplan.Refusal
    ) -> ev.Event:
        """A user called, and this is what the dialplan says of it."""
        caller, dialled = line.facts.caller, line.facts.callee
        log.info("routed", call=line.id, caller=caller, to=dialled, steps=list(outcome.steps))
        line.facts.rule = outcome.rule or ""
        if isinstance(outcome, dialplan.Refusal):
            if outcome.kind is dialplan.Kind.EMERGENCY:
                log.warning(
                    "emergency call refused", call=line.id, caller=caller, number=dialled, reason=outcome.reason
                )
            return ev.Refused(Cause.FORBIDDEN, outcome.reason)
        if outcome.via == ("echo",):
            line.facts.direction = "test"
        whole = self._take_up(line, outcome)
        own = (Limit("gateway", self._limits.calls), Limit(f"caller {caller}", self._limits.per_user))
        if outcome.emergency:
            self.book.count(line.id, own, self._now())
            log.warning(
                "emergency call",
                call=line.id,
                caller=caller,
                number=dialled,
                trunk=", ".join(outcome.via),
                callback=outcome.callback,
                place=outcome.geolocation is not None,
            )
        elif refused := self.book.take(line.id, (*own, *whole), self._now()):
            return ev.Refused(Cause.CONGESTION, refused)
        fare = await self._accounts.reserve(line, outcome)
        if isinstance(fare, ev.Refused):
            return fare
        self._accounts.take(line, (fare,) if fare is not None else ())
        stages = self._stages(line, outcome, whole)
        # A caller who gave up while names were looked up has a call that has ended, and keeps it.
        if outcome.ring_seconds is not None and line.machine.state is State.NEW:
            setup = outcome.ring_seconds * len(stages)
            line.machine = Call(Patience(setup=setup, stage=outcome.ring_seconds))
        return ev.Offered(stages, session, _leading_on(outcome))

    def _take_up(self, line: Line, outcome: dialplan.Route) -> tuple[Limit, ...]:
        """Note on the line what its attempts will need; the limits that the whole call is under."""
        line.identities |= dict(zip(outcome.via, outcome.identities, strict=False))
        trunks = {key_of(via) for via in outcome.via}
        line.limits |= {limit.key: limit for limit in outcome.limits if limit.key in trunks}
        line.transfers |= set(outcome.transfers)
        line.transcode = outcome.transcode or line.transcode
        line.record = line.record if outcome.record == "no" else outcome.record
        if outcome.emergency:
            line.emergency = outcome
        return tuple(limit for limit in outcome.limits if limit.key not in trunks)

    def _stages(self, line: Line, outcome: dialplan.Route, whole: Iterable[Limit]) -> Stages:
        limits = tuple(whole)
        ways = [
            Destination(via, target or "", _longest(limits, line.limits.get(key_of(via))), outcome.early_media)
            for via, target in zip(outcome.via, outcome.targets, strict=True)
        ]
        # A trunk that answers no OPTIONS is not left out, for it may answer an INVITE; but it is asked last.
        return tuple((way,) for way in sorted(ways, key=lambda way: self.is_down(way.via)))

    # --- calls from SIP

    def offer_from_sip(self, line: Line, incoming: sip.IncomingCall, trunk: dialplan.Trunk | None) -> ev.Event:
        """An INVITE came, from a trunk or from a stranger."""
        own = [Limit("gateway", self._limits.calls)]
        if trunk is None:
            # Strangers together may not fill the house, and one of them not what strangers have.
            source, name = network_of(incoming.source[0]), _name_in(incoming.uri)
            own += [
                Limit("strangers", self._limits.strangers),
                Limit(f"source {source}", self._limits.per_user, self._limits.per_minute),
                Limit(f"name {name}", self._limits.per_name, self._limits.per_minute),  # whether or not anybody has it
            ]
        if refused := self.book.take(line.id, own, self._now()):
            return ev.Refused(Cause.CONGESTION, refused)
        call = dialplan.Inbound(
            incoming.uri, trunk.name if trunk else None, caller=line.contact or None, at=self._date()
        )
        outcome = dialplan.inbound(line.plan, call)
        log.info(
            "routed",
            call=line.id,
            source=incoming.source[0],
            trunk=trunk.name if trunk else None,
            to=str(incoming.uri),
            steps=list(outcome.steps),
        )
        line.facts.rule = outcome.rule or ""
        # Whoever is not one of our trunks learns nothing of who exists here (safety rule 4): one answer for all.
        line.quiet = trunk is None
        setup = RING_SECONDS
        if isinstance(outcome, dialplan.Refusal):
            if trunk is not None:
                return ev.Refused(Cause.FORBIDDEN if outcome.wanted else Cause.NOT_FOUND, outcome.reason)
            if not any(rule.match.any_source for rule in line.plan.inbound):
                return ev.Refused(Cause.FORBIDDEN)
            line.machine = Call(Patience(setup=setup))
            return ev.Offered(((NOBODY,),), incoming.session)
        if refused := self.book.take(line.id, outcome.limits, self._now()):
            return ev.Refused(Cause.CONGESTION, "" if line.quiet else refused)
        line.transcode = outcome.transcode or line.transcode
        line.record = line.record if outcome.record == "no" else outcome.record
        users = self._users(line.plan, outcome)
        if outcome.ring == "sequence" and len(users) > 1:
            stage = RING_SECONDS / len(users)
            if trunk is not None:
                stage = outcome.ring_seconds or SEQUENCE_SECONDS
                setup = min(stage * len(users), MOST_SECONDS)
            line.machine = Call(Patience(setup=setup, stage=stage))
            return ev.Offered(tuple((user,) for user in users), incoming.session, RING_ON, await_media=True)
        if outcome.ring_seconds is not None:  # never a stranger's
            setup = min(outcome.ring_seconds, MOST_SECONDS)
        line.machine = Call(Patience(setup=setup))
        return ev.Offered((users,), incoming.session, await_media=True)

    def _users(self, plan: dialplan.Plan, outcome: dialplan.InboundRoute) -> tuple[Destination, ...]:
        return tuple(
            Destination("xmpp", user, _longest((*outcome.limits, *self._limits_of(plan, user)))) for user in outcome.to
        )

    def _limits_of(self, plan: dialplan.Plan, user: str) -> tuple[Limit, ...]:
        """What a user who is called counts under. How often he may begin a call is not for his callers to use up."""
        return tuple(replace(limit, per_minute=None) for limit in dialplan.limits(plan, user, ()))

    # --- attempts

    def attempt_refused(self, line: Line, attempt: int, to: Destination) -> ev.OfferFailed | None:
        """Book what one attempt needs, or say why it may not be. A trunk that has no line left leads to the next one, a
        user who may have no more calls is busy.
        """
        if attempt > MOST_ATTEMPTS and line.emergency is None:  # further ones would be in no record, and free
            return ev.OfferFailed(attempt, Cause.CONGESTION, f"more than {MOST_ATTEMPTS} attempts in one call")
        key = f"{line.id}/{attempt}"
        if to.via == "xmpp":
            refused = self.book.take(key, self._limits_of(line.plan, to.target), self._now())
            cause = Cause.CONGESTION if line.quiet else Cause.BUSY  # a stranger does not learn who talks
            return ev.OfferFailed(attempt, cause, "" if line.quiet else refused) if refused else None
        trunk = line.plan.trunks.get(to.via)
        if trunk is None:
            return None
        limit = line.limits.get(key_of(trunk.name), Limit(key_of(trunk.name), trunk.max_calls))
        if line.emergency is not None:
            self.book.count(key, (limit,), self._now())
        elif refused := self.book.take(key, (limit,), self._now()):
            return ev.OfferFailed(attempt, Cause.CONGESTION, refused)
        return None

    def attempt_over(self, line: Line, attempt: int) -> None:
        self.book.give_back(f"{line.id}/{attempt}")

    def over(self, line: Line) -> None:
        """The call has ended: nothing of it counts any more."""
        self.book.give_back(line.id)
        for attempt in line.destinations:
            self.attempt_over(line, attempt)

    # --- sent elsewhere

    async def elsewhere(self, line: Line, by: str, targets: Iterable[str], replaces: str = "") -> Stages | NotSent:
        """Where the call goes when the end that came through `by` (a trunk's name, "direct") sends it elsewhere."""
        if by not in line.transfers:
            return NotSent("whoever is there may not send calls elsewhere")
        if line.hops >= MOST_HOPS:
            return NotSent(f"sent elsewhere more than {MOST_HOPS} times")
        line.hops += 1
        stages: list[tuple[Destination, ...]] = []
        fares: list[Fare] = []
        reason = "no target"
        for text in tuple(targets)[:MOST_TARGETS]:
            found = await self._target(line, by, text, fares)
            if isinstance(found, NotSent):
                reason = found.reason
                continue
            stages += found
        if not stages:
            return NotSent(reason)
        if replaces and any(to.via != by for stage in stages for to in stage):
            self._accounts.give_back(fares)
            return NotSent("a call can be replaced only at the trunk that asks for it")
        self._accounts.take(line, fares)
        if replaces:
            line.headers |= {to: (("Replaces", replaces), ("Require", "replaces")) for stage in stages for to in stage}
        return tuple(stages)

    def joined(self, line: Line, asker: int, other: Line | None, consulted: Consulted) -> Stages | NotSent:
        """The same, where it is an end of another call of ours in whose place the far end of this one is to come.

        Nothing is dialled, and what both calls cost stays with who pays for them. Both are of whoever asks: through one
        trunk, or from one address, and both may be sent elsewhere (safety rule 5).
        """
        by = line.via(asker)
        if other is None or other is line:
            return NotSent("that is no other call")
        if by not in line.transfers or by not in other.transfers or other.via(consulted.number) != by:
            return NotSent("a call can be replaced only at the trunk that asks for it")
        if by == "direct" and not consulted.same_address:
            return NotSent("a call can be replaced only by whoever has it")
        if not other.machine.can_transfer(consulted.number):
            return NotSent("nobody is there who could be connected")
        if max(line.hops, other.hops) >= MOST_HOPS:
            return NotSent(f"sent elsewhere more than {MOST_HOPS} times")
        line.hops = other.hops = max(line.hops, other.hops) + 1
        return ((Destination(JOINED, target_of(consulted.call, consulted.number)),),)

    async def _target(self, line: Line, by: str, text: str, fares: list[Fare]) -> Stages | NotSent:
        """Where one URI leads; what is booked for it is added to `fares`."""
        try:
            uri = SipUri.parse(text)
            local = contacts.local_of(uri)
        except AddressError as error:
            return NotSent(str(error))
        if uri.host == self._sip_domain:  # one of our own users: whom any caller from there may reach
            call = dialplan.Inbound(uri, by if by in line.plan.trunks else None, at=self._date())
            within = dialplan.inbound(line.plan, call)
            if isinstance(within, dialplan.InboundRoute):
                return (self._users(line.plan, within),)
        outcome = await self.decide(line.plan, line.payer, local)
        log.info("sent elsewhere", call=line.id, to=text, payer=line.payer, steps=list(outcome.steps))
        if isinstance(outcome, dialplan.Refusal):
            return NotSent(outcome.reason)
        if outcome.via == ("echo",):
            return NotSent("the test line takes no transferred calls")
        whole = self._take_up(line, outcome)
        # The call is counted already; that it goes to one more place is another beginning, and no more than that.
        begun = tuple(replace(limit, concurrent=None) for limit in whole)
        hop = f"{line.id}/hop"
        if refused := self.book.take(hop, begun, self._now()):
            return NotSent(refused)
        self.book.give_back(hop)
        fare = await self._accounts.reserve(line, outcome)
        if isinstance(fare, ev.Refused):
            return NotSent(fare.cause.worded(fare.text))
        fares += [fare] if fare is not None else []
        return self._stages(line, outcome, whole)

    def caller_local(self, incoming: sip.IncomingCall, identity: SipUri, trunk: dialplan.Trunk | None) -> str:
        """Under which local part a caller from SIP appears."""
        if incoming.anonymous:
            # Each anonymous caller is a contact of his own: clients take a second call of one JID for the first one's.
            return contacts.local_of(SipUri("sip", "anonymous", f"{secrets.token_hex(4)}.anonymous.invalid"))
        return dialplan.caller_local(self.plan, identity, trunk)


async def _unasked(number: str, suffixes: Sequence[str]) -> str:
    return "nobody asks DNS here"


def _leading_on(outcome: dialplan.Route) -> frozenset[Cause]:
    """The causes that lead to the next via."""
    if outcome.emergency:  # whatever the first way says, the next one is asked too
        return RING_ON
    if outcome.failover is None:
        return TRUNK_FAILURES
    return frozenset(cause for cause in Cause if cause.label in outcome.failover)


def key_of(trunk: str) -> str:
    """Under which a trunk's calls are counted (dialplan.Limit)."""
    return f"trunk {trunk}"


def _name_in(uri: SipUri) -> str:
    """Whom a URI of ours asks for, however it is written; of long ones, which are remembered too, the beginning."""
    return (contacts.jid_of(uri) or contacts.folded(uri.user or ""))[:100]


def _longest(whole: Iterable[Limit], trunk: Limit | None = None) -> float | None:
    """Seconds that a conversation under all of these may last."""
    limits = (*whole, trunk) if trunk is not None else tuple(whole)
    return min((limit.longest for limit in limits if limit.longest is not None), default=None)
