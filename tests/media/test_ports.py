from __future__ import annotations

import socket

import pytest

from gateway.errors import MediaError
from gateway.media import ports
from gateway.media.ports import REST, Bind, Ports, bind_for, binds, plain

LOOPBACK = "127.0.0.1"


@pytest.fixture
def low() -> int:
    """The first of eight ports that are free now, below the ephemeral ones."""
    for low in range(11_000, 12_000, 8):
        try:
            for port in range(low, low + 8):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((LOOPBACK, port))
        except OSError:
            continue
        return low
    raise OSError("no eight free ports")


def test_rtp_gets_an_even_port_and_rtcp_the_one_above(low: int) -> None:
    range_ = Ports(low + 1, low + 7)
    port, sockets = range_.bind([(LOOPBACK, 0), (LOOPBACK, 1)])
    assert port % 2 == 0
    assert [sock.getsockname() for sock in sockets] == [(LOOPBACK, port), (LOOPBACK, port + 1)]
    assert low < port < low + 7
    range_.give_back(port, sockets, 0.0)
    range_.close()


def test_a_port_of_another_program_is_passed_over(low: int) -> None:
    range_ = Ports(low, low + 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, low + 1))
        port, sockets = range_.bind([(LOOPBACK, 0), (LOOPBACK, 1)])
    assert port == low + 2
    range_.give_back(port, sockets, 0.0)
    range_.close()


def test_a_port_that_was_given_back_rests_bound_before_it_is_used_again(low: int) -> None:
    range_ = Ports(low, low + 3)
    first, sockets = range_.bind([(LOOPBACK, 0)])
    range_.give_back(first, sockets, now=100.0)
    range_.tick(100.0 + REST - 1)
    assert sockets[0].fileno() >= 0
    second, others = range_.bind([(LOOPBACK, 0)])
    assert second != first
    range_.tick(100.0 + REST)
    assert sockets[0].fileno() < 0
    third, more = range_.bind([(LOOPBACK, 0)])
    assert third == first
    for port, given in ((second, others), (third, more)):
        range_.give_back(port, given, 0.0)
    range_.close()


def test_without_another_port_the_one_that_rested_longest_is_woken(low: int) -> None:
    range_ = Ports(low, low + 1)
    port, sockets = range_.bind([(LOOPBACK, 0)])
    with pytest.raises(MediaError, match="in use"):
        range_.bind([(LOOPBACK, 0)])
    range_.give_back(port, sockets, 0.0)
    again, sockets = range_.bind([(LOOPBACK, 0)])
    assert again == port
    range_.give_back(again, sockets, 0.0)
    range_.close()


def test_an_address_that_is_not_ours_is_an_error_at_once(low: int) -> None:
    range_ = Ports(low, low + 7)
    with pytest.raises(MediaError, match=r"203\.0\.113\.7"):
        range_.bind([(LOOPBACK, 0), ("203.0.113.7", 0)])
    port, sockets = range_.bind([(LOOPBACK, 0)])
    range_.give_back(port, sockets, 0.0)
    range_.close()


def test_a_range_without_a_pair_is_an_error() -> None:
    with pytest.raises(MediaError):
        Ports(11_001, 11_002)


def test_ipv4_and_ipv6_share_a_port(low: int) -> None:
    range_ = Ports(low, low + 7)
    port, sockets = range_.bind([(LOOPBACK, 0), ("::1", 0)])
    assert [sock.getsockname()[:2] for sock in sockets] == [(LOOPBACK, port), ("::1", port)]
    range_.give_back(port, sockets, 0.0)
    range_.close()


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return ["10.0.0.9", "169.254.3.4", "192.0.2.9"] * use_ipv4 + ["2001:db8::9"] * use_ipv6

    monkeypatch.setattr(ports, "get_host_addresses", get)
    monkeypatch.setattr(ports, "_outward", lambda version: "192.0.2.9")


@pytest.mark.parametrize(
    ("address", "advertise", "expected"),
    [
        ("127.0.0.1", None, [("127.0.0.1", "127.0.0.1")]),
        ("10.0.0.9", "203.0.113.7", [("10.0.0.9", "203.0.113.7")]),
        ("0.0.0.0", "203.0.113.7", [("0.0.0.0", "203.0.113.7")]),
        ("0.0.0.0", None, [("192.0.2.9", "192.0.2.9"), ("10.0.0.9", "10.0.0.9")]),
        ("0.0.0.0, ::", "203.0.113.7", [("0.0.0.0", "203.0.113.7"), ("2001:db8::9", "2001:db8::9")]),
        ("0.0.0.0,::", "203.0.113.7, 2001:db8::7", [("0.0.0.0", "203.0.113.7"), ("::", "2001:db8::7")]),
    ],
)
@pytest.mark.usefixtures("hosts")
def test_what_is_bound_and_what_is_announced(
    address: str, advertise: str | None, expected: list[tuple[str, str]]
) -> None:
    assert list(binds(address, advertise)) == [Bind(*pair) for pair in expected]


def test_a_machine_with_nothing_but_loopback_uses_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "get_host_addresses", lambda use_ipv4, use_ipv6: [])
    assert binds("0.0.0.0", None) == (Bind("127.0.0.1", "127.0.0.1"),)
    assert binds("::", None) == (Bind("::1", "::1"),)


@pytest.mark.parametrize(("address", "advertise"), [("eth0", None), ("0.0.0.0", "gateway.example.com"), ("", None)])
def test_a_name_is_no_address(address: str, advertise: str | None) -> None:
    with pytest.raises(MediaError, match="media address"):
        binds(address, advertise)


def test_ipv4_in_ipv6_is_ipv4() -> None:
    assert [plain(text) for text in ("::ffff:192.0.2.1", "192.0.2.1", "2001:DB8::0:1")] == [
        "192.0.2.1",
        "192.0.2.1",
        "2001:db8::1",
    ]


def test_a_leg_has_the_version_of_ip_that_its_far_end_has() -> None:
    four, six = Bind("0.0.0.0", "192.0.2.1"), Bind("2001:db8::1", "2001:db8::1")
    for both in ((four, six), (six, four)):
        assert (bind_for(both, 4), bind_for(both, 6)) == (four, six)
        assert bind_for(both, None) == both[0]
    assert bind_for((four,), 6) == four, "better than no leg at all"
