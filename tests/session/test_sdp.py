from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import SdpError
from gateway.session import sdp
from gateway.session.model import (
    Candidate,
    Codec,
    Crypto,
    Direction,
    Fingerprint,
    HeaderExtension,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Source,
    Transport,
)

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "sdp").glob("*.sdp"))
FINGERPRINT = ":".join(["AB"] * 32)
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
PLAIN = HEAD + "m=audio 4000 RTP/AVP 0\r\n"
ICE = "a=ice-ufrag:abcd\r\na=ice-pwd:aaaabbbbccccddddeeeeff\r\n"


def read(path: Path) -> str:
    return path.read_bytes().decode()


def audio(text: str) -> Media:
    found = sdp.parse(text).audio
    assert found is not None
    return found


# ---------------------------------------------------------------------------------------------------- what was said


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_what_real_programs_say_survives_the_round_trip(path: Path) -> None:
    session = sdp.parse(read(path))
    written = sdp.render(session)
    assert sdp.parse(written) == session
    assert sdp.render(sdp.parse(written)) == written


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_line_ends_do_not_matter(path: Path) -> None:
    text = read(path)
    assert sdp.parse(text.replace("\r\n", "\n")) == sdp.parse(text)
    assert sdp.parse(text + "\r\n\r\n") == sdp.parse(text)


@pytest.mark.slow
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_mutated_description_is_read_or_refused_and_nothing_else(path: Path) -> None:
    whole = read(path)
    chance = random.Random(path.stem)
    for _ in range(60):
        text = list(whole)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(text))
            match chance.randrange(4):
                case 0:
                    text[at] = chance.choice("\r\n\0 =:/;0a\u2028é")
                case 1:
                    del text[at : at + chance.randrange(1, 30)]
                case 2:
                    text[at:at] = text[at : at + chance.randrange(1, 60)]
                case _:
                    text.insert(at, chance.choice("\r\n \t9-/"))
        try:
            session = sdp.parse("".join(text))
        except SdpError:
            continue
        assert sdp.parse(sdp.render(session)) == session


def test_baresips_offer_is_read_field_by_field() -> None:
    session = sdp.parse(read(VECTORS[0].with_name("baresip_offer.sdp")))
    assert session.media == (
        Media(
            name="audio",
            kind="audio",
            codecs=(
                Codec(0, "PCMU", 8000),
                Codec(8, "PCMA", 8000),
                Codec(101, "telephone-event", 8000, 1, (("", "0-15"),)),
            ),
            transport=Transport(address="127.0.0.1", port=49518),
            ptime=20,
            sources=(Source(661800500, (("cname", "sip:alice@127.0.0.1:46677"),)),),
        ),
    )
    assert (session.origin, session.id, session.version) == ("-", "4020153249", 274372602)


def test_ice_and_dtls_may_be_said_in_the_head() -> None:
    said = audio(read(VECTORS[0].with_name("baresip_ice_dtls.sdp")))
    assert said.transport.ice is not None
    assert said.transport.ice.ufrag == "oKVIo3H"
    assert [c.component for c in said.transport.ice.candidates] == [1, 2, 1, 2]
    assert said.transport.fingerprint is not None
    assert said.transport.fingerprint.algorithm == "sha-256"
    assert said.transport.fingerprint.setup is Setup.ACTPASS
    assert said.transport.rtcp_port == 33049


def test_linphones_static_codecs_come_without_rtpmap() -> None:
    said = audio(read(VECTORS[0].with_name("linphone_offer.sdp")))
    assert [c.name for c in said.codecs][:6] == ["opus", "speex", "speex", "PCMU", "PCMA", "G729"]
    assert said.codec(18) == Codec(18, "G729", 8000, 1, (("annexb", "yes"),), ("trr-int 5000", "ccm tmmbr"))
    assert said.transport.address == "fd00::2"


