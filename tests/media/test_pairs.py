from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.media.pairs import Call
from gateway.media.recorder import Recording
from gateway.media.tape import LEFT, RIGHT

TAPE = cast(Recording, SimpleNamespace(name="tape"))


class FakeLeg:
    """A leg that has agreed to a stream, and remembers where it is recorded."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream: object | None = object()
        self.peer: FakeLeg | None = None
        self.recorded: tuple[object, int] | None = None

    def bridge(self, peer: FakeLeg) -> None:
        self.peer, peer.peer = peer, self

    def record(self, recording: object, channel: int) -> None:
        self.recorded = (recording, channel)


def call(*names: str) -> tuple[Call, dict[str, Any]]:
    legs: dict[str, Any] = {name: FakeLeg(name) for name in names}
    return Call(legs=legs), legs


def paired(known: Call, one: str, other: str) -> None:
    known.meet(one, other)
    known.wire(one)


def test_two_who_shall_meet_do_so_once_both_have_agreed() -> None:
    known, legs = call("caller", "callee1")
    legs["callee1"].stream = None
    paired(known, "caller", "callee1")
    assert legs["caller"].peer is None
    legs["callee1"].stream = object()
    known.wire("callee1")
    assert legs["caller"].peer is legs["callee1"]


@pytest.mark.parametrize("first", ["paired", "recorded"])
def test_the_caller_is_left_and_the_callee_right(first: str) -> None:
    known, legs = call("callee1", "caller")
    if first == "recorded":
        known.record(TAPE)
    paired(known, "callee1", "caller")
    if first == "paired":
        known.record(TAPE)
    assert legs["caller"].recorded == (TAPE, LEFT)
    assert legs["callee1"].recorded == (TAPE, RIGHT)


def test_who_comes_in_place_of_another_gets_his_channel() -> None:
    known, legs = call("caller", "callee1", "callee2", "callee3")
    known.record(TAPE)
    paired(known, "caller", "callee1")
    paired(known, "caller", "callee2")
    assert legs["callee2"].recorded == (TAPE, RIGHT)
    paired(known, "callee2", "callee3")  # the caller has gone
    assert legs["callee3"].recorded == (TAPE, LEFT)
    assert legs["callee2"].recorded == (TAPE, RIGHT)


def test_who_is_only_asked_is_not_recorded() -> None:
    known, legs = call("caller", "callee1", "callee2")
    paired(known, "caller", "callee1")
    known.record(TAPE)
    assert legs["callee2"].recorded is None


def test_without_a_recording_nobody_is_recorded() -> None:
    known, legs = call("caller", "callee1")
    paired(known, "caller", "callee1")
    assert legs["caller"].recorded is None


def test_pictures_are_not_on_the_tape() -> None:
    known, legs = call("caller", "callee1", "caller.video", "callee1.video")
    known.record(TAPE)
    paired(known, "caller.video", "callee1.video")
    paired(known, "caller", "callee1")
    assert legs["caller.video"].recorded is legs["callee1.video"].recorded is None
    assert legs["callee1"].recorded == (TAPE, RIGHT)
