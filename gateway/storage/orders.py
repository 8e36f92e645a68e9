"""What may be ordered of the books, which rows a batch of orders concerns, and how each is carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.dialplan.booking import Claim, Tariff
from gateway.storage.book import Ask, Book, burst_id


@dataclass(frozen=True, slots=True)
class Reserve:
    ask: Ask
    lease: float
    known: bool  # it may have a reservation already


@dataclass(frozen=True, slots=True)
class Extend:
    ask: Ask
    seconds: int
    tariff: Tariff | None
    answered: bool
    lease: float


@dataclass(frozen=True, slots=True)
class Settle:
    call: str
    seconds: int
    cost: int
    answered: bool


@dataclass(frozen=True, slots=True)
class Freeze:
    account: str
    reason: str


@dataclass(frozen=True, slots=True)
class Thaw:
    account: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Give back what those that died had reserved, and take away what is long over."""


Together = Reserve | Extend | Settle | Freeze  # any number of them in one transaction
Order = Together | Thaw | Sweep


@dataclass(slots=True)
class Concerned:
    """What has to be loaded for a batch: reservations by call, who may be frozen, bursts by id with their accounts, and
    claims on budgets.
    """

    calls: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    bursts: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)


def concerned(orders: Iterable[Order], *, again: bool) -> Concerned:
    """`again`: they were tried before, perhaps with success."""
    found = Concerned()
    for order in orders:
        match order:
            case Reserve(ask, _, known):
                found.bursts |= {burst_id(burst): ask.account for burst in ask.bursts}
                if known or again:
                    found.calls.append(ask.call)
                found.accounts.append(ask.account)
                found.claims += ask.claims
            case Extend(ask):
                found.calls.append(ask.call)
                found.accounts.append(ask.account)
                found.claims += ask.claims
            case Settle(call):
                found.calls.append(call)
            case Freeze(account):
                found.accounts.append(account)
    return found


def carried_out(book: Book, order: Order) -> object:
    """The answer."""
    match order:
        case Reserve(ask, lease):
            return book.reserve(ask, lease)
        case Extend(ask, seconds, tariff, answered, lease):
            return book.extend(ask, seconds, tariff, answered, lease)
        case Settle(call, seconds, cost, answered):
            book.settle(call, seconds, cost, answered)
        case Freeze(account, reason):
            book.freeze(account, reason)
    return None
