"""What calls say while the XMPP link is down, and endings that must not get lost.

    say() ──┬─ link up ────> sent
            └─ link down ──> kept, within bounds ── link_up() ──> sent, in its order

A client that misses the end of its call keeps its microphone open, so endings are said again:
  - when the link comes back, since nobody knows what the server still had of the old one: each session-terminate that
    was not answered, each reject, retract and finish of the last half minute (nobody answers those),
  - when the server says that the device is not there: after a restart it is on its way, with the same JID.
Within two minutes, a quarter of a minute apart; a client that never answers is not told twice for that alone.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from gateway.xmpp import stanzas

MOST_KEPT = 2_000  # stanzas that wait for the link
MOST_ENDINGS = 2_000  # session-terminates without an answer
ENDING_LASTS = 120.0  # seconds for which one is said again, from when it could be said first
ENDING_AGAIN = 15.0  # seconds until a device that was not there is told again
UNHEARD = 30.0  # seconds in which a link may be dead before that is noticed

_TERMINATE = "session-terminate"
_JMI_ENDINGS = ("JMI reject", "JMI retract", "JMI finish")
_NOT_THERE = ("service-unavailable", "recipient-unavailable", "remote-server-timeout", "remote-server-not-found")


@dataclass(slots=True)
class _Ending:
    stanza: ET.Element
    until: float
    again: float | None = None


class Outbox:
    """`send` takes a stanza while the link is up. Times are seconds of one clock, which the caller reads."""

    def __init__(self, send: Callable[[ET.Element], None]) -> None:
        self.connected = False
        self._send = send
        self._kept: list[ET.Element] = []
        self._endings: OrderedDict[str, _Ending] = OrderedDict()  # by the id of the request
        self._lately: deque[tuple[float, ET.Element]] = deque(maxlen=MOST_KEPT)

    @property
    def deadline(self) -> float | None:
        if not self.connected:
            return None
        return min((ending.again for ending in self._endings.values() if ending.again is not None), default=None)

    def say(self, stanza: ET.Element, now: float) -> None:
        if not self.connected:
            if len(self._kept) < MOST_KEPT:
                self._kept.append(stanza)
            return
        label = stanzas.describe(stanza)[0]
        if label == _TERMINATE:
            self._endings[stanza.get("id", "")] = _Ending(stanza, now + ENDING_LASTS)
            if len(self._endings) > MOST_ENDINGS:
                self._endings.popitem(last=False)
        elif label in _JMI_ENDINGS:
            self._lately.append((now, stanza))
        self._send(stanza)

    def link_up(self, now: float) -> None:
        self.connected = True
        again = [ending.stanza for ending in self._endings.values()] + [stanza for _, stanza in self._lately]
        kept, self._kept = self._kept, []
        self._lately.clear()
        for ending in self._endings.values():
            ending.until, ending.again = now + ENDING_LASTS, None
        for stanza in again:
            self._send(stanza)
        for stanza in kept:
            self.say(stanza, now)

    def link_down(self, now: float) -> None:
        self.connected = False
        self._forget(now)
        while self._lately and self._lately[0][0] < now - UNHEARD:
            self._lately.popleft()

    def drop_all_but_endings(self) -> None:
        """Every call is over: what was to be said besides has no meaning any more."""
        endings = (_TERMINATE, *_JMI_ENDINGS)
        self._kept = [stanza for stanza in self._kept if stanzas.describe(stanza)[0] in endings]

    def answered(self, reply: ET.Element, now: float) -> bool:
        """The reply to an ending; False when it is none."""
        ending = self._endings.get(reply.get("id", ""))
        if ending is None or reply.get("from", "") != ending.stanza.get("to", ""):
            return False
        later = now + ENDING_AGAIN
        if reply.get("type") == "error" and stanzas.condition(reply).name in _NOT_THERE and later <= ending.until:
            ending.again = later
        else:
            del self._endings[reply.get("id", "")]
        return True

    def tick(self, now: float) -> None:
        if not self.connected:
            return
        self._forget(now)
        for ending in self._endings.values():
            if ending.again is not None and ending.again <= now:
                ending.again = None
                self._send(ending.stanza)

    def _forget(self, now: float) -> None:
        """The oldest stand first, but for those whose time a lost link has begun anew; they go when they come up."""
        while self._endings and (first := next(iter(self._endings))) and self._endings[first].until < now:
            del self._endings[first]