def test_sdes_keys_are_read() -> None:
    said = audio(read(VECTORS[0].with_name("linphone_srtp.sdp")))
    assert said.profile is Profile.SAVP
    assert [c.tag for c in said.transport.crypto] == [1, 2, 3, 4]
    assert said.transport.crypto[0].suite == "AES_CM_128_HMAC_SHA1_80"


def test_chromiums_data_channel_keeps_its_place_and_is_never_taken() -> None:
    session = sdp.parse(read(VECTORS[0].with_name("chromium_max_bundle_offer.sdp")))
    assert [m.kind for m in session.media] == ["audio", "video", "application"]
    assert session.media[2].foreign == "UDP/DTLS/SCTP webrtc-datachannel"
    assert session.media[2].rejected
    assert not session.media[1].rejected  # port 0 and bundle-only (RFC 9143 §6)
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n" in sdp.render(session)
    assert session.bundle == ("0", "1", "2")


def test_of_aiortcs_three_fingerprints_the_common_one_is_taken() -> None:
    fingerprint = audio(read(VECTORS[0].with_name("aiortc_offer.sdp"))).transport.fingerprint
    assert fingerprint is not None
    assert fingerprint.algorithm == "sha-256"


# ------------------------------------------------------------------------------------------------------- line by line


@pytest.mark.parametrize(
    ("m", "names"),
    [
        ("0 8 9 3 18 13", ["PCMU", "PCMA", "G722", "GSM", "G729", "CN"]),
        ("0 99", ["PCMU"]),  # a dynamic number that nobody explained
        ("8 0 8", ["PCMA", "PCMU"]),
    ],
)
def test_static_payload_types_need_no_rtpmap(m: str, names: list[str]) -> None:
    assert [c.name for c in audio(f"{HEAD}m=audio 4000 RTP/AVP {m}\r\n").codecs] == names


def test_an_rtpmap_wins_over_the_static_table() -> None:
    assert audio(PLAIN + "a=rtpmap:0 PCMU/16000\r\n").codecs == (Codec(0, "PCMU", 16_000),)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", Direction.SENDRECV),
        ("a=sendonly\r\n", Direction.SENDONLY),
        ("a=inactive\r\na=sendonly\r\n", Direction.INACTIVE),
    ],
)
def test_a_direction_is_read(where: str, expected: Direction) -> None:
    assert audio(PLAIN + where).direction is expected


def test_a_direction_in_the_head_is_for_all_that_say_none() -> None:
    text = HEAD + "a=recvonly\r\nm=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 0\r\na=sendonly\r\n"
    assert [m.direction for m in sdp.parse(text).media] == [Direction.RECVONLY, Direction.SENDONLY]


def test_a_sections_address_wins_over_the_heads() -> None:
    session = sdp.parse(PLAIN + "c=IN IP6 2001:db8::1\r\nm=audio 4002 RTP/AVP 0\r\n")
    assert [m.transport.address for m in session.media] == ["2001:db8::1", "192.0.2.1"]
    assert "c=IN IP6 2001:db8::1\r\n" in sdp.render(session)
    assert sdp.parse(sdp.render(session)) == session


def test_time_to_live_is_no_part_of_an_address() -> None:
    assert audio(PLAIN.replace("IP4 192.0.2.1\r\nt", "IP4 233.252.0.1/127\r\nt")).transport.address == "233.252.0.1"


