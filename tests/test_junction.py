"""gateway.junction: what one half is told is what the other one reports."""

from __future__ import annotations

import asyncio

from gateway.call import events as ev
from gateway.call.causes import Cause
from gateway.call.events import Leg
from gateway.junction import Half, end_of, target_of
from tests.support import PCMU, phone_session

OFFER = phone_session(PCMU)


class Pair:
    """`here` stands in one call as its attempt 3, `there` in the other as attempt 2."""

    def __init__(self, *, over: bool = False) -> None:
        self.heard_here: list[ev.Report] = []
        self.heard_there: list[ev.Report] = []
        self.offers: list[object] = []
        self.over = over
        self.here = Half(3, self.heard_here.append, self.come_in)

    def come_in(self, half: Half, offer: object) -> bool:
        self.offers.append(offer)
        if not self.over:
            self.there = half.meet(2, self.heard_there.append)
        return not self.over


async def joined() -> Pair:
    pair = Pair()
    pair.here.dial(OFFER)
    pair.there.answer(OFFER)
    assert pair.heard_here == [], "never from within what the other was told"
    await asyncio.sleep(0)
    assert pair.heard_here.pop() == ev.Answered(3, OFFER)
    return pair


def test_an_end_of_a_call_has_a_name() -> None:
    assert end_of(target_of("c0ffee", 2)) == ("c0ffee", 2)


async def test_the_other_call_answers_for_its_far_end() -> None:
    assert (await joined()).offers == [OFFER]


async def test_hold_digits_and_what_pictures_need_go_through() -> None:
    pair = await joined()
    pair.here.hold(True, OFFER)
    pair.there.dial_digits("42", 100)
    pair.here.ask_picture()
    await asyncio.sleep(0)
    assert pair.heard_there == [ev.Reoffered(Leg.CALLEE, 2, OFFER), ev.PictureAsked(Leg.CALLEE, 2)]
    assert pair.heard_here == [ev.Dialled(Leg.CALLEE, 3, "42", 100)]
    pair.there.reanswer(None)
    await asyncio.sleep(0)
    assert pair.heard_here[1:] == [ev.Reanswered(Leg.CALLEE, 3, None)]


async def test_whoever_hangs_up_ends_both_and_says_why() -> None:
    for first in ("here", "there"):
        pair = await joined()
        half, heard, number = (pair.here, pair.heard_there, 2) if first == "here" else (pair.there, pair.heard_here, 3)
        half.hang_up(Cause.MEDIA_LOST, "silence", 41)
        half.hang_up(Cause.NORMAL)
        await asyncio.sleep(0)
        assert heard == [ev.HungUp(Leg.CALLEE, Cause.MEDIA_LOST, number, "silence", 41)]
        other = half.other
        assert other is not None
        other.hang_up(Cause.NORMAL)
        other.answer(OFFER)
        await asyncio.sleep(0)
        assert pair.heard_here == [] or pair.heard_there == [], "who has hung up hears nothing"


async def test_a_call_that_is_over_meanwhile_is_no_place_to_come_to() -> None:
    pair = Pair(over=True)
    pair.here.dial(OFFER)
    await asyncio.sleep(0)
    assert pair.heard_here == [ev.HungUp(Leg.CALLEE, Cause.NOT_FOUND, 3, "that call is over")]


async def test_a_half_that_was_given_up_before_it_was_asked_asks_nobody() -> None:
    pair = Pair()
    pair.here.hang_up(Cause.CANCELLED)
    pair.here.dial(OFFER)
    assert pair.offers == []
