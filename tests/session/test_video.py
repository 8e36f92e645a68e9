from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import NegotiationError
from gateway.session import video
from gateway.session.model import Codec, Crypto, Direction, Fingerprint, Ice, Media, Profile, Session, Setup, Transport
from gateway.session.policy import Towards
from gateway.session.protection import Srtp

VP8 = Codec(96, "VP8", 90_000, feedback=("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"))
RTX = Codec(97, "rtx", 90_000, parameters=(("apt", "96"),))
PRINT = Fingerprint("sha-256", "AB:" * 31 + "AB", Setup.ACTPASS)
ICE = Transport(rtcp_mux=True, ice=Ice("uuuu", "p" * 22), fingerprint=PRINT)
OURS = Transport(
    "203.0.113.7",
    20_000,
    rtcp_mux=True,
    ice=Ice("gate", "g" * 22),
    fingerprint=replace(PRINT, value="CD:" * 31 + "CD"),
)
PLAIN = Transport("203.0.113.7", 20_002, 20_003)
CAMERA = Transport("192.0.2.10", 40_002, 40_003)
KEYED = replace(CAMERA, crypto=(Crypto(1, "A", "inline:k"),))
AUDIO = Media("audio", "audio", (Codec(0, "PCMU", 8_000),), ICE, Profile.DTLS)


def h264(pt: int = 98, profile: str = "42e01f", mode: str = "1") -> Codec:
    return Codec(pt, "H264", 90_000, parameters=(("profile-level-id", profile), ("packetization-mode", mode)))


def browser(*codecs: Codec, **more: object) -> Media:
    return replace(Media("video", "video", codecs or (VP8, RTX), ICE, Profile.DTLS), **more)  # type: ignore[arg-type]


def phone(*codecs: Codec, **more: object) -> Media:
    return replace(Media("video", "video", codecs or (VP8,), CAMERA), **more)  # type: ignore[arg-type]


def of(*media: Media, bundle: tuple[str, ...] = ()) -> Session:
    return Session((AUDIO, *media), bundle)


# which codecs go with which


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        (VP8, replace(VP8, pt=120, name="vp8", feedback=()), True),
        (VP8, replace(VP8, name="VP9"), False),
        (h264(), h264(profile="42801f"), True),
        (h264(), h264(profile="42001e"), True),
        (h264(), h264(profile="4d801f"), True),
        (h264(), h264(profile="4d001f"), False),
        (h264(), h264(profile="640c1f"), False),
        (h264(profile="640c1f"), h264(profile="640028"), True),
        (h264(), h264(mode="0"), False),
        (h264(mode="0"), Codec(99, "H264", 90_000), True),
        (Codec(98, "VP9", 90_000), Codec(99, "VP9", 90_000, parameters=(("profile-id", "0"),)), True),
        (Codec(98, "VP9", 90_000), Codec(99, "VP9", 90_000, parameters=(("profile-id", "2"),)), False),
        (Codec(45, "AV1", 90_000), Codec(46, "AV1", 90_000, parameters=(("profile", "1"),)), False),
    ],
)
def test_what_one_end_sends_the_other_can_decode(one: Codec, other: Codec, fits: bool) -> None:
    assert video.same(one, other) is fits
    assert video.same(other, one) is fits


# what an end brings


def test_of_an_offer_the_codecs_are_taken_that_can_be_relayed() -> None:
    taken = video.usable(of(browser(VP8, RTX, Codec(35, "H265", 90_000), h264())), Towards.XMPP)
    assert taken is not None
    assert [codec.name for codec in taken.codecs] == ["VP8", "H264"]


@pytest.mark.parametrize(
    "section",
    [
        browser(RTX),
        browser(rejected=True),
        browser(direction=Direction.INACTIVE),
        browser(transport=replace(ICE, fingerprint=None)),
        browser(transport=replace(ICE, ice=None)),
        browser(kind="application"),
    ],
    ids=["no codec", "rejected", "inactive", "no fingerprint", "no ICE", "no video"],
)
def test_what_cannot_be_relayed_is_none(section: Media) -> None:
    assert video.usable(of(section), Towards.XMPP) is None


@pytest.mark.parametrize(
    ("section", "srtp", "taken"),
    [
        (phone(), Srtp.OFF, True),
        (phone(), Srtp.OPTIONAL, True),
        (phone(), Srtp.REQUIRED, False),
        (phone(profile=Profile.SAVP), Srtp.OFF, False),
        (
            phone(profile=Profile.SAVP, transport=replace(CAMERA, crypto=(Crypto(1, "A", "inline:k"),))),
            Srtp.REQUIRED,
            True,
        ),
        (browser(), Srtp.OFF, False),
    ],
)
def test_what_protects_the_voice_of_a_side_protects_its_picture(section: Media, srtp: Srtp, taken: bool) -> None:
    assert (video.usable(of(section), Towards.SIP, srtp) is not None) is taken


