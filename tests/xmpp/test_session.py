"""One Jingle session: what is acknowledged, refused, told, and what ends it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.call.causes import Cause
from gateway.call.events import Dialled, Held, Leg, Trickled
from gateway.errors import JingleError
from gateway.session.model import Session
from gateway.xmpp import stanzas
from gateway.xmpp.session import (
    DEPARTED_PING,
    MOST_CANDIDATES,
    MOST_REQUESTS_OPEN,
    PING_AGAIN,
    Accepted,
    Ended,
    Ignored,
    JingleSession,
    Output,
    Rings,
    Send,
    State,
    said,
    unreachable,
)

JULIET = "juliet@shakespeare.lit/balcony"
SAID = Path(__file__).parents[1] / "vectors" / "jingle"
VOICE = "romeo%shakespeare.lit@sip.example.com/sip"
INFO = "urn:xmpp:jingle:apps:rtp:info:1"
ICE = "urn:xmpp:jingle:transports:ice-udp:1"
CONTENT = (
    "<content creator='initiator' name='voice'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
    "<payload-type id='111' name='opus' clockrate='48000' channels='2'/></description>"
    f"<transport xmlns='{ICE}' ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'/></content>"
)


def candidates(*ports: int, name: str = "voice", head: str = "ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'") -> str:
    each = "".join(
        f"<candidate component='1' foundation='1' generation='0' id='{p}' ip='192.0.2.3' network='0' port='{p}' "
        "priority='1' protocol='udp' type='host'/>"
        for p in ports
    )
    return f"<content creator='initiator' name='{name}'><transport xmlns='{ICE}' {head}>{each}</transport></content>"


def request(action: str, inner: str = "") -> tuple[ET.Element, ET.Element]:
    stanza = ET.fromstring(
        f"<iq xmlns='jabber:component:accept' type='set' id='q' from='{JULIET}' to='{VOICE}'>"
        f"<jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='s1'>{inner}</jingle></iq>"
    )
    return stanza, stanza[0]


def asks(leg: Leg = Leg.CALLEE) -> JingleSession:
    return JingleSession("s1", VOICE, JULIET, prefix="1-", leg=leg, attempt=2)


def says(session: JingleSession, action: str, inner: str = "") -> list[Output]:
    """What the session makes of it, besides acknowledging it and counting what it ignores."""
    first, *rest = session.receive(*request(action, inner))
    assert isinstance(first, Send)
    assert (first.stanza.get("type"), first.stanza.get("id"), first.stanza.get("to")) == ("result", "q", JULIET)
    return [output for output in rest if not isinstance(output, Ignored)]


def ignores(session: JingleSession, action: str, inner: str = "") -> list[str]:
    """Under which names this is counted as ignored."""
    return [output.reason for output in session.receive(*request(action, inner)) if isinstance(output, Ignored)]


def sent(outputs: list[Output]) -> ET.Element:
    (output,) = outputs
    assert isinstance(output, Send)
    return output.stanza


def jingle(outputs: list[Output]) -> ET.Element:
    found = stanzas.jingle_of(sent(outputs))
    assert found is not None
    return found


def reply(session: JingleSession, to: ET.Element, error: str = "", more: str = "", now: float = 0.0) -> list[Output]:
    body = f"<error type='cancel'><{error} xmlns='{stanzas.ERRORS}'/>{more}</error>" if error else ""
    answer = ET.fromstring(
        f"<iq xmlns='jabber:component:accept' type='{'error' if error else 'result'}' id='{to.get('id')}'>{body}</iq>"
    )
    return [output for output in session.answered(answer, now) if not isinstance(output, Ignored)]


def test_an_accept_is_told_once(our_offer: Session) -> None:
    session = asks()
    initiate = sent(session.initiate(our_offer))
    assert reply(session, initiate) == []
    assert session.state is State.PENDING
    (accepted,) = says(session, "session-accept", CONTENT)
    assert isinstance(accepted, Accepted)
    assert says(session, "session-accept", CONTENT) == []


def test_a_caller_has_nothing_to_accept() -> None:
    session = asks(Leg.CALLER)
    assert says(session, "session-accept", CONTENT) == []
    assert session.state is State.PENDING


def test_an_accept_that_cannot_be_read_changes_nothing() -> None:
    session = asks()
    with pytest.raises(JingleError):
        session.receive(*request("session-accept"))
    assert session.state is State.PENDING
    assert len(says(session, "session-accept", CONTENT)) == 1


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("<reason><success/></reason>", Cause.NORMAL),
        ("<reason><busy/><text>later</text></reason>", Cause.BUSY),
        ("<reason><connectivity-error/></reason>", Cause.MEDIA_FAILED),
        ("<reason><made-up/></reason>", Cause.INTERNAL),
        ("", Cause.NORMAL),
    ],
)
def test_a_terminate_ends_with_its_reason(reason: str, cause: Cause) -> None:
    session = asks()
    (ended,) = says(session, "session-terminate", reason)
    assert isinstance(ended, Ended)
    assert ended == Ended(cause, "later" if "later" in reason else "")
    assert session.state is State.ENDED


def test_we_end_it_once() -> None:
    session = asks()
    terminate = jingle(session.terminate("busy", "486 Busy Here\x00"))
    assert stanzas.describe(sent([Send(wrapped(terminate))])) == ("session-terminate", "busy, 486 Busy Here")
    assert session.terminate("busy") == []
    assert session.departed(0.0) == []
    assert session.ping(0.0, 60.0) == []


def wrapped(element: ET.Element) -> ET.Element:
    stanza = ET.Element(stanzas.IQ)
    stanza.append(element)
    return stanza


def test_candidates_are_told_as_they_come(our_offer: Session) -> None:
    session = asks()
    session.initiate(our_offer)
    (one,) = says(session, "transport-info", candidates(1000))
    assert isinstance(one, Trickled)
    assert (one.leg, one.attempt, [c.port for c in one.candidates]) == (Leg.CALLEE, 2, [1000])
    (several,) = says(session, "transport-info", candidates(1001, 1002, head=""))
    assert isinstance(several, Trickled)
    assert [c.port for c in several.candidates] == [1001, 1002]
    restart = candidates(head="ufrag='new1' pwd='newnewnewnewnewnewnewn'")
    (restarted,) = says(session, "transport-info", restart)
    assert isinstance(restarted, Trickled)
    assert restarted.ice is not None
    assert restarted.ice.ufrag == "new1"
    done = f"<content name='voice'><transport xmlns='{ICE}'><gathering-complete/></transport></content>"
    (complete,) = says(session, "transport-info", done)
    assert isinstance(complete, Trickled)
    assert complete.complete
    assert says(session, "transport-info", candidates(head="")) == []


def test_candidates_of_another_content_are_not_ours(our_offer: Session) -> None:
    session = asks()
    session.offered(our_offer)
    assert says(session, "transport-info", candidates(1000, name="video")) == []


def test_candidates_are_bounded(our_offer: Session) -> None:
    session = asks()
    session.offered(our_offer)
    told = 0
    for n in range(MOST_CANDIDATES):
        for output in says(session, "transport-info", candidates(1000 + n, 2000 + n, head="")):
            assert isinstance(output, Trickled)
            told += len(output.candidates)
    assert told == MOST_CANDIDATES


@pytest.mark.parametrize(
    "inner",
    [
        "",
        f"<active xmlns='{INFO}'/>",
        f"<hold xmlns='{INFO}'/>",
        f"<unhold xmlns='{INFO}'/>",
        f"<mute xmlns='{INFO}' creator='responder' name='voice'/>",
        f"<unmute xmlns='{INFO}'/>",
        "<thing xmlns='urn:example'/>",
        "<dtmf xmlns='urn:xmpp:jingle:dtmf:0' code='1' action='button-down'/>",
        "<dtmf xmlns='urn:xmpp:jingle:dtmf:0' code='X'/>",
        "<dtmf xmlns='urn:xmpp:jingle:dtmf:0'/>",
    ],
)
def test_every_session_info_is_acknowledged(inner: str) -> None:
    assert says(asks(), "session-info", inner) == []


def test_ringing_is_told() -> None:
    (rings,) = says(asks(), "session-info", f"<ringing xmlns='{INFO}'/>")
    assert isinstance(rings, Rings)


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ("code='5'", Dialled(Leg.CALLEE, 2, "5", 100)),
        ("code='#' duration='400'", Dialled(Leg.CALLEE, 2, "#", 400)),
        ("code='a' duration='x' action='button-up'", Dialled(Leg.CALLEE, 2, "A", 100)),
        ("code='1' duration='99999'", Dialled(Leg.CALLEE, 2, "1", 6000)),
        ("code='1' duration='1'", Dialled(Leg.CALLEE, 2, "1", 40)),
    ],
)
def test_xep0181_digits_are_told(attributes: str, told: Dialled) -> None:
    assert says(asks(), "session-info", f"<dtmf xmlns='urn:xmpp:jingle:dtmf:0' {attributes}/>") == [told]


def test_a_content_that_is_added_is_rejected_as_it_came() -> None:
    added = (
        "<content creator='initiator' name='v' senders='initiator'>"
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'><payload-type id='96' name='VP8'/></description>"
        f"<transport xmlns='{ICE}' ufrag='u' pwd='p'/></content>"
    )
    rejected = jingle(says(asks(), "content-add", added))
    (content,) = rejected
    assert rejected.get("action") == "content-reject"
    assert dict(content.attrib) == {"creator": "initiator", "name": "v", "senders": "initiator"}
    assert [dict(child.attrib) for child in content] == [{"media": "video"}, {"ufrag": "u", "pwd": "p"}]
    assert says(asks(), "content-add") == []


def test_the_call_goes_on_when_dino_adds_video_and_knows_no_rejection(our_offer: Session) -> None:
    session = asks()
    session.initiate(our_offer)
    says(session, "session-accept", CONTENT)
    added = ET.parse(SAID / "dino_0.4_content_add.xml").getroot()[0]
    result, rejection = session.receive(request("content-add")[0], added)
    assert sent([result]).get("type") == "result"
    assert jingle([rejection])[0].get("name") == "video"
    assert reply(session, sent([rejection]), "feature-not-implemented") == []
    assert session.state is State.ACTIVE


def test_dinos_mute_is_acknowledged_and_that_is_all() -> None:
    muted = ET.parse(SAID / "dino_0.4_mute.xml").getroot()[0]
    result, ignored = asks(Leg.CALLER).receive(request("session-info")[0], muted)
    assert sent([result]).get("type") == "result"
    assert ignored == Ignored("session-info mute")


def test_a_transport_that_is_replaced_is_rejected() -> None:
    other = (
        "<content creator='initiator' name='voice'><transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'/></content>"
    )
    rejected = jingle(says(asks(), "transport-replace", other))
    assert (rejected.get("action"), rejected[0].get("name"), len(rejected[0])) == ("transport-reject", "voice", 0)


@pytest.mark.parametrize(
    ("action", "inner", "counted"),
    [
        ("content-accept", CONTENT, "content-accept"),
        ("content-reject", CONTENT, "content-reject"),
        ("description-info", CONTENT, "description-info"),
        ("security-info", "", "security-info"),
        ("transport-accept", CONTENT, "transport-accept"),
        ("transport-reject", CONTENT, "transport-reject"),
        ("session-initiate", CONTENT, "session-initiate again"),
        ("session-accept", CONTENT, "session-accept again"),
        ("content-modify", "<content creator='initiator' name='video' senders='none'/>", "content-modify"),
        ("content-remove", "<content creator='initiator' name='video'/>", "content-remove"),
        ("session-info", f"<mute xmlns='{INFO}'/>", "session-info mute"),
        ("session-info", f"<unmute xmlns='{INFO}'/>", "session-info unmute"),
        ("session-info", f"<active xmlns='{INFO}'/>", "session-info hold again"),
        ("session-info", "<thing xmlns='urn:example'/>", "session-info unknown"),
        ("session-info", "<dtmf xmlns='urn:xmpp:jingle:dtmf:0' code='X'/>", "session-info dtmf"),
    ],
)
def test_what_has_no_effect_is_acknowledged_and_counted(
    our_offer: Session, action: str, inner: str, counted: str
) -> None:
    """With a result, whatever it is (COMPAT: Conversations ends the call at any error)."""
    session = talks(our_offer)
    assert says(session, action, inner) == []
    assert ignores(session, action, inner) == [counted]
    assert session.state is State.ACTIVE


@pytest.mark.parametrize("action", ["", "make-coffee"])
def test_an_unknown_action_is_an_error_that_ends_nothing(our_offer: Session, action: str) -> None:
    session = talks(our_offer)
    with pytest.raises(JingleError) as caught:
        session.receive(*request(action))
    assert (caught.value.condition, caught.value.jingle) == ("bad-request", None)
    assert session.state is State.ACTIVE


# --- hold (XEP-0167 §8.2)


def talks(offer: Session, leg: Leg = Leg.CALLEE) -> JingleSession:
    """A session that is up: ours if it is a callee's, the device's if it is a caller's."""
    session = asks(leg)
    if leg is Leg.CALLEE:
        session.initiate(offer)
        says(session, "session-accept", CONTENT)
    else:
        session.offered(offer)
        session.accept(offer)
    return session


