"""Which addresses that somebody names may get a packet from us (safety rule 3).

Whoever writes an address into a candidate or an SDP makes us send there. Without this rule any user could have the
gateway's own network probed: private, loopback, link-local, multicast and otherwise special ranges are refused unless
the operator allows them. IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64, Teredo) are judged by it too.
Names are refused: mDNS names (RFC 8828) mean nothing to us, and others are for signalling to resolve.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1


def networks(allow: Iterable[str]) -> tuple[Network, ...]:
    """The operator's ranges. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in allow)


def address(text: str) -> Address | None:
    """An IP address without a scope, IPv4-mapped ones unwrapped; None for names."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return None
        return found.ipv4_mapped or found
    return found


def permitted(text: str, port: int, allow: Sequence[Network] = ()) -> bool:
    """Whether we may send to this address because somebody named it."""
    if not 0 < port <= 65_535:
        return False
    found = address(text)
    if found is None:
        return False
    return all(_ordinary(part) or any(part in network for network in allow) for part in (found, *_carried(found)))


def _ordinary(found: Address) -> bool:
    return found.is_global and not found.is_multicast


def _carried(found: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses that a packet to this IPv6 address may end at."""
    if isinstance(found, ipaddress.IPv4Address):
        return ()
    if found in _NAT64:
        return (ipaddress.IPv4Address(int(found) & 0xFFFFFFFF),)
    if found.sixtofour is not None:
        return (found.sixtofour,)
    return found.teredo or ()