def test_an_address_of_zeros_is_the_old_way_to_hold() -> None:
    held = audio(PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"))
    assert held.transport.address is None
    assert held.direction is Direction.SENDONLY
    assert audio(sdp.render(Session((held,)))) == held


def test_zeros_with_ice_mean_that_nothing_is_known_yet() -> None:
    said = audio(PLAIN.replace("c=IN IP4 192.0.2.1", "c=IN IP6 ::") + ICE)
    assert said.transport.address is None
    assert said.direction is Direction.SENDRECV


def test_port_0_rejects() -> None:
    session = sdp.parse(HEAD + "m=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 99\r\n")
    assert all(m.rejected for m in session.media)
    assert session.audio is None
    assert sdp.parse(sdp.render(session)) == session


def test_sections_without_a_mid_are_named_after_their_kind() -> None:
    session = sdp.parse(
        PLAIN + "m=audio 4002 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\nm=audio 0 RTP/AVP 0\r\na=mid:audio\r\n"
    )
    assert [m.name for m in session.media] == ["audio2", "audio3", "video", "audio"]
    assert sdp.parse(sdp.render(session)) == session


def test_a_mid_that_says_no_more_than_the_kind_is_not_written() -> None:
    assert "a=mid" not in sdp.render(sdp.parse(PLAIN + "a=mid:audio\r\n"))
    assert "a=mid:0" in sdp.render(sdp.parse(PLAIN + "a=mid:0\r\n"))


def test_a_group_names_only_sections_that_there_are() -> None:
    text = HEAD + "a=group:LS x\r\na=group:\r\na=group:BUNDLE 0 7 0\r\nm=audio 4000 RTP/AVP 0\r\na=mid:0\r\n"
    assert sdp.parse(text).bundle == ("0",)


def test_rtcp_and_its_multiplexing_are_read() -> None:
    said = audio(PLAIN + "a=rtcp:4007 IN IP4 192.0.2.9\r\na=rtcp-mux\r\n").transport
    assert (said.rtcp_port, said.rtcp_mux) == (4007, True)


@pytest.mark.parametrize(("said", "read_as"), [("20", 20), ("20.0", 20), ("0", None), ("x", None), ("", None)])
def test_ptime_is_milliseconds(said: str, read_as: int | None) -> None:
    assert audio(PLAIN + f"a=ptime:{said}\r\n").ptime == read_as


def test_parameters_keep_their_order_and_may_lack_a_name() -> None:
    said = audio(
        HEAD + "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 X/8000\r\na=fmtp:96 b=1; a = x=y ;; flag;c=\r\na=fmtp:x y\r\n"
    )
    assert said.codecs[0].parameters == (("b", "1"), ("a", "x=y"), ("", "flag"), ("c", ""))


def test_feedback_for_all_is_each_codecs() -> None:
    said = audio(PLAIN + "a=rtcp-fb:* nack\r\na=rtcp-fb:0 ccm  fir\r\na=rtcp-fb:x nack\r\na=rtcp-fb:0\r\n")
    assert said.codecs[0].feedback == ("ccm fir", "nack")


def test_header_extensions_are_read_with_their_direction() -> None:
    said = audio(
        PLAIN
        + "a=extmap:1/sendonly urn:x a=b\r\na=extmap:2 urn:y\r\n"
        + "a=extmap:2 urn:z\r\na=extmap:0 urn:q\r\na=extmap:\r\na=extmap:3/up urn:x\r\n"
    )
    assert said.extensions == (HeaderExtension(1, "urn:x", Direction.SENDONLY), HeaderExtension(2, "urn:y"))


def test_sources_are_gathered_by_number() -> None:
    said = audio(PLAIN + "a=ssrc:5 cname:a b\r\na=ssrc:5 flag\r\na=ssrc:x cname:q\r\na=ssrc:7\r\n")
    assert said.sources == (Source(5, (("cname", "a b"), ("flag", ""))),)


def test_keys_are_read_with_their_session_parameters() -> None:
    said = audio(
        PLAIN + "a=crypto:1 SUITE inline:abc UNENCRYPTED_SRTP KDR=0\r\na=crypto:x S k\r\na=crypto:2 S\r\na=crypto:\r\n"
    )
    assert said.transport.crypto == (Crypto(1, "SUITE", "inline:abc", "UNENCRYPTED_SRTP KDR=0"),)


@pytest.mark.parametrize(
    ("line", "setup"),
    [
        ("a=setup:passive", Setup.PASSIVE),
        ("a=setup:ACTIVE", Setup.ACTIVE),
        ("", Setup.ACTPASS),
        ("a=setup:x", Setup.ACTPASS),
    ],
)
def test_a_setup_that_is_not_said_leaves_the_choice(line: str, setup: Setup) -> None:
    said = audio(f"{PLAIN}a=fingerprint:SHA-256 {FINGERPRINT.lower()}\r\n{line}\r\n")
    assert said.transport.fingerprint == Fingerprint("sha-256", FINGERPRINT, setup)


def test_end_of_candidates_and_lite_are_read() -> None:
    ice = audio(
        HEAD + "a=ice-lite\r\nm=audio 4000 RTP/AVP 0\r\n" + ICE + "a=ice-options:trickle x;\r\na=end-of-candidates\r\n"
    ).transport.ice
    assert ice is not None
    assert ice.lite
    assert ice.complete
    assert ice.options == ("trickle",)


def test_candidates_without_credentials_are_no_ice() -> None:
    assert audio(PLAIN + "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\na=ice-ufrag:abcd\r\n").transport.ice is None


def test_a_candidate_is_read_whole() -> None:
    spelt = "2 1 UDP 1677 203.0.113.9 5000 typ srflx raddr 192.0.2.2 rport 4000 tcptype active generation 3 ufrag x"
    assert sdp.candidate(spelt) == Candidate(
        "2", 1, "udp", 1677, "203.0.113.9", 5000, "srflx", "192.0.2.2", 4000, 3, tcp_type="active"
    )


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "1 1 udp 1 192.0.2.1 5000 typ",
        "1 1 udp 1 192.0.2.1 5000 kind host",
        "1 0 udp 1 192.0.2.1 5000 typ host",
        "1 1 sctp 1 192.0.2.1 5000 typ host",
        "1 1 udp -1 192.0.2.1 5000 typ host",
        "1 1 udp 1 192.0.2.1 70000 typ host",
        "1 1 udp 1 [::1] 5000 typ host",
        "1 1 udp 1 192.0.2.1 5000 typ multicast",
        "(1) 1 udp 1 192.0.2.1 5000 typ host",
        "1 1 udp 1 192.0.2.1 5000 typ host" + " a b" * 60,
    ],
)
def test_a_candidate_that_cannot_be_used_is_none_and_costs_no_call(bad: str) -> None:
    assert sdp.candidate(bad) is None
    said = audio(f"{PLAIN}{ICE}a=candidate:{bad}\r\n").transport.ice
    assert said is not None
    assert said.candidates == ()


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 0),
        ("\r\n\r\n", 0),
        ("hello", 1),
        ("v=1\r\n", 1),
        ("s=-\r\nv=0\r\n", 1),
        ("v=0\r\nnonsense\r\n", 2),
        ("v=0\r\nM=audio\r\n", 2),
        ("v=0\r\ns=a\0b\r\n", 2),
        ("v=0\r\nc=IN IP4\r\n", 2),
        ("v=0\r\nc=IN IP4 a;b\r\n", 2),
        ("v=0\r\nm=audio\r\n", 2),
        ("v=0\r\nm=audio x RTP/AVP 0\r\n", 2),
        ("v=0\r\nm=audio 70000 RTP/AVP 0\r\n", 2),
        ("v=0\r\nm=audio -1 RTP/AVP 0\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP 128\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP x\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP é\r\n", 2),
        ("v=0\r\nm=aüdio 1 RTP/AVP 0\r\n", 2),
        ("v=0\r\nm=audio 1 RTP//AVP 0\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP" + " 0" * 65 + "\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtpmap:0 PCMU\r\n", 3),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtpmap:200 PCMU/8000\r\n", 3),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtpmap:0 PC MU/8000\r\n", 3),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000/x\r\n", 3),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=fingerprint:sha-256 AB:CD\r\n", 3),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=ice-ufrag:a b\r\na=ice-pwd:x\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=mid:a b\r\n", 2),
        ("v=0\r\nm=audio 1 RTP/AVP 0\r\na=mid:a\r\nm=audio 1 RTP/AVP 0\r\na=mid:a\r\n", 4),
        ("v=0\r\n" + "m=audio 1 RTP/AVP 0\r\n" * 17, 18),
        ("v=0\r\n" + "a=x\r\n" * 2001, 0),
        ("v=0\r\n" + "a=x" * 30_000, 0),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(SdpError) as caught:
        sdp.parse(text)
    assert caught.value.line == line