def held(name: str) -> str:
    return f"<{name} xmlns='{INFO}'/>"


@pytest.mark.parametrize("end", ["unhold", "active"])
def test_a_device_puts_the_other_end_on_hold_and_takes_it_off(our_offer: Session, end: str) -> None:
    session = talks(our_offer)
    assert says(session, "session-info", held("hold")) == [Held(Leg.CALLEE, 2, True)]
    assert says(session, "session-info", held("hold")) == []
    assert says(session, "session-info", held(end)) == [Held(Leg.CALLEE, 2, False)]
    assert says(session, "session-info", held(end)) == []


def test_nobody_is_on_hold_before_the_call_is_up() -> None:
    assert says(asks(), "session-info", held("hold")) == []


@pytest.mark.parametrize(
    ("leg", "senders", "on_hold"),
    [
        (Leg.CALLEE, "senders='none'", True),
        (Leg.CALLEE, "senders='responder'", True),  # the device is: it only speaks
        (Leg.CALLEE, "senders='initiator'", False),
        (Leg.CALLER, "senders='none'", True),
        (Leg.CALLER, "senders='initiator'", True),
        (Leg.CALLER, "senders='responder'", False),
        (Leg.CALLER, "senders='both'", False),
        (Leg.CALLER, "", False),
    ],
)
def test_a_device_that_will_not_hear_us_holds(our_offer: Session, leg: Leg, senders: str, on_hold: bool) -> None:
    session = talks(our_offer, leg)
    content = f"<content creator='initiator' name='voice' {senders}/>"
    attempt = session._attempt
    assert says(session, "content-modify", content) == ([Held(leg, attempt, True)] if on_hold else [])
    both = "<content creator='initiator' name='voice' senders='both'/>"
    assert says(session, "content-modify", both) == ([Held(leg, attempt, False)] if on_hold else [])


