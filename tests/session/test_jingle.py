from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gateway.errors import JingleError
from gateway.session import jingle, text
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

FOLDER = Path(__file__).parents[1] / "vectors" / "jingle"
VECTORS = sorted(FOLDER.glob("*.xml"))
SESSIONS = [path for path in VECTORS if "_session_" in path.name]
TRICKLES = [path for path in VECTORS if path not in SESSIONS]
J = f"{{{jingle.JINGLE}}}"
FINGERPRINT = ":".join(["AB"] * 32)


def element(text: str) -> ET.Element:
    root = ET.fromstring(text)
    found = root if root.tag == f"{J}jingle" else root.find(f"{J}jingle")
    assert found is not None
    return found


def vector(name: str) -> ET.Element:
    return element((FOLDER / f"{name}.xml").read_text())


def written(session: Session, *, initiator: bool = True) -> ET.Element:
    """As it will be read at the other end: through text."""
    whole = ET.Element(f"{J}jingle", action="session-initiate" if initiator else "session-accept")
    whole.extend(jingle.contents(session, initiator=initiator))
    return ET.fromstring(ET.tostring(whole))


def spelt(session: Session) -> Session:
    """Without parameters that lack a name or hold a blank, which we read but never write."""

    def codec(one: Codec) -> Codec:
        return replace(one, parameters=tuple(p for p in one.parameters if all(p) and " " not in "".join(p)))

    def media(one: Media) -> Media:
        sources = tuple(replace(s, parameters=tuple(p for p in s.parameters if all(p))) for s in one.sources)
        return replace(one, codecs=tuple(map(codec, one.codecs)), sources=sources)

    return replace(session, media=tuple(map(media, session.media)))


def make(
    description: str = "", transport: str = "", content: str = "name='a'", action: str = "session-initiate"
) -> ET.Element:
    return element(
        f"<jingle xmlns='{jingle.JINGLE}' action='{action}'><content {content}>"
        f"<description xmlns='{jingle.RTP}' media='audio'>{description}</description>"
        f"<transport xmlns='{jingle.ICE_UDP}' ufrag='abcd' pwd='aaaabbbbccccddddeeeeff'>{transport}</transport>"
        "</content></jingle>"
    )


def audio(whole: ET.Element) -> Media:
    found = jingle.parse_session(whole).audio
    assert found is not None
    return found


def candidate(**attributes: str) -> str:
    usual = {"component": "1", "foundation": "1", "ip": "192.0.2.1", "port": "5000", "priority": "7", "protocol": "udp"}
    usual |= {"type": "host"} | attributes
    return "<candidate " + " ".join(f"{key}='{value}'" for key, value in usual.items() if value) + "/>"


# ---------------------------------------------------------------------------------------------------- what was said


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_what_real_clients_say_survives_the_round_trip(path: Path) -> None:
    said = element(path.read_text())
    session = jingle.parse_session(said)
    again = written(session, initiator=said.get("action") == "session-initiate")
    assert jingle.parse_session(again) == spelt(session)


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_every_client_names_audio_and_ice(path: Path) -> None:
    said = audio(element(path.read_text()))
    assert said.transport.ice is not None
    assert said.voices
    assert (said.transport.fingerprint is None) == path.name.startswith("gajim")


@pytest.mark.slow
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_mutated_stanza_is_read_or_refused_and_nothing_else(path: Path) -> None:
    chance = random.Random(path.stem)
    for _ in range(50):
        whole = element(path.read_text())
        for _ in range(chance.randrange(1, 4)):
            mutate(whole, chance)
        with contextlib.suppress(JingleError):
            jingle.parse_transport_info(whole)
        jingle.parse_reason(whole)
        try:
            session = jingle.parse_session(whole, by_initiator=True)
        except JingleError:
            continue
        if not any(media.rejected for media in session.media):
            assert jingle.parse_session(written(session)) == spelt(session)


