"""One table, every spelling."""

from __future__ import annotations

import pytest

from gateway.call.causes import Blame, Cause, from_jingle, from_sip

# XEP-0166 §7.4
JINGLE_REASONS = [
    "alternative-session",
    "busy",
    "cancel",
    "connectivity-error",
    "decline",
    "expired",
    "failed-application",
    "failed-transport",
    "general-error",
    "gone",
    "incompatible-parameters",
    "media-error",
    "security-error",
    "success",
    "timeout",
    "unsupported-applications",
    "unsupported-transports",
]


@pytest.mark.parametrize("cause", list(Cause), ids=lambda c: c.label)
def test_every_cause_can_be_said_in_every_protocol(cause: Cause) -> None:
    assert cause.jingle in JINGLE_REASONS
    assert cause.sip == 200 or 400 <= cause.sip < 700
    assert 1 <= cause.q850 <= 127
    assert cause.text
    assert cause.phrase
    assert isinstance(cause.blame, Blame)


def test_labels_are_distinct() -> None:
    assert len({cause.label for cause in Cause}) == len(Cause)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (486, Cause.BUSY),
        (600, Cause.BUSY),
        (603, Cause.DECLINED),
        (608, Cause.DECLINED),
        (404, Cause.NOT_FOUND),
        (484, Cause.NOT_FOUND),
        (480, Cause.UNAVAILABLE),
        (408, Cause.TIMEOUT),
        (487, Cause.CANCELLED),
        (488, Cause.NO_COMMON_CODEC),
        (606, Cause.NO_COMMON_CODEC),
        (407, Cause.FORBIDDEN),
        (403, Cause.FORBIDDEN),
        (503, Cause.CONGESTION),
        (500, Cause.CONGESTION),
        (599, Cause.CONGESTION),
        (499, Cause.FORBIDDEN),
        (699, Cause.DECLINED),
    ],
)
def test_a_sip_status_is_understood(status: int, cause: Cause) -> None:
    assert from_sip(status) is cause


@pytest.mark.parametrize("reason", JINGLE_REASONS)
def test_every_jingle_reason_is_understood(reason: str) -> None:
    assert (from_jingle(reason) is Cause.INTERNAL) == (reason == "general-error")


def test_an_unheard_of_reason_is_an_internal_error() -> None:
    assert from_jingle("pigeons") is Cause.INTERNAL


def test_a_refusal_by_policy_never_looks_like_a_failure_of_encryption() -> None:
    assert Cause.FORBIDDEN.jingle == "general-error"


def test_a_human_no_comes_back_as_the_same_no() -> None:
    assert from_jingle(Cause.BUSY.jingle) is from_sip(Cause.BUSY.sip) is Cause.BUSY
    assert from_jingle(Cause.DECLINED.jingle) is from_sip(Cause.DECLINED.sip) is Cause.DECLINED


def test_what_calls_cost_is_nobody_elses_business() -> None:
    assert {cause for cause in Cause if cause.discreet} == {Cause.EXHAUSTED, Cause.FROZEN, Cause.UNBOOKED}
    assert Cause.UNBOOKED.blame is Blame.GATEWAY
    assert Cause.EXHAUSTED.worded("abroad") == "the budget for such calls is used up (abroad)"
    assert Cause.UNBOOKED.worded("") == Cause.UNBOOKED.text
    assert Cause.BUSY.worded("486 Busy Here") == "486 Busy Here"
    assert Cause.EXHAUSTED.blame is Cause.FROZEN.blame is Blame.CALLER