def test_what_need_not_be_there_is_not_missed() -> None:
    session = sdp.parse("v=0\nm=audio 4000 RTP/AVP 0\n")
    assert (session.origin, session.id, session.version) == ("-", "0", 0)
    assert session.media[0].transport.address is None
    assert sdp.parse("v=0\no=x\n").media == ()
    assert sdp.parse("v=0\no=x 1 y\n").version == 0


def test_unknown_line_types_are_passed_over() -> None:
    assert sdp.parse("v=0\r\nq=1\r\nz=2\r\n").media == ()


def test_what_is_countless_is_counted() -> None:
    many = "".join(f"a=candidate:1 1 udp {n} 192.0.2.1 5000 typ host\r\n" for n in range(1, 100))
    ssrcs = "".join(f"a=ssrc:{n} cname:x\r\n" for n in range(100)) + "a=ssrc:1 p:q\r\n" * 100
    said = audio(PLAIN + ICE + many + ssrcs + "a=fmtp:0 " + ";".join(f"a{n}=1" for n in range(99)) + "\r\n")
    assert said.transport.ice is not None
    assert len(said.transport.ice.candidates) == 64
    assert len(said.sources) == 64
    assert len(said.sources[1].parameters) == 32
    assert len(said.codecs[0].parameters) == 32


