"""Whom a call may be ringing at: by presence, and by what devices say of the propose."""

from __future__ import annotations

import pytest

from gateway.xmpp.caps import Abilities
from gateway.xmpp.devices import Device
from gateway.xmpp.rung import MOST_DEVICES, PLAIN_RECEIPT, RECEIPT, RINGING, Rung

BALCONY, GARDEN = "juliet@shakespeare.lit/balcony", "juliet@shakespeare.lit/garden"
JMI, DIRECT = Abilities(jmi=True), Abilities(direct=True)


@pytest.mark.parametrize(
    ("able", "listens", "reached"), [(JMI, True, True), (None, True, False), (DIRECT, False, False)]
)
def test_only_who_may_understand_a_propose_listens(able: Abilities | None, listens: bool, reached: bool) -> None:
    rung = Rung()
    rung.seen(Device(BALCONY, able), 0.0)
    assert rung.somebody_listens is listens
    assert rung.knows_calls(BALCONY) is reached
    assert (rung.within_reach == (BALCONY,)) is reached


def test_who_is_known_better_is_there_since_he_was_seen_first() -> None:
    rung = Rung()
    assert rung.seen(Device(BALCONY, None), 1.0) == 1.0
    assert rung.seen(Device(BALCONY, JMI), 5.0) == 1.0
    rung.gone(BALCONY)
    assert rung.seen(Device(BALCONY, JMI), 7.0) == 7.0


def test_of_one_device_too_many_nothing_is_known_and_those_that_are_there_are_known_better_still() -> None:
    rung = Rung()
    for number in range(MOST_DEVICES):
        rung.seen(Device(f"{BALCONY}{number}", None), 0.0)
    assert rung.seen(Device(GARDEN, JMI), 1.0) is None
    assert not rung.knows_calls(GARDEN)
    assert rung.seen(Device(f"{BALCONY}0", JMI), 1.0) == 0.0
    assert rung.knows_calls(f"{BALCONY}0")


def test_who_speaks_of_the_propose_is_within_reach_once() -> None:
    rung = Rung()
    rung.seen(Device(BALCONY, JMI), 0.0)
    rung.said(BALCONY, RINGING)
    rung.said(GARDEN, RECEIPT)
    assert rung.within_reach == (BALCONY, GARDEN)
    rung.gone(GARDEN)
    assert rung.within_reach == (BALCONY,)


def test_a_receipt_of_a_device_without_calls_says_nothing() -> None:
    rung = Rung()
    rung.seen(Device(BALCONY, DIRECT), 0.0)
    rung.said(BALCONY, RECEIPT)
    assert rung.within_reach == ()


@pytest.mark.parametrize(
    ("said", "movim"),
    [
        ([(BALCONY, RINGING), (BALCONY, PLAIN_RECEIPT)], True),
        ([(BALCONY, RINGING), (BALCONY, RECEIPT)], False),
        ([(BALCONY, RINGING), (GARDEN, PLAIN_RECEIPT)], False),
        ([(BALCONY, PLAIN_RECEIPT)], False),
    ],
)
def test_movim_is_known_by_its_words(said: list[tuple[str, str]], movim: bool) -> None:
    rung = Rung()
    for device, words in said:
        rung.said(device, words)
    assert rung.movim_is_there is movim


def test_devices_are_bounded() -> None:
    rung = Rung()
    for number in range(MOST_DEVICES):
        rung.said(f"{BALCONY}{number}", RINGING)
        assert rung.seen(Device(f"{GARDEN}{number}", JMI), 0.0) == 0.0
    rung.said(BALCONY, RINGING)
    assert rung.seen(Device(GARDEN, JMI), 0.0) is None
    assert len(rung.within_reach) == 2 * MOST_DEVICES
    rung.said(f"{BALCONY}0", PLAIN_RECEIPT)
    assert rung.movim_is_there, "one that is known may go on speaking"
