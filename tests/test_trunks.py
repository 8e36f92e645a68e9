"""Where the trunks are."""

from __future__ import annotations

import asyncio

from gateway.addresses import SipUri
from gateway.dialplan.plan import Trunk
from gateway.trunks import Whereabouts

CARRIER = Trunk("carrier", SipUri.parse("sip:sbc.carrier.example"))
BACKUP = Trunk("backup", SipUri.parse("sip:sbc.backup.example"))


class Names:
    """A resolver that knows a few names and remembers what it was asked."""

    def __init__(self, **known: str) -> None:
        self.known = {f"sbc.{name}.example": frozenset({address}) for name, address in known.items()}
        self.asked: list[str] = []

    async def __call__(self, uri: SipUri) -> frozenset[str]:
        self.asked.append(uri.host)
        return self.known.get(uri.host, frozenset())


async def turn(whereabouts: Whereabouts) -> None:
    """One round of watching."""
    watching = asyncio.create_task(whereabouts.watch())
    for _ in range(10):
        await asyncio.sleep(0)
    watching.cancel()


async def test_every_trunk_is_looked_up_and_known_by_its_addresses() -> None:
    whereabouts = Whereabouts(lambda: (CARRIER, BACKUP), Names(carrier="192.0.2.5", backup="192.0.2.9"))
    await turn(whereabouts)
    assert whereabouts.addresses == {"carrier": frozenset({"192.0.2.5"}), "backup": frozenset({"192.0.2.9"})}
    assert whereabouts.hosts == {"192.0.2.5", "192.0.2.9"}


async def test_a_bad_hour_of_the_resolver_forgets_no_trunk() -> None:
    names = Names(carrier="192.0.2.5")
    whereabouts = Whereabouts(lambda: (CARRIER,), names)
    await turn(whereabouts)
    names.known.clear()
    await turn(whereabouts)
    assert whereabouts.hosts == {"192.0.2.5"}


async def test_the_first_call_to_a_name_waits_until_the_trunks_are_known() -> None:
    names = Names(carrier="192.0.2.5")
    names.known["alias.example"] = frozenset({"192.0.2.5"})
    whereabouts = Whereabouts(lambda: (CARRIER,), names)
    found = await whereabouts.resolved(SipUri.parse("sip:a@alias.example"))
    assert found == whereabouts.hosts == {"192.0.2.5"}
    assert names.asked == ["sbc.carrier.example", "alias.example"]


async def test_once_they_are_known_nobody_waits_for_them() -> None:
    names = Names(carrier="192.0.2.5")
    whereabouts = Whereabouts(lambda: (CARRIER,), names)
    await turn(whereabouts)
    await whereabouts.resolved(SipUri.parse("sip:a@alias.example"))
    assert names.asked == ["sbc.carrier.example", "alias.example"]
