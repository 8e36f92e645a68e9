"""Which addresses that somebody else names may be sent to (safety rule 3: no probing through us).

A SIP target after DNS, the address of an SDP and an ICE candidate are words of a stranger. They may point into the
operator's own network, so everything that is not plain public unicast is refused unless the operator allows its range.
IPv4 addresses that hide in IPv6 ones (mapped, 6to4, NAT64, Teredo) are judged too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out for hosts (RFC 4291 §2.4, IANA)
# Special in IANA's registries, and yet global to some or all Pythons: IETF's own protocols, the relays of 6to4
# (deprecated by RFC 7526), documentation (RFC 9637).
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1


class Reach:
    """The private-range policy. `allow` holds networks in CIDR form; ValueError when one cannot be read."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow = tuple(ipaddress.ip_network(network, strict=False) for network in allow)

    def permits(self, address: str, port: int = 1) -> bool:
        """True for an IP address that may be sent to; names, odd spellings and scoped addresses are never permitted."""
        if not 0 < port < 65536:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address):
            if ip.scope_id is not None:
                return False
            ip = ip.ipv4_mapped or ip
        return all(_public(part) or self._allows(part) for part in (ip, *_carried(ip)))

    def _allows(self, ip: Address) -> bool:
        return any(ip in network for network in self._allow)


def version_of(address: str | None) -> int | None:
    """The version of IP that a packet to this address has, 4 or 6; None for a name, and for nothing."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    return 4 if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped else ip.version


def _public(ip: Address) -> bool:
    # is_global follows IANA's special-purpose registries; multicast can be "global" and is still nobody's phone.
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _SPECIAL):
        return False
    return isinstance(ip, ipaddress.IPv4Address) or ip in _UNICAST or ip in _NAT64


def _carried(ip: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses that a packet to this IPv6 address may end at."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ()
    if ip in _NAT64:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF),)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    return ip.teredo or ()
