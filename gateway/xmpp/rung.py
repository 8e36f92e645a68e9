"""The devices that a call may be ringing at, as far as they let it be known.

    presence                          it is there, since when, and what it can
    ringing, receipt of the propose   it is there, whatever is known of its presence

A device whose capabilities are known, and that has no Jingle messages among them, hears nothing of a propose.
"""

from __future__ import annotations

from gateway.xmpp.devices import Device

MOST_DEVICES = 50

# What a device said of the propose.
RINGING = "ringing"
RECEIPT = "receipt"
PLAIN_RECEIPT = "receipt to the bare JID"


class Rung:
    """Those of one call. Devices are full JIDs, times seconds of the caller's clock."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] = {}
        self._since: dict[str, float] = {}  # when each was seen first
        self._said: dict[str, set[str]] = {}

    def seen(self, device: Device, now: float) -> float | None:
        """It is there, or is known better. Since when; None: there are too many."""
        if device.jid not in self._devices and len(self._devices) >= MOST_DEVICES:
            return None
        self._devices[device.jid] = device
        return self._since.setdefault(device.jid, now)

    def said(self, jid: str, words: str) -> None:
        """It speaks of the propose; of no use from one that does not know what it is."""
        device = self._devices.get(jid)
        able = None if device is None else device.abilities
        if (able is None or able.jmi) and (jid in self._said or len(self._said) < MOST_DEVICES):
            self._said.setdefault(jid, set()).add(words)

    def gone(self, jid: str) -> None:
        for known in (self._devices, self._since, self._said):
            known.pop(jid, None)

    def knows_calls(self, jid: str) -> bool:
        """Whether it is known to understand a propose."""
        device = self._devices.get(jid)
        return device is not None and device.abilities is not None and device.abilities.jmi

    @property
    def somebody_listens(self) -> bool:
        """Whether a device is there that may understand a propose."""
        return any(device.abilities is None or device.abilities.jmi for device in self._devices.values())

    @property
    def within_reach(self) -> tuple[str, ...]:
        """Who may be ringing, and can be told something."""
        return tuple(dict.fromkeys([*filter(self.knows_calls, self._devices), *self._said]))

    @property
    def movim_is_there(self) -> bool:
        """COMPAT: Movim (2026-08). Where its presence is not known its words give it away: no other client says both,
        the receipt to the bare JID (ReceiptRequest.php, Visio.php onPropose).
        """
        return any(words >= {RINGING, PLAIN_RECEIPT} for words in self._said.values())
