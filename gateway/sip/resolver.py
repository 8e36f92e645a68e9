"""From a URI to addresses (RFC 3263): the search of locate.py, run against DNS, asynchronously and with a memory.

What DNS said, and that it said nothing, is kept as long as its TTL allows (RFC 2308), for so many names and no more.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.rdata
import dns.resolver
import structlog
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from gateway.addresses import SipUri
from gateway.sip.locate import Answer, Chance, Naptr, Permit, Question, Srv, anyone, host_of, search
from gateway.sip.targets import Target

log = structlog.get_logger()

PATIENCE = 5.0  # seconds for everything about one URI
MAX_CACHED = 4096  # answers
# COMPAT: routers and firewalls whose resolvers drop what they do not know. Services are asked for so long, and where
# nobody answered, not again for a while; addresses are asked for as long as it takes.
SERVICES = {"NAPTR": 1.0, "SRV": 2.0}  # seconds
DROPPED = 300.0  # seconds
MAX_DROPPED = 1000


class Resolver:
    """`nameservers` are this machine's by default."""

    def __init__(
        self, nameservers: Sequence[str] | None = None, port: int = 53, chance: Chance = random.random
    ) -> None:
        self._chance = chance
        try:
            self._dns = dns.asyncresolver.Resolver(configure=nameservers is None)
        except dns.resolver.NoResolverConfiguration:
            self._dns = dns.asyncresolver.Resolver(configure=False)  # only names of this machine are known then
        if nameservers is not None:
            self._dns.port = port  # first: the next line takes it
            self._dns.nameservers = list(nameservers)
        self._dns.lifetime = PATIENCE
        self._dns.cache = dns.resolver.LRUCache(MAX_CACHED)
        self._dropped: dict[Question, float] = {}  # -> until when it is not asked again

    async def resolve(self, uri: SipUri, permit: Permit = anyone) -> list[Target]:
        """Where this URI may be reached, best first; empty when nowhere. Takes no longer than PATIENCE."""
        steps = search(uri, permit, self._chance)
        try:
            questions = next(steps)
            async with asyncio.timeout(PATIENCE):
                while True:
                    questions = steps.send(tuple(await asyncio.gather(*map(self.ask, questions))))
        except StopIteration as end:
            targets: list[Target] = end.value
            return targets
        except TimeoutError:
            log.warning("sip name not resolved in time", host=host_of(uri))
            return []

    async def ask(self, question: Question) -> Answer:
        """The records of one name; none when there are none, or nobody answers."""
        if question.kind == "HOST":
            return await _known_here(question.name)
        now = asyncio.get_running_loop().time()
        if self._dropped.get(question, now) > now:
            return ()
        try:
            answer = await self._dns.resolve(
                question.name, question.kind, search=False, lifetime=SERVICES.get(question.kind, PATIENCE)
            )
        except dns.exception.Timeout:
            if question.kind in SERVICES:
                if len(self._dropped) >= MAX_DROPPED:
                    self._dropped.clear()
                self._dropped[question] = now + DROPPED
            return ()
        except (dns.exception.DNSException, OSError, UnicodeError):
            return ()
        return [record for data in answer if (record := _record(data)) is not None]


def _record(data: dns.rdata.Rdata) -> Naptr | Srv | str | None:
    if isinstance(data, NAPTR):
        if data.regexp:  # a rewriting of URIs, which RFC 3263 does not use
            return None
        service, flags = data.service.decode("latin-1"), data.flags.decode("latin-1")
        return Naptr(data.order, data.preference, flags, service, _name(data.replacement))
    if isinstance(data, SRV):
        target = _name(data.target)
        return Srv(data.priority, data.weight, data.port, target) if data.port or not target else None
    return str(data)


def _name(name: object) -> str:
    return str(name).rstrip(".")


async def _known_here(name: str) -> list[str]:
    """What the system's resolver knows, asked in a thread."""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


async def resolve(uri: SipUri, permit: Permit = anyone) -> list[Target]:
    """As Resolver.resolve, by the resolver that everybody here shares."""
    return await shared().resolve(uri, permit)


def shared() -> Resolver:
    global _shared  # noqa: PLW0603 - one memory of DNS for the process
    if _shared is None:
        _shared = Resolver()
    return _shared


_shared: Resolver | None = None

__all__ = ["Permit", "Resolver", "Target", "anyone", "resolve", "shared"]
