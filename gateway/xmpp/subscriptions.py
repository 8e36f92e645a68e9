"""Who is subscribed to whom (RFC 6121 §3), as a book whose changes are told, so that a restart loses none of them.

    sees          the user gets the contact's presence: he subscribed
    seen          the contact gets the user's: he approved what we asked
    asked         our own subscribe went out; once while the link is up, two gateways would otherwise answer each other
                  for ever
    registered    with the gateway's domain (XEP-0077, XEP-0100 §4.1)

Both JIDs are bare. What the database keeps of a pair are these words, and nothing when it is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from enum import Flag, auto

from gateway.xmpp.stanzas import bare

MOST_OF_USERS = 100_000  # of all our users together; some 12 MB
MOST_PER_USER = 500
MOST_OF_STRANGERS = 1_000  # who are not kept, and of whom the oldest are forgotten

Changed = Callable[[str, str, str], None]


class Tie(Flag):
    NONE = 0
    SEES = auto()
    SEEN = auto()
    ASKED = auto()
    REGISTERED = auto()

    def __str__(self) -> str:
        return " ".join((tie.name or "").lower() for tie in Tie if tie & self)

    @classmethod
    def parse(cls, text: str) -> Tie:
        """The ties of a row; words that nobody knows are left out."""
        found = Tie.NONE
        for tie in Tie:
            if (tie.name or "").lower() in text.split():
                found |= tie
        return found


class Subscriptions:
    """The book of our users, or of strangers (`forgetful`). `on_change` is told user, contact and what is between them,
    empty when that is over.
    """

    def __init__(
        self,
        most: int,
        per_user: int,
        on_change: Changed = lambda user, contact, ties: None,
        *,
        forgetful: bool = False,
    ) -> None:
        self._most = most
        self._per_user = per_user
        self._on_change = on_change
        self._forgetful = forgetful
        self._by_user: OrderedDict[str, dict[str, Tie]] = OrderedDict()
        self._count = 0

    def between(self, user: str, contact: str) -> Tie:
        return self._by_user.get(bare(user), {}).get(bare(contact), Tie.NONE)

    def add(self, user: str, contact: str, ties: Tie) -> bool:
        """Keep this; False when there is no room for it."""
        user, contact = bare(user), bare(contact)
        before = self.between(user, contact)
        if before | ties == before:
            return True
        if not before:
            if len(self._by_user.get(user, ())) >= self._per_user:
                return False
            if self._count >= self._most:
                if not self._forgetful:
                    return False
                oldest = next(iter(self._by_user))
                self._drop(oldest, next(iter(self._by_user[oldest])))
        self._put(user, contact, before | ties)
        self._on_change(user, contact, str(before | ties))
        return True

    def remove(self, user: str, contact: str, ties: Tie) -> None:
        user, contact = bare(user), bare(contact)
        before = self.between(user, contact)
        after = before & ~ties
        if after == before:
            return
        # What we asked of somebody who left is nothing to remember.
        if not after & ~Tie.ASKED:
            after = Tie.NONE
            self._drop(user, contact)
        else:
            self._put(user, contact, after)
        self._on_change(user, contact, str(after))

    def load(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """What the database has kept, before anything is changed; beyond the bounds it is left there."""
        for user, contact, text in rows:
            ties = Tie.parse(text)
            if ties and self._count < self._most and len(self._by_user.get(user, ())) < self._per_user:
                self._put(user, contact, ties)

    def __iter__(self) -> Iterator[tuple[str, str, Tie]]:
        for user, contacts in self._by_user.items():
            for contact, ties in contacts.items():
                yield user, contact, ties

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return self.between(*pair) != Tie.NONE

    def __len__(self) -> int:
        return self._count

    def _put(self, user: str, contact: str, ties: Tie) -> None:
        contacts = self._by_user.setdefault(user, {})
        self._count += contact not in contacts
        contacts[contact] = ties

    def _drop(self, user: str, contact: str) -> None:
        contacts = self._by_user[user]
        del contacts[contact]
        self._count -= 1
        if not contacts:
            del self._by_user[user]
