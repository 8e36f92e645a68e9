"""From a URI to addresses (RFC 3263): the search of locate.py, run against DNS, asynchronously and with a memory; and
from a number to URIs (ENUM, RFC 6116).

What DNS said, and that it said nothing, is kept as long as its TTL allows (RFC 2308), for so many names and no more.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import Awaitable, Callable, Sequence

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdata
import dns.resolver
import structlog
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from gateway.addresses import SipUri
from gateway.dialplan import naptr
from gateway.sip.locate import Answer, Chance, Naptr, Permit, Question, Srv, anyone, host_of, search
from gateway.sip.targets import Target

log = structlog.get_logger()

PATIENCE = 5.0  # seconds for everything about one URI, of one name server
MAX_CACHED = 4096  # answers
# COMPAT: routers and firewalls whose resolvers drop what they do not know. Services are asked for so long, and where
# nobody answered, not again for a while; addresses are asked for as long as it takes.
SERVICES = {"NAPTR": 1.0, "SRV": 2.0}  # seconds
DROPPED = 300.0  # seconds
TURN = 1.0  # seconds for one name server, then the next one is asked
MAX_DROPPED = 1000
ENUM = 3.0  # seconds for one suffix: a question that gets lost is asked again
SILENT = 30.0  # seconds in which a suffix is not asked again that did not answer: every call would wait for it

Resolve = Callable[[SipUri, Permit], Awaitable[list[Target]]]


class Resolver:
    """`nameservers` are addresses with their ports, asked one after the other; without any they are this machine's."""

    def __init__(self, nameservers: Sequence[tuple[str, int]] = (), chance: Chance = random.random) -> None:
        self._chance = chance
        try:
            self._dns = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration:
            self._dns = dns.asyncresolver.Resolver(configure=False)  # only names of this machine are known then
        if nameservers:
            self._dns.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in nameservers]
        self._dns.lifetime = PATIENCE
        self._dns.timeout = TURN
        self._dns.cache = dns.resolver.LRUCache(MAX_CACHED)
        self._dropped: dict[Question, float] = {}  # -> until when it is not asked again
        self._silent: dict[str, float] = {}  # a suffix of ENUM, likewise

    async def resolve(self, uri: SipUri, permit: Permit = anyone) -> list[Target]:
        """Where this URI may be reached, best first; empty when nowhere. Takes no longer than `patience`."""
        steps = search(uri, permit, self._chance)
        try:
            questions = next(steps)
            async with asyncio.timeout(self.patience):
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
            lifetime = self._lifetime(SERVICES[question.kind]) if question.kind in SERVICES else PATIENCE
            answer = await self._dns.resolve(question.name, question.kind, search=False, lifetime=lifetime)
        except dns.exception.Timeout:
            if question.kind in SERVICES:
                if len(self._dropped) >= MAX_DROPPED:
                    self._dropped.clear()
                self._dropped[question] = now + DROPPED
            return ()
        except (dns.exception.DNSException, OSError, UnicodeError):
            return ()
        return [record for data in answer if (record := _record(data)) is not None]

    @property
    def patience(self) -> float:
        """Seconds for everything about one URI: services that no name server answers for leave time for addresses."""
        return PATIENCE + len(SERVICES) * self._further

    def _lifetime(self, seconds: float) -> float:
        """How long a question may take: so long, and a turn for each further name server."""
        return seconds + self._further

    @property
    def _further(self) -> float:
        return TURN * max(0, len(self._dns.nameservers) - 1)

    async def hosts(self, uri: SipUri) -> frozenset[str]:
        """The addresses behind a URI, whatever they are: for comparing, not for sending."""
        return frozenset(target.host for target in await self.resolve(uri))

    async def enum(self, number: str, suffixes: Sequence[str]) -> tuple[SipUri, ...] | str:
        """The SIP URIs that DNS has for a number in E.164 below the first of these suffixes that has any; none where
        it is not listed. A text where some suffix does not answer and no other has it.
        """
        failure = ""
        for suffix in suffixes:
            records = await self._naptr(number, suffix)
            if records is None:
                failure = f"DNS did not answer for {number} below {suffix}"
            elif found := naptr.uris(number, records):
                return found
        return failure or ()

    async def _naptr(self, number: str, suffix: str) -> list[naptr.Record] | None:
        """None where nobody answered."""
        now = asyncio.get_running_loop().time()
        if self._silent.get(suffix, now) > now:
            return None
        try:
            name, lifetime = naptr.domain(number, suffix), self._lifetime(ENUM)
            answer = await self._dns.resolve(name, "NAPTR", search=False, lifetime=lifetime)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.Timeout:
            if len(self._silent) >= MAX_DROPPED:
                self._silent.clear()
            self._silent[suffix] = now + SILENT
            return None
        except (dns.exception.DNSException, OSError, UnicodeError):
            return None
        found = (data for data in answer if isinstance(data, NAPTR))
        return [_rewriting(data) for data in itertools.islice(found, naptr.MAX_RECORDS)]


def _rewriting(data: NAPTR) -> naptr.Record:
    flags, service, regexp = (text.decode("latin-1") for text in (data.flags, data.service, data.regexp))
    return naptr.Record(data.order, data.preference, flags, service, regexp)


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
    """As Resolver.resolve, by this machine's name servers and with one memory for all who ask so."""
    return await shared().resolve(uri, permit)


def shared() -> Resolver:
    global _shared  # noqa: PLW0603 - one memory of DNS for the process
    if _shared is None:
        _shared = Resolver()
    return _shared


_shared: Resolver | None = None

__all__ = ["Permit", "Resolve", "Resolver", "Target", "anyone", "resolve", "shared"]