def test_we_say_hold_by_a_word_and_once(our_offer: Session) -> None:
    session = talks(our_offer)
    assert session.hold(False) == []
    element = jingle(session.hold(True))
    assert (element.get("action"), [child.tag for child in element]) == ("session-info", [f"{{{INFO}}}hold"])
    assert session.hold(True) == []
    assert [child.tag for child in jingle(session.hold(False))] == [f"{{{INFO}}}unhold"]
    assert asks().hold(True) == []


# --- contents and transports


def test_a_call_without_its_audio_is_over(our_offer: Session) -> None:
    session = talks(our_offer)
    terminate, ended = says(session, "content-remove", "<content creator='initiator' name='voice'/>")
    assert isinstance(terminate, Send)
    assert stanzas.describe(terminate.stanza) == ("session-terminate", "success")
    assert ended == Ended(Cause.NORMAL, "the device removed the audio")
    assert session.state is State.ENDED


def test_what_siskin_tells_its_second_choice_is_not_for_the_call(our_offer: Session) -> None:
    """It asks every resource with one sid, and ends those that did not answer first."""
    session = talks(our_offer, Leg.CALLER)
    for action in ("session-initiate", "session-terminate"):
        stanza, element = request(action, CONTENT)
        stanza.set("to", "romeo%shakespeare.lit@sip.example.com/other")
        result, ignored = session.receive(stanza, element)
        assert sent([result]).get("from") == "romeo%shakespeare.lit@sip.example.com/other"
        assert isinstance(ignored, Ignored)
    assert session.state is State.ACTIVE
    assert says(session, "session-terminate") == [Ended(Cause.NORMAL, "")]


