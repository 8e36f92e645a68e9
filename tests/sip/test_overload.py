"""gateway.sip.overload: who is heard, and what is said to the others."""

from __future__ import annotations

import pytest

from gateway.sip import overload
from gateway.sip.overload import Door, Gate, Load, Rate, Source, Standing, Verdict, network_of

CARRIER = Source("192.0.2.1", 5060, "UDP")


def udp(number: int) -> Source:
    return Source(f"198.51.{number // 250}.{number % 250 + 1}", 5060, "UDP")


def tcp(number: int) -> Source:
    return Source(f"198.51.{number // 250}.{number % 250 + 1}", 40_000, "TCP")


def invites(gate: Gate, source: Source, standing: Standing, now: float = 0.0, load: Load | None = None) -> int:
    """0 when it is let in."""
    verdict = gate.judge("INVITE", source, standing, load or Load(), now)
    return -1 if verdict == Verdict(0, "ignored") else verdict.status if verdict is not None else 0


def test_a_stranger_hears_nothing_and_is_counted() -> None:
    gate = Gate()
    assert invites(gate, CARRIER, Standing.STRANGER) == -1
    assert gate.judge("OPTIONS", CARRIER, Standing.STRANGER, Load(), 0.0) == Verdict(0, "ignored")
    assert gate.counts == {"ignored": 2}


def test_an_operator_may_have_strangers_refused() -> None:
    gate = Gate(Door(strangers="refuse"))
    assert invites(gate, CARRIER, Standing.STRANGER) == 403
    assert gate.counts == {"refused": 1}


def test_who_may_prove_himself_is_asked_to_and_not_for_ever() -> None:
    gate = Gate(Door(guest=Rate(1.0, 2.0)))
    assert [invites(gate, CARRIER, Standing.UNPROVEN) for _ in range(3)] == [401, 401, -1]
    assert gate.counts == {"challenged": 2, "ignored": 1}


def test_a_trunk_may_call_as_often_as_it_likes() -> None:
    gate = Gate()
    assert {invites(gate, CARRIER, Standing.TRUNK) for _ in range(10_000)} == {0}


def test_a_guest_has_a_rate() -> None:
    gate = Gate(Door(guest=Rate(1.0, 3.0)))
    assert [invites(gate, tcp(1), Standing.GUEST) for _ in range(4)] == [0, 0, 0, 503]
    assert invites(gate, tcp(2), Standing.GUEST) == 0
    assert invites(gate, tcp(1), Standing.GUEST, now=1.0) == 0
    assert invites(gate, tcp(1), Standing.GUEST, now=1.5) == 503
    assert gate.counts == {"too often": 2}


def test_forged_addresses_do_not_keep_guests_out_who_proved_theirs() -> None:
    gate = Gate()
    gate.stream = 5060
    let_in = 0
    for second in range(60):
        for forged in range(20):
            status = invites(gate, udp(second * 20 + forged), Standing.GUEST, now=float(second))
            let_in += status == 0
            assert status in (0, 302)
        assert invites(gate, tcp(9000 + second), Standing.GUEST, now=float(second)) == 0
    assert let_in <= 40 + 2 * 60  # of the 200 calls that strangers may have at a time, each ringing for 55 s


def test_without_a_stream_datagrams_above_the_rate_are_told_to_come_later() -> None:
    gate = Gate(Door(datagrams=Rate(1.0, 1.0)))
    assert [invites(gate, udp(number), Standing.GUEST) for number in range(2)] == [0, 503]
    assert gate.judge("OPTIONS", udp(3), Standing.GUEST, Load(), 0.0) is None


@pytest.mark.parametrize(
    ("load", "guest", "trunk"),
    [
        (Load(4, 0), 0, 0),
        (Load(5, 0), 503, 0),
        (Load(10, 0), 503, 503),
        (Load(full=True), 503, 503),
        (Load(0, 199), 0, 0),
        (Load(0, 200), 503, 0),
        (Load(0, 400), 503, 503),
    ],
)
def test_calls_are_refused_before_the_queue_grows_and_those_of_trunks_last(load: Load, guest: int, trunk: int) -> None:
    gate = Gate(Door(calls=10))
    assert invites(gate, tcp(1), Standing.GUEST, load=load) == guest
    assert invites(gate, CARRIER, Standing.TRUNK, load=load) == trunk
    verdict = gate.judge("OPTIONS", CARRIER, Standing.TRUNK, load, 0.0)
    assert verdict is None  # it costs nothing, and whoever pings us wants to know whether we live


def test_who_comes_back_too_early_is_told_when() -> None:
    gate = Gate(Door(calls=0, retry_after=7))
    verdict = gate.judge("INVITE", CARRIER, Standing.TRUNK, Load(), 0.0)
    assert verdict is not None
    assert verdict.retry_after == 7


def test_sources_are_counted_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "MAX_SOURCES", 3)
    gate = Gate(Door(guest=Rate(0.0, 1.0)))
    assert [invites(gate, tcp(number), Standing.GUEST) for number in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert invites(gate, tcp(4), Standing.GUEST) == 503
    assert invites(gate, tcp(1), Standing.GUEST) == 0  # it was quiet for longest


def test_one_source_is_a_network_of_ipv6() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("nothing") == "nothing"


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    gate = Gate(Door(guest=Rate(1.0, 1.0)))
    assert [invites(gate, tcp(1), Standing.GUEST, now=now) for now in (10.0, 5.0, 5.5)] == [0, 503, 503]
