"""gateway.sip.icmp: which errors of the network count, and whose request they quote."""

from __future__ import annotations

import struct

import pytest

from gateway.sip.icmp import IP_RECVERR, IPV6_RECVERR, is_failure, quoted

REQUEST = (
    b"OPTIONS sip:gw.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK5f;rport\r\n"
    b"Max-Forwards: 70\r\n\r\n"
)


def told(option: tuple[int, int], origin: int, kind: int, code: int) -> list[tuple[int, int, bytes]]:
    """What recvmsg says of an error: struct sock_extended_err, and the address of whoever sent it."""
    return [(*option, struct.pack("=IBBBBII", 111, origin, kind, code, 0, 0, 0) + bytes(16))]


@pytest.mark.parametrize(
    ("option", "origin", "kind", "code", "counts"),
    [
        (IP_RECVERR, 2, 3, 3, True),  # port unreachable
        (IP_RECVERR, 2, 3, 1, True),  # host unreachable
        (IP_RECVERR, 2, 3, 13, True),  # a firewall's word
        (IP_RECVERR, 2, 12, 0, True),  # parameter problem
        (IP_RECVERR, 2, 3, 4, False),  # fragmentation needed
        (IP_RECVERR, 2, 4, 0, False),  # source quench
        (IP_RECVERR, 2, 11, 0, False),  # time exceeded
        (IP_RECVERR, 1, 3, 3, False),  # of this machine, not of the network
        (IPV6_RECVERR, 3, 1, 4, True),  # port unreachable
        (IPV6_RECVERR, 3, 4, 1, True),  # parameter problem
        (IPV6_RECVERR, 3, 2, 0, False),  # packet too big
        (IPV6_RECVERR, 3, 3, 0, False),  # time exceeded
        ((1, 35), 2, 3, 3, False),  # a time stamp
    ],
)
def test_what_rfc_3261_counts_as_a_failure(
    option: tuple[int, int], origin: int, kind: int, code: int, counts: bool
) -> None:
    assert is_failure(told(option, origin, kind, code)) is counts


def test_what_is_too_short_is_nothing() -> None:
    assert not is_failure([(*IP_RECVERR, b"\0" * 6)])
    assert not is_failure([])


@pytest.mark.parametrize("size", [len(REQUEST), REQUEST.index(b"Max-Forwards")])
def test_a_request_is_known_by_its_branch(size: int) -> None:
    assert quoted(REQUEST[:size]) == ("OPTIONS", "z9hG4bK5f")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        REQUEST[:60],  # which might be anybody's branch
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK5f\r\n",
        b"OPTIONS sip:gw.example SIP/2.0\r\nFrom: <sip:a@b>;branch=z9hG4bK5f\r\n",
        b"OPTIONS sip:gw.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n",
        b"\xff\x00\r\n\r\n\r\n",
    ],
)
def test_what_does_not_quote_a_branch_is_nobodys(octets: bytes) -> None:
    assert quoted(octets) is None
