"""The book of all legs: who is found by what, what is due, and that nothing stays behind."""

from __future__ import annotations

import pytest

from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.session.model import Session
from gateway.xmpp import lines
from gateway.xmpp.callee import CalleeLeg
from gateway.xmpp.caller import CallerLeg
from gateway.xmpp.lines import Line, Lines

USER = "juliet@shakespeare.lit"
BALCONY, GARDEN = f"{USER}/balcony", f"{USER}/garden"
ROMEO = "romeo%shakespeare.lit@sip.example.com"
VOICE = f"{ROMEO}/sip"


def caller(book: Lines, sid: str = "s1", user: str = BALCONY, ring_by: float | None = None) -> Line:
    tag = book.new_tag()
    line = Line(CallerLeg(user, ROMEO, VOICE, sid, f"{tag}-", ring_by), tag)
    book.begin(line)
    return line


def callee(book: Lines, offer: Session | None = None, sid: str = "our1", now: float = 0.0) -> Line:
    tag = book.new_tag()
    leg = CalleeLeg(USER, VOICE, sid, f"{tag}-", 3)
    if offer is not None:
        leg.dial(offer, (), now)
    line = Line(leg, tag)
    book.begin(line)
    return line


def test_a_callers_leg_is_found_by_his_device_and_a_callees_by_any() -> None:
    book = Lines()
    calls, is_called = caller(book), callee(book)
    assert book.find(BALCONY, VOICE, "s1") is calls
    assert book.find(GARDEN, VOICE, "s1") is None
    assert book.find(BALCONY, "other@sip.example.com", "s1") is None
    assert book.find(BALCONY, ROMEO, "our1") is book.find(GARDEN, VOICE, "our1") is is_called
    assert book.find("tybalt@verona.lit/x", VOICE, "our1") is None
    assert book.of(GARDEN) == (calls, is_called)
    assert [(line.side, line.attempt) for line in book] == [(Leg.CALLER, 0), (Leg.CALLEE, 3)]


def test_a_request_is_known_by_its_tag() -> None:
    book = Lines()
    line = caller(book)
    assert book.asked(f"{line.tag}-7") is line
    assert book.asked("nobody-7") is None


def test_what_is_forgotten_leaves_nothing(our_offer: Session) -> None:
    book = Lines()
    line = callee(book, our_offer)
    line.leg.hang_up(Cause.NORMAL, "", 1.0)
    assert line.ended
    book.forget(line)
    assert (len(book), book.of(USER), book.find(BALCONY, ROMEO, "our1"), book.deadline) == (0, (), None, None)
    assert list(book.due(1000.0)) == []


def test_the_earliest_is_due_first_and_what_changed_is_not_due_any_more(our_offer: Session) -> None:
    book = Lines()
    late, early = callee(book, our_offer, "our1", now=10.0), callee(book, our_offer, "our2", now=5.0)
    assert book.deadline == 7.0
    early.leg.tick(7.0)
    book.index(early)
    assert book.deadline == 12.0
    assert list(book.due(11.9)) == []
    assert list(book.due(12.0)) == [late]


def test_a_user_has_so_many_lines_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_LEGS_PER_USER", 2)
    book = Lines()
    caller(book, "s1")
    assert not book.full(GARDEN, Leg.CALLER)
    caller(book, "s2")
    assert book.full(GARDEN, Leg.CALLER)
    assert not book.full(USER, Leg.CALLEE)
    assert not book.full("nurse@shakespeare.lit", Leg.CALLER)
    monkeypatch.setattr(lines, "MOST_LEGS", 2)
    assert book.full("nurse@shakespeare.lit", Leg.CALLEE)


def test_who_rings_crosses_and_who_talks_is_busy(our_offer: Session) -> None:
    book = Lines()
    ringing = callee(book, our_offer)
    assert book.crossed(GARDEN, VOICE) is ringing
    assert book.crossed(GARDEN, "other@sip.example.com") is None
    assert not book.busy(USER, ROMEO)
    assert book.talking(BALCONY, ROMEO) is None
    caller(book)
    assert book.busy(USER, VOICE)
    assert not book.busy(USER, "other@sip.example.com")