def mutate(whole: ET.Element, chance: random.Random) -> None:
    one = chance.choice(list(whole.iter()))
    junk = ["", " ", "-1", "99999999999999999999", "\r\nx", "é", "actpass", "x" * 5000, "0x1", "none", "\u2028"]
    match chance.randrange(5):
        case 0 if one.attrib:
            one.set(chance.choice(list(one.attrib)), chance.choice(junk))
        case 1 if one.attrib:
            del one.attrib[chance.choice(list(one.attrib))]
        case 2 if len(one):
            one.remove(chance.choice(list(one)))
        case 3 if len(one):
            one.append(chance.choice(list(one)))
        case _:
            one.text = chance.choice(junk)


def test_dinos_offer_is_read_field_by_field() -> None:
    session = jingle.parse_session(vector("dino_video_session_initiate"))
    sound, video = session.media
    assert [(c.pt, c.name, c.clock_rate) for c in sound.codecs] == [
        (111, "opus", 48_000),
        (112, "speex", 32_000),
        (113, "speex", 16_000),
        (114, "speex", 8000),
        (9, "G722", 8000),
        (0, "PCMU", 8000),
        (8, "PCMA", 8000),
    ]
    assert sound.profile is Profile.DTLS  # although it names SDES keys too
    assert [c.suite for c in sound.transport.crypto] == ["AES_CM_128_HMAC_SHA1_80"]
    assert sound.transport.rtcp_mux
    assert sound.transport.ice is not None
    assert video.transport.ice is not None
    assert {c.component for c in sound.transport.ice.candidates} == {1, 2}
    assert sound.transport.ice.ufrag != video.transport.ice.ufrag
    assert session.bundle == ()
    assert video.extensions == (HeaderExtension(1, "urn:3gpp:video-orientation"),)
    assert video.codecs[1].feedback == ("goog-remb", "ccm fir", "nack", "nack pli")


@pytest.mark.parametrize("action", ["session_initiate", "session_accept", "video_session_initiate"])
def test_dino_as_it_ran_says_of_its_voice_what_its_source_had_said(action: str) -> None:
    """G.722 apart: it was not installed where Dino ran."""

    def told(name: str) -> tuple[object, ...]:
        said = audio(vector(name))
        assert said.transport.ice is not None
        assert said.transport.fingerprint is not None
        codecs = tuple(codec for codec in said.codecs if codec.name != "G722")
        components = {candidate.component for candidate in said.transport.ice.candidates}
        return said.name, said.profile, said.direction, codecs, said.transport.fingerprint.setup, components

    assert told(f"dino_0.4_{action}") == told(f"dino_{action}")


def test_an_older_dino_shows_one_kind_of_video() -> None:
    _, video = jingle.parse_session(vector("dino_0.4_video_session_initiate")).media
    assert [(codec.pt, codec.name) for codec in video.codecs] == [(98, "VP8")]
    assert video.extensions == (HeaderExtension(1, "urn:3gpp:video-orientation"),)


def test_dino_says_why_it_hangs_up() -> None:
    assert jingle.parse_reason(vector("dino_0.4_terminate")) == jingle.Reason("success")


def test_gajims_unencrypted_offer_is_read() -> None:
    said = audio(vector("gajim_session_initiate"))
    assert said.name == "voice"
    assert said.profile is Profile.AVPF
    assert said.transport.fingerprint is None
    assert said.codecs[0] == Codec(96, "OPUS", 48_000, 2, (("useinbandfec", "1"),))


def test_stanzajs_trickles_without_a_password_and_says_when_it_is_done() -> None:
    found, ice, complete = jingle.parse_transport_info(vector("stanzajs_transport_info"))
    assert [c.ip for c in found] == ["192.0.2.2"]
    assert found[0].id == "c0"
    assert ice is None
    assert not complete
    assert jingle.parse_transport_info(vector("stanzajs_gathering_complete")) == ((), None, True)
    assert jingle.parse_transport_info(vector("stanzajs_transport_info_tcp")).candidates[0].tcp_type == "active"


