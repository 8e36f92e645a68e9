"""What somebody was shown for a while (XEP-0276), in the order in which it was asked for. Everything is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from gateway.xmpp.stanzas import bare

SHARES_PER_USER = 100

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Pair = tuple[str, str]  # who was shown (full JID, or bare when we asked), and the contact's JID that was shown


class Bounded(Generic[K, V]):
    """A mapping that forgets its oldest entry beyond `most`; setting a key makes it the newest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, V] = OrderedDict()

    def __setitem__(self, key: K, value: V) -> None:
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def get(self, key: K) -> V | None:
        return self._held.get(key)

    def pop(self, key: K) -> V | None:
        return self._held.pop(key, None)

    def __contains__(self, key: K) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[K]:
        return iter(self._held)


class Shares:
    """Shares in the order in which they were last asked for, with a bound for each user and one for all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: OrderedDict[Pair, float] = OrderedDict()  # since when
        self._by_user: dict[str, OrderedDict[Pair, None]] = {}

    def add(self, pair: Pair, now: float) -> Iterator[Pair]:
        """Keep one; yields those that end for it."""
        self.remove(pair)
        mine = self._by_user.get(bare(pair[0]), ())
        if len(mine) >= SHARES_PER_USER:
            yield self.remove(next(iter(mine)))
        if len(self._all) >= self._most:
            yield self.remove(next(iter(self._all)))
        self._all[pair] = now
        self._by_user.setdefault(bare(pair[0]), OrderedDict())[pair] = None

    def remove(self, pair: Pair) -> Pair:
        if self._all.pop(pair, None) is not None:
            mine = self._by_user[bare(pair[0])]
            del mine[pair]
            if not mine:
                del self._by_user[bare(pair[0])]
        return pair

    def of(self, user: str, contact: str) -> tuple[Pair, ...]:
        """The shares of a user (any device) and a contact (any of its JIDs)."""
        return tuple(pair for pair in self._by_user.get(bare(user), ()) if bare(pair[1]) == bare(contact))

    def oldest(self) -> tuple[Pair, float] | None:
        return next(iter(self._all.items()), None)

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._all

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
