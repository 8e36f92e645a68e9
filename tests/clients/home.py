"""The user's own XMPP server, as far as his devices and the gateway depend on it.

device ──┬─ to the gateway ──────────────> the component's link; a chat message also as a carbon to the other devices
         ├─ to his own bare JID ─────────> all of his devices
         └─ presence to nobody ──────────> the gateway's contacts that he is subscribed with, and a probe to each
gateway ─┬─ message or presence to bare ─> all of his devices; none is there: bounced, or kept until one is
         ├─ message to full ─────────────> that device, and a carbon to the others
         └─ IQ to full ──────────────────> that device; it is not there: service-unavailable
"""

from __future__ import annotations

import asyncio
import copy
import functools
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Protocol

from tests.scenarios.scene import DOMAIN, JULIET, Scene

STREAM = "jabber:component:accept"
ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
LATENCY = 0.05  # s from a device to anybody: two of them may speak before they hear each other
DELAY = "urn:xmpp:delay"
CARBONS = "urn:xmpp:carbons:2"
HINTS = "urn:xmpp:hints"


def bare(jid: str) -> str:
    return jid.partition("/")[0]


def resource(jid: str) -> str:
    return jid.partition("/")[2]


def kind(stanza: ET.Element) -> str:
    """message, presence or iq."""
    return stanza.tag.rpartition("}")[2]


def bounce(stanza: ET.Element, condition: str = "service-unavailable") -> ET.Element:
    """The error that answers a stanza."""
    answer = ET.Element(stanza.tag, {"from": stanza.get("to", ""), "to": stanza.get("from", ""), "type": "error"})
    if "id" in stanza.attrib:
        answer.set("id", stanza.attrib["id"])
    error = ET.SubElement(answer, f"{{{STREAM}}}error", {"type": "cancel"})
    ET.SubElement(error, f"{{{ERRORS}}}{condition}")
    return answer


class Device(Protocol):
    """One of the user's clients, as his server sees it."""

    jid: str
    there: bool  # available

    def receive(self, stanza: ET.Element) -> None: ...

    def carbon(self, stanza: ET.Element, *, sent: bool) -> None:
        """A copy of what another device of the account sent, or was sent (XEP-0280)."""

    def announcement(self) -> ET.Element:
        """Its presence, without addresses."""


@dataclass
class Subscription:
    """One contact of the roster (RFC 6121 §3): to: he sees the contact's presence; from_: the contact sees his."""

    to: bool = False
    from_: bool = False