def test_all_whom_siskin_asked_refuse(our_offer: Session) -> None:
    session = asks(Leg.CALLER)
    session.offered(our_offer)
    stanza, element = request("session-initiate", CONTENT)
    stanza.set("to", "romeo%shakespeare.lit@sip.example.com/other")
    session.receive(stanza, element)
    ends = [output.stanza for output in session.terminate("busy") if isinstance(output, Send)]
    assert [end.get("from") for end in ends] == [VOICE, "romeo%shakespeare.lit@sip.example.com/other"]
    assert [stanzas.describe(end) for end in ends] == [("session-terminate", "busy")] * 2
    assert len({end.get("id") for end in ends}) == 2


def test_an_ice_restart_is_answered_with_credentials_and_candidates_in_one(our_offer: Session) -> None:
    """Conversations takes it for the answer to its restart if it names a candidate (checkForIceRestart)."""
    session = talks(our_offer)
    element = jingle(session.restart(our_offer))
    (content,) = element
    (transport,) = content
    assert (element.get("action"), content.get("name")) == ("transport-info", "voice")
    assert (transport.get("ufrag"), transport.get("pwd")) == ("ours", "ours" * 6)
    names = [stanzas.split(child)[1] for child in transport]
    assert names == ["fingerprint", "candidate"]
    session.terminate("success")
    assert session.restart(our_offer) == []


