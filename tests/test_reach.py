"""Which addresses somebody may name."""

from __future__ import annotations

import pytest

from gateway.reach import Reach, version_of


@pytest.mark.parametrize(
    "address", ["203.0.114.7", "8.8.8.8", "2a00:1450:4001::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_may_be_named(address: str) -> None:
    assert Reach().permits(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # cloud metadata
        "100.64.0.1",  # carrier-grade NAT
        "0.0.0.0",
        "255.255.255.255",
        "192.0.0.8",
        "192.88.99.1",
        "3fff::1",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:0a00:0001::",  # 6to4 of 10.0.0.1
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
        "64:ff9b:1::808:808",  # NAT64 of a local network (RFC 8215)
        "::127.0.0.2",
        "::8.8.8.8",  # IPv4-compatible, deprecated (RFC 4291 §2.5.5.1)
        "4000::1",  # not given out
        "2001:0:a00:1:0:0:3fff:fdd2",  # Teredo by a server at 10.0.0.1
    ],
)
def test_private_and_special_addresses_may_not_be_named_in_any_spelling(address: str) -> None:
    assert not Reach().permits(address)


@pytest.mark.parametrize(
    "address", ["2130706433", "017700000001", "0x7f.1", "127.1", "localhost", "a.local", "", "1.2.3.4.5"]
)
def test_what_is_not_an_address_in_its_usual_spelling_is_refused(address: str) -> None:
    assert not Reach(["127.0.0.0/8"]).permits(address)


def test_the_operator_can_allow_ranges() -> None:
    reach = Reach(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])
    assert reach.permits("10.9.9.9")
    assert reach.permits("127.0.0.1")
    assert reach.permits("::ffff:10.0.0.1")
    assert reach.permits("fd12::1")
    assert not reach.permits("192.168.0.1")
    assert not reach.permits("127.0.0.2")


@pytest.mark.parametrize(
    ("address", "version"),
    [("192.0.2.1", 4), ("2001:db8::1", 6), ("::ffff:192.0.2.1", 4), ("phone.example", None), ("", None), (None, None)],
)
def test_which_version_of_ip_an_address_is_of(address: str | None, version: int | None) -> None:
    assert version_of(address) == version
