"""Who sees whom: temporary presence (XEP-0276), subscriptions, probes, and which devices of the users are there.

    what a user sends                          what the contact does
    temppres request, in any presence          presence with caps from the JID asked to the asker; it ends, see below
    subscribe                                  subscribed, a subscribe of its own (once), presence with caps
    unsubscribe                                unsubscribed, unavailable
    probe                                      presence with caps
    presence, from a device of our users       presence with caps, once until that device is unavailable
    unavailable                                what was shared with this device ends with unavailable
    any of the asking ones, unmappable         an error

A share (what somebody was shown for a while, whoever asked for it) ends with its call, with either side's unavailable
presence, ten minutes after it was asked for if there is no call, or when its user has a hundred newer ones. A user who
subscribed knows the contact for good: no share is made, and what he was shown before becomes the subscription's.

Strangers (of other domains than our users') are answered like anybody, but only the latest thousand shares of theirs
are remembered, and nothing of their presence. Every table below has its bound.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from gateway.xmpp import disco, stanzas
from gateway.xmpp.disco import Abilities
from gateway.xmpp.stanzas import bare, domain, local

SHARE_LASTS = 600.0  # seconds without a call
SHARES_PER_USER = 100
REMEMBERED_OF_USERS = 20_000  # shares, and who knows whom for good
REMEMBERED_OF_STRANGERS = 1_000
DEVICES_PER_USER = 20
USERS_WITH_DEVICES = 20_000
ENTITIES = 1_000  # answers to disco#info, by caps hash
LOOKUPS = 200  # questions of disco#info under way
LOOKUP_LASTS = 60.0  # seconds

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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


@dataclass(slots=True)
class _Share:
    since: float


_Pair = tuple[str, str]  # who was shown (full JID, or bare when we asked), and the contact's JID that was shown


class _Shares:
    """Shares in the order in which they were last asked for, with a bound for each user and one for all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: OrderedDict[_Pair, _Share] = OrderedDict()
        self._by_user: dict[str, OrderedDict[_Pair, None]] = {}

    def add(self, pair: _Pair, now: float) -> Iterator[_Pair]:
        """Keep one; yields those that end for it."""
        self.remove(pair)
        mine = self._by_user.setdefault(bare(pair[0]), OrderedDict())
        if len(mine) >= SHARES_PER_USER:
            yield self.remove(next(iter(mine)))
        if len(self._all) >= self._most:
            yield self.remove(next(iter(self._all)))
        self._all[pair] = _Share(now)
        self._by_user.setdefault(bare(pair[0]), OrderedDict())[pair] = None

    def remove(self, pair: _Pair) -> _Pair:
        if self._all.pop(pair, None) is not None:
            mine = self._by_user[bare(pair[0])]
            del mine[pair]
            if not mine:
                del self._by_user[bare(pair[0])]
        return pair

    def of(self, user: str) -> tuple[_Pair, ...]:
        return tuple(self._by_user.get(bare(user), ()))

    def oldest(self) -> tuple[_Pair, float] | None:
        return next(((pair, share.since) for pair, share in self._all.items()), None)

    def __contains__(self, pair: _Pair) -> bool:
        return pair in self._all

    def __len__(self) -> int:
        return len(self._all)


class _Book:
    """What is remembered of our users, or of strangers."""

    def __init__(self, most: int) -> None:
        self.shares = _Shares(most)
        self.known: Bounded[_Pair, None] = Bounded(
            most
        )  # shown for good; the user's JID is full, or bare if subscribed
        self.asked: Bounded[_Pair, None] = Bounded(most)  # our own subscribe went out; both JIDs are bare


@dataclass(slots=True)
class _Device:
    caps: tuple[str, str, str] | None
    abilities: Abilities | None = None  # None: not known (yet)


@dataclass(frozen=True, slots=True)
class Device:
    """A user's device that is there now. `abilities` is None when its capabilities are not known."""

    jid: str
    abilities: Abilities | None


@dataclass(slots=True)
class _Lookup:
    asked: str
    caps: tuple[str, str, str]
    until: float


