"""Who sees whom: temporary presence (XEP-0276), subscriptions, probes, and what is shown of its own accord.

    what a user sends                          what the contact does
    temppres request, in any presence          presence with call caps from the JID asked to the asker; for a while
    subscribe                                  subscribed, a subscribe of its own (once), presence
    unsubscribe                                unsubscribed, unavailable
    probe                                      presence
    presence, message, request, propose        presence, once until that device is unavailable
    presence that his server sends by itself   nothing: who unsubscribed, and lets us see him, did not ask
    unavailable                                what was shared with this device ends with unavailable
    any of the asking ones, unmappable         an error

Presence that was asked for by XEP-0276 always has the caps that a call needs, and nothing else. All other presence has
a picture too, and the caps of what the dialplan lets this user do: no button lights for a call that would be refused.

A share (what somebody was shown for a while, whoever asked for it) ends with its call, with either side's unavailable
presence, ten minutes after it was asked for if there is no call, or when its user has a hundred newer ones. A user who
subscribed knows the contact for good: no share is made, and what he was shown before becomes the subscription's. His
subscription outlives us: he is told when we come and when we go. When we come he is asked, once, which devices are
there: a call from a number that he does not know finds them then. What we asked and nobody answered is asked again
then: he may have approved it while we were away, and his server says so.

Strangers (of other domains than our users') are answered like anybody, but only the latest thousand shares and
subscriptions of theirs are remembered, and nothing of their presence. Every table has its bound.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator

from gateway.xmpp import disco, profile, stanzas
from gateway.xmpp.caps import Entity
from gateway.xmpp.devices import Device, Devices
from gateway.xmpp.disco import Sets
from gateway.xmpp.shares import Bounded, Pair, Shares
from gateway.xmpp.stanzas import bare, domain, local
from gateway.xmpp.subscriptions import (
    MOST_OF_STRANGERS,
    MOST_OF_USERS,
    MOST_PER_USER,
    Changed,
    Subscriptions,
    Tie,
)

__all__ = ["Bounded", "Device", "Presences"]

SHARE_LASTS = 600.0  # seconds without a call
REMEMBERED_OF_USERS = 20_000  # shares, and devices that were shown something
REMEMBERED_OF_STRANGERS = 1_000
ANNOUNCED_AT_ONCE = 50  # subscribers who are told that we are there, …
ANNOUNCE_EVERY = 0.05  # … and seconds until the next: a server is not drowned by a gateway that starts

# Presence that says something to us and wants no answer (RFC 6121 §4; errors are never answered).
_UNANSWERED = {"error": "presence error", "subscribed": "", "unsubscribed": ""}


class _Book:
    """What is remembered of our users, or of strangers."""

    def __init__(self, most: int, ties: Subscriptions) -> None:
        self.shares = Shares(most)
        # Which device was shown which contact (bare) of our own accord, and whether as one that it may call.
        self.shown: Bounded[Pair, bool] = Bounded(most)
        self.ties = ties


class Presences:
    """All of the above. Methods take stanzas in and return the stanzas to send; `domain` is ours.

    `may_call`, and `has_video` for calls that may have it, are asked for each presence with a user's bare JID and a
    local part, `may_dial` with the user's alone.
    """

    def __init__(
        self,
        domain: str,
        users: tuple[str, ...],
        mappable: Callable[[str], bool],
        *,
        sets: Sets = disco.SETS,
        may_call: Callable[[str, str], bool] = lambda user, local: True,
        may_dial: Callable[[str], bool] = lambda user: True,
        has_video: Callable[[str, str], bool] = lambda user, local: False,
        on_ignored: Callable[[str], None] = lambda reason: None,
        on_subscription: Changed = lambda user, contact, ties: None,
    ) -> None:
        self.sets = sets
        self.may_call = may_call
        self.may_dial = may_dial
        self.has_video = has_video
        self._domain = domain
        self._users = frozenset(users)
        self._mappable = mappable
        self._on_ignored = on_ignored
        self._ours = _Book(REMEMBERED_OF_USERS, Subscriptions(MOST_OF_USERS, MOST_PER_USER, on_subscription))
        self._strangers = _Book(
            REMEMBERED_OF_STRANGERS, Subscriptions(MOST_OF_STRANGERS, MOST_PER_USER, forgetful=True)
        )
        self._calls: dict[Pair, int] = {}  # calls under way, by the two bare JIDs
        self._devices = Devices()
        self._less: set[Pair] = set()  # subscribers (bare) who were shown a contact that they may not call
        self._announcing: Iterator[Pair] = iter(())
        self._probed: set[str] = set()  # users (bare) who were asked for their presence since the link is up
        self._announce_at: float | None = None
        self._only_changes = False
        self._gone_for_good = False  # farewell was said

    # --- the link

    def restore(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """The subscriptions that an earlier run has kept: user, contact, ties. Before the link is up."""
        self._ours.ties.load(row for row in rows if domain(row[1]) == self._domain and domain(row[0]) in self._users)

    def link_up(self, now: float) -> None:
        """Subscribers are told that we are there, little by little: clients may have been online before us."""
        self._announce(now, only_changes=False)

    def refresh(self, now: float) -> None:
        """The dialplan may allow other things now: subscribers are shown what changed for them, little by little."""
        self._announce(now, only_changes=self._announce_at is None or self._only_changes)

    def _announce(self, now: float, *, only_changes: bool) -> None:
        self._announcing = iter([(user, contact) for user, contact, _ in self._ours.ties])
        self._announce_at = now if len(self._ours.ties) else None
        self._only_changes = only_changes

    def link_lost(self) -> None:
        """What the server told us may have changed unheard: nobody's device is known to be there."""
        self._devices.clear()
        self._ours.shown = Bounded(REMEMBERED_OF_USERS)
        self._strangers.shown = Bounded(REMEMBERED_OF_STRANGERS)
        self._announcing, self._announce_at = iter(()), None
        self._probed.clear()
        self._less.clear()

    def farewell(self) -> list[ET.Element]:
        """We go: everybody who was shown a contact is told, each once, and nobody is shown one any more: what crosses
        this would leave it there for good.
        """
        self._gone_for_good = True
        self._announcing, self._announce_at = iter(()), None
        subscribed = dict.fromkeys(self._subscribers())
        told = [(user, self.voice(contact)) for user, contact in subscribed]
        for book in (self._ours, self._strangers):
            others = (pair for pair in book.shown if (bare(pair[0]), pair[1]) not in subscribed)
            told += [(user, self.voice(contact)) for user, contact in others]
            told += book.shares
        return [self._gone(pair) for pair in told]

    def _subscribers(self) -> Iterator[tuple[str, str]]:
        return ((user, contact) for user, contact, ties in self._ours.ties if ties & (Tie.SEES | Tie.REGISTERED))

    # --- the clock

    @property
    def deadline(self) -> float | None:
        """When the oldest share is due to be looked at, or the next subscribers are to be told."""
        books = (self._ours, self._strangers)
        times = [oldest[1] + SHARE_LASTS for book in books if (oldest := book.shares.oldest())]
        return min((*times, *(() if self._announce_at is None else (self._announce_at,))), default=None)

    def tick(self, now: float) -> list[ET.Element]:
        """End what is over; a share with a call is put to the back of the queue."""
        sent = []
        for shares in (self._ours.shares, self._strangers.shares):
            while (oldest := shares.oldest()) and oldest[1] + SHARE_LASTS <= now:
                pair, _ = oldest
                if self._in_call(pair):
                    sent += [self._gone(ended) for ended in shares.add(pair, now)]
                else:
                    sent.append(self._gone(shares.remove(pair)))
        if self._announce_at is not None and self._announce_at <= now:
            pairs = list(itertools.islice(self._announcing, ANNOUNCED_AT_ONCE))
            self._announce_at = now + ANNOUNCE_EVERY if len(pairs) == ANNOUNCED_AT_ONCE else None
            for pair in pairs:
                sent += self._announced(*pair)
        return sent

    def _announced(self, user: str, contact: str) -> list[ET.Element]:
        """One pair's turn. When the link is up a probe goes to each user once, from the first contact who may have his
        presence: what came online before us is known no other way, and the next to call may be new to him.
        """
        sent: list[ET.Element] = []
        if self._sees(user, contact) and not (self._only_changes and self._unchanged((user, contact))):
            sent.append(self._shown(user, contact))
        if self._only_changes:
            return sent
        ties = self._ours.ties.between(user, contact)
        if Tie.SEEN not in ties:  # a probe would not be answered (RFC 6121 §4.3.2)
            if Tie.ASKED in ties:  # but a subscribe that he has approved is, by his server (§3.1.3)
                sent.append(self._question(user, contact))
        elif user not in self._probed:
            self._probed.add(user)
            sent.append(stanzas.presence(user, contact, type="probe"))
        return sent

    def _unchanged(self, pair: Pair) -> bool:
        return (self._entity(*pair) in (self.sets.mute, self.sets.plain)) == (pair in self._less)

    # --- stanzas

    def receive(self, stanza: ET.Element, now: float) -> list[ET.Element]:
        """A presence stanza to one of our JIDs."""
        sent = self._received(stanza, now)
        return [each for each in sent if each.get("type")] if self._gone_for_good else sent

    def _received(self, stanza: ET.Element, now: float) -> list[ET.Element]:
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        ties = self._book(user).ties
        type_ = stanza.get("type", "")
        if type_ == "unavailable":
            return self._unavailable(user, asked)
        if type_ == "unsubscribe":
            ties.remove(user, asked, Tie.SEES | Tie.ASKED)
            self._less.discard((bare(user), bare(asked)))
            return [stanzas.presence(bare(user), bare(asked), type="unsubscribed"), self._withdrawn(user, asked)]
        if type_ == "subscribed" and Tie.ASKED in ties.between(user, asked):  # nobody approves what was not asked
            ties.add(user, asked, Tie.SEEN)
        if type_ == "unsubscribed":
            ties.remove(user, asked, Tie.SEEN | Tie.ASKED)  # he may be asked again, when he subscribes again
        if type_ not in ("", "subscribe", "probe"):
            if reason := _UNANSWERED.get(type_, "presence type"):
                self._on_ignored(reason)
            return []
        if local(asked) and not self._mappable(local(asked)):
            return [stanzas.error(stanza, *disco.complaint(local(asked)))]
        sent = self._lookup(stanza, now) if not type_ else []
        requested = stanzas.temppres_of(stanza)
        if requested:
            sent.append(self._asked_for(user, asked))
        if type_ == "subscribe":
            return sent + self._subscribe(user, asked)
        if type_ == "probe":
            ties.add(user, asked, Tie.SEES)  # only subscribers' servers probe (RFC 6121 §4.3): we have lost it
            return [*sent, self._shown(user, asked)]
        if requested:
            return sent + self._share((user, asked), now)
        return sent if self._by_itself(user, asked) else sent + self._volunteer(user, asked)

    def met(self, user: str, asked: str) -> list[ET.Element]:
        """A user's device speaks to a contact in a message or a request: the first time it is shown the contact."""
        shared = self._book(user).shares.of(user, asked)
        if (
            self._gone_for_good
            or not local(asked)
            or user == bare(user)
            or any(pair[0] in (user, bare(user)) for pair in shared)
        ):
            return []
        return self._volunteer(user, asked)

    def voice(self, asked: str) -> str:
        """The JID that a contact uses where the choice is ours; the domain speaks for itself."""
        return f"{bare(asked)}/{stanzas.RESOURCE}" if local(asked) else bare(asked)

    def _subscribe(self, user: str, asked: str) -> list[ET.Element]:
        pair, book = (bare(user), bare(asked)), self._book(user)
        if not book.ties.add(user, asked, Tie.SEES):
            self._on_ignored("too many subscriptions")
            return [stanzas.presence(*pair, type="unsubscribed")]
        sent = [stanzas.presence(*pair, type="subscribed"), *self._ask(user, asked)]
        for shared in book.shares.of(user, asked):  # they become the subscription (XEP-0276 §3)
            book.shares.remove(shared)
        return [*sent, self._shown(user, asked)]

    def _ask(self, user: str, asked: str) -> list[ET.Element]:
        """Our own subscribe. Once only: two gateways would otherwise answer each other for ever."""
        ties = self._book(user).ties
        if not local(user) or Tie.ASKED in ties.between(user, asked) or not ties.add(user, asked, Tie.ASKED):
            return []
        return [self._question(user, asked)]

    def _question(self, user: str, asked: str) -> ET.Element:
        question = stanzas.presence(bare(user), bare(asked), type="subscribe")
        question.append(profile.nick(profile.profile(local(asked))))
        return question

    def _unavailable(self, user: str, asked: str) -> list[ET.Element]:
        book = self._book(user)
        book.shown.pop((user, bare(asked)))
        if domain(user) in self._users:
            self._devices.gone(user)
        return [self._gone(book.shares.remove(pair)) for pair in book.shares.of(user, asked) if pair[0] == user]

    def _share(self, pair: Pair, now: float) -> list[ET.Element]:
        if self._sees(*pair):
            return []
        return [self._gone(ended) for ended in self._book(pair[0]).shares.add(pair, now)]

    def _volunteer(self, user: str, asked: str) -> list[ET.Element]:
        """Once for each device of our users, and never to another gateway."""
        pair, voice = (user, bare(asked)), self.voice(asked)
        if not self.ours(user) or pair in self._ours.shown or self._devices.is_gateway(user):
            return []
        requested = (bare(user), voice)
        if requested in self._ours.shares:
            if asked == voice:  # his answer to our request
                return []
            self._ours.shares.remove(requested)  # he sends it of his own accord: the contact is in his roster
        return [self._shown(user, asked)]

    # --- registration with the domain (XEP-0077)

    def registered(self, user: str) -> bool:
        return Tie.REGISTERED in self._ours.ties.between(user, self._domain)

    def register(self, user: str, asked: str) -> list[ET.Element] | None:
        """What follows: the domain asks for the user's presence and shows its own. None: there is no room."""
        if not self._ours.ties.add(user, asked, Tie.REGISTERED):
            return None
        return [*self._ask(user, asked), self._shown(user, asked)]

    def unregister(self, user: str, asked: str) -> list[ET.Element]:
        """XEP-0100 §4.3: both subscriptions end too."""
        self._ours.ties.remove(user, asked, Tie.REGISTERED | Tie.SEES | Tie.SEEN | Tie.ASKED)
        self._less.discard((bare(user), bare(asked)))
        over = [stanzas.presence(bare(user), bare(asked), type=kind) for kind in ("unsubscribe", "unsubscribed")]
        # His devices stay noted as shown: presence that crosses our unsubscribe does not show them the domain anew.
        return [*over, self._gone((bare(user), self.voice(asked)))]

    # --- calls

    def introduce(self, user: str, contact: str) -> list[ET.Element]:
        """Show the contact's capabilities to the user's device that calls it (XEP-0353 v0.8 §3), if it was not yet."""
        pair, book = (user, bare(contact)), self._book(user)
        if book.shown.get(pair):
            return []
        book.shown[pair] = True
        return [self._asked_for(user, self.voice(contact))]

    def request(self, user: str, contact: str, now: float) -> list[ET.Element]:
        """Ask the user's devices for temporary presence, showing the contact's (XEP-0276 §3).

        A probe goes along: of those who subscribed to each other the server tells the devices by itself.
        """
        shown = self._asked_for(bare(user), self.voice(contact))
        ET.SubElement(shown, f"{{{stanzas.TEMPPRES[0]}}}temppres", {"reason": "media"})
        probe = stanzas.presence(bare(user), bare(contact), type="probe")
        return [shown, probe, *self._share((bare(user), self.voice(contact)), now)]

    def call_began(self, user: str, contact: str) -> None:
        """`user` is a full JID, or a bare one when he is called."""
        pair = (user, bare(contact))
        self._calls[pair] = self._calls.get(pair, 0) + 1

    def call_ended(self, user: str, contact: str) -> list[ET.Element]:
        """What this user was shown of this contact ends with their last call; a subscriber sees what he may do."""
        pair = (user, bare(contact))
        self._calls[pair] = self._calls.get(pair, 1) - 1
        if self._calls[pair] > 0:
            return []
        del self._calls[pair]
        if self._sees(user, contact):
            return [] if self.may_call(bare(user), local(contact)) else [self._shown(user, contact)]
        shares = self._book(user).shares
        return [self._gone(shares.remove(shared)) for shared in shares.of(user, contact) if shared[0] == user]

    # --- who is there, who is subscribed, who is shown what

    def devices(self, user: str) -> tuple[Device, ...]:
        """The devices of a user that are there, as far as we were told."""
        return self._devices.of(user)

    @property
    def on_device(self) -> Callable[[Device], None]:
        """Told of a device that is there, or is known better."""
        return self._devices.on_device

    @on_device.setter
    def on_device(self, told: Callable[[Device], None]) -> None:
        self._devices.on_device = told

    def answered(self, stanza: ET.Element) -> bool:
        """The reply to a question of ours about a device; False when it is none."""
        return self._devices.answered(stanza)

    def ours(self, user: str) -> bool:
        """Whether this is a user of ours: a person's JID, not a server's."""
        return domain(user) in self._users and local(user) != ""

    def subscribed(self, user: str, contact: str) -> bool:
        """Whether both see each other's presence: only then do clients expect a sign of life from a contact."""
        both = Tie.SEES | Tie.SEEN
        return self._book(user).ties.between(user, contact) & both == both

    def known_as(self, user: str, asked: str) -> Entity:
        """The set that a device was shown last of this JID, or would be shown."""
        shared = self._book(user).shares.of(user, asked)
        if local(asked) and (self._in_call((user, asked)) or any(pair[0] in (user, bare(user)) for pair in shared)):
            return self._callable(user, asked)
        return self._entity(user, asked)

    # --- small things

    def _entity(self, user: str, asked: str) -> Entity:
        if local(asked):
            return self._callable(user, asked) if self.may_call(bare(user), local(asked)) else self.sets.mute
        return self.sets.gateway if self.may_dial(bare(user)) else self.sets.plain

    def _callable(self, user: str, asked: str) -> Entity:
        return self.sets.camera if self.has_video(bare(user), local(asked)) else self.sets.contact

    def _asked_for(self, user: str, from_: str) -> ET.Element:
        """Bare presence: capabilities, no show, status, priority or avatar (XEP-0276 §6)."""
        shown = stanzas.presence(user, from_)
        shown.extend((self._callable(user, from_) if local(from_) else self._entity(user, from_)).caps())
        return shown

    def _shown(self, user: str, asked: str) -> ET.Element:
        """Presence of our own accord, with what this user may do and the picture; it is noted."""
        entity = self._entity(user, asked)
        if user != bare(user):
            self._book(user).shown[(user, bare(asked))] = entity in (self.sets.contact, self.sets.camera)
        pair = (bare(user), bare(asked))
        if entity in (self.sets.mute, self.sets.plain) and pair in self._ours.ties:
            self._less.add(pair)
        else:
            self._less.discard(pair)
        shown = stanzas.presence(user, self.voice(asked))
        shown.extend(entity.caps())
        shown.append(profile.picture_update(profile.profile(local(asked))))
        return shown

    def _lookup(self, stanza: ET.Element, now: float) -> list[ET.Element]:
        if domain(stanza.get("from", "")) not in self._users:
            return []
        return self._devices.seen(stanza, self.voice(stanza.get("to", "")), now)

    def _withdrawn(self, user: str, asked: str) -> ET.Element:
        """For all devices of a user, each of which may be shown the contact anew."""
        for device in self._devices.of(user):
            self._book(user).shown.pop((device.jid, bare(asked)))
        return self._gone((bare(user), self.voice(asked)))

    def _gone(self, pair: Pair) -> ET.Element:
        return stanzas.presence(pair[0], pair[1], type="unavailable")

    def _book(self, user: str) -> _Book:
        return self._ours if domain(user) in self._users else self._strangers

    def _sees(self, user: str, contact: str) -> bool:
        return bool(self._book(user).ties.between(user, contact) & (Tie.SEES | Tie.REGISTERED))

    def _by_itself(self, user: str, contact: str) -> bool:
        """Whether his server sends us his presence because he lets the contact see it (RFC 6121 §4.2.2, §4.4.2), though
        he does not care for the contact's. The answer to our probe (§4.3.2) may well come after his unsubscribe.
        """
        return Tie.SEEN in self._book(user).ties.between(user, contact) and not self._sees(user, contact)

    def _in_call(self, pair: Pair) -> bool:
        return any((user, bare(pair[1])) in self._calls for user in (pair[0], bare(pair[0])))
