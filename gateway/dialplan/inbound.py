"""Where a call from SIP goes, and under what name its caller appears (rule 4 of plan.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import contacts
from gateway.addresses import SipUri
from gateway.contacts import Dialled
from gateway.dialplan import numbers
from gateway.dialplan.callers import limits, policy_of
from gateway.dialplan.compiled import Plan
from gateway.dialplan.index import Facts
from gateway.dialplan.numbers import Kind
from gateway.dialplan.outcomes import InboundRoute, Refusal
from gateway.dialplan.patterns import stands_for
from gateway.dialplan.rules import InboundMatch, InboundRule, Trunk, sip_caller
from gateway.errors import AddressError


@dataclass(frozen=True, slots=True)
class Inbound:
    """An INVITE for this Request-URI; `trunk` is the name of the trunk that it came from, None for anybody else.

    `caller` is the local part under which its caller appears, as caller_local() has it, None while nobody knows it.
    """

    uri: SipUri
    trunk: str | None = None
    region: str | None = None
    caller: str | None = None
    at: datetime | None = None


def inbound(plan: Plan, call: Inbound, *, explain: bool = False) -> InboundRoute | Refusal:
    """Decides about a call from SIP; never raises for what a peer sent. `explain` as in route()."""
    # juliet%40shakespeare.lit and juliet%shakespeare.lit are one user to a rule.
    jid = contacts.jid_of(call.uri)
    user = contacts.folded(call.uri.user or "")
    shown = "%".join(jid.rsplit("@", 1)) if jid else user
    number = _e164(call.uri, call.region or _region(plan, plan.trunks.get(call.trunk or "")))
    kind = Kind.NUMBER if number else Kind.URI
    source = f"trunk {call.trunk}" if call.trunk else "a stranger"
    steps = [f"{call.uri} from {source}, user {shown or 'empty'}" + (f", number {number}" if number else "")]
    caller = calling(call.caller) if call.caller is not None else None
    if caller is not None:
        steps.append(f"its caller is {caller}")

    def refuse(reason: str, rule: str | None = None, *, wanted: bool = False) -> Refusal:
        steps.append(f"refused: {reason}")
        return Refusal(kind, number, rule, reason, tuple(steps), wanted)

    looked_at: Sequence[int] = range(len(plan.inbound))
    if not explain:
        looked_at = plan.inbound_index.find(Facts(number=number, user=shown))
    for rule in (plan.inbound[index] for index in looked_at):
        why_not, captured = _inbound_mismatch(rule.match, call.trunk, shown, number)
        why_not = why_not or _differs(rule, caller, call.at)
        if why_not:
            if explain:
                steps.append(f"{rule.name}: no, {why_not}")
            continue
        if rule.refuse is not None:
            steps.append(f"{rule.name}: matches and refuses")
            return refuse(rule.refuse, rule.name, wanted=True)
        try:
            # Names were prepared when the rule was read; what was captured is a peer's word.
            to = tuple(
                target.replace("{user}", contacts.prepared_local(captured)) if "{user}" in target else target
                for target in rule.to
            )
        except AddressError as error:
            return refuse(str(error), rule.name)
        if stranger := next((target for target in to if not plan.ours(target)), None):
            return refuse(f"{stranger} is not a user of this gateway", rule.name)
        steps.append(f"{rule.name}: matches, rings {', '.join(to)}" + (f" in {rule.ring}" if len(to) > 1 else ""))
        seconds = _ring_seconds(plan, rule, to)
        if seconds is not None and call.trunk is None:
            steps.append("a stranger's call rings as long as any")  # or its length would tell whom it reached
        elif seconds is not None:
            each = "each rings" if rule.ring == "sequence" and len(to) > 1 else "rings"
            steps.append(f"{each} {seconds:g} s")
        if rule.record != "no":
            steps.append(recorded(rule.record))
        counted = limits(plan, None, (call.trunk,) if call.trunk else (), rule)
        ring_seconds = seconds if call.trunk else None
        return InboundRoute(
            to, rule.ring, rule.name, tuple(steps), number, counted, ring_seconds, rule.transcode, rule.record
        )  # fmt: skip
    return refuse("nobody is called by this name or number")


def recorded(how: str) -> str:
    """What an explanation says of a rule's `record`."""
    return "is recorded, and both hear so first" if how == "notice" else "is recorded"


