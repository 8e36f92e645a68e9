"""From a URI to addresses (RFC 3263, without NAPTR): SRV where no port is named, then A and AAAA; asynchronous.

Every address that comes out has passed `permit`, literal ones too: nobody probes our networks by naming a host in them.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import structlog

from gateway.addresses import SipUri
from gateway.sip.transport import ip_of

log = structlog.get_logger()

PATIENCE = 5.0  # seconds for everything about one URI
MAX_TARGETS = 8
SPOKEN = (None, "UDP", "TCP")  # transports that a URI may ask for

Permit = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Target:
    transport: str  # "UDP", "TCP"
    host: str  # an IP address
    port: int


def anyone(address: str) -> bool:
    """The policy of no policy."""
    return True


def transport_of(uri: SipUri) -> str | None:
    """The transport that a URI asks for, upper case; None when it leaves that to us."""
    named = (uri.parameter("transport") or "").upper()
    return named or None


def literal(uri: SipUri, permit: Permit) -> Target | None:
    """The target of a URI whose host is an address; None when it is a name, not permitted, or by no way of ours."""
    address = ip_of(uri.parameter("maddr") or uri.host)
    if address is None or transport_of(uri) not in SPOKEN or uri.scheme != "sip" or not permit(str(address)):
        return None
    return Target(transport_of(uri) or "UDP", str(address), uri.port or 5060)


async def resolve(uri: SipUri, permit: Permit = anyone) -> list[Target]:
    """Where this URI may be reached, best first; empty when nowhere. Takes no longer than PATIENCE."""
    host = uri.parameter("maddr") or uri.host
    if ip_of(host) is not None:
        target = literal(uri, permit)
        return [target] if target is not None else []
    if not host or transport_of(uri) not in SPOKEN or uri.scheme != "sip":
        return []
    try:
        async with asyncio.timeout(PATIENCE):
            plain = "." not in host  # a name of this machine or its network; DNS has no services for it
            found = await _services(host, transport_of(uri)) if uri.port is None and not plain else []
            if not found:
                found = [(transport_of(uri) or "UDP", host, uri.port or 5060)]
            targets = [
                Target(transport, address, port)
                for transport, name, port in found
                for address in await _addresses(name)
                if permit(address)
            ]
    except TimeoutError:
        log.warning("sip name not resolved in time", host=host)
        return []
    return targets[:MAX_TARGETS]


async def _services(host: str, transport: str | None) -> list[tuple[str, str, int]]:
    """RFC 3263 §4.1, §4.2: SRV records, by priority, and by weight at random (RFC 2782)."""
    for wanted in (transport,) if transport else ("UDP", "TCP"):
        try:
            answer = await dns.asyncresolver.resolve(f"_sip._{wanted.lower()}.{host}", dns.rdatatype.SRV)
        except (dns.exception.DNSException, OSError):
            continue
        records = sorted(answer, key=lambda r: (r.priority, -random.random() * (r.weight + 0.1)))  # noqa: S311
        return [(wanted, str(record.target).rstrip("."), int(record.port)) for record in records[:MAX_TARGETS]]
    return []


async def _addresses(name: str) -> list[str]:
    """A and AAAA; the system's resolver, in a thread, knows names that DNS does not (/etc/hosts)."""
    address = ip_of(name)
    if address is not None:
        return [str(address)]
    if name.lower() == "localhost" or name.lower().endswith(".localhost"):
        return ["127.0.0.1", "::1"]  # RFC 6761 §6.3: nobody is asked, and nobody can say otherwise
    found: list[str] = []
    for kind in (dns.rdatatype.A, dns.rdatatype.AAAA) if "." in name else ():
        try:
            found += [str(record) for record in await dns.asyncresolver.resolve(name, kind)]
        except (dns.exception.DNSException, OSError):
            continue
    if found:
        return found
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