def test_monal_writes_rel_port_and_repeats_its_credentials() -> None:
    found = jingle.parse_transport_info(vector("monal_transport_info"))
    assert found.candidates[0].related_port == 54610
    assert found.ice is not None
    assert found.ice.ufrag == "2p9P"


def test_conversations_restarts_ice_with_new_credentials_alone() -> None:
    found = jingle.parse_transport_info(vector("conversations_ice_restart"))
    assert found == ((), Ice("Kx8b", "Rj5SwnD3qkq5pVtbyGmH1yTq"), False)


def test_conversations_names_its_ice_options() -> None:
    ice = audio(vector("conversations_session_initiate")).transport.ice
    assert ice is not None
    assert ice.options == ("trickle", "renomination")


# ---------------------------------------------------------------------------------------------- element by element


@pytest.mark.parametrize(
    ("senders", "initiator", "responder"),
    [
        ("", "sendrecv", "sendrecv"),
        ("senders='both'", "sendrecv", "sendrecv"),
        ("senders='initiator'", "sendonly", "recvonly"),
        ("senders='responder'", "recvonly", "sendonly"),
        ("senders='none'", "inactive", "inactive"),
        ("senders='nobody'", "sendrecv", "sendrecv"),
    ],
)
def test_senders_are_roles_and_directions_are_seen_from_who_speaks(
    senders: str, initiator: str, responder: str
) -> None:
    said = f"name='a' {senders}"
    assert audio(make(content=said)).direction is Direction(initiator)
    assert audio(make(content=said, action="session-accept")).direction is Direction(responder)
    by_responder = jingle.parse_session(make(content=said), by_initiator=False).audio
    assert by_responder is not None
    assert by_responder.direction is Direction(responder)


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("initiator", [True, False])
def test_a_direction_that_we_write_is_read_as_it_was_meant(direction: Direction, initiator: bool) -> None:
    session = Session((replace(OURS, direction=direction, extensions=(HeaderExtension(1, "urn:x", direction),)),))
    assert jingle.parse_session(written(session, initiator=initiator)) == session


@pytest.mark.parametrize(
    ("said", "codec"),
    [
        ("id='0'", Codec(0, "PCMU", 8000)),
        ("id='9' name='G722'", Codec(9, "G722", 8000)),
        ("id='96' name='opus'", Codec(96, "opus", 48_000, 2)),
        ("id='96' name='opus' clockrate='48000' channels='1'", Codec(96, "opus", 48_000, 2)),
        ("id='96' name='speex' clockrate='16000'", Codec(96, "speex", 16_000)),
        ("id='101' name='telephone-event'", Codec(101, "telephone-event", 8000)),
        ("id='0' name='X' clockrate='x' channels='0'", Codec(0, "X", 8000)),
    ],
)
def test_what_a_payload_type_leaves_out_is_guessed(said: str, codec: Codec) -> None:
    assert audio(make(f"<payload-type {said}/>")).codecs == (codec,)


def test_a_payload_type_that_nobody_named_is_as_if_it_were_not_there() -> None:
    assert audio(make("<payload-type id='96'/><payload-type id='97' name='a b'/>")).codecs == ()


def test_the_first_of_two_payload_types_of_one_number_counts() -> None:
    assert audio(make("<payload-type id='0'/><payload-type id='0' name='X'/>")).codecs == (Codec(0, "PCMU", 8000),)


def test_parameters_may_lack_a_name_or_a_value() -> None:
    said = "<parameter value='0-15'/><parameter name='flag'/><parameter name='a' value='b'/><parameter/>"
    codec = audio(make(f"<payload-type id='0'>{said}</payload-type>")).codecs[0]
    assert codec.parameters == (("", "0-15"), ("", "flag"), ("a", "b"))


def test_feedback_of_the_description_is_each_codecs() -> None:
    ns = f"xmlns='{jingle.FEEDBACK}'"
    own = f"<rtcp-fb {ns} type='nack' subtype='pli'/><rtcp-fb-trr-int {ns} value='100'/><rtcp-fb {ns}/>"
    said = f"<payload-type id='0'>{own}</payload-type><rtcp-fb {ns} type='ccm' subtype='fir'/>"
    assert audio(make(said)).codecs[0].feedback == ("nack pli", "trr-int 100", "ccm fir")


