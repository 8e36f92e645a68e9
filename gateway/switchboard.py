"""The shell around calls: it routes, runs one machine per call, carries effects out and arms one timer per machine.

    xmpp.Component ──on_xmpp_call──┐                 ┌── dialplan.route / dialplan.inbound
    sip.Telephony ───on_sip_call───┴─> Switchboard ──┤
                                            │        └── Line: machine + bridge + two legs + one timer
    media engine ─────on_media──────────────┘

Three things are seen to here because only the whole house shows them: limits are booked when a call is routed and given
back with its record, an emergency call goes above all of them, and what becomes of a stranger's call is one thing and
takes one time, whoever he asks for, until somebody's telephone rings.

A report of a leg goes to its line's machine; the machine's effects go to the legs at once and to the bridge in order,
one at a time. What the bridge finds out comes back as a report. Nothing here decides what a call does next.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from gateway import addresses
from gateway.addresses import SipUri
from gateway.bridge import Bridge, leg_name
from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.leg import Admitted, LegControl, Sink
from gateway.call.limits import Book
from gateway.call.machine import Call, Patience, State
from gateway.call.trace import Traced, Tracer
from gateway.dialplan import plan as dialplan
from gateway.dialplan.plan import Identity, Limit
from gateway.errors import AddressError, MediaError, NegotiationError
from gateway.line import Direction, EchoLine, Facts, Line, audible
from gateway.media import engine as media
from gateway.media.engine import LegStatistics, MediaEngine
from gateway.session.model import Session
from gateway.session.negotiate import Policy, Towards, Transcode, UnprotectedError
from gateway.sip import telephony as sip
from gateway.storage.records import CallRecord
from gateway.trunks import LookUp, Whereabouts
from gateway.xmpp import component as xmpp

log = structlog.get_logger()

# A trunk that cannot take the call leads to the next one; a callee's own word does not: busy is busy everywhere.
TRUNK_FAILURES = frozenset({Cause.CONGESTION, Cause.TIMEOUT, Cause.INTERNAL})
# In a ring sequence everything but success leads to the next user.
RING_ON = frozenset(Cause) - {Cause.NORMAL, Cause.CANCELLED, Cause.SHUTDOWN}

# Towards phones that are no trunk's. G722 can only be relayed, so it is for callers whose codecs are known.
DIRECT = Policy(("opus", "PCMA", "PCMU"))

# Whom a stranger's call asks for when nobody here is called so.
NOBODY = Destination("nobody", "")

RING_SECONDS = 55.0  # an XMPP user's devices ring that long (clients give up between 30 and 60 s)
SEQUENCE_SECONDS = 25.0  # one user of a sequence


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


class Switchboard:
    """All live calls. `attach` gives it the rooms; `drain` ends it."""

    def __init__(
        self,
        plan: dialplan.Plan,
        engine: MediaEngine,
        *,
        domain: str,
        sip_domain: str,
        trace: Tracer,
        on_begin: Callable[[Direction], None] = lambda direction: None,
        on_end: Callable[[CallRecord, Cause], None] = lambda record, cause: None,
        limits: Limits | None = None,
        look_up: LookUp,
        unix_now: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._domain = domain
        self._sip_domain = sip_domain
        self._trace = trace
        self._on_begin = on_begin
        self._on_end = on_end
        self._limits = limits or Limits()
        self._whereabouts = Whereabouts(self._trunks, look_up)
        self._unix_now = unix_now
        self._lines: dict[str, Line] = {}
        self._book = Book()
        self._component: xmpp.Component | None = None
        self._telephony: sip.Telephony | None = None
        self._ending: set[asyncio.Task[None]] = set()
        engine.on_event = self.on_media

    @property
    def live(self) -> int:
        """Calls that have not ended."""
        return len(self._lines)

    def attach(self, component: xmpp.Component, telephony: sip.Telephony) -> None:
        self._component, self._telephony = component, telephony

    async def watch_trunks(self) -> None:
        """Keep what the trunks' names resolve to fresh, until cancelled: their calls are known by it, both ways."""
        await self._whereabouts.watch()

    def _trunks(self) -> Iterable[dialplan.Trunk]:
        return self._plan.trunks.values()

    def is_trunk(self, address: str) -> bool:
        """Whether an IP address is a trunk's: no SIP URI that a user names may lead there, whenever it resolves so."""
        return self._plan.trunk_of(address, self._whereabouts.addresses) is not None

    def mappable(self, local: str) -> bool:
        """Whether this local part of a gateway address stands for anything (XEP-0276 is answered if it does)."""
        return dialplan.mappable(self._plan, local)

    # --- calls that come in -------------------------------------------------------------------------------------------

    def on_xmpp_call(self, incoming: xmpp.IncomingCall, leg: LegControl) -> Admitted:
        """A user calls a contact of ours."""
        caller = incoming.user.partition("/")[0]
        facts = Facts("outbound", caller, incoming.local, key=incoming.key)
        line = self._new_line(leg, facts, Towards.XMPP, Towards.SIP)
        line.make_callee = lambda attempt, to, sink: self._ask_sip(line, attempt, to, sink, caller)
        line.policy_of = self._policy_towards
        self._spawn(line.tasks, self._route_from_xmpp(line, incoming, caller))
        return Admitted(line.id, lambda report: self.tell(line.id, report))

    async def _route_from_xmpp(self, line: Line, incoming: xmpp.IncomingCall, caller: str) -> None:
        try:
            outcome = await self._decide(caller, incoming.local)
            offered = self._offer_from_xmpp(line, incoming, caller, outcome)
        except Exception:  # a bug of ours: he is told, and no call stays behind that nobody ends
            log.exception("a call could not be routed", call=line.id)
            offered = ev.Refused(Cause.INTERNAL)
        self._begin(line, offered)

    async def _decide(self, caller: str, local: str) -> dialplan.Route | dialplan.Refusal:
        """What the dialplan says. A name can only turn out to lead where nobody may call: it is looked up for those who
        may call it at all, so that no stranger has us ask for names, and for help nobody waits.
        """
        at = datetime.fromtimestamp(self._unix_now(), UTC)  # rules may have hours
        request = dialplan.Request(caller, local, at=at)
        outcome = dialplan.route(self._plan, request)
        if isinstance(outcome, dialplan.Refusal) or outcome.emergency or not (found := await self._host_of(local)):
            return outcome
        return dialplan.route(self._plan, replace(request, resolved=found, trunk_hosts=self._whereabouts.hosts))

    async def _host_of(self, local: str) -> frozenset[str]:
        """What the host of a contact's SIP URI resolves to: a name for a trunk is that trunk (safety rule 2)."""
        try:
            uri = addresses.contact(local)
        except AddressError:
            return frozenset()
        if not isinstance(uri, SipUri) or uri.scheme == "tel":
            return frozenset()
        return await self._whereabouts.resolved(uri)

    def _offer_from_xmpp(
        self, line: Line, incoming: xmpp.IncomingCall, caller: str, outcome: dialplan.Route | dialplan.Refusal
    ) -> ev.Event:
        log.info("routed", call=line.id, caller=caller, to=incoming.local, steps=list(outcome.steps))
        line.facts.rule = outcome.rule or ""
        if isinstance(outcome, dialplan.Refusal):
            if outcome.kind is dialplan.Kind.EMERGENCY:
                log.warning(
                    "emergency call refused", call=line.id, caller=caller, number=incoming.local, reason=outcome.reason
                )
            return ev.Refused(Cause.FORBIDDEN, outcome.reason)
        if outcome.via == ("echo",):
            line.facts.direction = "test"
        line.identities = dict(zip(outcome.via, outcome.identities, strict=False))
        trunks = {_key_of(via) for via in outcome.via}
        line.limits = {limit.key: limit for limit in outcome.limits if limit.key in trunks}
        whole = tuple(limit for limit in outcome.limits if limit.key not in trunks)
        own = (Limit("gateway", self._limits.calls), Limit(f"caller {caller}", self._limits.per_user))
        if outcome.emergency:
            line.emergency = outcome
            self._book.count(line.id, own, _now())
            log.warning(
                "emergency call",
                call=line.id,
                caller=caller,
                number=incoming.local,
                trunk=", ".join(outcome.via),
                callback=outcome.callback,
                place=outcome.geolocation is not None,
            )
        elif refused := self._book.take(line.id, (*own, *whole), _now()):
            return ev.Refused(Cause.CONGESTION, refused)
        stages = tuple(
            (Destination(via, target or "", _longest(whole, line.limits.get(_key_of(via)))),)
            for via, target in zip(outcome.via, outcome.targets, strict=True)
        )
        # Whatever the first way says about an emergency, the next one is asked too.
        return ev.Offered(stages, incoming.session, RING_ON if outcome.emergency else TRUNK_FAILURES)

    def on_sip_call(self, incoming: sip.IncomingCall, leg: LegControl) -> Admitted:
        """Somebody sends an INVITE."""
        trunk = self._plan.trunk_of(incoming.source[0], self._whereabouts.addresses)
        # P-Asserted-Identity is a trunk's word, from others it is nobody's (RFC 3325 §5).
        identity = incoming.asserted if trunk and incoming.asserted else incoming.from_uri
        facts = Facts(
            "inbound",
            str(identity),
            str(incoming.uri),
            key=incoming.key,
        )
        local = self._caller_local(incoming, identity, trunk)
        line = self._new_line(leg, facts, Towards.SIP, Towards.XMPP)
        line.make_callee = lambda attempt, to, sink: self._ask_xmpp(
            line, attempt, to, sink, local, trusted=trunk is not None
        )
        policy = _policy(trunk)
        line.policy_of = lambda destination: policy
        try:
            offered = self._offer_from_sip(line, incoming, trunk)
        except Exception:  # as above
            log.exception("a call could not be routed", call=line.id)
            offered = ev.Refused(Cause.INTERNAL)
        self._begin(line, offered)
        return Admitted(line.id, lambda report: self.tell(line.id, report))

    def _offer_from_sip(self, line: Line, incoming: sip.IncomingCall, trunk: dialplan.Trunk | None) -> ev.Event:
        own = [Limit("gateway", self._limits.calls)]
        if trunk is None:
            # Strangers together may not fill the house, and one of them not what strangers have.
            source, name = _network_of(incoming.source[0]), _name_in(incoming.uri)
            own += [
                Limit("strangers", self._limits.strangers),
                Limit(f"source {source}", self._limits.per_user, self._limits.per_minute),
                Limit(f"name {name}", self._limits.per_name, self._limits.per_minute),  # whether or not anybody has it
            ]
        if refused := self._book.take(line.id, own, _now()):
            return ev.Refused(Cause.CONGESTION, refused)
        outcome = dialplan.inbound(self._plan, dialplan.Inbound(incoming.uri, trunk.name if trunk else None))
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
                return ev.Refused(Cause.NOT_FOUND, outcome.reason)
            if not any(rule.match.any_source for rule in self._plan.inbound):
                return ev.Refused(Cause.FORBIDDEN)
            line.machine = Call(Patience(setup=setup))
            return ev.Offered(((NOBODY,),), incoming.session)
        if refused := self._book.take(line.id, outcome.limits, _now()):
            return ev.Refused(Cause.CONGESTION, "" if line.quiet else refused)
        users = [Destination("xmpp", user, _longest(outcome.limits)) for user in outcome.to]
        if outcome.ring == "sequence" and len(users) > 1:
            stage = RING_SECONDS / len(users)
            if trunk is not None:
                setup = min(SEQUENCE_SECONDS * len(users), 170.0)  # below Timer C of proxies (RFC 3261 §16.6 step 11)
                stage = SEQUENCE_SECONDS
            line.machine = Call(Patience(setup=setup, stage=stage))
            return ev.Offered(tuple((user,) for user in users), incoming.session, RING_ON)
        line.machine = Call(Patience(setup=setup))
        return ev.Offered((tuple(users),), incoming.session)

    def _begin(self, line: Line, offered: ev.Event) -> None:
        """Hand the machine its first event, after the room has got its Admitted back."""
        self._on_begin(line.facts.direction)
        asyncio.get_running_loop().call_soon(self.tell, line.id, offered)

    def _new_line(self, leg: LegControl, facts: Facts, towards_caller: Towards, towards_callee: Towards) -> Line:
        call = secrets.token_hex(6)
        line = Line(
            id=call,
            machine=Call(),
            caller=leg,
            bridge=Bridge(self._engine, call, towards_caller),
            facts=facts,
            make_callee=lambda attempt, to, sink: EchoLine(attempt, sink),
            policy_of=lambda destination: Policy(),
            towards_callee=towards_callee,
        )
        self._lines[call] = line
        log.info("call", call=call, direction=facts.direction, caller=facts.caller, to=facts.callee, key=facts.key)
        return line

    def _caller_local(self, incoming: sip.IncomingCall, identity: SipUri, trunk: dialplan.Trunk | None) -> str:
        if incoming.anonymous:
            # Each anonymous caller is a contact of his own: clients take a second call of one JID for the first one's.
            return addresses.local_of(SipUri("sip", "anonymous", f"{secrets.token_hex(4)}.anonymous.invalid"))
        return dialplan.caller_local(self._plan, identity, trunk)

    # --- callees ------------------------------------------------------------------------------------------------------

    def _policy_towards(self, destination: Destination) -> Policy:
        return _policy(self._plan.trunks.get(destination.via))

    def _ask_sip(self, line: Line, attempt: int, to: Destination, sink: Sink, caller: str) -> LegControl:
        if to.via == "echo":
            return EchoLine(attempt, sink)
        if self._telephony is None:
            raise MediaError("SIP is not attached")
        trunk = self._plan.trunks.get(to.via)
        identity = line.identities.get(to.via, Identity())
        callback = line.emergency.callback if line.emergency else None
        # An escaped @ is legal in a user part and makes the caller's address one that can be called back.
        from_uri = SipUri("sip", identity.from_user or callback or caller, self._sip_domain)
        asserted = identity.asserted or callback
        outgoing = sip.OutgoingCall(
            target=SipUri.parse(to.target),
            from_uri=from_uri,
            from_name=identity.display,
            credentials=credentials_of(trunk) if trunk else None,
            proxy=trunk.proxy if trunk else None,
            # RFC 3325 §5: nobody outside of the trust that a trunk stands for gets an asserted identity.
            asserted=SipUri("sip", asserted, self._sip_domain) if trunk and asserted else None,
            anonymous=identity.anonymous and line.emergency is None,  # those who come to help must know whom
            place=line.emergency.geolocation if line.emergency else None,
        )
        return self._telephony.callee(line.id, attempt, outgoing, sink)

    def _ask_xmpp(
        self, line: Line, attempt: int, to: Destination, sink: Sink, local: str, *, trusted: bool
    ) -> LegControl:
        if self._component is None:
            raise MediaError("XMPP is not attached")
        return self._component.callee(
            line.id, attempt, to.target, f"{local}@{self._domain}", sink, ask_presence=trusted
        )

    # --- reports in, effects out --------------------------------------------------------------------------------------

    def tell(self, call: str, report: ev.Report) -> None:
        """Something happened to a call. Reports for calls that are over only hang up a callee who answers in vain."""
        line = self._lines.get(call)
        if line is None:
            return
        line.reports.append(report)
        if line.busy:  # a leg reported from within an effect: first finish what is being done
            return
        line.busy = True
        try:
            while line.reports:
                self._handle(line, line.reports.popleft())
        finally:
            line.busy = False

    def _handle(self, line: Line, report: ev.Report) -> None:
        match report:
            case ev.Event():
                for event in audible(line, report):
                    for effect in line.machine.handle(event, _now()):
                        self._carry_out(line, effect)
                self._arm(line)
            case ev.Trickled():
                self._media(line, lambda: line.bridge.trickle(report))
            case ev.Dialled(leg, attempt, digits, duration):
                self._media(line, lambda: line.bridge.digits(leg, attempt, digits, duration))
            case ev.Reoffered():
                self._media(line, lambda: self._reoffered(line, report))

    def _carry_out(self, line: Line, effect: do.Effect) -> None:
        match effect:
            case do.PrepareOffer(attempt, destination, caller):
                line.destinations[attempt] = destination
                self._media(line, lambda: self._prepare_offer(line, attempt, destination, caller))
            case do.Dial(attempt, destination, session):
                try:
                    callee = line.make_callee(attempt, destination, lambda report: self.tell(line.id, report))
                except Exception:
                    log.exception("the callee cannot be asked", call=line.id, via=destination.via)
                    self.tell(line.id, ev.HungUp(Leg.CALLEE, Cause.INTERNAL, attempt))
                    return
                line.callees[attempt] = callee
                self._leg(line, lambda: callee.dial(session))
            case do.Alert():
                self._leg(line, line.caller.alert)
            case do.AskCaller():
                self._leg(line, line.caller.ask)
            case do.PrepareAnswer(attempt, callee_session, caller_session):
                self._media(line, lambda: self._prepare_answer(line, attempt, callee_session, caller_session))
            case do.Answer(session):
                self._leg(line, lambda: line.caller.answer(session))
                self._media(line, line.bridge.flush_digits)
            case do.HangUp(leg, cause, attempt, text):
                control = line.caller if leg is Leg.CALLER else line.callees.get(attempt)
                if control is not None:
                    self._leg(line, lambda: control.hang_up(cause, text))
            case do.ReleaseAttempt(attempt):
                line.callees.pop(attempt, None)
                if key := line.using.pop(attempt, None):
                    self._book.give_back(line.id, key)
                self._media(line, lambda: line.bridge.release_attempt(attempt))
            case do.CloseMedia():
                pass  # with the record, which wants the counters
            case do.Record():
                self._end(line, effect)

    def _leg(self, line: Line, act: Callable[[], None]) -> None:
        """A leg's own trouble must not keep the other leg from being told."""
        try:
            act()
        except Exception:
            log.exception("a leg failed", call=line.id)
            if line.machine.state is not State.ENDED:
                self.tell(line.id, ev.Stopped(Cause.INTERNAL))

    def _media(self, line: Line, act: Callable[[], Awaitable[None]]) -> None:
        """Media work of one call is done in order, one at a time, beside the signalling."""

        async def in_turn() -> None:
            async with line.media:
                try:
                    await act()
                except (MediaError, NegotiationError) as error:
                    log.warning("media", call=line.id, error=str(error))
                except Exception:
                    log.exception("media", call=line.id)
                    self.tell(line.id, ev.Stopped(Cause.INTERNAL))

        self._spawn(line.tasks, in_turn())

    async def _prepare_offer(self, line: Line, attempt: int, to: Destination, caller: Session | None) -> None:
        if to.via == "echo":
            self.tell(line.id, ev.OfferReady(attempt, Session(())))
            return
        if to == NOBODY or line.machine.state is State.ENDED:
            return
        if refused := self._trunk_refuses(line, attempt, to):
            self.tell(line.id, refused)
            return
        try:
            offer = await line.bridge.offer(attempt, line.towards_callee, line.policy_of(to), caller)
        except NegotiationError as error:
            self.tell(line.id, ev.OfferFailed(attempt, _why(error), str(error)))
        except MediaError as error:
            self.tell(line.id, ev.OfferFailed(attempt, Cause.INTERNAL, str(error)))
        else:
            self.tell(line.id, ev.OfferReady(attempt, offer))

    def _trunk_refuses(self, line: Line, attempt: int, to: Destination) -> ev.OfferFailed | None:
        """A trunk that has no line left leads to the next one; one that demands what we do not speak gets nothing."""
        trunk = self._plan.trunks.get(to.via)
        if trunk is None:
            return None
        if trunk.srtp == "required":
            return ev.OfferFailed(attempt, Cause.SECURITY, f"{trunk.name} demands SRTP, which is not spoken yet")
        limit = line.limits.get(_key_of(trunk.name), Limit(_key_of(trunk.name), trunk.max_calls))
        if line.emergency is not None:
            self._book.count(line.id, (limit,), _now())
        elif refused := self._book.take(line.id, (limit,), _now()):
            return ev.OfferFailed(attempt, Cause.CONGESTION, refused)
        line.using[attempt] = limit.key
        return None

    async def _prepare_answer(self, line: Line, attempt: int, callee: Session, caller: Session) -> None:
        to = line.destinations[attempt]
        policy = line.policy_of(to)
        if line.machine.state is State.ENDED:
            return
        try:
            if to.via == "echo":
                answer = await line.bridge.test_line(policy, caller)
            else:
                answer = await line.bridge.answer(attempt, policy, callee, caller)
        except NegotiationError as error:
            self.tell(line.id, ev.AnswerFailed(attempt, _why(error), str(error)))
        except MediaError as error:
            self.tell(line.id, ev.AnswerFailed(attempt, Cause.INTERNAL, str(error)))
        else:
            self.tell(line.id, ev.AnswerReady(attempt, answer))

    async def _reoffered(self, line: Line, notice: ev.Reoffered) -> None:
        control = line.caller if notice.leg is Leg.CALLER else line.callees.get(notice.attempt)
        if control is None:
            return
        try:
            answer = await line.bridge.reoffer(notice)
        except (MediaError, NegotiationError) as error:
            log.warning("re-offer refused", call=line.id, leg=notice.leg.value, error=str(error))
            control.reanswer(None)
        else:
            control.reanswer(answer)

    def _arm(self, line: Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if line.machine.deadline is not None:
            loop = asyncio.get_running_loop()
            line.timer = loop.call_at(line.machine.deadline, self.tell, line.id, ev.TimedOut())

    def _end(self, line: Line, record: do.Record) -> None:
        async def close() -> None:
            counters: dict[str, LegStatistics] = {}
            async with line.media:
                try:
                    counters = await line.bridge.close()
                except MediaError as error:
                    log.warning("media", call=line.id, error=str(error))
            self._lines.pop(line.id, None)
            self._book.give_back(line.id)
            if line.timer is not None:
                line.timer.cancel()
            finished = self._record(line, record, counters)
            log.info(
                "ended",
                call=line.id,
                cause=finished.cause,
                by=finished.by,
                text=finished.text,
                seconds=round(finished.duration, 1),
            )
            self._on_end(finished, record.cause)

        self._spawn(self._ending, close())

    def _record(self, line: Line, record: do.Record, counters: dict[str, LegStatistics]) -> CallRecord:
        # The machine's times are the loop's; records want the calendar's.
        elapsed = self._unix_now() - asyncio.get_running_loop().time()

        def when(at: float) -> datetime:
            return datetime.fromtimestamp(at + elapsed, UTC)

        to = record.destination or next(iter(line.destinations.values()), None)
        return CallRecord(
            id=line.id,
            direction=line.facts.direction,
            caller=line.facts.caller,
            callee=to.target if to else "",
            dialled=line.facts.callee,
            rule=line.facts.rule,
            via=to.via if to else "",
            cause=record.cause.label,
            blame=record.cause.blame.value,
            text=record.text or record.cause.text,
            by=record.by.value if record.by else "",
            offered=when(record.offered_at),
            ended=when(record.ended_at),
            rang=when(record.rang_at) if record.rang_at is not None else None,
            answered=when(record.answered_at) if record.answered_at is not None else None,
            duration=record.ended_at - record.answered_at if record.answered_at is not None else 0.0,
            q850=record.cause.q850,
            media={leg: asdict(statistics) for leg, statistics in counters.items()},
        )

    def _spawn(self, keep: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        keep.add(task)
        task.add_done_callback(keep.discard)

    # --- the media engine's word --------------------------------------------------------------------------------------

    def on_media(self, event: media.MediaEvent) -> None:
        line = self._lines.get(event.call)
        if line is None:
            return
        match event:
            case media.Connected(call, leg):
                self._trace(Traced(call, "media", False, f"{leg} connected", leg))
            case media.Digit(call, leg, digit, _):
                self._trace(Traced(call, "media", False, f"{leg} digit {digit}", leg))
            case media.Lost(call, leg, cause, text):
                self._trace(Traced(call, "media", False, f"{leg} lost", leg, text))
                if line.bridge.carries(leg) or leg == leg_name(Leg.CALLEE, line.machine.attempt):
                    self.tell(call, ev.MediaLost(cause, text))
                elif leg.startswith("callee"):
                    attempt = int(leg.removeprefix("callee"))
                    self.tell(call, ev.OfferFailed(attempt, cause, text))

    # --- the end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """End every call with its cause and wait until all records are written."""
        for call in list(self._lines):
            self.tell(call, ev.Stopped(Cause.SHUTDOWN))
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)


def credentials_of(trunk: dialplan.Trunk) -> sip.Credentials | None:
    """What a trunk wants to know of us, when it asks."""
    return sip.Credentials(trunk.username, trunk.password or "") if trunk.username else None


def _now() -> float:
    return asyncio.get_running_loop().time()


def _key_of(trunk: str) -> str:
    """Under which a trunk's calls are counted (dialplan.Limit)."""
    return f"trunk {trunk}"


def _network_of(source: str) -> str:
    """What one stranger has for an address: a network of IPv6 has more addresses than anybody could count."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def _name_in(uri: SipUri) -> str:
    """Whom a URI of ours asks for, however it is written; of long ones, which are remembered too, the beginning."""
    return (addresses.jid_of(uri) or addresses.folded(uri.user or ""))[:100]


def _longest(whole: Iterable[Limit], trunk: Limit | None = None) -> float | None:
    """Seconds that a conversation under all of these may last."""
    limits = (*whole, trunk) if trunk is not None else tuple(whole)
    return min((limit.longest for limit in limits if limit.longest is not None), default=None)


def _why(error: NegotiationError) -> Cause:
    return Cause.SECURITY if isinstance(error, UnprotectedError) else Cause.NO_COMMON_CODEC


def _policy(trunk: dialplan.Trunk | None) -> Policy:
    if trunk is None:
        return DIRECT
    return Policy(codecs=tuple(trunk.codecs), transcode=Transcode(trunk.transcode))
