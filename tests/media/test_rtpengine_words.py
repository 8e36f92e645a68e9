from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.errors import MediaError
from gateway.media import rtpengine_words as words
from gateway.media.engine import Digit, LegKind, LegStatistics
from gateway.session import sdp
from gateway.session.model import (
    Candidate,
    Codec,
    Crypto,
    Direction,
    Fingerprint,
    Ice,
    Profile,
    Setup,
    Stream,
    Transport,
)

OPUS = Codec(111, "opus", 48_000, 2)
PCMA = Codec(8, "PCMA", 8_000)
EVENT_8 = Codec(101, "telephone-event", 8_000)
EVENT_48 = Codec(110, "telephone-event", 48_000)
PRINT = Fingerprint("sha-256", ":".join(["AB"] * 32), Setup.ACTPASS)
ICE = Ice("ufrag", "p" * 22, (Candidate("1", 1, "udp", 2_130_706_431, "192.0.2.7", 4_000, "host"),))
WEB = Transport(ice=ICE, fingerprint=PRINT)
PHONE = Transport("192.0.2.9", 6_000)


def stream(codec: Codec, dtmf: Codec | None = None) -> Stream:
    return Stream(codec, (codec,), dtmf, (dtmf,) if dtmf else ())


def test_an_rtp_leg_learns_its_source_once_and_keeps_its_port() -> None:
    assert {"strict-source", "endpoint-learning-immediate", "port-latching"} <= set(
        words.towards(LegKind.RTP, keyed=False)["flags"]
    )


def test_a_webrtc_leg_has_ice_and_dtls_and_no_other_way_to_a_key() -> None:
    said = words.towards(LegKind.WEBRTC, keyed=True)
    assert (said["transport-protocol"], said["ICE"], said["SDES"]) == ("UDP/TLS/RTP/SAVPF", "force", ["off"])


@pytest.mark.parametrize(("keyed", "spoken"), [(False, "RTP/AVP"), (True, "RTP/SAVP")])
def test_an_rtp_leg_has_keys_only_where_they_are_wanted(keyed: bool, spoken: str) -> None:
    said = words.towards(LegKind.RTP, keyed=keyed)
    assert said["transport-protocol"] == spoken
    assert (said.get("SDES") == ["off"]) is not keyed


def test_nobody_takes_or_sends_anything() -> None:
    audio = sdp.parse(words.placeholder()).audio
    assert audio is not None
    assert audio.direction is Direction.INACTIVE


@pytest.mark.parametrize(("ours", "theirs"), [(Setup.ACTIVE, Setup.PASSIVE), (Setup.PASSIVE, Setup.ACTIVE)])
def test_a_browser_is_described_with_the_dtls_role_that_is_left(ours: Setup, theirs: Setup) -> None:
    audio = sdp.parse(words.described(LegKind.WEBRTC, WEB, stream(OPUS, EVENT_48), ours)).audio
    assert audio is not None
    assert audio.transport.fingerprint == replace(PRINT, setup=theirs)
    assert audio.transport.ice is not None
    assert audio.transport.ice.candidates == ICE.candidates
    assert [codec.pt for codec in audio.codecs] == [111, 110]
    assert (audio.profile, audio.transport.rtcp_mux) == (Profile.DTLS, True)


def test_a_telephone_is_described_as_it_agreed_and_seen_from_its_end() -> None:
    held = replace(stream(PCMA), direction=Direction.SENDONLY)
    audio = sdp.parse(words.described(LegKind.RTP, PHONE, held, Setup.ACTIVE)).audio
    assert audio is not None
    assert (audio.transport.address, audio.transport.port) == ("192.0.2.9", 6_000)
    assert (audio.direction, audio.profile) == (Direction.RECVONLY, Profile.AVP)
    keyed = replace(PHONE, crypto=(Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + "A" * 40),))
    audio = sdp.parse(words.described(LegKind.RTP, keyed, stream(PCMA), Setup.ACTIVE)).audio
    assert audio is not None
    assert audio.profile is Profile.SAVP


@pytest.mark.parametrize("remote", [replace(WEB, ice=None), replace(WEB, fingerprint=None)])
def test_a_browser_without_ice_or_fingerprint_is_refused(remote: Transport) -> None:
    with pytest.raises(MediaError, match="needs ICE"):
        words.described(LegKind.WEBRTC, remote, stream(OPUS), Setup.ACTIVE)


def test_what_cannot_be_spelt_is_refused() -> None:
    with pytest.raises(MediaError, match="cannot be described"):
        words.described(LegKind.RTP, Transport("a b"), stream(PCMA), Setup.ACTIVE)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (stream(PCMA, EVENT_8), stream(PCMA, EVENT_8), None),
        (stream(PCMA, EVENT_8), stream(OPUS, EVENT_48), ["opus/48000/2", "telephone-event/48000"]),
        (stream(PCMA), stream(PCMA, EVENT_8), ["telephone-event/8000"]),
        (stream(OPUS), stream(PCMA), ["PCMA/8000"]),
    ],
)
def test_nothing_is_transcoded_where_both_have_the_same(one: Stream, other: Stream, wanted: list[str] | None) -> None:
    assert words.transcoding(one, other) == ({"codec": {"transcode": wanted}} if wanted else {})


def test_the_faster_clock_does_not_offer() -> None:
    assert words.faster(stream(OPUS), stream(PCMA))
    assert not words.faster(stream(PCMA), stream(PCMA))