def test_ptime_is_said_in_two_places() -> None:
    assert audio(make("<payload-type id='0'/><payload-type id='8' ptime='30'/>")).ptime == 30
    whole = make("<payload-type id='0'/>")
    description = next(whole.iter(f"{{{jingle.RTP}}}description"))
    description.set("ptime", "20")
    assert audio(whole).ptime == 20


def test_multiplexing_is_believed_in_the_transport_too() -> None:
    assert audio(make("<rtcp-mux/>")).transport.rtcp_mux
    assert audio(make(transport=f"<rtcp-mux xmlns='{jingle.RTP}'/>")).transport.rtcp_mux
    assert not audio(make()).transport.rtcp_mux


def test_keys_make_srtp_and_nothing_makes_rtp() -> None:
    crypto = (
        "<encryption><crypto tag='1' crypto-suite='S' key-params='inline:k' session-params='p'/><crypto/></encryption>"
    )
    said = audio(make(crypto))
    assert said.profile is Profile.SAVPF
    assert said.transport.crypto == (Crypto(1, "S", "inline:k", "p"),)
    assert audio(make()).profile is Profile.AVPF


def test_extensions_and_sources_that_cannot_be_read_are_passed_over() -> None:
    ext, src = jingle.HEADER_EXTENSION, jingle.SOURCES
    said = (
        f"<rtp-hdrext xmlns='{ext}' id='x' uri='u'/><rtp-hdrext xmlns='{ext}' id='1'/>"
        f"<rtp-hdrext xmlns='{ext}' id='2' uri='u' senders='initiator'/><source xmlns='{src}' ssrc='x'/>"
        f"<source xmlns='{src}' ssrc='5'><parameter name='cname' value='a'/></source>"
    )
    assert audio(make(said)).extensions == (HeaderExtension(2, "u", Direction.SENDONLY),)
    assert audio(make(said)).sources == (Source(5, (("cname", "a"),)),)


@pytest.mark.parametrize(
    ("attributes", "setup"),
    [
        ("hash='sha-256' setup='passive'", Setup.PASSIVE),
        ("hash='SHA-256' setup='active'", Setup.ACTIVE),
        ("", Setup.ACTPASS),
        ("setup='x'", Setup.ACTPASS),
    ],
)
def test_a_fingerprint_is_read_in_any_case(attributes: str, setup: Setup) -> None:
    said = f"<fingerprint xmlns='{jingle.DTLS}' {attributes}> {FINGERPRINT.lower()} </fingerprint>"
    assert audio(make(transport=said)).transport.fingerprint == Fingerprint("sha-256", FINGERPRINT, setup)


def test_of_many_fingerprints_the_first_few_are_read() -> None:
    element = "<fingerprint xmlns='{}' hash='{}'>{}</fingerprint>"
    unread = element.format(jingle.DTLS, "sha-256", "nonsense")
    said = element.format(jingle.DTLS, "sha-512", FINGERPRINT) * text.MAX_FINGERPRINTS + unread
    fingerprint = audio(make(transport=said)).transport.fingerprint
    assert fingerprint is not None
    assert fingerprint.algorithm == "sha-512"


def test_a_candidate_is_read_whole() -> None:
    more = {"generation": "2", "id": "x7", "network": "3", "rel-addr": "192.0.2.2", "rel-port": "4000", "tcptype": "so"}
    ice = audio(make(transport=candidate(type="srflx", protocol="TCP", **more))).transport.ice
    assert ice is not None
    assert ice.candidates == (
        Candidate("1", 1, "tcp", 7, "192.0.2.1", 5000, "srflx", "192.0.2.2", 4000, 2, "x7", 3, "so"),
    )


def test_what_a_candidate_leaves_out_is_guessed() -> None:
    said = candidate(component="", foundation="", protocol="", type="")
    ice = audio(make(transport=said)).transport.ice
    assert ice is not None
    assert ice.candidates == (Candidate("0", 1, "udp", 7, "192.0.2.1", 5000, "host", id="c0"),)


