"""Who is written to about a call, and what."""

from __future__ import annotations

from typing import Any, cast

from gateway.bridge import Bridge
from gateway.call import effects as do
from gateway.call.causes import Cause
from gateway.call.events import Destination, Leg
from gateway.call.machine import Call
from gateway.call.words import Say
from gateway.dialplan.plan import Plan
from gateway.line import Direction, Facts, Line
from gateway.notices import Notices
from gateway.session.policy import Towards
from tests.support import FakeEngine, FakeLeg

JULIET, NURSE = "juliet@shakespeare.lit", "nurse@shakespeare.lit"


def line(direction: Direction, *users: str, contact: str = "") -> Line:
    bridge = Bridge(cast(Any, FakeEngine()), "c1", Towards.XMPP)
    made = Line(
        "c1", Call(), FakeLeg(), bridge, Facts(direction, JULIET, "romeo%montague.lit"), Plan(), contact=contact
    )
    made.destinations = {number: Destination("xmpp", user) for number, user in enumerate(users, 1)}
    return made


def ended(cause: Cause, *, rang: float | None = None) -> do.Record:
    return do.Record(cause, None, "", None, 0.0, rang, None, 1.0)


def test_a_caller_reads_in_the_conversation_with_whom_he_called() -> None:
    (notice,) = Notices().of_the_end(line("outbound"), ended(Cause.NOT_FOUND))
    assert (notice.user, notice.contact, notice.id) == (JULIET, "romeo%montague.lit", "failed-c1")
    assert notice.bodies[0] == ("en", "The call was not connected: no such number or address")


def test_everybody_whose_telephone_rang_in_vain_reads_of_it() -> None:
    missed = Notices(Say.ALL, "de").of_the_end(
        line("inbound", NURSE, JULIET, contact="romeo%montague.lit"), ended(Cause.NO_ANSWER, rang=1.0)
    )
    assert [(notice.user, notice.bodies[0][1]) for notice in missed] == [
        (JULIET, "Verpasster Anruf von romeo@montague.lit"),
        (NURSE, "Verpasster Anruf von romeo@montague.lit"),
    ]


def test_a_stranger_writes_to_nobody_whose_telephone_did_not_ring() -> None:
    quiet = line("inbound", NURSE, contact="x%evil.example")
    quiet.quiet = True
    assert list(Notices(Say.ALL).of_the_end(quiet, ended(Cause.CANCELLED))) == []
    assert list(Notices(Say.ALL).of_the_end(quiet, ended(Cause.CANCELLED, rang=1.0))) != []


def test_the_user_at_the_other_end_reads_who_is_there_now_and_only_where_all_is_said() -> None:
    talk = line("outbound")
    (notice,) = Notices(Say.ALL).of_a_party(talk, 1, "sip:+12025550177@192.0.2.5", "")
    assert notice.bodies[0][1] == "You are talking with +12025550177 now"
    assert list(Notices(Say.FAILURES).of_a_party(talk, 1, "sip:+12025550177@192.0.2.5", "")) == []
    for uri, name, shown in (("sip:desk@a.example", "", "desk@a.example"), ("nonsense", "Nurse", "Nurse")):
        (notice,) = Notices(Say.ALL).of_a_party(talk, 1, uri, name)
        assert shown in notice.bodies[0][1]


def test_whoever_changed_is_not_told_of_himself() -> None:
    forwarded = line("outbound", NURSE)
    assert [notice.user for notice in Notices(Say.ALL).of_a_party(forwarded, 1, "sip:a@b.example", "")] == [JULIET]
    assert [notice.user for notice in Notices(Say.ALL).of_a_party(forwarded, 0, "sip:a@b.example", "")] == [NURSE]


def test_how_a_talk_was_cut_off_is_told_to_the_user_who_did_not_do_it() -> None:
    record = do.Record(Cause.MEDIA_LOST, Leg.CALLER, "", None, 0.0, 1.0, 2.0, 3.0)
    assert list(Notices().of_the_end(line("outbound"), record)) == []
    (notice,) = Notices().of_the_end(line("inbound", NURSE, contact="+12025550177"), record)
    assert notice.bodies[0][1] == "The call was cut off: the media stopped"


def test_the_payer_reads_that_his_call_will_end_and_that_he_is_frozen_and_nobody_else_does() -> None:
    talk = line("outbound")
    talk.payer = JULIET
    (ending,) = Notices(language="de").of_the_ending(talk, Cause.EXHAUSTED, "abroad", 20)
    assert (ending.user, ending.contact, ending.id) == (JULIET, "romeo%montague.lit", "ending-c1")
    assert ending.bodies[0][1].startswith("Dieser Anruf endet in 20 Sekunden: ")
    (frozen,) = Notices().of_a_freeze(talk, "abroad")
    assert frozen.id == "frozen-c1"
    assert "Whoever runs this service can lift that" in frozen.bodies[0][1]
    assert list(Notices(Say.NOTHING).of_a_freeze(talk, "abroad")) == []
    assert list(Notices(Say.NOTHING).of_the_ending(talk, Cause.EXHAUSTED, "abroad", 20)) == []
    assert list(Notices().of_a_freeze(line("inbound", NURSE), "abroad")) == []