def test_our_end_is_read_from_what_the_daemon_writes() -> None:
    written = words.described(LegKind.WEBRTC, WEB, stream(OPUS), Setup.ACTIVE)
    read = words.transport(written, LegKind.WEBRTC, Setup.PASSIVE)
    assert read.fingerprint == replace(PRINT, setup=Setup.PASSIVE)
    assert read.ice == replace(ICE, complete=True)
    phone = words.transport(words.described(LegKind.RTP, PHONE, stream(PCMA), Setup.ACTIVE), LegKind.RTP, Setup.ACTIVE)
    assert (phone.address, phone.port) == ("192.0.2.9", 6_000)


def test_of_the_keys_that_the_daemon_offers_those_remain_that_we_can_do_and_padded() -> None:
    short = "inline:" + "A" * 38
    offered = tuple(Crypto(tag, name, short) for tag, name in ((1, "NULL_HMAC_SHA1_80"), (2, "AEAD_AES_128_GCM")))
    written = words.described(LegKind.RTP, replace(PHONE, crypto=offered), stream(PCMA), Setup.ACTIVE)
    read = words.transport(written, LegKind.RTP, Setup.ACTIVE)
    assert read.crypto == (Crypto(2, "AEAD_AES_128_GCM", short + "=="),)


@pytest.mark.parametrize("text", [None, "", "v=0\r\n", words.placeholder()])
def test_an_answer_without_a_transport_is_an_error(text: object) -> None:
    with pytest.raises(MediaError, match="rtpengine's SDP"):
        words.transport(text, LegKind.WEBRTC, Setup.ACTIVE)


def queried(**stats: int) -> dict[str, object]:
    counted = {"packets": 3, "bytes": 516, "errors": 1} | stats
    one = {"stats": counted, "flags": ["RTP", "DTLS fingerprint verified"], "last packet": 1_795_369_879}
    return {"tags": {"caller": {"medias": [{"streams": [one]}]}, "callee1": {"medias": []}, "callee2": "x"}}


def test_counters_are_those_of_the_first_stream_and_nonsense_is_left_out() -> None:
    assert words.counters(queried()) == {"caller": words.Counted(3, 516, 1, 1_795_369_879.0, True)}
    assert words.counters({}) == words.counters({"tags": []}) == {}


def test_what_went_out_is_what_came_in_from_the_peer() -> None:
    mine, peers = words.Counted(3, 516, 1, 0.0, False), words.Counted(5, 860, 0, 0.0, False)
    assert words.statistics(mine, peers, stream(PCMA), connected=True) == LegStatistics(
        3, 516, 5, 860, (("error", 1),), "PCMA", connected=True
    )
    assert words.statistics(peers, None, None, connected=False) == LegStatistics(5, 860)


LOGGED = {"callid": "c", "source_tag": "caller", "tags": [], "type": "DTMF", "event": 11, "duration": 100, "volume": 10}


def test_a_digit_is_read_from_the_log() -> None:
    assert words.digit(json.dumps(LOGGED).encode()) == Digit("c", "caller", "#", 100)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps(LOGGED | {"event": 16}).encode(),
        json.dumps(LOGGED | {"type": "x"}).encode(),
        json.dumps(LOGGED | {"duration": None}).encode(),
        json.dumps({}).encode(),
    ],
)
def test_anything_else_in_the_log_is_nothing(datagram: bytes) -> None:
    assert words.digit(datagram) is None


@pytest.mark.parametrize("direction", Direction)
def test_an_end_that_only_hears_is_not_missed(direction: Direction) -> None:
    assert words.held(replace(stream(PCMA), direction=direction)) is (
        direction in (Direction.SENDONLY, Direction.INACTIVE)
    )


def test_a_leg_may_have_to_have_a_version_of_ip() -> None:
    assert words.towards(LegKind.RTP, keyed=False, ip=6)["address-family"] == "IP6"
    assert "address-family" not in words.towards(LegKind.RTP, keyed=False)
    assert "address-family" not in words.towards(LegKind.WEBRTC, keyed=False, ip=6), "ICE names both"


SAID = {
    "cumulative loss": 3,
    "average MOS": {"MOS": 40, "round-trip time": 24_603, "round-trip time leg": 12_042, "jitter": 5, "samples": 1},
}


def reported(sources: object) -> dict[str, words.Counted]:
    """Both legs of a call, in the shape of the daemon's answer."""
    tags = {}
    for number, name in enumerate(("caller", "callee1")):
        stats = {"packets": 60, "bytes": 10_320, "errors": 0}
        stream = {"stats": stats, "flags": [], "last packet": 1_795_378_448, "SSRC": 7 + number}
        tags[name] = {"medias": [{"streams": [stream]}]}
    return words.counters({"tags": tags, "SSRC": sources})


def test_what_an_end_reports_is_kept_with_its_leg() -> None:
    known = reported({"7": SAID})
    caller = words.statistics(known["caller"], known["callee1"], stream(PCMA), connected=True)
    assert (caller.far_lost, caller.far_jitter, caller.round_trip, caller.far_mos) == (3, 5.0, 12.042, 4.0)
    callee = words.statistics(known["callee1"], known["caller"], stream(PCMA), connected=True)
    assert (callee.far_lost, callee.far_jitter, callee.round_trip, callee.far_mos) == (0, 0.0, None, None)


@pytest.mark.parametrize("sources", [None, [], {}, {"7": {}}, {"7": SAID | {"average MOS": None}}, {"7": "x"}])
def test_reports_that_are_not_as_expected_are_none(sources: object) -> None:
    assert reported(sources)["caller"].reported is None
    assert reported(sources)["caller"].packets == 60