def test_a_hundred_codecs_are_not_offered_on() -> None:
    many = tuple(h264(number, f"{number:02x}0000") for number in range(100))
    taken = video.usable(of(browser(*many)), Towards.XMPP)
    assert taken is not None
    assert len(taken.codecs) == video.MOST_CODECS


def test_a_codec_that_is_offered_twice_is_taken_once() -> None:
    """As Chromium does, with levels that say nothing about what it decodes."""
    taken = video.usable(of(browser(h264(102, "42001f"), h264(104, "42001f", "0"), h264(108), VP8)), Towards.XMPP)
    assert taken is not None
    assert [codec.pt for codec in taken.codecs] == [102, 104, 96]


# what a callee is offered


def test_a_phone_is_offered_what_the_browser_has_and_no_number_of_its_own() -> None:
    offered = video.offer(browser(replace(VP8, pt=120), h264(35)), PLAIN, Towards.SIP)
    assert [(codec.pt, codec.name) for codec in offered.codecs] == [(96, "VP8"), (97, "H264")]
    assert offered.codecs[0].feedback == video.FEEDBACK
    assert offered.codecs[1].parameters == h264().parameters
    assert (offered.profile, offered.transport, offered.direction) == (Profile.AVP, PLAIN, Direction.SENDRECV)


def test_a_phone_is_offered_the_usual_for_a_caller_whose_session_comes_later() -> None:
    assert video.offer(None, PLAIN, Towards.SIP).codecs == video.USUAL


def test_a_browser_is_offered_a_phones_picture_over_dtls() -> None:
    theirs = phone(
        replace(VP8, parameters=(("max-fr", "30"), ("x-google-max-bitrate", "1"))), direction=Direction.SENDONLY
    )
    offered = video.offer(theirs, OURS, Towards.XMPP)
    assert offered.profile is Profile.DTLS
    assert offered.transport.rtcp_mux
    assert offered.transport.fingerprint is not None
    assert offered.transport.fingerprint.setup is Setup.ACTPASS
    assert offered.codecs[0].parameters == (("max-fr", "30"),)
    assert offered.direction is Direction.SENDRECV


