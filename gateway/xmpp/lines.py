"""The book of all legs: whom each is about, which stanzas are for it, and which of them is due next.

A caller's leg hears the device that calls, a callee's leg all devices of the user who is called; both are found by the
sids that they answer to. Every request of a leg has an id that begins with its tag, and so have the replies.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.call.events import Leg
from gateway.call.leg import Sink
from gateway.xmpp.callee import CalleeLeg
from gateway.xmpp.callee import State as CalleeState
from gateway.xmpp.caller import CallerLeg
from gateway.xmpp.caller import State as CallerState
from gateway.xmpp.stanzas import bare

MOST_LEGS = 5_000
# Each way: calls that ring at a user must not keep him from calling for help. More than the switchboard grants him,
# which knows that an emergency call goes above every limit; this one is for memory.
MOST_LEGS_PER_USER = 30

# The user's JID (a caller's is full, a callee's bare), the contact's bare JID, the sid.
_Key = tuple[str, str, str]


@dataclass(slots=True)
class Line:
    """A leg with what the room needs to know of it."""

    leg: CallerLeg | CalleeLeg
    tag: str
    call: str = ""
    sink: Sink | None = None
    began: bool = False  # it is in the book
    deadline: float | None = None
    keys: tuple[_Key, ...] = ()

    @property
    def ended(self) -> bool:
        return self.leg.state in (CallerState.ENDED, CalleeState.ENDED)

    @property
    def side(self) -> Leg:
        return Leg.CALLER if isinstance(self.leg, CallerLeg) else Leg.CALLEE

    @property
    def attempt(self) -> int:
        return self.leg.attempt if isinstance(self.leg, CalleeLeg) else 0


class Lines:
    """All legs that have begun and not ended."""

    def __init__(self) -> None:
        self._all: dict[str, Line] = {}  # by tag
        self._keys: dict[_Key, Line] = {}
        self._by_user: dict[str, list[Line]] = {}  # by bare JID
        self._tags = itertools.count(1)
        self._timers: list[tuple[float, int, str]] = []  # may hold outdated entries
        self._timer_number = itertools.count()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Line]:
        """All of them as they are now, whatever is done to each."""
        return iter(tuple(self._all.values()))

    def new_tag(self) -> str:
        return f"{next(self._tags):x}"

    def asked(self, id_: str) -> Line | None:
        """Whose request this id is of."""
        return self._all.get(id_.partition("-")[0])

    def of(self, user: str) -> tuple[Line, ...]:
        """Those of a user, any device."""
        return tuple(self._by_user.get(bare(user), ()))

    def find(self, user: str, contact: str, sid: str) -> Line | None:
        """A caller's leg is his device's, a callee's leg all of the user's devices'."""
        return self._keys.get((user, bare(contact), sid)) or self._keys.get((bare(user), bare(contact), sid))

    def full(self, user: str, side: Leg) -> bool:
        """Whether there is no room for one more."""
        return len(self._all) >= MOST_LEGS or sum(line.side is side for line in self.of(user)) >= MOST_LEGS_PER_USER

    def busy(self, user: str, contact: str) -> bool:
        """Whether a call of the contact to the user would be taken for one that they have."""
        return any(line.leg.contact == bare(contact) and line.leg.busy for line in self.of(user))

    def talking(self, device: str, contact: str) -> Line | None:
        """The call that a device has with a contact."""
        lines = (line for line in self.of(device) if line.leg.contact == bare(contact))
        return next((line for line in lines if line.leg.talks_with(device)), None)

    def crossed(self, user: str, contact: str) -> Line | None:
        """The contact's own call to this user, while nobody has answered it: the two call one another."""
        for line in self.of(user):
            leg = line.leg
            if isinstance(leg, CalleeLeg) and leg.contact == bare(contact) and leg.state is CalleeState.ASKING:
                return line
        return None

    # --- what changes

    def begin(self, line: Line) -> None:
        line.began = True
        self._all[line.tag] = line
        self._by_user.setdefault(bare(line.leg.user), []).append(line)
        self.index(line)

    def index(self, line: Line) -> None:
        """Enter every sid that the leg answers to now, drop those that it no longer does, note when it is due."""
        leg = line.leg
        sids = leg.sids if isinstance(leg, CalleeLeg) else (leg.sid,)
        keys = () if line.ended else tuple((leg.user, leg.contact, sid) for sid in sids)
        if keys != line.keys:
            for key in line.keys:
                self._keys.pop(key, None)
            line.keys = keys
            for key in keys:
                self._keys[key] = line
        if leg.deadline != line.deadline:
            line.deadline = leg.deadline
            if line.deadline is not None:
                heapq.heappush(self._timers, (line.deadline, next(self._timer_number), line.tag))

    def forget(self, line: Line) -> None:
        line.began = False
        self.index(line)
        del self._all[line.tag]
        mine = self._by_user[bare(line.leg.user)]
        mine.remove(line)
        if not mine:
            del self._by_user[bare(line.leg.user)]

    # --- the clock

    @property
    def deadline(self) -> float | None:
        while self._timers:
            due, _, tag = self._timers[0]
            line = self._all.get(tag)
            if line is not None and line.deadline == due:
                return due
            heapq.heappop(self._timers)
        return None

    def due(self, now: float) -> Iterator[Line]:
        """Those whose time has come; each is to be indexed again."""
        tags = []
        while self._timers and self._timers[0][0] <= now:
            tags.append(heapq.heappop(self._timers)[2])
        for tag in tags:
            line = self._all.get(tag)
            if line is not None and line.deadline is not None and line.deadline <= now:
                line.deadline = None
                yield line
