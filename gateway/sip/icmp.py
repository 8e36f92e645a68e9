"""What the network says of a datagram that it could not deliver (RFC 3261 §18.4), as Linux hands it on. Pure.

    error queue ──> is_failure(ancillary)? ──> quoted(octets): method and branch of our request ──> its transaction

An ICMP message is easily forged. It quotes what it is about, and our branch, of 64 random bits, stands on the second
line of every request: who quotes it has seen the request. One that quotes less than that changes nothing, and the
timers find out.
"""

from __future__ import annotations

from collections.abc import Iterable

IP_RECVERR, IPV6_RECVERR = (0, 11), (41, 25)  # level and option: have errors queued, and know them by it (ip(7))

_ICMP, _ICMP6 = 2, 3  # ee_origin
_FRAGMENTATION_NEEDED = 4  # a code of type 3: the kernel sends smaller ones from then on (RFC 1191)


def is_failure(ancillary: Iterable[tuple[int, int, bytes]]) -> bool:
    """Whether it says that host, network, protocol or port cannot be reached, or that it understood nothing.

    RFC 3261 §18.4 names those, and leaves out source quench and an exceeded hop limit.
    """
    for level, kind, data in ancillary:
        if (level, kind) in (IP_RECVERR, IPV6_RECVERR) and len(data) >= 7:
            origin, error, code = data[4], data[5], data[6]  # struct sock_extended_err
            if origin == _ICMP:
                return error == 12 or (error == 3 and code != _FRAGMENTATION_NEEDED)  # RFC 792
            return origin == _ICMP6 and error in (1, 4)  # RFC 4443 §3.1, §3.4
    return False


def quoted(octets: bytes) -> tuple[str, str] | None:
    """Method and branch of the request whose beginning this is; None where it does not go as far as that."""
    first, _, rest = octets.partition(b"\r\n")
    via, complete, _ = rest.partition(b"\r\n")
    if not complete or via[:4].lower() != b"via:" or not first.endswith(b" SIP/2.0"):
        return None
    _, found, branch = via.partition(b";branch=")
    method = first.partition(b" ")[0]
    return (method.decode("latin-1"), branch.partition(b";")[0].decode("latin-1")) if found else None
