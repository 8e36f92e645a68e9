"""What a booking does to budgets: decided on what the database holds of them, which is loaded, changed and written back
in one transaction. Pure.

    reserve ──▶ open ──extend──▶ open ──settle──▶ gone        reserved becomes what was really used
                 └── its lease runs out ──▶ lapsed ──settle, extend──▶ as if it had not

Rules:
1. No reserve and no extend takes `used + reserved` of a budget beyond its `most`. Either all budgets of a call pay for
   the same talk time, or none is touched.
2. Time that is granted later draws on the windows of that moment; what was used fills the windows in the order in which
   they granted it, and what goes beyond falls to the last.
3. A reservation whose lease ran out belongs to a gateway that died. One that was never answered is given back wholly.
   Of an answered one nobody knows how long it lasted, and the callee's side may have gone on: all that was granted to
   it counts as used. A gateway that was only slow finds its call lapsed and takes it up again, or settles it, exactly:
   what was given back while the call rang counts again once it talks, whether or not the budget still has it.
4. What is settled twice counts once.
5. A call that its budgets refuse leaves nothing behind but, where a claim says `freeze` and is used up by calls that
   are over, a frozen account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.dialplan.booking import Burst, Claim, Period, Tariff, Unit
from gateway.storage.windows import Window

LEASE = 3600.0  # s at most; a lease that ends later was given by a clock that was wrong


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call wants before anybody is asked: `seconds` of talk at `tariff`, under all of `claims`. `account` is the
    bare JID that pays.
    """

    call: str
    account: str
    claims: tuple[Claim, ...]
    bursts: tuple[Burst, ...] = ()
    tariff: Tariff | None = None
    seconds: int = 60


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may last `seconds`, counted from its answer; fewer than were asked for: the budgets pay no more."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """`claim` pays nothing more: `left` of it do not suffice. The call may last `seconds`, as before. `frozen`: by this
    the account is frozen.
    """

    claim: Claim
    left: int
    seconds: int = 0
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Frozen:
    """The account may make no paid calls until an operator thaws it. `fresh`: this ask froze it."""

    account: str
    reason: str
    since: datetime
    fresh: bool = False


Answer = Granted | Exhausted | Frozen


@dataclass(slots=True)
class Counter:
    """One budget in one window: a row."""

    id: str
    key: str
    budget: str
    unit: str
    period: str
    begins: int
    ends: int
    most: int
    used: int = 0
    reserved: int = 0


@dataclass(slots=True)
class Hold:
    """What a call has of one counter."""

    counter: str
    budget: str  # the same in every window
    unit: str
    begins: int
    granted: int
    used: int = 0  # counted as used, since it lapsed


@dataclass(slots=True)
class Entry:
    """The reservation of one call: a row."""

    call: str
    account: str
    until: float  # when its lease ends
    seconds: int = 0
    answered: bool = False
    lapsed: bool = False
    holds: list[Hold] = field(default_factory=list)
    new: bool = True


def budget_id(claim: Claim) -> str:
    """Which budget a claim draws on, whatever the window: another unit or period under the same key is another one."""
    return f"{claim.unit} {claim.period} {short_id(claim.key)}"


def counter_id(at: Window, budget: str) -> str:
    return f"{at.begins} {budget}"


def burst_id(burst: Burst) -> str:
    return short_id(burst.key)


def short_id(text: str) -> str:
    """The text, or a digest where a database refuses it (NUL, lone surrogates), or where an index has no room for it:
    a JID may have 3,071 octets (RFC 7622 §3.1).
    """
    if len(text) <= 180 and text.isascii() and "\0" not in text:
        return text
    octets = text.encode("utf-8", "surrogatepass")
    if len(octets) <= 180 and b"\0" not in octets and octets.decode("utf-8", "ignore") == text:
        return text
    return hashlib.sha256(octets).hexdigest()


class Book:
    """The rows that a batch of bookings concerns, at `now`. `windows` knows the present window of each period.

    Whoever loads fills the tables; whoever saves finds in `changed…` and `gone` what is to be written.
    """

    def __init__(self, now: float, windows: Callable[[Period], Window]) -> None:
        self.now = now
        self._windows = windows
        self.counters: dict[str, Counter] = {}
        self.entries: dict[str, Entry] = {}
        self.bursts: dict[str, list[float]] = {}  # when calls began
        self.frozen: dict[str, Frozen] = {}  # by the account's short id
        self.changed_counters: dict[str, Counter] = {}
        self.changed_entries: dict[str, Entry] = {}
        self.changed_bursts: dict[str, tuple[str, float]] = {}  # whose, and until when it matters
        self.newly_frozen: dict[str, Frozen] = {}
        self.gone: set[str] = set()

    # What has to be loaded.

    def counters_of(self, claims: Iterable[Claim]) -> dict[str, Counter]:
        """The counters that claims draw on now, by id, as they are before anybody did."""
        found = {}
        for claim in claims:
            at = self._windows(claim.period)
            name = counter_id(at, budget_id(claim))
            found[name] = Counter(
                name, claim.key, claim.budget, claim.unit, claim.period, at.begins, at.ends, claim.most
            )
        return found

    # What happens.

    def reserve(self, ask: Ask, lease: float) -> Answer:
        """A call begins. One that is known already asks as `extend` does: the word on an earlier reserve was lost."""
        if short_id(ask.account) in self.frozen:
            return self.frozen[short_id(ask.account)]
        if not ask.claims and not ask.bursts:
            return Granted(ask.seconds)
        entry = self.entries.get(ask.call)
        begins = entry is None or _given_back(entry)
        if begins:
            for burst in ask.bursts:
                if len(self._recent(burst)) >= burst.calls:
                    return self._freeze(
                        ask.account, f"{burst.name}: more than {burst.calls} calls in {burst.within} seconds"
                    )
        found = self._pay(ask, ask.seconds, ask.tariff, lease, entry)
        if isinstance(found, Granted) and begins:
            for burst in ask.bursts:
                name = burst_id(burst)
                self.bursts[name] = [*self._recent(burst), self.now]
                self.changed_bursts[name] = (ask.account, self.now + burst.within)
        return found

    def extend(self, ask: Ask, seconds: int, tariff: Tariff | None, answered: bool, lease: float) -> Answer:
        """A call that was reserved by `ask` is to last `seconds` in all, at this tariff."""
        entry = self.entries.get(ask.call)
        if answered and entry is not None and not entry.answered:
            entry.answered = True
            if entry.lapsed:  # rule 3
                self._count(entry)
            self._change(entry)
        if short_id(ask.account) in self.frozen:
            return self.frozen[short_id(ask.account)]
        return self._pay(ask, seconds, tariff, lease, entry, answered)

    def settle(self, call: str, seconds: int, cost: int, answered: bool) -> None:
        """A call is over; what it really used takes the place of its reservation (rules 2 and 4)."""
        entry = self.entries.pop(call, None)
        if entry is None:
            return
        amounts = {Unit.CALLS: 1, Unit.SECONDS: seconds, Unit.MONEY: cost}
        for budget in dict.fromkeys(hold.budget for hold in entry.holds):
            holds = sorted((hold for hold in entry.holds if hold.budget == budget), key=lambda hold: hold.begins)
            left = amounts[Unit(holds[0].unit)] if answered else 0
            for hold in holds:
                part = left if hold is holds[-1] else min(left, hold.granted)
                left -= part
                self._move(hold, -(0 if entry.lapsed else hold.granted), part - hold.used)
        self.changed_entries.pop(call, None)
        if not entry.new:
            self.gone.add(call)

    def lapse(self, entry: Entry) -> None:
        """Its lease ran out (rule 3)."""
        entry.lapsed = True
        for hold in entry.holds:
            self._move(hold, -hold.granted, 0)
        if entry.answered:
            self._count(entry)
        self._change(entry)

    def freeze(self, account: str, reason: str) -> None:
        if short_id(account) not in self.frozen:
            self._freeze(account, reason)

    # How.

    def _pay(
        self, ask: Ask, seconds: int, tariff: Tariff | None, lease: float, entry: Entry | None, answered: bool = False
    ) -> Answer:
        """As much of `seconds` as all budgets pay for, in all, together with what the call has."""
        if not ask.claims:
            return Granted(seconds)
        had: dict[str, int] = {}
        paid = 0
        if entry is not None and not _given_back(entry):
            paid = entry.seconds
            for hold in entry.holds:
                had[hold.budget] = had.get(hold.budget, 0) + hold.granted
        drawn: dict[str, tuple[Claim, Counter]] = {}
        for claim in ask.claims:
            budget = budget_id(claim)
            drawn[budget] = claim, self._counter(claim, budget)

        def lacking(talk: int) -> tuple[Claim, Counter, int] | None:
            for budget, (claim, counter) in drawn.items():
                more = _amount(claim, talk, tariff) - had.get(budget, 0)
                if more > 0 and more > (left := claim.most - counter.used - counter.reserved):
                    return claim, counter, left
            return None

        talk = seconds
        if lacking(talk) is not None:
            talk = _most(seconds, lambda talk: lacking(talk) is None)
            if talk <= paid and (short := lacking(talk + 1)) is not None:
                claim, counter, left = short
                frozen = claim.freeze and _is_used_up(claim, counter, tariff)
                if frozen:
                    self._freeze(ask.account, f"{claim.budget}: used up")
                return Exhausted(claim, max(0, left), talk, frozen=frozen)
        entry = self._opened(ask, entry)
        entry.until = self.now + min(lease, LEASE)
        entry.seconds = max(talk, paid)
        entry.answered = entry.answered or answered
        for budget, (claim, counter) in drawn.items():
            self._hold(entry, claim, counter, budget, _amount(claim, talk, tariff) - had.get(budget, 0))
        self._change(entry)
        return Granted(talk)

    def _opened(self, ask: Ask, entry: Entry | None) -> Entry:
        """The call's entry, open: a new one, the one there is, or one that had lapsed."""
        if entry is None:
            entry = self.entries[ask.call] = Entry(ask.call, ask.account, 0.0)
        elif entry.lapsed:
            entry.lapsed = False
            if entry.answered:
                for hold in entry.holds:
                    self._move(hold, hold.granted, -hold.used)
                    hold.used = 0
            else:
                entry.holds, entry.seconds = [], 0
        return entry

    def _hold(self, entry: Entry, claim: Claim, counter: Counter, budget: str, amount: int) -> None:
        if amount <= 0:
            return
        counter.most, counter.budget = claim.most, claim.budget  # as the plan has them now, for people
        for hold in entry.holds:
            if hold.counter == counter.id:
                break
        else:
            hold = Hold(counter.id, budget, claim.unit, counter.begins, 0)
            entry.holds.append(hold)
        hold.granted += amount
        self._move(hold, amount, 0)

    def _count(self, entry: Entry) -> None:
        """All that was granted is used (rule 3)."""
        for hold in entry.holds:
            self._move(hold, 0, hold.granted - hold.used)
            hold.used = hold.granted

    def _move(self, hold: Hold, reserved: int, used: int) -> None:
        counter = self.counters.get(hold.counter)
        if counter is not None:  # else its window is long over
            counter.reserved += reserved
            counter.used += used
            self.changed_counters[counter.id] = counter

    def _counter(self, claim: Claim, budget: str) -> Counter:
        counter = self.counters.get(counter_id(self._windows(claim.period), budget))
        if counter is None:
            (counter,) = self.counters_of((claim,)).values()
            self.counters[counter.id] = counter
        return counter

    def _recent(self, burst: Burst) -> list[float]:
        """When calls began that still count. One in the future is of a clock that was wrong."""
        times = self.bursts.get(burst_id(burst), [])
        return [at for at in times if abs(self.now - at) < burst.within][-burst.calls :]

    def _freeze(self, account: str, reason: str) -> Frozen:
        since = datetime.fromtimestamp(self.now, UTC)
        self.frozen[short_id(account)] = self.newly_frozen[short_id(account)] = Frozen(account, reason, since)
        return Frozen(account, reason, since, fresh=True)

    def _change(self, entry: Entry) -> None:
        self.changed_entries[entry.call] = entry


def _is_used_up(claim: Claim, counter: Counter, tariff: Tariff | None) -> bool:
    """Whether what calls have used leaves no second of talk; what is only reserved may yet be given back."""
    return counter.used + _amount(claim, 1, tariff) > claim.most


def _given_back(entry: Entry) -> bool:
    return entry.lapsed and not entry.answered


def _amount(claim: Claim, seconds: int, tariff: Tariff | None) -> int:
    """What a call of that length takes of a budget."""
    match claim.unit:
        case Unit.CALLS:
            return 1
        case Unit.SECONDS:
            return seconds
        case Unit.MONEY:
            return tariff.cost(seconds) if tariff is not None else 0


def _most(seconds: int, pays: Callable[[int], bool]) -> int:
    """The greatest number of seconds below this one that is paid for, 0 for none: who pays for more pays for less."""
    low, high = 0, max(0, seconds)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if pays(middle) else (low, middle)
    return low
