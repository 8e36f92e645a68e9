"""Which addresses that somebody else names may be sent to (safety rule 3: no probing through us).

A SIP target after DNS, the address of an SDP and an ICE candidate are words of a stranger. They may point into the
operator's own network, so everything that is not plain public unicast is refused unless the operator allows its range.
IPv4 addresses that hide in IPv6 ones (mapped, 6to4, NAT64) are judged as what they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1


class Reach:
    """The private-range policy. `allow` holds networks in CIDR form; ValueError when one cannot be read."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow = tuple(ipaddress.ip_network(network, strict=False) for network in allow)

    def permits(self, address: str) -> bool:
        """True for an IP address that may be sent to; names, odd spellings and scoped addresses are never permitted."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        inner = _embedded(ip)
        if any(candidate in network for candidate in {ip, inner} for network in self._allow):
            return True
        return _public(inner)


def _embedded(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip.sixtofour is not None:
            return ip.sixtofour
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # is_global follows IANA's special-purpose registries; multicast can be "global" and is still nobody's phone.
    return ip.is_global and not ip.is_multicast and not ip.is_unspecified