def test_keys_are_offered_where_the_voice_has_them() -> None:
    keyed = replace(PLAIN, crypto=(Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:k"),))
    offered = video.offer(None, keyed, Towards.SIP, Srtp.REQUIRED)
    assert (offered.profile, offered.transport.crypto) == (Profile.SAVP, keyed.crypto)
    assert video.offer(None, keyed, Towards.SIP).transport.crypto == ()


def test_the_section_stands_behind_the_voice_and_in_its_group() -> None:
    section = video.offer(None, OURS, Towards.XMPP)
    grouped = video.beside(Session((AUDIO,), ("audio",)), section)
    assert [media.name for media in grouped.media] == ["audio", "video"]
    assert grouped.bundle == ("audio", "video")
    assert video.beside(Session((AUDIO,)), section).bundle == ()


# what both come to


def answered(ours: Media, theirs: Media) -> Media:
    found = video.answered(ours, of(theirs))
    assert found is not None
    return found


def test_the_callees_first_codec_that_the_caller_has_is_agreed_under_both_numbers() -> None:
    offered = browser(replace(VP8, pt=120), RTX, h264(35))
    ours = video.offer(video.usable(of(offered), Towards.XMPP), PLAIN, Towards.SIP)
    theirs = answered(ours, phone(h264(97, "42801e"), replace(VP8, feedback=("nack pli",))))
    agreed = video.agree(offered, ours, theirs)
    assert agreed is not None
    assert (agreed.caller.pt, agreed.callee.pt, agreed.caller.name) == (35, 97, "H264")
    assert dict(agreed.caller.parameters)["profile-level-id"] == "42801e"  # what the phone decodes
    answer = video.answer(offered, agreed, OURS, Towards.XMPP, Direction.SENDRECV)
    assert answer.codecs == (agreed.caller,)
    assert answer.transport.fingerprint is not None
    assert answer.transport.fingerprint.setup is Setup.ACTIVE
    stream = video.callee_stream(ours, theirs, agreed)
    assert (stream.send.pt, [codec.pt for codec in stream.receive]) == (97, [97])
    stream = video.caller_stream(answer, agreed)
    assert (stream.send.pt, [codec.pt for codec in stream.receive], stream.rtcp_mux) == (35, [35], True)


def test_each_side_agrees_to_its_own_feedback() -> None:
    ours = video.offer(browser(), PLAIN, Towards.SIP)
    agreed = video.agree(browser(), ours, answered(ours, phone(replace(VP8, feedback=("ccm fir", "trr-int 100")))))
    assert agreed is not None
    assert agreed.caller.feedback == ("nack", "nack pli", "ccm fir")
    assert agreed.callee.feedback == ("ccm fir",)


def test_a_phone_that_answers_with_numbers_of_its_own_is_heard_under_both() -> None:
    ours = video.offer(browser(), PLAIN, Towards.SIP)
    theirs = answered(ours, phone(replace(VP8, pt=110)))
    agreed = video.agree(browser(), ours, theirs)
    assert agreed is not None
    stream = video.callee_stream(ours, theirs, agreed)
    assert (stream.send.pt, [codec.pt for codec in stream.receive]) == (110, [96, 110])


@pytest.mark.parametrize(
    "theirs",
    [phone(rejected=True), phone(Codec(96, "H263", 90_000)), phone(kind="audio"), phone(foreign="udptl t38")],
    ids=["rejected", "another codec", "no video", "foreign"],
)
def test_a_callee_that_takes_no_picture_has_none(theirs: Media) -> None:
    assert video.answered(video.offer(browser(), PLAIN, Towards.SIP), of(theirs)) is None


def test_an_answer_without_the_protection_that_was_offered_is_none() -> None:
    keyed = replace(PLAIN, crypto=(Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:k"),))
    assert video.answered(video.offer(None, keyed, Towards.SIP, Srtp.REQUIRED), of(phone())) is None
    assert video.answered(video.offer(None, OURS, Towards.XMPP), of(phone())) is None


def test_two_ends_without_a_codec_in_common_have_no_picture() -> None:
    ours = video.offer(None, PLAIN, Towards.SIP)
    assert video.agree(browser(h264()), ours, answered(ours, phone(VP8))) is None


@pytest.mark.parametrize(
    ("caller", "callee", "way"),
    [
        (Direction.SENDRECV, Direction.SENDRECV, Direction.SENDRECV),
        (Direction.SENDRECV, Direction.RECVONLY, Direction.RECVONLY),
        (Direction.SENDONLY, Direction.RECVONLY, Direction.RECVONLY),
        (Direction.RECVONLY, Direction.SENDONLY, Direction.SENDONLY),
    ],
)
def test_the_caller_is_answered_what_the_callee_does(caller: Direction, callee: Direction, way: Direction) -> None:
    offered = browser(direction=caller)
    ours = video.offer(offered, PLAIN, Towards.SIP)
    theirs = phone(direction=callee)
    assert ours.direction is caller
    assert video.direction(offered, ours, theirs) is way
    assert video.callee_stream(ours, theirs, video.Agreed(VP8, VP8)).direction is callee.reversed


def test_a_picture_that_nobody_sends_is_none() -> None:
    ours = video.offer(None, PLAIN, Towards.SIP)
    assert video.agree(browser(), ours, phone(direction=Direction.INACTIVE)) is None


def test_a_phones_offer_is_answered_in_its_own_profile_and_with_one_key() -> None:
    suite = "AES_CM_128_HMAC_SHA1_80"
    offered = phone(profile=Profile.SAVP, transport=replace(CAMERA, crypto=(Crypto(3, suite, "inline:theirs"),)))
    keyed = replace(PLAIN, crypto=(Crypto(1, suite, "inline:ours"),))
    answer = video.answer(offered, video.Agreed(VP8, VP8), keyed, Towards.SIP, Direction.SENDRECV, Srtp.REQUIRED)
    assert (answer.profile, [crypto.tag for crypto in answer.transport.crypto]) == (Profile.SAVP, [3])
    with pytest.raises(NegotiationError):
        video.answer(offered, video.Agreed(VP8, VP8), PLAIN, Towards.SIP, Direction.SENDRECV, Srtp.REQUIRED)


def test_towards_xmpp_every_parameter_has_a_name_and_a_value() -> None:
    odd = video.Agreed(replace(VP8, parameters=(("", "odd"), ("max-fr", "30"))), VP8)
    assert video.answer(browser(), odd, OURS, Towards.XMPP, Direction.SENDRECV).codecs[0].parameters == (
        ("max-fr", "30"),
    )


def test_the_answers_group_is_the_offers_as_far_as_it_was_taken() -> None:
    offer = of(browser(), bundle=("video", "audio"))
    refused = Session((AUDIO, browser(rejected=True)), ("audio",))
    assert video.placed(refused, browser(), offer).bundle == ("video", "audio")
    assert video.placed(replace(refused, bundle=()), browser(), offer).bundle == ()
    assert video.shares(offer, browser())
    assert not video.shares(of(browser(), bundle=("audio",)), browser())


# offers inside a call


def test_an_offer_anew_keeps_the_codec_whatever_its_number_is_now() -> None:
    ours = video.offer(browser(), PLAIN, Towards.SIP)
    stream = video.callee_stream(ours, phone(), video.Agreed(VP8, replace(VP8, feedback=("nack",))))
    found = video.reanswer(phone(replace(VP8, pt=111), direction=Direction.SENDONLY), ours, stream, Direction.SENDRECV)
    assert found is not None
    media, changed = found
    assert ([codec.pt for codec in media.codecs], media.direction) == ([111], Direction.RECVONLY)
    assert (changed.send.pt, [codec.pt for codec in changed.receive]) == (111, [111])
    assert video.reanswer(phone(h264()), ours, stream, Direction.SENDRECV) is None
