"""gateway.sip.seats: strangers' connections never take those of trunks."""

from __future__ import annotations

from gateway.sip.seats import Room, Seats


def stranger(number: int) -> str:
    return f"198.51.{number // 250}.{number % 250 + 1}"


def test_strangers_leave_room_for_trunks() -> None:
    seats = Seats(Room(strangers=10, trunks=2, half_open=100))
    refusals = [seats.take(number, stranger(number), trunk=False) for number in range(20)]
    assert refusals.count("") == 10
    assert set(refusals[10:]) == {"too many connections"}
    assert [seats.take(100 + number, "192.0.2.1", trunk=True) for number in range(3)] == [
        "",
        "",
        "too many connections of trunks",
    ]
    assert len(seats) == 12


def test_one_source_has_its_share_and_a_network_of_ipv6_is_one() -> None:
    seats = Seats(Room(per_source=2))
    for number in range(2):
        assert seats.take(number, f"2001:db8::{number}", trunk=False) == ""
        seats.settle(number, trunk=False)
    assert seats.take(3, "2001:db8::3", trunk=False) == "too many connections of one source"
    seats.leave(0)
    assert seats.take(3, "2001:db8::3", trunk=False) == ""


def test_handshakes_are_counted_until_they_are_through() -> None:
    seats = Seats(Room(half_open=3, half_open_per_source=2))
    assert [seats.take(number, "192.0.2.1", trunk=False) for number in range(3)] == [
        "",
        "",
        "too many handshakes of one source",
    ]
    assert seats.take(3, "192.0.2.2", trunk=False) == ""
    assert seats.take(4, "192.0.2.3", trunk=False) == "too many handshakes"
    assert seats.take(5, "192.0.2.4", trunk=True) == ""
    seats.settle(0, trunk=False)
    assert seats.take(6, "192.0.2.3", trunk=False) == ""


def test_a_certificate_turns_a_stranger_into_a_trunk() -> None:
    seats = Seats(Room(strangers=1, trunks=1))
    assert seats.take(1, "192.0.2.1", trunk=False) == ""
    seats.settle(1, trunk=True)
    assert seats.take(2, "192.0.2.2", trunk=False) == ""
    assert seats.take(3, "192.0.2.3", trunk=True) == "too many connections of trunks"


def test_nothing_is_left_when_all_have_left() -> None:
    seats = Seats()
    for number in range(5):
        seats.take(number, stranger(number), trunk=number == 1)
        seats.settle(number, trunk=number == 2)
    for number in range(6):
        seats.leave(number)
        seats.settle(number, trunk=False)
    assert len(seats) == 0
    assert not seats._taken