class Presences:
    """All of the above. Methods take stanzas in and return the stanzas to send; `domain` is ours."""

    def __init__(self, domain: str, users: tuple[str, ...], mappable: Callable[[str], bool]) -> None:
        self._domain = domain
        self._users = frozenset(users)
        self._mappable = mappable
        self._ours = _Book(REMEMBERED_OF_USERS)
        self._strangers = _Book(REMEMBERED_OF_STRANGERS)
        self._calls: dict[_Pair, int] = {}  # calls under way, by the two bare JIDs
        self._devices: OrderedDict[str, dict[str, _Device]] = OrderedDict()  # by bare JID, then by full JID
        self._entities: Bounded[tuple[str, str], Abilities] = Bounded(ENTITIES)  # by hash and ver
        self._lookups: dict[str, _Lookup] = {}  # by the id of our question
        self._lookup_number = 0
        self.on_device: Callable[[Device], None] = lambda device: None  # a device is there, or is known better

    # --- the clock

    @property
    def deadline(self) -> float | None:
        """When the oldest share is due to be looked at."""
        books = (self._ours, self._strangers)
        return min((oldest[1] + SHARE_LASTS for book in books if (oldest := book.shares.oldest())), default=None)

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
        return sent

    # --- stanzas

    def receive(self, stanza: ET.Element, now: float) -> list[ET.Element]:
        """A presence stanza to one of our JIDs."""
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        type_ = stanza.get("type", "")
        if type_ == "unavailable":
            return self._unavailable(user, asked)
        if type_ == "unsubscribe":
            book = self._book(user)
            book.asked.pop((bare(user), bare(asked)))
            book.known.pop((bare(user), bare(asked)))
            return [stanzas.presence(user, bare(asked), type=kind) for kind in ("unsubscribed", "unavailable")]
        if type_ == "unsubscribed":
            self._book(user).asked.pop((bare(user), bare(asked)))  # he may be asked again, when he subscribes again
        if type_ not in ("", "subscribe", "probe"):
            return []  # error, subscribed, unsubscribed: nothing to say (RFC 6121 §4, and errors are never answered)
        if local(asked) and not self._mappable(local(asked)):
            return [stanzas.error(stanza, disco.complaint(local(asked)))]
        sent = self._lookup(stanza, now) if not type_ else []
        if stanzas.temppres_of(stanza):
            sent.append(self._with_caps(user, asked))
        if type_ == "subscribe":
            return sent + self._subscribe(user, asked)
        if type_ == "probe":
            self._book(user).known[(bare(user), bare(asked))] = None  # only subscribers' servers probe (RFC 6121 §4.3)
            return [*sent, self._with_caps(user, self.voice(asked))]
        if stanzas.temppres_of(stanza):
            return sent + self._share((user, asked), now)
        return sent + self._volunteer(user, asked)

    def voice(self, asked: str) -> str:
        """The JID that a contact uses where the choice is ours; the domain speaks for itself."""
        return f"{bare(asked)}/{stanzas.RESOURCE}" if local(asked) else bare(asked)

    def _subscribe(self, user: str, asked: str) -> list[ET.Element]:
        pair, book = (bare(user), bare(asked)), self._book(user)
        sent = [stanzas.presence(bare(user), bare(asked), type="subscribed")]
        # Once only: two gateways would otherwise answer each other for ever.
        if pair not in book.asked and local(user):
            book.asked[pair] = None
            sent.append(stanzas.presence(bare(user), bare(asked), type="subscribe"))
        book.known[pair] = None
        for shared in self._of(user, asked):  # they become the subscription (XEP-0276 §3)
            book.shares.remove(shared)
        return [*sent, self._with_caps(user, self.voice(asked))]

    def _unavailable(self, user: str, asked: str) -> list[ET.Element]:
        book = self._book(user)
        book.known.pop((user, bare(asked)))
        if domain(user) in self._users:
            devices = self._devices.get(bare(user), {})
            devices.pop(user, None)
            if not devices:
                self._devices.pop(bare(user), None)
        return [self._gone(book.shares.remove(pair)) for pair in self._of(user, asked) if pair[0] == user]

    def _share(self, pair: _Pair, now: float) -> list[ET.Element]:
        user, asked = pair
        book = self._book(user)
        if (bare(user), bare(asked)) in book.known:
            return []
        return [self._gone(ended) for ended in book.shares.add(pair, now)]

    def _volunteer(self, user: str, asked: str) -> list[ET.Element]:
        """Directed presence of a device of our users: answered once, and never to another gateway."""
        pair, voice = (user, bare(asked)), self.voice(asked)
        device = self._devices.get(bare(user), {}).get(user)
        if domain(user) not in self._users or not local(user) or pair in self._ours.known:
            return []
        if device is not None and device.abilities is not None and device.abilities.gateway:
            return []
        requested = (bare(user), voice)
        if requested in self._ours.shares:
            if asked == voice:  # his answer to our request
                return []
            self._ours.shares.remove(requested)  # he sends it of his own accord: the contact is in his roster
        self._ours.known[pair] = None
        return [self._with_caps(user, self.voice(asked))]

    # --- calls

    def introduce(self, user: str, contact: str) -> list[ET.Element]:
        """Show the contact's capabilities to the user's device that calls it (XEP-0353 v0.8 §3)."""
        return [self._with_caps(user, self.voice(contact))]

    def request(self, user: str, contact: str, now: float) -> list[ET.Element]:
        """Ask the user's devices for temporary presence, showing the contact's (XEP-0276 §3).

        A probe goes along: of those who subscribed to each other the server tells the devices by itself.
        """
        shown = self._with_caps(bare(user), self.voice(contact))
        ET.SubElement(shown, f"{{{stanzas.TEMPPRES[0]}}}temppres", {"reason": "media"})
        probe = stanzas.presence(bare(user), bare(contact), type="probe")
        return [shown, probe, *self._share((bare(user), self.voice(contact)), now)]

    def call_began(self, user: str, contact: str) -> None:
        """`user` is a full JID, or a bare one when he is called."""
        pair = (user, bare(contact))
        self._calls[pair] = self._calls.get(pair, 0) + 1

    def call_ended(self, user: str, contact: str) -> list[ET.Element]:
        """What this user was shown of this contact ends with their last call."""
        pair = (user, bare(contact))
        self._calls[pair] = self._calls.get(pair, 1) - 1
        if self._calls[pair] > 0:
            return []
        del self._calls[pair]
        shares = self._book(user).shares
        return [self._gone(shares.remove(shared)) for shared in self._of(user, contact) if shared[0] == user]

    # --- devices

    def devices(self, user: str) -> tuple[Device, ...]:
        """The devices of a user that are there, as far as we were told."""
        return tuple(Device(jid, device.abilities) for jid, device in self._devices.get(bare(user), {}).items())

    def link_lost(self) -> None:
        """What the server told us may have changed unheard: nobody's device is known to be there."""
        self._devices.clear()
        self._lookups.clear()

    def _lookup(self, stanza: ET.Element, now: float) -> list[ET.Element]:
        """Note the device, and ask what its caps stand for unless that is known or being asked."""
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        if domain(user) not in self._users or user == bare(user):
            return []
        caps = stanzas.caps_of(stanza)
        devices = self._devices.setdefault(bare(user), {})
        self._devices.move_to_end(bare(user))
        known = devices.get(user)
        if known is not None and known.caps == caps and known.abilities is not None:
            return []
        devices[user] = device = _Device(caps, self._entities.get((caps[0], caps[2])) if caps else None)
        if len(devices) > DEVICES_PER_USER:
            del devices[next(iter(devices))]
        if len(self._devices) > USERS_WITH_DEVICES:
            self._devices.popitem(last=False)
        self.on_device(Device(user, device.abilities))
        if caps is None or device.abilities is not None:
            return []
        self._lookups = {k: v for k, v in self._lookups.items() if v.until > now}
        if len(self._lookups) >= LOOKUPS or any(v.caps == caps for v in self._lookups.values()):
            return []
        self._lookup_number += 1
        id_ = f"caps-{self._lookup_number}"
        self._lookups[id_] = _Lookup(user, caps, now + LOOKUP_LASTS)
        question = stanzas.iq(user, self.voice(asked), id=id_, type="get")
        ET.SubElement(question, f"{{{stanzas.DISCO_INFO}}}query", {"node": f"{caps[1]}#{caps[2]}"})
        return [question]

    def answered(self, stanza: ET.Element) -> bool:
        """The reply to a question of ours; False when it is none."""
        lookup = self._lookups.get(stanza.get("id", ""))
        if lookup is None or stanza.get("from", "") != lookup.asked:
            return False
        del self._lookups[stanza.get("id", "")]
        query = stanza.find(f"{{{stanzas.DISCO_INFO}}}query")
        if stanza.get("type") != "result" or query is None:
            return True
        hash_, _, ver = lookup.caps
        able = disco.abilities(disco.read_info(query))
        proven = disco.proves(query, hash_, ver)
        if proven:
            self._entities[(hash_, ver)] = able
        for devices in self._devices.values() if proven else [self._devices.get(bare(lookup.asked), {})]:
            for jid, device in devices.items():
                if device.caps == lookup.caps and (proven or jid == lookup.asked):
                    devices[jid] = replace(device, abilities=able)
                    self.on_device(Device(jid, able))
        return True

    # --- small things

    def _with_caps(self, user: str, from_: str) -> ET.Element:
        """Bare presence: capabilities, no show, status, priority or avatar (XEP-0276 §6)."""
        shown = stanzas.presence(user, from_)
        shown.append((disco.CONTACT if local(from_) else disco.DOMAIN).caps())
        return shown

    def _gone(self, pair: _Pair) -> ET.Element:
        return stanzas.presence(pair[0], pair[1], type="unavailable")

    def _book(self, user: str) -> _Book:
        return self._ours if domain(user) in self._users else self._strangers

    def _of(self, user: str, contact: str) -> tuple[_Pair, ...]:
        """The shares of a user (any device) and a contact (any of its JIDs)."""
        return tuple(pair for pair in self._book(user).shares.of(user) if bare(pair[1]) == bare(contact))

    def _in_call(self, pair: _Pair) -> bool:
        return any((user, bare(pair[1])) in self._calls for user in (pair[0], bare(pair[0])))
