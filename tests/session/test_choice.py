"""Which codec a call speaks, seen in what is offered, in what is answered, and in what the engine is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from gateway.errors import NegotiationError
from gateway.session import choice, negotiate
from gateway.session.model import (
    Codec,
    Dtmf,
    Stream,
)
from gateway.session.policy import Policy, Transcode
from tests.session.ends import (
    EVENT8,
    EVENT48,
    FALLBACK,
    G722,
    NEVER,
    OPUS,
    PCMA,
    PCMU,
    PREFER,
    RTP,
    SIP,
    SIP_EVENT,
    SPEEX,
    WEB,
    XMPP,
    audio,
    call,
    client,
    names,
    phone,
    stanza,
)


def test_a_phone_is_offered_first_what_can_be_relayed() -> None:
    offer = negotiate.offer_callee(FALLBACK, SIP, client(OPUS, PCMU), RTP)
    assert names(offer) == [(0, "PCMU", 8000), (8, "PCMA", 8000), (101, "telephone-event", 8000)]


def test_a_phone_is_offered_only_what_can_be_relayed_where_nothing_may_be_transcoded() -> None:
    assert names(negotiate.offer_callee(NEVER, SIP, client(OPUS, PCMU), RTP))[0] == (0, "PCMU", 8000)
    with pytest.raises(NegotiationError):
        negotiate.offer_callee(NEVER, SIP, client(OPUS), RTP)


def test_what_can_only_be_relayed_is_offered_to_a_phone_only_if_the_caller_has_it() -> None:
    policy = Policy(("speex", "PCMA"))
    assert [name for _, name, _ in names(negotiate.offer_callee(policy, SIP, client(OPUS, SPEEX), RTP))[:2]] == [
        "speex",
        "PCMA",
    ]
    assert names(negotiate.offer_callee(policy, SIP, client(OPUS), RTP))[0] == (8, "PCMA", 8000)


def test_a_phone_that_hears_more_than_a_telephone_is_offered_it_to_a_caller_with_opus() -> None:
    policy = Policy(("G722", "PCMA"))
    assert names(negotiate.offer_callee(policy, SIP, client(OPUS), RTP))[0] == (9, "G722", 8000)
    agreed = call(policy, client(OPUS), phone(G722))
    assert [names(agreed.answer)[0], agreed.callee.send] == [(111, "opus", 48_000), G722]


def test_a_caller_without_anything_to_transcode_from_is_offered_on_by_relay_alone() -> None:
    offer = negotiate.offer_callee(Policy(("PCMA", "speex")), SIP, client(SPEEX), RTP)
    assert [name for _, name, _ in names(offer)] == ["speex", "telephone-event"]


def test_opus_towards_a_phone_is_dynamic_and_brings_its_own_clock_for_digits() -> None:
    policy = Policy(("opus", "PCMA", "iLBC", "nonsense"))
    offer = negotiate.offer_callee(policy, SIP, None, RTP)
    assert names(offer) == [
        (96, "opus", 48_000),
        (8, "PCMA", 8000),
        (97, "iLBC", 8000),
        (102, "telephone-event", 48_000),
        (101, "telephone-event", 8000),
    ]


def test_with_opus_preferred_the_trunks_own_order_stands() -> None:
    offer = negotiate.offer_callee(PREFER, SIP, client(OPUS, PCMU), RTP)
    assert names(offer)[:2] == [(8, "PCMA", 8000), (0, "PCMU", 8000)]
    offer = negotiate.offer_callee(PREFER, SIP, client(PCMU), RTP)
    assert names(offer)[:2] == [(0, "PCMU", 8000), (8, "PCMA", 8000)]


def test_opus_comes_first_where_it_is_preferred_and_not_at_all_where_nothing_is_transcoded() -> None:
    assert names(negotiate.offer_callee(PREFER, XMPP, phone(PCMU), WEB))[:2] == [
        (111, "opus", 48_000),
        (0, "PCMU", 8000),
    ]
    assert names(negotiate.offer_callee(NEVER, XMPP, phone(PCMU), WEB)) == [
        (0, "PCMU", 8000),
        (126, "telephone-event", 8000),
    ]


def test_a_client_is_offered_nothing_that_libwebrtc_does_not_know() -> None:
    policy = Policy(("GSM", "PCMA"))
    assert names(negotiate.offer_callee(policy, XMPP, phone(Codec(3, "GSM", 8000), PCMA), WEB))[0] == (8, "PCMA", 8000)
    with pytest.raises(NegotiationError):
        negotiate.offer_callee(policy, XMPP, phone(Codec(3, "GSM", 8000)), WEB)


def test_a_caller_without_an_offer_lets_us_offer_the_policys_codecs_to_a_client() -> None:
    offer = negotiate.offer_callee(Policy(("opus", "PCMU")), XMPP, None, WEB)
    assert names(offer)[:2] == [(111, "opus", 48_000), (0, "PCMU", 8000)]


def test_what_both_ends_have_is_relayed() -> None:
    agreed = call(FALLBACK, client(OPUS, PCMU, PCMA, EVENT48, EVENT8), phone(PCMA, SIP_EVENT))
    assert names(agreed.answer) == [(8, "PCMA", 8000), (126, "telephone-event", 8000)]
    assert agreed.caller == Stream(PCMA, (PCMA,), EVENT8, (EVENT8,), rtcp_mux=True)
    assert agreed.callee == Stream(PCMA, (PCMA,), SIP_EVENT, (SIP_EVENT,))


def test_what_only_one_end_has_is_transcoded_from_opus() -> None:
    agreed = call(FALLBACK, client(SPEEX, OPUS, EVENT48, EVENT8), phone(PCMU, SIP_EVENT))
    assert names(agreed.answer) == [(111, "opus", 48_000), (110, "telephone-event", 48_000)]
    assert audio(agreed.answer).codecs[0].parameters == (("minptime", "10"), ("useinbandfec", "1"))
    assert agreed.caller.send == OPUS
    assert agreed.callee.send == PCMU
    assert agreed.callee.receive == (PCMU,)


def test_two_laws_of_g711_are_turned_into_each_other() -> None:
    agreed = call(FALLBACK, client(PCMU), phone(PCMA))
    assert (agreed.caller.send, agreed.callee.send) == (PCMU, PCMA)


def test_nothing_is_transcoded_where_the_policy_says_never() -> None:
    with pytest.raises(NegotiationError):
        call(NEVER, client(OPUS), phone(PCMA), late=True)
    assert call(NEVER, client(OPUS, PCMA), phone(PCMA)).caller.send == PCMA


def test_nothing_is_transcoded_that_cannot_be() -> None:
    with pytest.raises(NegotiationError):
        call(FALLBACK, client(SPEEX), phone(PCMA), late=True)


def test_opus_is_spoken_where_it_is_preferred() -> None:
    agreed = call(PREFER, client(PCMA, OPUS), phone(PCMA))
    assert (agreed.caller.send, agreed.callee.send) == (OPUS, PCMA)
    assert call(PREFER, client(PCMA), phone(PCMA)).caller.send == PCMA


def test_opus_on_both_sides_is_relayed_with_what_the_phone_wants() -> None:
    policy = Policy(("opus", "PCMA"), Transcode.PREFER_OPUS)
    theirs = Codec(107, "OPUS", 48_000, 2, (("stereo", "1"), ("cbr", "maybe")))
    agreed = call(policy, client(OPUS), phone(theirs))
    assert agreed.callee.send == theirs
    assert [c.pt for c in agreed.callee.receive] == [96, 107]  # what we offered, and what some phones use instead
    assert agreed.caller.send == OPUS
    assert audio(agreed.answer).codecs[0] == replace(OPUS, parameters=(("stereo", "1"),))


def test_a_late_caller_is_answered_with_what_the_callee_took() -> None:
    agreed = call(FALLBACK, client(OPUS, PCMU, PCMA), phone(PCMU, PCMA), late=True)
    assert agreed.caller.send == PCMU
    agreed = call(FALLBACK, client(OPUS), phone(PCMU, PCMA), late=True)
    assert (agreed.caller.send, agreed.callee.send) == (OPUS, PCMU)


def test_a_codec_that_the_callee_took_second_is_relayed_rather_than_the_first_transcoded() -> None:
    agreed = call(FALLBACK, client(OPUS, PCMU), phone(PCMA, PCMU), late=True)
    assert (agreed.caller.send, agreed.callee.send) == (PCMU, PCMU)
    assert agreed.callee.receive == (PCMA, PCMU)  # the phone may still send either


def test_digits_are_answered_only_if_offered() -> None:
    agreed = call(FALLBACK, client(PCMA), phone(PCMA, SIP_EVENT))
    assert audio(agreed.answer).dtmf == ()
    assert (agreed.caller.send_dtmf, agreed.caller.receive_dtmf) == (None, ())
    agreed = call(FALLBACK, client(PCMA, EVENT8), phone(PCMA))
    assert (agreed.callee.send_dtmf, agreed.callee.receive_dtmf) == (None, ())


def test_digits_at_another_clock_are_better_than_none() -> None:
    agreed = call(FALLBACK, client(OPUS, EVENT8), phone(PCMA))
    assert agreed.caller.send_dtmf == EVENT8


def test_monals_answer_in_any_order_is_read_in_ours() -> None:
    offer = negotiate.offer_callee(FALLBACK, XMPP, phone(PCMA), WEB)
    for voices in ((PCMA, OPUS), (OPUS, PCMA)):
        agreed = negotiate.answer_caller(FALLBACK, SIP, phone(PCMA), offer, client(*voices), RTP)
        assert agreed.callee.send == PCMA
    agreed = negotiate.answer_caller(
        PREFER,
        SIP,
        phone(PCMA),
        negotiate.offer_callee(PREFER, XMPP, phone(PCMA), WEB),
        stanza("monal_session_accept"),
        RTP,
    )
    assert agreed.callee.send.name == "opus"
    assert agreed.caller.send == PCMA


def test_a_client_without_the_phones_codecs_is_reached_by_opus() -> None:
    agreed = call(FALLBACK, phone(PCMU), client(OPUS), calling=SIP)
    assert (agreed.caller.send, agreed.callee.send) == (PCMU, OPUS)
    assert audio(agreed.answer).ptime == 20


@pytest.mark.parametrize(
    ("policy", "late", "offered", "taken"),
    list(
        product(
            (FALLBACK, NEVER, PREFER),
            (False, True),
            ((OPUS, EVENT48), (OPUS, PCMU, EVENT48, EVENT8), (G722, PCMA)),
            ((PCMA,), (PCMU, PCMA, SIP_EVENT)),
        )
    ),
)
def test_whatever_is_agreed_both_streams_hold_what_both_ends_said(
    policy: Policy, late: bool, offered: tuple[Codec, ...], taken: tuple[Codec, ...]
) -> None:
    caller = client(*offered)
    try:
        agreed = call(policy, caller, phone(*taken), late=late)
    except NegotiationError:
        assert policy is NEVER or not late
        return
    assert agreed.caller.send in offered
    assert agreed.callee.send in taken
    assert agreed.caller.receive
    assert len(audio(agreed.answer).voices) == 1
    can_turn = {"opus", "PCMA", "PCMU"}
    pair = {agreed.caller.send.name, agreed.callee.send.name}
    assert len(pair) == 1 or (policy is not NEVER and pair <= can_turn)


@pytest.mark.parametrize("dtmf", [Dtmf.INFO, Dtmf.INBAND])
def test_a_trunk_whose_digits_go_in_another_way_never_hears_of_events(dtmf: Dtmf) -> None:
    """It would send them, and we would wait for what it was told to send."""
    policy = Policy(dtmf=dtmf)
    offer = negotiate.offer_callee(policy, SIP, client(OPUS, PCMA, EVENT8, EVENT48), RTP)
    assert audio(offer).dtmf == ()
    agreed = negotiate.answer_caller(policy, XMPP, client(OPUS, PCMA, EVENT8), offer, phone(PCMA, SIP_EVENT), WEB)
    assert (agreed.callee.send_dtmf, agreed.callee.receive_dtmf) == (None, ())
    assert agreed.caller.send_dtmf == EVENT8
    answer, stream = negotiate.answer_alone(policy, SIP, phone(PCMA, SIP_EVENT), RTP)
    assert (audio(answer).dtmf, stream.send_dtmf) == ((), None)
    assert audio(negotiate.offer_callee(policy, XMPP, phone(PCMA), WEB)).dtmf


def test_of_a_phones_offer_counts_what_the_policy_names_in_its_order_and_of_a_clients_everything() -> None:
    policy = Policy(("PCMA", "PCMU"))
    assert choice.allowed(policy, audio(phone(PCMU, SPEEX, PCMA))) == (PCMA, PCMU)
    assert choice.allowed(policy, audio(client(PCMU, SPEEX, PCMA))) == (PCMU, SPEEX, PCMA)
