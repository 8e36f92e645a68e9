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
subscribed, or whose presence was answered, knows the contact for good: no share is made, and none is taken away.

Strangers (of other domains than our users') are answered, for one JID is as good as another here, but only the latest
thousand shares of theirs are remembered, and nothing of their presence. Every table below has its bound.
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
SHARES_OF_USERS = 20_000
SHARES_OF_STRANGERS = 1_000
PAIRS = 20_000  # who knows whom for good
DEVICES_PER_USER = 20
DEVICES = 20_000
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

    def __len__(self) -> int:
        return len(self._all)


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
        self._shares = _Shares(SHARES_OF_USERS)
        self._strangers = _Shares(SHARES_OF_STRANGERS)
        self._calls: dict[_Pair, int] = {}  # calls under way, by the two bare JIDs
        self._known: Bounded[_Pair, None] = Bounded(PAIRS)  # (user's full or bare JID, contact): shown for good
        self._asked: Bounded[_Pair, None] = Bounded(PAIRS)  # (user, contact): our own subscribe went out
        self._devices: OrderedDict[str, dict[str, _Device]] = OrderedDict()  # by bare JID, then by full JID
        self._entities: Bounded[tuple[str, str], Abilities] = Bounded(ENTITIES)  # by hash and ver
        self._lookups: dict[str, _Lookup] = {}  # by the id of our question
        self._lookup_number = 0
        self.on_device: Callable[[Device], None] = lambda device: None  # a device is there, or is known better

    # --- the clock

    @property
    def deadline(self) -> float | None:
        """When the oldest share is due to be looked at."""
        due = [oldest[1] + SHARE_LASTS for pool in (self._shares, self._strangers) if (oldest := pool.oldest())]
        return min(due, default=None)

    def tick(self, now: float) -> list[ET.Element]:
        """End what is over; a share with a call is put to the back of the queue."""
        sent = []
        for pool in (self._shares, self._strangers):
            while (oldest := pool.oldest()) and oldest[1] + SHARE_LASTS <= now:
                pair, _ = oldest
                if self._in_call(pair):
                    sent += [self._gone(ended) for ended in pool.add(pair, now)]
                else:
                    sent.append(self._gone(pool.remove(pair)))
        return sent

    # --- stanzas

    def receive(self, stanza: ET.Element, now: float) -> list[ET.Element]:
        """A presence stanza to one of our JIDs."""
        user, asked = stanza.get("from", ""), stanza.get("to", "")
        type_ = stanza.get("type", "")
        if type_ == "unavailable":
            return self._unavailable(user, asked)
        if type_ == "unsubscribe":
            self._asked.pop((bare(user), bare(asked)))
            self._known.pop((bare(user), bare(asked)))
            return [stanzas.presence(user, bare(asked), type=kind) for kind in ("unsubscribed", "unavailable")]
        if type_ not in ("", "subscribe", "probe"):
            return []  # error, subscribed, unsubscribed: nothing to say (RFC 6121 §4, and errors are never answered)
        if local(asked) and not self._mappable(local(asked)):
            return [stanzas.error(stanza, complaint(local(asked)))]
        sent = self._lookup(stanza, now) if not type_ else []
        if stanzas.temppres_of(stanza):
            sent.append(self._with_caps(user, asked))
        if type_ == "subscribe":
            return sent + self._subscribe(user, asked)
        if type_ == "probe":
            self._known[(bare(user), bare(asked))] = None
            return [*sent, self._with_caps(user, self.voice(asked))]
        if stanzas.temppres_of(stanza):
            return sent + self._share((user, asked), now)
        return sent + self._volunteer(user, asked)

    def voice(self, asked: str) -> str:
        """The JID that a contact uses where the choice is ours; the domain speaks for itself."""
        return f"{bare(asked)}/{stanzas.RESOURCE}" if local(asked) else bare(asked)

    def _subscribe(self, user: str, asked: str) -> list[ET.Element]:
        pair = (bare(user), bare(asked))
        sent = [stanzas.presence(bare(user), bare(asked), type="subscribed")]
        # Once only: two gateways would otherwise answer each other for ever.
        if pair not in self._asked and local(user):
            self._asked[pair] = None
            sent.append(stanzas.presence(bare(user), bare(asked), type="subscribe"))
        self._known[pair] = None
        for shared in self._of(pair):  # it becomes a subscription (XEP-0276 §3)
            self._pool(user).remove(shared)
        return [*sent, self._with_caps(user, self.voice(asked))]

    def _unavailable(self, user: str, asked: str) -> list[ET.Element]:
        self._known.pop((user, bare(asked)))
        if domain(user) in self._users:
            devices = self._devices.get(bare(user), {})
            devices.pop(user, None)
            if not devices:
                self._devices.pop(bare(user), None)
        ended = [p for p in self._of((user, bare(asked))) if p[0] in (user, bare(user))]
        return [self._gone(self._pool(user).remove(pair)) for pair in ended]

    def _share(self, pair: _Pair, now: float) -> list[ET.Element]:
        user, asked = pair
        if (bare(user), bare(asked)) in self._known:
            return []
        return [self._gone(ended) for ended in self._pool(user).add(pair, now)]

    def _volunteer(self, user: str, asked: str) -> list[ET.Element]:
        """Directed presence of a device of our users: answered once, and never to another gateway."""
        pair = (user, bare(asked))
        device = self._devices.get(bare(user), {}).get(user)
        if domain(user) not in self._users or not local(user) or pair in self._known:
            return []
        if device is not None and device.abilities is not None and device.abilities.gateway:
            return []
        self._known[pair] = None
        return [self._with_caps(user, self.voice(asked))]

    # --- calls

    def introduce(self, user: str, contact: str, now: float) -> list[ET.Element]:
        """Show the contact's capabilities to the user's device that calls it (XEP-0353 v0.8 §3)."""
        shown = self._with_caps(user, self.voice(contact))
        return [shown, *([] if self._knows(user, contact) else self._share((user, self.voice(contact)), now))]

    def request(self, user: str, contact: str, now: float) -> list[ET.Element]:
        """Ask the user's devices for temporary presence, showing the contact's (XEP-0276 §3)."""
        shown = self._with_caps(bare(user), self.voice(contact))
        ET.SubElement(shown, f"{{{stanzas.TEMPPRES[0]}}}temppres", {"reason": "media"})
        ended = [] if self._knows(user, contact) else self._share((bare(user), self.voice(contact)), now)
        return [shown, *ended]

    def call_began(self, user: str, contact: str) -> None:
        pair = (bare(user), bare(contact))
        self._calls[pair] = self._calls.get(pair, 0) + 1

    def call_ended(self, user: str, contact: str) -> list[ET.Element]:
        """The shares of this user and contact end with their last call."""
        pair = (bare(user), bare(contact))
        self._calls[pair] = self._calls.get(pair, 1) - 1
        if self._calls[pair] > 0:
            return []
        del self._calls[pair]
        return [self._gone(self._pool(user).remove(shared)) for shared in self._of(pair)]

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
        if len(self._devices) > DEVICES:
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

    def _pool(self, user: str) -> _Shares:
        return self._shares if domain(user) in self._users else self._strangers

    def _of(self, pair: _Pair) -> tuple[_Pair, ...]:
        """The shares of a user (any device) and a contact (any of its JIDs)."""
        user, contact = pair
        return tuple(shared for shared in self._pool(user).of(user) if bare(shared[1]) == bare(contact))

    def _knows(self, user: str, contact: str) -> bool:
        return (user, bare(contact)) in self._known or (bare(user), bare(contact)) in self._known

    def _in_call(self, pair: _Pair) -> bool:
        return (bare(pair[0]), bare(pair[1])) in self._calls


def complaint(name: str) -> str:
    """The condition that says why a local part cannot be mapped: a bad address, a bad number, or an unknown name."""
    address = "%" in name or "\\40" in name
    number = name.startswith(("+", "00")) or name.strip("0123456789-.()# *") == ""
    return "jid-malformed" if address or number else "item-not-found"