def _differs(rule: InboundRule, caller: str | None, at: datetime | None) -> str:
    """What else keeps a rule from matching: who calls, and when. "" when nothing does."""
    match = rule.match
    if match.caller and not (caller is not None and match.callers.match(sip_caller(caller))):
        return "the caller differs"
    # As for calls from XMPP: without a clock refusals hold, ways do not.
    if match.hours and not (match.hours.contain(at) if at else rule.refuse is not None):
        return f"it is for {match.hours.text}"
    return ""


def _ring_seconds(plan: Plan, rule: InboundRule, to: Sequence[str]) -> float | None:
    """The rule's word, else the longest time of whom it rings."""
    if rule.ring_seconds is not None or not plan.callers:
        return rule.ring_seconds
    return max((each for user in to if (each := plan.settings(user).ring_seconds) is not None), default=None)


def calling(local: str) -> str:
    """Who calls, as rules compare it: a number in E.164, user@host, or "anonymous" (RFC 3323 §4.1.1.3).

    `local` is a local part as caller_local() makes it. A number without a + is one at its host, never a trunk's.
    """
    try:
        contact = contacts.contact(local)
    except AddressError:
        return "anonymous"
    if isinstance(contact, Dialled):
        return contact.text
    if not isinstance(contact, SipUri):
        return contacts.folded(local)
    user = contacts.folded(contact.user or "anonymous")
    withheld = user == "anonymous" or contact.host.endswith("anonymous.invalid")
    return "anonymous" if withheld else f"{user}@{contact.host}"


def _inbound_mismatch(match: InboundMatch, trunk: str | None, user: str, number: str | None) -> tuple[str, str]:
    """Why a rule is not for this call ("" when it is), and what {user} stands for."""
    if trunk is None and not match.any_source:
        return "it is for calls from trunks", ""
    if match.trunk and trunk not in match.trunk:
        return f"it is for calls from {' or '.join(match.trunk)}", ""
    if match.number and not (number and any(stands_for(pattern, number) is not None for pattern in match.number)):
        return "the number differs", ""
    if not match.user:
        return "", user
    for pattern in match.user:
        captured = stands_for(pattern, user)
        if captured is not None:
            return "", captured
    return "the user part differs", ""


def _region(plan: Plan, trunk: Trunk | None) -> str | None:
    """Where a trunk's numbers without a + are of: its policy says what is national for it."""
    return (policy_of(plan, None, trunk).region if trunk else None) or plan.region


def _e164(uri: SipUri, region: str | None) -> str | None:
    """The number in the user part of a SIP or tel URI in E.164, None when it is none."""
    try:
        dialled = contacts.dialled_in(uri)
    except AddressError:
        return None
    return numbers.read(dialled, region).number if dialled else None


def caller_local(plan: Plan, from_uri: SipUri, trunk: Trunk | None) -> str:
    """The local part under which a caller from SIP appears: +E164 from trunks alone, anybody else as user%host."""
    if trunk is not None and (number := _e164(from_uri, _region(plan, trunk))):
        return number
    host = from_uri.host or (trunk.proxy.host if trunk else "anonymous.invalid")  # RFC 3323 §4.1.1.3
    # Where to call back is the user at his host; parameters describe the way this call came.
    for user in (from_uri.user, "anonymous"):
        try:
            return contacts.local_of(SipUri("sip", user, host, from_uri.port))
        except AddressError:
            continue
    return "anonymous%anonymous.invalid"