class Home:
    """The server of one account on stage."""

    def __init__(self, scene: Scene, account: str = JULIET, *, stores: bool = False) -> None:
        self.account = account
        self.scene = scene
        self.roster: dict[str, Subscription] = {}
        self.devices: list[Device] = []
        self.stores = stores  # messages for a user who is away (XEP-0160)
        self.stored: list[tuple[float, ET.Element]] = []
        self.log: list[str] = []  # what went by, for a scene that fails
        self._directed: dict[str, set[str]] = {}  # who was sent directed presence, by full JID
        scene.homes[account] = self

    # --- the user

    def adds(self, contact: str) -> None:
        """The user puts the contact into his roster: a subscription both ways is asked for."""
        self.roster.setdefault(contact, Subscription())
        self._to_gateway(self._presence(contact, "subscribe"))

    def knows(self, contact: str) -> None:
        """The contact has been in his roster for long, subscribed both ways."""
        self.roster[contact] = Subscription(to=True, from_=True)

    def mutual(self, contact: str) -> bool:
        found = self.roster.get(bare(contact))
        return found is not None and found.to and found.from_

    # --- from a device

    def enters(self, device: Device) -> None:
        """It comes online: initial presence (RFC 6121 §4.2), probes, and what waited for it."""
        if device not in self.devices:
            self.devices.append(device)
        device.there = True
        for contact, subscription in self.roster.items():
            if subscription.from_:
                self._announce(device, contact)
            if subscription.to:
                self._to_gateway(self._presence(contact, "probe"))
        waiting, self.stored = self.stored, []
        for at, stanza in waiting:
            late = copy.deepcopy(stanza)
            ET.SubElement(late, f"{{{DELAY}}}delay", {"stamp": str(at)})
            device.receive(late)

    def leaves(self, device: Device) -> None:
        """It goes offline, politely or not: its server says so to everybody who was told that it was there."""
        device.there = False
        contacts = {contact for contact, subscription in self.roster.items() if subscription.from_}
        for to in sorted(contacts | self._directed.pop(device.jid, set())):
            gone = self._presence(to, "unavailable")
            gone.set("from", device.jid)
            self._to_gateway(gone)

    def from_device(self, device: Device, stanza: ET.Element) -> None:
        stanza.set("from", device.jid)
        to = stanza.get("to", "")
        self.log.append(f"{resource(device.jid)} > {_short(stanza)}")
        loop = asyncio.get_running_loop()
        if bare(to) == self.account:
            for each in self._there if kind(stanza) == "message" else ():
                loop.call_later(LATENCY, each.receive, copy.deepcopy(stanza))
            return
        if kind(stanza) == "message" and stanza.get("type") == "chat":
            for other in self._there:
                if other is not device:
                    loop.call_later(LATENCY, functools.partial(other.carbon, copy.deepcopy(stanza), sent=True))
        if kind(stanza) == "presence" and not stanza.get("type"):
            self._directed.setdefault(device.jid, set()).add(to)
        self._to_gateway(stanza)

    # --- from the gateway

    def deliver(self, stanza: ET.Element) -> None:
        to = stanza.get("to", "")
        self.log.append(f"{resource(to) or '*'} < {_short(stanza)}")
        addressed = [device for device in self._there if device.jid == to]
        match kind(stanza):
            case "message":
                self._message(stanza, addressed)
            case "presence":
                self._presence_came(stanza, addressed)
            case "iq" if addressed:
                addressed[0].receive(stanza)
            case "iq" if stanza.get("type") in ("get", "set"):
                self._to_gateway(bounce(stanza))

    def _message(self, stanza: ET.Element, addressed: list[Device]) -> None:
        """RFC 6121 §8.5.2 and §8.5.3: a chat message to a device that is gone goes to the others."""
        if addressed:
            addressed[0].receive(stanza)
            for other in self._there:
                if other is not addressed[0] and stanza.get("type") == "chat" and not _private(stanza):
                    other.carbon(copy.deepcopy(stanza), sent=False)
        elif stanza.get("type") == "error":
            return
        elif self._there:
            for device in self._there:
                device.receive(copy.deepcopy(stanza))
        elif self.stores:
            self.stored.append((asyncio.get_running_loop().time(), stanza))
        else:
            self._to_gateway(bounce(stanza))

    def _presence_came(self, stanza: ET.Element, addressed: list[Device]) -> None:
        contact = bare(stanza.get("from", ""))
        subscription = self.roster.get(contact)
        match stanza.get("type"):
            case "probe":
                if subscription is not None and subscription.from_:
                    for device in self._there:
                        self._announce(device, contact)
            case "subscribed" if subscription is not None:
                subscription.to = True
            case "subscribe" if subscription is not None:
                # Clients approve whom they asked themselves. Conversations 2.19.5 (c88ac40ef),
                # xmpp/manager/PresenceManager.java:175: PREEMPTIVE_GRANT.
                subscription.from_ = True
                self._to_gateway(self._presence(contact, "subscribed"))
                for device in self._there:
                    self._announce(device, contact)
            case _:
                for device in addressed or ([] if resource(stanza.get("to", "")) else self._there):
                    device.receive(copy.deepcopy(stanza))

    # --- small things

    @property
    def _there(self) -> list[Device]:
        return [device for device in self.devices if device.there]

    def _announce(self, device: Device, contact: str) -> None:
        shown = device.announcement()
        shown.set("from", device.jid)
        shown.set("to", contact)
        self._to_gateway(shown)

    def _presence(self, to: str, type_: str) -> ET.Element:
        return ET.Element(f"{{{STREAM}}}presence", {"from": self.account, "to": to, "type": type_})

    def _to_gateway(self, stanza: ET.Element) -> None:
        if stanza.get("to", "").partition("/")[0].rpartition("@")[2] == DOMAIN:
            asyncio.get_running_loop().call_later(LATENCY, self.scene.from_server, stanza)


def _private(stanza: ET.Element) -> bool:
    """Not for carbons (XEP-0280 §9, XEP-0334 §4.3)."""
    return any(child.tag in (f"{{{CARBONS}}}private", f"{{{HINTS}}}no-copy") for child in stanza)


def _short(stanza: ET.Element) -> str:
    """A stanza in a few words."""
    inner = [child.tag.rpartition("}")[2] for child in stanza]
    jingle = next((child for child in stanza if child.get("action")), None)
    said = jingle.get("action", "") if jingle is not None else " ".join(inner[:2])
    return f"{kind(stanza)} {stanza.get('type', '')} {said}".replace("  ", " ")
