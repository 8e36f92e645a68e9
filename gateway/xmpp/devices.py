"""Which devices of our users are there, and what they can: learnt from their presence, asked about once for each hash.

presence with caps ──> known ver: what it stands for
                  └──> unknown: disco#info (one question for all who announce it) ──> proven: true of all of them
                                                                                 └──> else of that device alone
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.xmpp import caps, stanzas
from gateway.xmpp.caps import Abilities
from gateway.xmpp.shares import Bounded
from gateway.xmpp.stanzas import bare

DEVICES_PER_USER = 20
USERS_WITH_DEVICES = 20_000
ENTITIES = 1_000  # answers to disco#info, by caps hash
LOOKUPS = 200  # questions of disco#info under way
LOOKUP_LASTS = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Device:
    """A user's device that is there now. `abilities` is None when its capabilities are not known."""

    jid: str
    abilities: Abilities | None


@dataclass(slots=True)
class _Known:
    caps: tuple[str, str, str] | None
    abilities: Abilities | None = None  # None: not known (yet)


@dataclass(slots=True)
class _Lookup:
    asked: str
    caps: tuple[str, str, str]
    until: float


class Devices:
    """All of them. `on_device` is told of a device that is there, or is known better."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, dict[str, _Known]] = OrderedDict()  # by bare JID, then by full JID
        self._entities: Bounded[tuple[str, str], Abilities] = Bounded(ENTITIES)  # by hash and ver
        self._lookups: dict[str, _Lookup] = {}  # by the id of our question
        self._lookup_number = 0
        self.on_device: Callable[[Device], None] = lambda device: None

    def of(self, user: str) -> tuple[Device, ...]:
        """The devices of a user that are there, as far as we were told."""
        return tuple(Device(jid, device.abilities) for jid, device in self._devices.get(bare(user), {}).items())

    def is_gateway(self, jid: str) -> bool:
        device = self._devices.get(bare(jid), {}).get(jid)
        return device is not None and device.abilities is not None and device.abilities.gateway

    def clear(self) -> None:
        self._devices.clear()
        self._lookups.clear()

    def gone(self, jid: str) -> None:
        devices = self._devices.get(bare(jid), {})
        devices.pop(jid, None)
        if not devices:
            self._devices.pop(bare(jid), None)

    def seen(self, stanza: ET.Element, voice: str, now: float) -> list[ET.Element]:
        """Note the device that sent this presence, and have `voice` ask what its caps stand for unless that is known
        or being asked.
        """
        user = stanza.get("from", "")
        if user == bare(user):
            return []
        announced = stanzas.caps_of(stanza)
        devices = self._devices.setdefault(bare(user), {})
        self._devices.move_to_end(bare(user))
        known = devices.get(user)
        if known is not None and known.caps == announced and known.abilities is not None:
            return []
        devices[user] = device = _Known(
            announced, self._entities.get((announced[0], announced[2])) if announced else None
        )
        if len(devices) > DEVICES_PER_USER:
            del devices[next(iter(devices))]
        if len(self._devices) > USERS_WITH_DEVICES:
            self._devices.popitem(last=False)
        self.on_device(Device(user, device.abilities))
        if announced is None or device.abilities is not None:
            return []
        self._lookups = {k: v for k, v in self._lookups.items() if v.until > now}
        if len(self._lookups) >= LOOKUPS or any(v.caps == announced for v in self._lookups.values()):
            return []
        self._lookup_number += 1
        id_ = f"caps-{self._lookup_number}"
        self._lookups[id_] = _Lookup(user, announced, now + LOOKUP_LASTS)
        question = stanzas.iq(user, voice, id=id_, type="get")
        ET.SubElement(question, f"{{{stanzas.DISCO_INFO}}}query", {"node": f"{announced[1]}#{announced[2]}"})
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
        able = caps.abilities(caps.read_info(query))
        proven = caps.proves(query, hash_, ver)
        if proven:
            self._entities[(hash_, ver)] = able
        for devices in self._devices.values() if proven else [self._devices.get(bare(lookup.asked), {})]:
            for jid, device in devices.items():
                if device.caps == lookup.caps and (proven or jid == lookup.asked):
                    devices[jid] = replace(device, abilities=able)
                    self.on_device(Device(jid, able))
        return True
