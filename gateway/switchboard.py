"""The shell around calls: it runs one machine per call, carries its effects out and arms one timer per machine.

    xmpp.Component ──on_xmpp_call──┐                 ┌── Routing: the dialplan, limits, where trunks are
    sip.Telephony ───on_sip_call───┴─> Switchboard ──┤
                                            │        └── Line: machine + bridge + legs + one timer
    media engine ─────on_media──────────────┘

A report of a leg goes to its line's machine; the machine's effects go to the legs at once and to the bridge in order,
one at a time. What the bridge finds out comes back as a report. Nothing here decides what a call does next.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import structlog

from gateway import contacts
from gateway.accounts import Accounts, Shut
from gateway.addresses import SipUri
from gateway.bridge import Bridge, end_name, number_of
from gateway.call import effects as do
from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.leg import Admitted, LegControl, Sink
from gateway.call.machine import Call, State
from gateway.call.trace import Traced, Tracer
from gateway.call.words import Say
from gateway.dialplan import plan as dialplan
from gateway.errors import MediaError
from gateway.junction import JOINED, Half, end_of, target_of
from gateway.ledger import record_of, spoken
from gateway.line import Direction, EchoLine, Facts, Line, as_attempt, audible, spawn
from gateway.media import engine as media
from gateway.media.engine import LegStatistics, MediaEngine, Recorded
from gateway.mediation import Mediation
from gateway.notices import Notice, Notices
from gateway.outgoing import outgoing_call
from gateway.reach import version_of
from gateway.routing import DIRECT, TRUNK_FAILURES, Limits, NotSent, Routing, Stages
from gateway.session.model import Session
from gateway.session.policy import Policy, Towards
from gateway.sip import telephony as sip
from gateway.storage.records import CallRecord, Step
from gateway.trunks import LookUp
from gateway.xmpp import component as xmpp

log = structlog.get_logger()

__all__ = ["Limits", "Switchboard"]


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
        ladder: Callable[[str], tuple[Step, ...]] = lambda call: (),
        limits: Limits | None = None,
        say: Say = Say.FAILURES,
        language: str = "en",
        look_up: LookUp,
        unix_now: Callable[[], float],
        accounts: Accounts | None = None,
        direct: Policy = DIRECT,
    ) -> None:
        self._engine = engine
        self._domain = domain
        self._sip_domain = sip_domain
        self._trace = trace
        self._on_begin = on_begin
        self._on_end = on_end
        self._ladder = ladder
        self._unix_now = unix_now
        self._notices = Notices(say, language)
        self._accounts = accounts or Accounts(Shut())
        self._accounts.attach(self.tell, self._warn, self._write, self._notices)
        self.routing = Routing(
            plan,
            sip_domain=sip_domain,
            limits=limits or Limits(),
            look_up=look_up,
            accounts=self._accounts,
            now=_now,
            unix_now=unix_now,
            direct=direct,
        )
        self._media = Mediation(self.routing, self.tell, self._control, self._saw, unix_now)
        self._lines: dict[str, Line] = {}
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
        await self.routing.whereabouts.watch()

    def mappable(self, local: str) -> bool:
        """Whether this local part of a gateway address stands for anything (XEP-0276 is answered if it does)."""
        return dialplan.mappable(self.routing.plan, local)

    # --- calls that come in -------------------------------------------------------------------------------------------

    def on_xmpp_call(self, incoming: xmpp.IncomingCall, leg: LegControl) -> Admitted:
        """A user calls a contact of ours."""
        caller = incoming.user.partition("/")[0]
        line = self._new_line(leg, Facts("outbound", caller, incoming.local, key=incoming.key), Towards.XMPP)
        line.payer, line.video = caller, incoming.video
        spawn(line.tasks, self._route_from_xmpp(line, incoming))
        return Admitted(line.id, partial(self.tell, line.id))

    async def _route_from_xmpp(self, line: Line, incoming: xmpp.IncomingCall) -> None:
        try:
            outcome = await self.routing.decide(line.plan, line.facts.caller, incoming.local)
            offered = await self.routing.offer_from_user(line, incoming.session, outcome)
        except Exception:  # a bug of ours: he is told, and no call stays behind that nobody ends
            log.exception("a call could not be routed", call=line.id)
            offered = ev.Refused(Cause.INTERNAL)
        self._begin(line, offered)

    def on_sip_call(self, incoming: sip.IncomingCall, leg: LegControl) -> Admitted:
        """Somebody sends an INVITE."""
        trunk = self.routing.trunk_at(incoming.source[0], incoming.names, incoming.account)
        if incoming.replaces is not None:
            return self._on_replacement(incoming, leg, trunk)
        # P-Asserted-Identity is a trunk's word, from others it is nobody's (RFC 3325 §5).
        identity = incoming.asserted if trunk and incoming.asserted else incoming.from_uri
        line = self._new_line(leg, Facts("inbound", str(identity), str(incoming.uri), key=incoming.key), Towards.SIP)
        line.contact = self.routing.caller_local(incoming, identity, trunk)
        line.trunk = trunk.name if trunk is not None else None
        line.wants_offer, line.ip = incoming.session is None, version_of(incoming.source[0])
        if trunk is not None and trunk.transfers:
            line.transfers.add(trunk.name)
        try:
            offered = self.routing.offer_from_sip(line, incoming, trunk)
        except Exception:  # as above
            log.exception("a call could not be routed", call=line.id)
            offered = ev.Refused(Cause.INTERNAL)
        self._begin(line, offered)
        return Admitted(line.id, partial(self.tell, line.id))

    def _on_replacement(self, incoming: sip.IncomingCall, leg: LegControl, trunk: dialplan.Trunk | None) -> Admitted:
        """Somebody calls in place of one of a call's ends (RFC 3891): only through the trunk that this end came by."""
        call, _, old = incoming.replaces or ("", Leg.CALLER, 0)
        line = self._lines.get(call)
        allowed = line is not None and trunk is not None and trunk.transfers and line.via(old) == trunk.name
        if line is None or not allowed or incoming.session is None or line.machine.state is not State.TALKING:
            log.warning("replacement refused", call=call, source=incoming.source[0], key=incoming.key)
            cause = Cause.FORBIDDEN if not allowed else Cause.NO_COMMON_CODEC
            asyncio.get_running_loop().call_soon(leg.hang_up, cause)
            return Admitted(call, lambda report: None)
        attempt = line.machine.reserve()
        line.callees[attempt] = leg
        line.destinations[attempt] = Destination(line.via(old), str(incoming.from_uri))
        line.journal.begin(attempt, line.destinations[attempt], "replacement", _now())

        def sink(report: ev.Report) -> None:
            self.tell(call, as_attempt(report, attempt))

        event = ev.TakeOver(old, attempt, incoming.session)
        asyncio.get_running_loop().call_soon(self.tell, call, event)
        return Admitted(call, sink)

    def _begin(self, line: Line, offered: ev.Event) -> None:
        """Hand the machine its first event, after the room has got its Admitted back."""
        self._on_begin(line.facts.direction)
        asyncio.get_running_loop().call_soon(self.tell, line.id, offered)

    def _new_line(self, leg: LegControl, facts: Facts, towards_caller: Towards) -> Line:
        call = secrets.token_hex(6)
        bridge = Bridge(self._engine, call, towards_caller, lambda *pressed: self._dial_digits(call, *pressed))
        line = Line(call, Call(), leg, bridge, facts, self.routing.plan)
        line.journal.began = _now()
        self._lines[call] = line
        log.info("call", call=call, direction=facts.direction, caller=facts.caller, to=facts.callee, key=facts.key)
        return line

    # --- callees ------------------------------------------------------------------------------------------------------

    def _ask(self, line: Line, attempt: int, to: Destination, sink: Sink, alternative: bool) -> LegControl:
        """The leg of an attempt. Raises MediaError where its room is not attached, AddressError for a bad target."""
        if to.via == "echo":
            return EchoLine(attempt, sink)
        if to.via == JOINED:
            return Half(attempt, sink, lambda half, offer: self._come_in(line, to, half, offer))
        if to.via == "xmpp":
            return self._ask_xmpp(line, attempt, to, sink)
        return self._ask_sip(line, attempt, to, sink, alternative)

    def _come_in(self, line: Line, to: Destination, half: Half, offer: Session) -> bool:
        """The far end of this line comes to an end of another one, in the place of whoever has both."""
        call, old = end_of(to.target)
        other = self._lines.get(call)
        if other is None or other is line:
            return False
        attempt = other.machine.reserve()
        other.callees[attempt] = half.meet(attempt, lambda report: self.tell(call, report))
        other.destinations[attempt] = Destination(JOINED, target_of(line.id, half.attempt))
        other.journal.begin(attempt, other.destinations[attempt], "replacement", _now())
        self.tell(call, ev.TakeOver(old, attempt, offer))
        return True

    def _ask_sip(self, line: Line, attempt: int, to: Destination, sink: Sink, alternative: bool) -> LegControl:
        if self._telephony is None:
            raise MediaError("SIP is not attached")
        outgoing = outgoing_call(line, to, self._sip_domain, alternative=alternative)
        return self._telephony.callee(line.id, attempt, outgoing, sink)

    def _ask_xmpp(self, line: Line, attempt: int, to: Destination, sink: Sink) -> LegControl:
        if self._component is None:
            raise MediaError("XMPP is not attached")
        # A user who was transferred to another one appears as a caller from elsewhere does.
        user, _, host = line.payer.rpartition("@")
        contact = line.contact or contacts.local_of(SipUri("sip", user, host))
        trusted = line.facts.direction != "inbound" or line.trunk is not None
        return self._component.callee(
            line.id, attempt, to.target, f"{contact}@{self._domain}", sink, ask_presence=trusted
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
            case ev.Redirected(attempt):
                line.redirecting[attempt] = None
                spawn(line.tasks, self._redirected(line, report))
            case ev.HungUp(Leg.CALLEE, _, attempt) if attempt in line.redirecting:
                line.redirecting[attempt] = report  # its word counts if it is not followed
            case ev.Event():
                line.journal.heard(report, _now())
                for event in audible(line, report):
                    for effect in line.machine.handle(event, _now()):
                        line.journal.did(effect, _now())
                        self._carry_out(line, effect)
                self._accounts.follow(line)
                self._arm(line)
            case ev.Trickled():
                self._media.do(line, lambda: self._media.trickled(line, report))
            case ev.Dialled(leg, attempt, digits, duration):
                self._media.do(line, lambda: line.bridge.digits(leg, attempt, digits, duration))
            case ev.Reoffered():
                self._media.do(line, lambda: self._media.reoffered(line, report))
            case ev.Reanswered():
                self._media.do(line, lambda: line.bridge.reanswered(report))
            case ev.PictureAsked(leg, attempt):
                self._media.do(line, lambda: line.bridge.ask_picture(leg, attempt))
            case ev.Held(leg, attempt, held):
                self._media.do(line, lambda: self._media.held(line, leg, attempt, held))
            case ev.TransferAsked():
                spawn(line.tasks, self._transfer_asked(line, report))
            case ev.PartyChanged(leg, attempt, uri, name):
                number = 0 if leg is Leg.CALLER else attempt
                trusted = line.via(number) in line.plan.trunks  # from others it is a claim (RFC 3325 §5)
                log.info("party changed", call=line.id, leg=leg.value, uri=uri, name=name, trusted=trusted)
                if trusted:
                    self._write(self._notices.of_a_party(line, number, uri, name))

    def _carry_out(self, line: Line, effect: do.Effect) -> None:
        match effect:
            case do.PrepareOffer(attempt, destination, caller, beside):
                line.destinations[attempt] = destination
                self._media.do(line, lambda: self._media.prepare_offer(line, attempt, destination, caller, beside))
            case do.Dial(attempt, destination, session, alternative):
                try:
                    callee = self._ask(line, attempt, destination, partial(self.tell, line.id), alternative)
                except Exception:
                    log.exception("the callee cannot be asked", call=line.id, via=destination.via)
                    self.tell(line.id, ev.HungUp(Leg.CALLEE, Cause.INTERNAL, attempt))
                    return
                line.callees[attempt] = callee
                self._leg(line, lambda: callee.dial(session))
            case do.Alert():
                self._leg(line, line.caller.alert)
            case do.Progress():
                self._leg(line, line.caller.progress)
            case do.AskCaller() if line.wants_offer:
                self._media.do(line, lambda: self._media.offer_caller(line))
            case do.AskCaller():
                self._leg(line, line.caller.ask)
            case do.PrepareAnswer(attempt, callee_session, caller_session):
                self._media.do(line, lambda: self._media.prepare_answer(line, attempt, callee_session, caller_session))
            case do.Answer(session, 0):
                self._leg(line, lambda: line.caller.answer(session))
                self._media.do(line, line.bridge.flush_digits)
                self._media.do(line, lambda: self._media.record(line))
            case do.Answer(session, attempt):
                self._control(line, attempt, lambda control: control.answer(session))
            case do.Pair(attempt, session, kept):
                self._media.do(line, lambda: self._media.pair(line, attempt, session, kept))
            case do.Adopt(attempt, session, kept):
                self._media.do(line, lambda: self._media.adopt(line, attempt, session, kept))
            case do.Play(attempt, prompt):
                self._media.do(line, lambda: line.bridge.play(attempt, prompt))
            case do.TellTransfer(attempt, transfer):
                self._control(line, attempt, lambda control: control.transferred(transfer))
            case do.HangUp(leg, cause, attempt, text, q850):
                number = 0 if leg is Leg.CALLER else attempt
                self._control(line, number, lambda control: control.hang_up(cause, text, q850))
            case do.ReleaseAttempt(attempt):
                line.callees.pop(attempt, None)
                self.routing.attempt_over(line, attempt)
                self._media.do(line, lambda: line.bridge.release_attempt(attempt))
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

    def _control(self, line: Line, number: int, act: Callable[[LegControl], None]) -> None:
        control = line.control(number)
        if control is not None:
            self._leg(line, lambda: act(control))

    def _dial_digits(self, call: str, number: int, digits: str, duration: int) -> None:
        if (line := self._lines.get(call)) is not None:
            self._control(line, number, lambda control: control.dial_digits(digits, duration))

    def _arm(self, line: Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if line.machine.deadline is not None:
            loop = asyncio.get_running_loop()
            line.timer = loop.call_at(line.machine.deadline, self.tell, line.id, ev.TimedOut())

    def _write(self, notices: Iterable[Notice]) -> None:
        if self._component is not None:
            for notice in notices:
                self._component.say(notice.user, f"{notice.contact}@{self._domain}", notice.id, notice.bodies)

    def _warn(self, line: Line, number: int) -> None:
        self._saw(line.id, end_name(number), "hears that the call will end")
        self._media.do(line, lambda: line.bridge.play(number, "warning"))

    def _end(self, line: Line, record: do.Record) -> None:
        self._accounts.over(line)

        async def close() -> None:
            counters: dict[str, LegStatistics] = {}
            recorded: Recorded | None = None
            async with line.media:
                try:
                    recorded = await line.bridge.recorded()
                    counters = await line.bridge.close()
                except MediaError as error:
                    log.warning("media", call=line.id, error=str(error))
            self._lines.pop(line.id, None)
            self.routing.over(line)
            if line.timer is not None:
                line.timer.cancel()
            for leg, statistics in counters.items():
                self._trace(Traced(line.id, "media", False, spoken(leg, statistics), leg))
            # The machine's times are the loop's; records want the calendar's.
            elapsed = self._unix_now() - asyncio.get_running_loop().time()
            finished = record_of(line, record, counters, elapsed, recorded, self._ladder(line.id))
            log.info(
                "ended",
                call=line.id,
                cause=finished.cause,
                by=finished.by,
                text=finished.text,
                seconds=round(finished.duration, 1),
            )
            self._on_end(finished, record.cause)

        spawn(self._ending, close())
        self._write(self._notices.of_the_end(line, record))

    # --- sent elsewhere -----------------------------------------------------------------------------------------------

    async def _redirected(self, line: Line, event: ev.Redirected) -> None:
        """A callee points elsewhere (3xx): the caller's call goes there, if the dialplan lets it (safety rule 5)."""
        found = await self.routing.elsewhere(line, line.via(event.attempt), event.targets)
        said = line.redirecting.pop(event.attempt)
        if isinstance(found, NotSent):
            log.info("redirection not followed", call=line.id, reason=found.reason, to=event.targets)
            refused = said or ev.HungUp(Leg.CALLEE, Cause.FORBIDDEN, event.attempt)
            self.tell(line.id, replace(refused, text=f"redirected, and {found.reason}"))
        else:
            self.tell(line.id, ev.Detour(event.attempt, found))

    async def _transfer_asked(self, line: Line, notice: ev.TransferAsked) -> None:
        """An end wants the other one connected elsewhere (REFER): as the user's own call, by his rules and limits."""
        asker = 0 if notice.leg is Leg.CALLER else notice.attempt
        if not line.payer:  # a call from SIP: whoever answered it goes elsewhere, and pays
            line.payer = line.destinations[line.machine.attempt].target if line.machine.attempt else ""
        found: NotSent | Stages = NotSent("nobody is there who could be connected")
        if line.machine.can_transfer(asker) and notice.consulted is not None:
            found = self.routing.joined(line, asker, self._lines.get(notice.consulted.call), notice.consulted)
        elif line.machine.can_transfer(asker) and line.payer:
            found = await self.routing.elsewhere(line, line.via(asker), (notice.target,), notice.replaces)
        if not isinstance(found, NotSent) and not line.machine.can_transfer(asker):
            found = NotSent("the call is not what it was")  # while names were looked up
        if isinstance(found, NotSent):
            log.info("transfer refused", call=line.id, to=notice.target, reason=found.reason)
            self._control(line, asker, lambda control: control.transferred(Cause.FORBIDDEN))
            return
        log.info("transfer", call=line.id, to=notice.target, by=notice.leg.value)
        self.tell(line.id, ev.Transfer(asker, found, TRUNK_FAILURES))

    def _saw(self, call: str, leg: str, what: str, text: str = "") -> None:
        """A rung of the ladder that is about media."""
        self._trace(Traced(call, "media", False, f"{leg} {what}", leg, text))

    # --- the media engine's word --------------------------------------------------------------------------------------

    def on_media(self, event: media.MediaEvent) -> None:
        line = self._lines.get(event.call)
        if line is None:
            return
        if isinstance(event, media.PictureWanted):
            self._control(line, number_of(event.leg), lambda control: control.ask_picture())
            return
        if event.leg.endswith(media.VIDEO):  # beside the voice, which alone is the call
            self._saw(event.call, event.leg, type(event).__name__.lower(), getattr(event, "text", ""))
            return
        match event:
            case media.Connected(call, leg):
                self._saw(call, leg, "connected")
                line.journal.media(number_of(leg), _now())
                if number := number_of(leg):
                    self.tell(call, ev.MediaUp(number))
            case media.Digit(call, leg, digit, duration):
                self._saw(call, leg, f"digit {digit}")
                line.bridge.heard(leg, digit, duration)
            case media.Lost(call, leg, cause, text):
                self._saw(call, leg, "lost", text)
                number = number_of(leg)
                if line.machine.holds(number) and (number or line.bridge.carries(leg)):
                    self.tell(call, ev.MediaLost(cause, text))
                else:  # of somebody who is being asked, or is just coming in
                    self.tell(call, ev.OfferFailed(number, cause, text))
                    self.tell(call, ev.PairFailed(number, cause, text))

    # --- the end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """End every call with its cause and wait until all records are written."""
        for call in list(self._lines):
            self.tell(call, ev.Stopped(Cause.SHUTDOWN))
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