def test_a_restart_has_all_contents_in_their_order_and_the_candidates_once(our_offer: Session) -> None:
    """stanza.js reads them by their order, and nothing at all next to a gathering-complete."""
    (audio,) = our_offer.media
    assert audio.transport.ice is not None
    transport = replace(audio.transport, ice=replace(audio.transport.ice, complete=True))
    audio, video = replace(audio, transport=transport), replace(audio, name="video", kind="video", transport=transport)
    gone = replace(video, name="gone", rejected=True)
    element = jingle(talks(our_offer).restart(Session((audio, gone, video), bundle=("voice", "video"))))
    assert [content.get("name") for content in element] == ["voice", "video"]
    assert [len(list(content.iter(f"{{{ICE}}}candidate"))) for content in element] == [1, 0]
    assert list(element.iter(f"{{{ICE}}}gathering-complete")) == []
    assert talks(our_offer).restart(Session((gone,))) == []


def test_a_device_that_restarts_ice_may_name_as_many_candidates_again(our_offer: Session) -> None:
    session = talks(our_offer)
    for start in range(1000, 1000 + MOST_CANDIDATES, 50):
        says(session, "transport-info", candidates(*range(start, start + 50), head=""))
    assert ignores(session, "transport-info", candidates(3000, head="")) == ["too many candidates"]
    restarted = candidates(3000, head="ufrag='new1' pwd='newnewnewnewnewnewnewn'")
    assert ignores(session, "transport-info", restarted) == []


@pytest.mark.parametrize(
    "transport",
    [
        "<candidate ip='192.0.2.3' port='4' priority='1'/>",
        "<candidate ip='192.0.2.3' port='4' priority='1' component='1' foundation='1' type='host' protocol='UDP'>"
        "<parameter value='x'/></candidate>",
        "<candidate ip='192.0.2.3' port='4' priority='1' network='' generation='' id=''/>",
    ],
)
@pytest.mark.parametrize("head", ["", "ufrag='8hhy'", "ufrag='8hhy' pwd='asd88fgpdd777uzjYhagZg'"])
@pytest.mark.parametrize("up", [False, True])
def test_candidates_are_taken_in_every_shape(our_offer: Session, transport: str, head: str, up: bool) -> None:
    """Without pwd, id, generation or network, before and after the accept, before our own initiate was acknowledged."""
    session = talks(our_offer) if up else asks()
    if not up:
        session.initiate(our_offer)
    inner = f"<content name='voice'><transport xmlns='{ICE}' {head}>{transport}</transport></content>"
    (trickled,) = says(session, "transport-info", inner)
    assert isinstance(trickled, Trickled)
    assert [(c.ip, c.port, bool(c.id)) for c in trickled.candidates] == [("192.0.2.3", 4, True)]


def test_a_restart_without_candidates_is_told(our_offer: Session) -> None:
    session = talks(our_offer)
    (restarted,) = says(session, "transport-info", candidates(head="ufrag='new1' pwd='newnewnewnewnewnewnewn'"))
    assert isinstance(restarted, Trickled)
    assert restarted.candidates == ()
    assert restarted.ice is not None
    assert restarted.ice.pwd == "newnewnewnewnewnewnewn"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("service-unavailable", Cause.UNAVAILABLE),
        ("not-acceptable", Cause.NO_COMMON_CODEC),
        ("forbidden", Cause.DECLINED),
        ("resource-constraint", Cause.BUSY),
        ("bad-request", Cause.PROTOCOL),
    ],
)
def test_a_refused_initiate_ends_it(our_offer: Session, error: str, cause: Cause) -> None:
    session = asks()
    initiate = sent(session.initiate(our_offer))
    assert reply(session, initiate, error) == [Ended(cause, error)]
    assert reply(session, initiate, error) == []


