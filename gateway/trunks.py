"""Where the trunks are: what the names of their proxies resolve to, kept fresh.

Their calls are known by it, both ways: an INVITE from one of these addresses is a trunk's, and a SIP URI that leads to
one is a number call, whatever it is called (safety rules 2 and 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from gateway.addresses import SipUri
from gateway.dialplan.plan import Trunk

REFRESH = 300.0  # s between look-ups of the trunks' names
RETRY = 10.0  # s, while one of them is not known

LookUp = Callable[[SipUri], Awaitable[frozenset[str]]]


class Whereabouts:
    """`addresses` maps a trunk's name to the IP addresses behind it, as far as they are known."""

    def __init__(self, trunks: Callable[[], Iterable[Trunk]], look_up: LookUp) -> None:
        self._trunks = trunks
        self._look_up = look_up
        self._searched = False
        self.addresses: dict[str, frozenset[str]] = {}

    @property
    def hosts(self) -> frozenset[str]:
        """Every address of every trunk."""
        return frozenset(address for theirs in self.addresses.values() for address in theirs)

    async def watch(self) -> None:
        """Keep them fresh, until cancelled."""
        while True:
            await self._find(self._trunks())
            self._searched = True
            await asyncio.sleep(RETRY if self._unfound() else REFRESH)

    async def resolved(self, uri: SipUri) -> frozenset[str]:
        """The addresses behind a URI, to be compared with the trunks'."""
        if not self._searched:  # no trunk may be taken for just another host because it was looked for late
            await self._find(self._unfound())
        return await self._look_up(uri)

    async def _find(self, trunks: Iterable[Trunk]) -> None:
        async def find(trunk: Trunk) -> None:
            if found := await self._look_up(trunk.proxy):  # a resolver's bad hour must not forget a trunk
                self.addresses[trunk.name] = found

        await asyncio.gather(*(find(trunk) for trunk in trunks))

    def _unfound(self) -> list[Trunk]:
        return [trunk for trunk in self._trunks() if trunk.name not in self.addresses]