@pytest.mark.parametrize(
    "bad",
    [
        {"component": "0"},
        {"port": "70000"},
        {"port": ""},
        {"priority": "x"},
        {"ip": ""},
        {"ip": "a b"},
        {"protocol": "sctp"},
        {"type": "multicast"},
        {"foundation": "a b"},
    ],
)
def test_a_candidate_that_cannot_be_used_costs_no_call(bad: dict[str, str]) -> None:
    ice = audio(make(transport=candidate(**bad) + candidate(id="good"))).transport.ice
    assert ice is not None
    assert [c.id for c in ice.candidates] == ["good"]


def test_a_group_of_another_kind_or_of_strangers_groups_nothing() -> None:
    whole = make(content="name='a'")
    for semantics, name in (("LS", "a"), ("bundle", "b"), ("BUNDLE", "a")):
        group = ET.SubElement(whole, f"{{{jingle.GROUPING}}}group", semantics=semantics)
        ET.SubElement(group, f"{{{jingle.GROUPING}}}content", name=name)
    assert jingle.parse_session(whole).bundle == ()
    whole.remove(whole[2])
    assert jingle.parse_session(whole).bundle == ("a",)


def test_a_content_that_is_no_rtp_is_named_and_never_taken() -> None:
    whole = element(
        f"<jingle xmlns='{jingle.JINGLE}' action='session-initiate'><content name='f' creator='responder'>"
        "<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/></content><content name='g'/></jingle>"
    )
    session = jingle.parse_session(whole)
    assert [m.foreign for m in session.media] == ["urn:xmpp:jingle:apps:file-transfer:5", "unknown"]
    assert session.audio is None
    assert session.media[0].creator == "responder"
    assert jingle.contents(session, initiator=True) == []


def test_a_content_without_ice_is_read() -> None:
    whole = make("<payload-type id='0'/>")
    content = whole[0]
    content.remove(content[1])
    assert audio(whole).transport == Transport()


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "whole",
    [
        element(f"<jingle xmlns='{jingle.JINGLE}' action='session-initiate'/>"),
        make(content=""),
        make(content="name=''"),
        make(content="name='a&#10;b'"),
        make("<payload-type name='opus'/>"),
        make("<payload-type id='x' name='opus'/>"),
        make("<payload-type id='128' name='opus'/>"),
        make("<payload-type id='0'/>" * 65),
        make(transport=f"<fingerprint xmlns='{jingle.DTLS}' hash='sha-256' setup='actpass'>AB:CD</fingerprint>"),
        make(transport=f"<fingerprint xmlns='{jingle.DTLS}' hash='a b'>{FINGERPRINT}</fingerprint>"),
    ],
)
def test_what_cannot_be_read_is_refused(whole: ET.Element) -> None:
    with pytest.raises(JingleError):
        jingle.parse_session(whole)


def test_a_content_that_does_not_say_which_medium_is_refused() -> None:
    whole = make()
    del next(whole.iter(f"{{{jingle.RTP}}}description")).attrib["media"]
    with pytest.raises(JingleError) as caught:
        jingle.parse_session(whole)
    assert caught.value.condition == "bad-request"


def test_two_contents_of_one_name_are_refused() -> None:
    whole = make()
    whole.append(whole[0])
    with pytest.raises(JingleError):
        jingle.parse_session(whole)


def test_too_many_contents_are_refused_as_not_acceptable() -> None:
    whole = make()
    for number in range(16):
        ET.SubElement(whole, f"{J}content", name=str(number))
    with pytest.raises(JingleError) as caught:
        jingle.parse_session(whole)
    assert caught.value.condition == "not-acceptable"


def test_credentials_that_ice_does_not_know_are_refused() -> None:
    whole = make()
    next(whole.iter(f"{{{jingle.ICE_UDP}}}transport")).set("pwd", "a b")
    with pytest.raises(JingleError):
        jingle.parse_session(whole)
    with pytest.raises(JingleError):
        jingle.parse_transport_info(whole)


