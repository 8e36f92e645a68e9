"""What users read of their calls in the conversation with the contact: who is written to, and what.

Which endings are worth a line, and the words, are of call/words.py; the stanza is of xmpp/chat.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.addresses import SipUri
from gateway.call import effects as do
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.call.words import Kind, Say, said, worth_saying
from gateway.errors import AddressError
from gateway.line import Line


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for a user (bare JID) from a contact (local part); `bodies` are (language, text), the first one first."""

    user: str
    contact: str
    id: str
    bodies: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Notices:
    """`say` is what the operator wants said, `language` the first of each line's languages."""

    say: Say = Say.FAILURES
    language: str = "en"

    def of_the_end(self, line: Line, record: do.Record) -> Iterator[Notice]:
        """What the users' clients do not show of how a call ended."""
        user = Leg.CALLEE if line.facts.direction == "inbound" else Leg.CALLER
        talked = record.answered_at is not None
        kind = worth_saying(self.say, record.cause, record.by, user, talked=talked)
        # A stranger whom nobody's telephone rang for leaves nothing behind, or he could write to anybody.
        if kind is not None and not (line.quiet and kind is Kind.MISSED and record.rang_at is None):
            yield from self._lines(line, None, kind, record.cause, record.text)

    def of_the_ending(self, line: Line, cause: Cause, text: str, seconds: int) -> Iterator[Notice]:
        """A call that is up will end in so many seconds: whoever pays for it may wind up."""
        if self.say is not Say.NOTHING and line.payer:
            yield self._for_the_payer(
                line, said(Kind.ENDING, cause, text, first=self.language, seconds=seconds), Kind.ENDING
            )

    def of_a_freeze(self, line: Line, reason: str) -> Iterator[Notice]:
        """By what he did just now the payer's account was frozen."""
        if self.say is not Say.NOTHING and line.payer:
            yield self._for_the_payer(line, said(Kind.FROZEN, Cause.FROZEN, reason, first=self.language), Kind.FROZEN)

    def _for_the_payer(self, line: Line, bodies: tuple[tuple[str, str], ...], kind: Kind) -> Notice:
        return Notice(line.payer, line.contact or line.facts.callee, f"{kind.name.lower()}-{line.id}", bodies)

    def of_a_party(self, line: Line, number: int, uri: str, name: str) -> Iterator[Notice]:
        """Somebody else is at the end with this number now; the users at the others are told."""
        if self.say is Say.ALL:
            yield from self._lines(line, number, Kind.PARTY, party=name or _plain(uri))

    def _lines(
        self, line: Line, but: int | None, kind: Kind, cause: Cause = Cause.NORMAL, text: str = "", party: str = ""
    ) -> Iterator[Notice]:
        """For each user at an end of this call, but not at the end with the number `but`."""
        contact = line.contact or line.facts.callee
        users = {line.facts.caller} if line.facts.direction != "inbound" and but != 0 else set()
        asked = [number for number in line.destinations if line.via(number) == "xmpp" and number != but]
        if line.machine.attempt:
            asked = [number for number in asked if line.machine.holds(number)]
        users |= {line.destinations[number].target for number in asked}
        bodies = said(kind, cause, text, party or _shown(contact), self.language)
        for user in sorted(users):
            yield Notice(user, contact, f"{kind.name.lower()}-{line.id}", bodies)


def _shown(local: str) -> str:
    """A contact's local part as people write it."""
    user, percent, host = local.rpartition("%")
    return f"{user}@{host}" if percent else local


def _plain(uri: str) -> str:
    """Who a SIP URI says is there, as people write it: the number, or user@host."""
    try:
        parsed = SipUri.parse(uri)
    except AddressError:
        return ""
    number = parsed.user is not None and parsed.user.lstrip("+").isdigit()
    return (parsed.user or "") if number else f"{parsed.user}@{parsed.host}"
