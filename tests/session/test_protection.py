"""Keys in the SDP: who offers, who takes, and who gets no call without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import NegotiationError
from gateway.session import negotiate, sdp
from gateway.session.model import Crypto, Media, Profile, Session, Transport
from gateway.session.policy import Policy, Towards
from gateway.session.protection import Srtp, UnprotectedError, agreed, answered, demand_dtls, settled
from tests.support import PCMA, phone_session, webrtc_session

S80, S32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
OURS = Transport(
    "203.0.113.7", 20_000, 20_001, crypto=(Crypto(1, S80, "inline:ours80"), Crypto(2, S32, "inline:ours32"))
)
OFF, OPTIONAL, REQUIRED = (Policy(srtp=srtp) for srtp in Srtp)


def theirs(profile: Profile = Profile.AVP, *crypto: Crypto) -> Session:
    session = phone_session(PCMA)
    media = session.media[0]
    return replace(session, media=(replace(media, profile=profile, transport=replace(media.transport, crypto=crypto)),))


def audio(session: Session) -> Media:
    assert session.audio is not None
    return session.audio


@pytest.mark.parametrize(
    ("policy", "profile", "keys"), [(OFF, Profile.AVP, 0), (OPTIONAL, Profile.AVP, 2), (REQUIRED, Profile.SAVP, 2)]
)
def test_a_trunks_word_decides_what_is_offered(policy: Policy, profile: Profile, keys: int) -> None:
    offer = audio(negotiate.offer_callee(policy, Towards.SIP, None, OURS))
    assert (offer.profile, len(offer.transport.crypto)) == (profile, keys)
    assert sdp.render(Session((offer,))).count("a=crypto:") == keys


def test_a_phone_that_knows_no_keys_is_talked_with_in_clear_where_that_is_allowed() -> None:
    offer = negotiate.offer_callee(OPTIONAL, Towards.SIP, None, OURS)
    negotiate.answered(offer, theirs())
    assert agreed(audio(offer).transport, audio(theirs()).transport) == ()


def test_the_key_that_answers_is_the_one_that_holds_and_the_next_offer_says_no_other() -> None:
    offer = negotiate.offer_callee(OPTIONAL, Towards.SIP, None, OURS)
    answer = theirs(Profile.AVP, Crypto(2, S32, "inline:theirs"))
    ours, said = negotiate.answered(offer, answer)
    assert agreed(ours.transport, said.transport) == (Crypto(2, S32, "inline:theirs"),)
    assert settled(ours, said.transport).transport.crypto == (Crypto(2, S32, "inline:ours32"),)


@pytest.mark.parametrize("crypto", [(), (Crypto(7, S80, "inline:x"),), (Crypto(1, "F8_128_HMAC_SHA1_80", "inline:x"),)])
def test_who_demands_protection_takes_no_answer_without_a_key_that_was_offered(crypto: tuple[Crypto, ...]) -> None:
    offer = negotiate.offer_callee(REQUIRED, Towards.SIP, None, OURS)
    with pytest.raises(UnprotectedError):
        negotiate.answered(offer, theirs(Profile.SAVP, *crypto))


def test_an_offer_with_keys_is_answered_under_the_tag_of_the_first_suite_that_both_have() -> None:
    offer = theirs(Profile.SAVP, Crypto(9, "AEAD_AES_256_GCM", "inline:a"), Crypto(4, S32, "inline:b"))
    answer, _ = negotiate.answer_alone(OPTIONAL, Towards.SIP, offer, OURS)
    assert audio(answer).profile is Profile.SAVP
    assert audio(answer).transport.crypto == (Crypto(4, S32, "inline:ours32"),)


def test_keys_beside_a_plain_offer_are_answered_with_keys_and_ignored_where_they_are_off() -> None:
    offer = theirs(Profile.AVP, Crypto(1, S80, "inline:a"))
    answer, _ = negotiate.answer_alone(OPTIONAL, Towards.SIP, offer, OURS)
    assert len(audio(answer).transport.crypto) == 1
    plain, _ = negotiate.answer_alone(OFF, Towards.SIP, offer, replace(OURS, crypto=()))
    assert audio(plain).transport.crypto == ()


def test_a_plain_offer_is_refused_where_protection_is_demanded() -> None:
    with pytest.raises(UnprotectedError):
        negotiate.check(Towards.SIP, theirs(), REQUIRED)
    negotiate.check(Towards.SIP, theirs(), OPTIONAL)


def test_a_protected_offer_is_refused_where_no_keys_are_spoken_or_none_is_known() -> None:
    keyed = theirs(Profile.SAVP, Crypto(1, S80, "inline:a"))
    with pytest.raises(NegotiationError):
        negotiate.check(Towards.SIP, keyed, OFF)
    with pytest.raises(UnprotectedError):
        answered(audio(theirs(Profile.SAVP, Crypto(1, "F8_128_HMAC_SHA1_80", "inline:a"))), OURS, Srtp.OPTIONAL)
    with pytest.raises(UnprotectedError):
        answered(audio(theirs(Profile.SAVP, Crypto(1, S80, "inline:a", "UNENCRYPTED_SRTP"))), OURS, Srtp.OPTIONAL)


def test_of_two_sections_the_one_that_this_side_takes_is_answered_and_the_other_refused() -> None:
    keyed = audio(theirs(Profile.SAVP, Crypto(1, S80, "inline:a")))
    both = Session((replace(keyed, name="secure"), replace(audio(theirs()), name="plain")))
    answer, _ = negotiate.answer_alone(OFF, Towards.SIP, both, replace(OURS, crypto=()))
    assert [media.rejected for media in answer.media] == [True, False]
    answer, _ = negotiate.answer_alone(REQUIRED, Towards.SIP, both, OURS)
    assert [media.rejected for media in answer.media] == [False, True]


def test_an_end_on_the_web_side_shows_a_fingerprint_or_is_refused() -> None:
    demand_dtls(audio(webrtc_session()))
    for bare in (
        replace(audio(webrtc_session()).transport, fingerprint=None),
        replace(audio(webrtc_session()).transport, ice=None),
    ):
        with pytest.raises(UnprotectedError):
            demand_dtls(replace(audio(webrtc_session()), transport=bare))