# ---------------------------------------------------------------------------------------------------- what we write

OURS = Session(
    (
        Media(
            "audio",
            "audio",
            (Codec(8, "PCMA", 8000), Codec(101, "telephone-event", 8000, 1, (("", "0-15"),))),
            Transport("203.0.113.7", 20_000, 20_001),
            ptime=20,
        ),
    ),
    id="7",
    version=2,
)


def test_our_plain_offer_looks_like_what_every_phone_knows() -> None:
    assert sdp.render(OURS) == (
        "v=0\r\no=- 7 2 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n"
        "m=audio 20000 RTP/AVP 8 101\r\na=rtcp:20001\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )


def ours(**changes: object) -> Session:
    return Session((replace(OURS.media[0], **changes),))  # type: ignore[arg-type]


EVIL = "x\r\na=evil:1"


@pytest.mark.parametrize(
    "session",
    [
        ours(name=EVIL),
        ours(kind=EVIL),
        ours(codecs=(Codec(96, EVIL, 8000),)),
        ours(transport=Transport(EVIL, 1)),
        ours(transport=Transport("192.0.2.1", 1, ice=Ice(EVIL, "b"))),
        ours(transport=Transport("192.0.2.1", 1, ice=Ice("b", EVIL))),
        ours(transport=Transport("192.0.2.1", 1, fingerprint=Fingerprint(EVIL, FINGERPRINT, Setup.ACTIVE))),
        ours(transport=Transport("192.0.2.1", 1, fingerprint=Fingerprint("sha-256", EVIL, Setup.ACTIVE))),
        replace(OURS, bundle=(EVIL,)),
    ],
)
def test_a_required_field_that_cannot_be_spelt_is_an_error(session: Session) -> None:
    with pytest.raises(SdpError):
        sdp.render(session)


def test_an_optional_field_that_cannot_be_spelt_is_left_out() -> None:
    good = Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host")
    session = replace(
        ours(
            codecs=(Codec(8, "PCMA", 8000, 1, ((EVIL, "1"), ("a;b", "1"), ("", ""), ("a", "b")), (EVIL, "nack")),),
            extensions=(
                HeaderExtension(1, EVIL),
                HeaderExtension(2, "a b"),
                HeaderExtension(3, "urn:x", Direction.SENDONLY),
            ),
            sources=(Source(1, ((EVIL, "x"), ("cname", EVIL), ("label", "a"))),),
            transport=Transport(
                "192.0.2.1",
                1,
                ice=Ice(
                    "a",
                    "b",
                    (replace(good, ip=EVIL), replace(good, foundation=EVIL), good),
                    (EVIL, "trickle"),
                    True,
                    True,
                ),
                crypto=(Crypto(1, EVIL, "k"), Crypto(2, "S", EVIL), Crypto(3, "S", "k")),
            ),
        ),
        origin=EVIL,
        id=EVIL,
    )
    written = sdp.render(session)
    assert "evil" not in written
    said = audio(written)
    assert said.codecs[0].parameters == (("a", "b"),)
    assert said.codecs[0].feedback == ("nack",)
    assert [e.id for e in said.extensions] == [3]
    assert said.sources == (Source(1, (("label", "a"),)),)
    assert said.transport.crypto == (Crypto(3, "S", "k"),)
    assert said.transport.ice == Ice("a", "b", (good,), ("trickle",), True, True)


def test_a_foreign_section_that_cannot_be_spelt_is_still_there() -> None:
    session = replace(OURS, media=(*OURS.media, Media("f", "image", (), Transport(), foreign=EVIL, rejected=True)))
    assert "m=image 0 RTP/AVP 127\r\n" in sdp.render(session)


def test_fax_is_answered_with_its_own_protocol() -> None:
    session = sdp.parse(PLAIN + "m=image 4002 udptl t38\r\na=T38FaxVersion:0\r\n")
    assert "m=image 0 udptl t38\r\n" in sdp.render(session)
    assert sdp.parse(sdp.render(session)) == session


def test_a_candidate_is_written_whole() -> None:
    full = Candidate("2", 1, "tcp", 7, "203.0.113.9", 5000, "srflx", "192.0.2.2", 4000, 3, tcp_type="active")
    session = ours(transport=Transport("192.0.2.1", 1, ice=Ice("a", "b", (full,))))
    assert sdp.parse(sdp.render(session)).media[0].transport.ice == Ice("a", "b", (full,))


def test_a_section_that_waits_for_its_bundle_is_not_rejected() -> None:
    text = HEAD + "a=group:BUNDLE 0 1\r\nm=audio 4000 RTP/AVP 0\r\na=mid:0\r\n"
    text += "m=video 0 RTP/AVP 31\r\na=mid:1\r\na=bundle-only\r\n"
    session = sdp.parse(text)
    assert not session.media[1].rejected
    assert "a=bundle-only\r\n" in sdp.render(session)
    assert sdp.parse(sdp.render(session)) == session


@pytest.mark.parametrize(
    "line", ["a=rtcp-fb:* nack pli", "a=ssrc:1 a:b", "a=fmtp:0 a=b;c=d", "a=extmap:1 u", "a=rtpmap:0 X/8000"]
)
def test_repeating_a_line_a_thousand_times_adds_nothing(line: str) -> None:
    assert audio(PLAIN + f"{line}\r\n" * 1900).codecs[0].feedback in ((), ("nack pli",))


def test_feedback_that_all_codecs_have_is_said_once() -> None:
    said = ("nack", "nack pli")
    many = (Codec(96, "VP8", 90_000, feedback=said), Codec(97, "H264", 90_000, feedback=said))
    session = Session((Media("video", "video", many, Transport("192.0.2.1", 4000)),))
    text = sdp.render(session)
    assert [row for row in text.split("\r\n") if "rtcp-fb" in row] == ["a=rtcp-fb:* nack", "a=rtcp-fb:* nack pli"]
    assert sdp.parse(text) == session
    other = Session((replace(session.media[0], codecs=(many[0], replace(many[1], feedback=("nack",)))),))
    assert sdp.render(other).count("a=rtcp-fb:") == 3
    assert sdp.parse(sdp.render(other)) == other