def test_what_is_countless_is_counted() -> None:
    many = "".join(candidate(port=str(n)) for n in range(1, 100))
    ice = audio(make(transport=many)).transport.ice
    assert ice is not None
    assert len(ice.candidates) == 64
    assert len(jingle.parse_transport_info(make(transport=many)).candidates) == 64


# ---------------------------------------------------------------------------------------------- transport-info, reason


def test_candidates_of_another_content_are_not_the_audios() -> None:
    whole = vector("dino_video_session_initiate")
    found = jingle.parse_transport_info(whole, {"audio"})
    everything = jingle.parse_transport_info(whole)
    assert len(everything.candidates) == 2 * len(found.candidates)
    assert found.ice is not None
    assert found.ice.ufrag == "vK2n"
    assert jingle.parse_transport_info(whole, {"voice"}) == ((), None, False)


def test_a_transport_info_without_ice_brings_nothing() -> None:
    assert jingle.parse_transport_info(element(f"<jingle xmlns='{jingle.JINGLE}'><content name='a'/></jingle>")) == (
        (),
        None,
        False,
    )


def test_our_transport_info_names_the_content_and_repeats_the_credentials() -> None:
    ice = Ice(
        "abcd",
        "aaaabbbbccccddddeeeeff",
        (Candidate("1", 1, "udp", 7, "192.0.2.1", 5000, "host", id="c0"),),
        complete=True,
    )
    whole = ET.Element(f"{J}jingle")
    whole.append(jingle.transport_info(OURS, ice))
    assert whole[0].attrib == {"creator": "initiator", "name": "audio"}
    assert jingle.parse_transport_info(whole) == (ice.candidates, ice, True)


@pytest.mark.parametrize("condition", ["busy", "decline", "success", "incompatible-parameters"])
def test_a_reason_survives_the_round_trip(condition: str) -> None:
    parent = ET.Element("x")
    parent.append(jingle.reason(condition, "486 Busy Here"))
    assert jingle.parse_reason(ET.fromstring(ET.tostring(parent))) == jingle.Reason(condition, "486 Busy Here")


def test_a_reason_that_no_specification_names_is_a_general_error() -> None:
    assert jingle.parse_reason(jingle.reason("no-such-thing")) == jingle.Reason("general-error")
    odd = element(f"<jingle xmlns='{jingle.JINGLE}'><reason><vendor xmlns='urn:x'/><text>why</text></reason></jingle>")
    assert jingle.parse_reason(odd) == jingle.Reason("general-error", "why")


def test_no_reason_is_none() -> None:
    assert jingle.parse_reason(None) is None
    assert jingle.parse_reason(ET.Element("x")) is None


def test_a_reasons_text_cannot_break_the_stream() -> None:
    said = jingle.reason("busy", "a\x00b\x0bc\ud800d\r\n<x/>")
    ET.fromstring(ET.tostring(said))  # or it would not be XML
    assert jingle.parse_reason(said) == jingle.Reason("busy", "a b c d  <x/>")
    assert len((jingle.parse_reason(jingle.reason("busy", "x" * 9000)) or jingle.Reason("")).text) <= 1024


# ---------------------------------------------------------------------------------------------- what we write

OURS = Media(
    "audio",
    "audio",
    (Codec(111, "opus", 48_000, 2), Codec(110, "telephone-event", 48_000)),
    Transport(
        rtcp_mux=True,
        ice=Ice("abcd", "aaaabbbbccccddddeeeeff", (Candidate("1", 1, "udp", 7, "192.0.2.1", 5000, "host", id="c0"),)),
        fingerprint=Fingerprint("sha-256", FINGERPRINT, Setup.ACTIVE),
    ),
    Profile.DTLS,
)