def test_a_refused_info_ends_nothing_but_an_unknown_session_does() -> None:
    session = asks()
    assert reply(session, sent(session.ring()), "feature-not-implemented") == []
    unknown = f"<unknown-session xmlns='{stanzas.JINGLE_ERRORS}'/>"
    assert reply(session, sent(session.ring()), "bad-request", unknown) == [Ended(Cause.PROTOCOL, "unknown-session")]


def test_replies_to_what_was_never_asked_are_ignored() -> None:
    session = asks()
    assert reply(session, ET.Element("iq", id="1-99"), "item-not-found") == []


def test_requests_that_nobody_answers_are_forgotten() -> None:
    session = asks()
    first = sent(session.ring())
    for _ in range(MOST_REQUESTS_OPEN):
        session.ring()
    assert reply(session, first, "item-not-found") == []


def test_going_away_ends_what_was_not_accepted() -> None:
    session = asks()
    terminate, ended = session.departed(0.0)
    assert isinstance(terminate, Send)
    assert stanzas.describe(terminate.stanza)[0] == "session-terminate"  # it may be back at once
    assert ended == Ended(Cause.UNAVAILABLE, "the device went away")
    assert session.departed(0.0) == []


def test_going_away_during_a_call_is_asked_about_and_ends_it_if_nobody_is_there() -> None:
    session = asks()
    says(session, "session-accept", CONTENT)
    assert session.departed(0.0) == []
    assert session.deadline == DEPARTED_PING
    first = sent(session.tick(DEPARTED_PING))
    assert reply(session, first, "service-unavailable", now=5.0) == []
    again = sent(session.tick(20.0))
    assert reply(session, again, "service-unavailable", now=20.0) == [
        Ended(Cause.UNAVAILABLE, "the device did not come back")
    ]


def test_a_device_that_comes_back_keeps_its_call() -> None:
    session = asks()
    says(session, "session-accept", CONTENT)
    session.departed(0.0)
    assert reply(session, sent(session.tick(DEPARTED_PING)), now=5.0) == []
    assert session.deadline is None


# --- pings after the link was lost


def test_a_ping_is_an_empty_session_info() -> None:
    session = asks()
    ping = jingle(session.ping(0.0, 60.0))
    assert (ping.get("action"), ping.get("sid"), len(ping)) == ("session-info", "s1", 0)
    assert reply(session, sent(session.ping(0.0, 60.0))) == []


@pytest.mark.parametrize(("error", "more"), [("item-not-found", ""), ("bad-request", "unknown-session")])
def test_a_ping_that_finds_no_session_ends_it(error: str, more: str) -> None:
    session = asks()
    body = f"<{more} xmlns='{stanzas.JINGLE_ERRORS}'/>" if more else ""
    (ended,) = reply(session, sent(session.ping(0.0, 60.0)), error, body)
    assert isinstance(ended, Ended)
    assert ended.cause is Cause.LINK_LOST


def test_a_client_that_does_not_know_pings_is_there() -> None:
    session = asks()
    assert reply(session, sent(session.ping(0.0, 60.0)), "feature-not-implemented") == []
    assert session.deadline is None


def test_a_device_that_is_not_back_yet_is_asked_again_and_then_given_up() -> None:
    session = asks()
    ping = sent(session.ping(0.0, 20.0))
    assert reply(session, ping, "service-unavailable", now=1.0) == []
    assert session.deadline == 1.0 + PING_AGAIN
    assert session.tick(10.0) == []
    again = sent(session.tick(16.0))
    (ended,) = reply(session, again, "service-unavailable", now=17.0)
    assert ended == Ended(Cause.LINK_LOST, "the device did not come back")


def test_a_bounced_propose_means_absent_unless_the_domain_is_not_there() -> None:
    assert unreachable(stanzas.Condition("service-unavailable")) is Cause.UNAVAILABLE
    assert unreachable(stanzas.Condition("remote-server-not-found")) is Cause.NOT_FOUND


def test_an_end_is_explained_in_somebodys_words_unless_it_explains_itself() -> None:
    assert said(Cause.BUSY, "486 Busy Here") == "486 Busy Here"
    assert said(Cause.ELSEWHERE, "") == "answered elsewhere"
    assert said(Cause.NORMAL, "") == ""
