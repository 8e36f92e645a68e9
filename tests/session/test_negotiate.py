"""Offers and answers of whole calls, and what each leg is then to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import NegotiationError
from gateway.session import negotiate, sdp
from gateway.session.model import (
    Direction,
    Profile,
    Session,
    Setup,
    Stream,
)
from gateway.session.policy import Policy
from gateway.session.protection import UnprotectedError
from tests.session.ends import (
    EVENT8,
    EVENT48,
    FALLBACK,
    G722,
    NEVER,
    OPUS,
    PCMA,
    PCMU,
    RTP,
    SIP,
    SIP_EVENT,
    SPEEX,
    WEB,
    XMPP,
    audio,
    call,
    client,
    description,
    names,
    phone,
    stanza,
)


def test_without_a_caller_a_phone_is_offered_the_policys_codecs() -> None:
    offer = negotiate.offer_callee(FALLBACK, SIP, None, RTP)
    assert names(offer) == [(8, "PCMA", 8000), (0, "PCMU", 8000), (101, "telephone-event", 8000)]
    media = audio(offer)
    assert media.profile is Profile.AVP
    assert media.dtmf[0].parameters == (("", "0-15"),)
    assert media.transport == RTP
    assert offer.bundle == ()
    assert sdp.parse(sdp.render(offer)) == offer


def test_a_client_is_offered_the_phones_codecs_and_opus() -> None:
    offer = negotiate.offer_callee(FALLBACK, XMPP, description("linphone_offer"), WEB)
    assert names(offer) == [
        (8, "PCMA", 8000),
        (0, "PCMU", 8000),
        (111, "opus", 48_000),
        (126, "telephone-event", 8000),
        (110, "telephone-event", 48_000),
    ]
    media = audio(offer)
    assert (media.name, media.creator, media.profile) == ("audio", "initiator", Profile.DTLS)
    assert media.transport.rtcp_mux
    assert media.transport.fingerprint is not None
    assert media.transport.fingerprint.setup is Setup.ACTPASS
    assert media.codecs[2].channels == 2
    assert all(c.parameters == () for c in media.dtmf)
    assert media.ptime is None
    assert offer.bundle == ("audio",)


def test_a_caller_that_only_listens_is_offered_on_to_a_phone_as_that_but_never_to_a_client() -> None:
    quiet = client(PCMU, direction=Direction.RECVONLY)
    assert audio(negotiate.offer_callee(FALLBACK, SIP, quiet, RTP)).direction is Direction.RECVONLY
    held = phone(PCMU, direction=Direction.INACTIVE)
    assert audio(negotiate.offer_callee(FALLBACK, XMPP, held, WEB)).direction is Direction.SENDRECV


def test_a_transport_without_a_fingerprint_is_offered_as_it_is() -> None:
    assert audio(negotiate.offer_callee(FALLBACK, XMPP, None, RTP)).transport == replace(RTP, rtcp_mux=True)


def test_a_phones_number_for_digits_is_used_towards_it_and_ours_from_it() -> None:
    theirs = replace(SIP_EVENT, pt=96)
    agreed = call(FALLBACK, client(PCMA, EVENT8), phone(PCMA, theirs))
    assert agreed.callee.send_dtmf == theirs
    assert agreed.callee.receive_dtmf == (SIP_EVENT, theirs)


def test_a_phones_number_that_means_something_else_to_us_is_not_taken_from_it() -> None:
    theirs = replace(SIP_EVENT, pt=0)  # PCMU was offered by that number
    assert call(FALLBACK, client(PCMA, EVENT8), phone(PCMA, theirs)).callee.receive_dtmf == (SIP_EVENT,)


def test_a_callee_that_holds_at_once_is_not_seen_by_a_client() -> None:
    agreed = call(FALLBACK, client(PCMA), phone(PCMA, direction=Direction.SENDONLY))
    assert audio(agreed.answer).direction is Direction.SENDRECV
    assert agreed.callee.direction is Direction.RECVONLY


def test_a_phones_ptime_is_kept() -> None:
    assert call(FALLBACK, client(PCMA), phone(PCMA, ptime=30)).callee.ptime == 30
    assert call(FALLBACK, client(PCMA), phone(PCMA, ptime=7)).callee.ptime == 20


def test_a_phone_that_calls_is_relayed_too() -> None:
    callee = client(PCMA, OPUS, EVENT8, EVENT48)
    agreed = call(FALLBACK, phone(PCMU, PCMA, SIP_EVENT), callee, calling=SIP)
    assert names(agreed.answer) == [(8, "PCMA", 8000), (101, "telephone-event", 8000)]
    assert audio(agreed.answer).dtmf[0].parameters == (("", "0-15"),)
    assert audio(agreed.answer).profile is Profile.AVP
    assert agreed.callee.send == PCMA
    assert agreed.callee.send_dtmf == EVENT8


DIRECTIONS = {  # RFC 3264 §6.1: what may be answered to what, the callee doing what it will
    ("sendrecv", "sendrecv"): "sendrecv",
    ("sendrecv", "sendonly"): "sendonly",
    ("sendrecv", "recvonly"): "recvonly",
    ("sendrecv", "inactive"): "inactive",
    ("sendonly", "sendrecv"): "recvonly",
    ("sendonly", "sendonly"): "inactive",
    ("sendonly", "recvonly"): "recvonly",
    ("recvonly", "sendrecv"): "sendonly",
    ("recvonly", "recvonly"): "inactive",
    ("inactive", "sendrecv"): "inactive",
}


@pytest.mark.parametrize(("offered", "answered"), DIRECTIONS)
def test_a_phones_direction_is_answered_by_the_book(offered: str, answered: str) -> None:
    caller = phone(PCMA, direction=Direction(offered))
    agreed = call(FALLBACK, caller, client(PCMA, direction=Direction(answered)), calling=SIP)
    expected = Direction(DIRECTIONS[offered, answered])
    assert audio(agreed.answer).direction is expected
    assert agreed.caller.direction is expected  # seen from us


@pytest.mark.parametrize("name", ["conversations", "monal", "movim", "stanzajs", "dino"])
def test_every_clients_offer_is_answered_in_its_own_terms(name: str) -> None:
    offer = stanza(f"{name}_session_initiate")
    agreed = call(FALLBACK, offer, phone(PCMA, SIP_EVENT), late=True)
    assert [m.name for m in agreed.answer.media] == [m.name for m in offer.media]
    assert agreed.answer.bundle == offer.bundle
    assert agreed.caller.send.name == "PCMA"
    for codec in audio(agreed.answer).codecs:
        offered = audio(offer).codec(codec.pt)
        assert offered is not None
        assert offered.same_as(codec)
    again, stream = negotiate.answer_alone(FALLBACK, XMPP, offer, WEB)
    assert stream.send.name == "opus"
    assert audio(again).codecs[0].pt == stream.send.pt


def test_no_audio_is_refused() -> None:
    with pytest.raises(NegotiationError, match="no audio"):
        negotiate.check(SIP, Session(()), Policy())
    with pytest.raises(NegotiationError, match="takes no audio"):
        call(FALLBACK, client(PCMA), Session(()))
    with pytest.raises(NegotiationError, match="takes no audio"):
        call(FALLBACK, client(PCMA), phone(PCMA, rejected=True))


def test_an_answer_with_nothing_that_was_offered_is_refused() -> None:
    with pytest.raises(NegotiationError, match="was offered"):
        call(FALLBACK, client(PCMA), phone(G722))


def test_a_clients_unprotected_answer_is_refused() -> None:
    with pytest.raises(UnprotectedError):
        call(FALLBACK, phone(PCMA), phone(PCMA), calling=SIP)


def test_the_test_line_needs_a_codec_that_we_speak() -> None:
    with pytest.raises(NegotiationError):
        negotiate.answer_alone(FALLBACK, XMPP, client(SPEEX), WEB)


def test_the_test_line_answers_phones_too() -> None:
    answer, stream = negotiate.answer_alone(FALLBACK, SIP, phone(PCMU, PCMA, SIP_EVENT), RTP)
    assert names(answer) == [(8, "PCMA", 8000), (101, "telephone-event", 8000)]
    assert stream == Stream(PCMA, (PCMA,), SIP_EVENT, (SIP_EVENT,))


def settled() -> tuple[Session, Stream]:
    agreed = call(FALLBACK, phone(PCMA, PCMU, SIP_EVENT), client(PCMA, EVENT8), calling=SIP)
    return replace(agreed.answer, id="7", version=3), agreed.caller


def test_the_same_offer_again_changes_nothing() -> None:
    ours, stream = settled()
    answer, again = negotiate.reanswer(FALLBACK, SIP, phone(PCMA, PCMU, SIP_EVENT), ours=ours, stream=stream)
    assert (answer, again) == (ours, stream)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendonly", "recvonly"), ("inactive", "inactive"), ("recvonly", "sendonly"), ("sendrecv", "sendrecv")],
)
def test_hold_is_answered_on_the_same_transport_with_the_next_version(offered: str, answered: str) -> None:
    ours, stream = settled()
    offer = phone(PCMA, SIP_EVENT, direction=Direction(offered))
    answer, changed = negotiate.reanswer(FALLBACK, SIP, offer, ours=ours, stream=stream)
    assert audio(answer).transport == audio(ours).transport
    assert audio(answer).direction is changed.direction is Direction(answered)
    assert (answer.id, answer.version) == ("7", 3 if offered == "sendrecv" else 4)


def test_a_new_offer_may_drop_the_codec() -> None:
    ours, stream = settled()
    answer, changed = negotiate.reanswer(FALLBACK, SIP, phone(PCMU), ours=ours, stream=stream)
    assert changed.send == PCMU
    assert answer.version == 4
    with pytest.raises(NegotiationError):
        negotiate.reanswer(NEVER, SIP, phone(PCMU), ours=ours, stream=stream)


def test_a_new_offer_is_relayed_if_the_peers_leg_speaks_it() -> None:
    ours, stream = settled()
    policy = Policy(("PCMA", "PCMU", "speex"))
    peer = Stream(SPEEX, (SPEEX,))
    _, changed = negotiate.reanswer(policy, SIP, phone(PCMU, SPEEX), ours=ours, stream=stream, peer=peer)
    assert changed.send == SPEEX
    with pytest.raises(NegotiationError):
        negotiate.reanswer(policy, SIP, phone(PCMU), ours=ours, stream=stream, peer=peer)


def test_a_new_offer_without_audio_is_refused() -> None:
    ours, stream = settled()
    with pytest.raises(NegotiationError):
        negotiate.reanswer(FALLBACK, SIP, phone(PCMA, rejected=True), ours=ours, stream=stream)


def test_an_answer_to_an_offer_of_ours_is_a_stream_by_itself() -> None:
    offer = negotiate.offer_callee(FALLBACK, SIP, None, RTP)
    assert negotiate.callee_stream(offer, phone(PCMU, SIP_EVENT)) == Stream(PCMU, (PCMU,), SIP_EVENT, (SIP_EVENT,))