def test_our_accept_is_the_one_that_clients_take() -> None:
    expected = element(
        f"""<jingle xmlns='{jingle.JINGLE}' action='session-accept'>
        <group xmlns='{jingle.GROUPING}' semantics='BUNDLE'><content name='audio'/></group>
        <content creator='initiator' name='audio'>
         <description xmlns='{jingle.RTP}' media='audio'>
          <payload-type id='111' name='opus' clockrate='48000' channels='2'/>
          <payload-type id='110' name='telephone-event' clockrate='48000'/>
          <rtcp-mux/></description>
         <transport xmlns='{jingle.ICE_UDP}' ufrag='abcd' pwd='aaaabbbbccccddddeeeeff'>
          <fingerprint xmlns='{jingle.DTLS}' hash='sha-256' setup='active'>{FINGERPRINT}</fingerprint>
          <candidate component='1' foundation='1' generation='0' id='c0' ip='192.0.2.1' network='0' port='5000'
                     priority='7' protocol='udp' type='host'/>
         </transport></content></jingle>"""
    )
    said = written(Session((OURS,), ("audio",)), initiator=False)
    assert ET.canonicalize(ET.tostring(said), strip_text=True) == ET.canonicalize(
        ET.tostring(expected), strip_text=True
    )


def test_rejected_contents_are_left_out_of_contents_and_group() -> None:
    video = replace(OURS, name="video", kind="video", rejected=True)
    said = written(Session((OURS, video), ("audio", "video")), initiator=False)
    assert [c.get("name") for c in said.iter(f"{J}content")] == ["audio"]
    assert [c.get("name") for c in said.iter(f"{{{jingle.GROUPING}}}content")] == ["audio"]


def test_parameters_that_crash_clients_are_left_out() -> None:
    codec = Codec(96, "x", 8000, 1, (("", "0-15"), ("flag", ""), ("a b", "c"), ("a", "b c"), ("good", "1")))
    said = written(Session((replace(OURS, codecs=(codec,)),)))
    assert [p.attrib for p in said.iter(f"{{{jingle.RTP}}}parameter")] == [{"name": "good", "value": "1"}]


def test_every_candidate_has_all_that_some_client_demands() -> None:
    bare = Candidate("1", 1, "udp", 7, "192.0.2.1", 5000, "host")
    ice = replace(
        Ice("abcd", "pwd"), candidates=(bare, replace(bare, related_ip="192.0.2.2", related_port=1, tcp_type="so"))
    )
    said = list(written(Session((replace(OURS, transport=Transport(ice=ice)),))).iter(f"{{{jingle.ICE_UDP}}}candidate"))
    needed = {"component", "foundation", "generation", "id", "ip", "network", "port", "priority", "protocol", "type"}
    assert set(said[0].attrib) == needed
    assert set(said[1].attrib) == needed | {"rel-addr", "rel-port", "tcptype"}
    assert [c.get("id") for c in said] == ["c0", "c1"]


def test_nothing_that_we_write_can_break_the_stream() -> None:
    evil = "x\x00\r\n\ud800<"
    ice = Ice(evil, evil, (Candidate(evil, 1, evil, 1, evil, 1, evil, evil, 1, 0, evil, 0, evil),), (evil,))
    media = Media(
        evil,
        evil,
        (Codec(96, evil, 8000, 1, ((evil, evil),), (evil,)),),
        Transport(ice=ice, fingerprint=Fingerprint(evil, evil, Setup.ACTIVE), crypto=(Crypto(1, evil, evil, evil),)),
        extensions=(HeaderExtension(1, evil),),
        sources=(Source(1, ((evil, evil),)),),
    )
    ET.fromstring(ET.tostring(written(Session((media,), (evil,)))))


def test_feedback_intervals_and_keys_are_written_as_they_were_read() -> None:
    codec = Codec(96, "VP8", 90_000, 1, (), ("nack pli", "trr-int 100", "goog-remb"))
    transport = replace(OURS.transport, crypto=(Crypto(1, "S", "inline:k", "p"), Crypto(2, "S", "inline:l")))
    session = Session((replace(OURS, codecs=(codec,), transport=transport, ptime=20),))
    assert jingle.parse_session(written(session)) == session
