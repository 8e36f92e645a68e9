"""Whole valid messages, mutated, at every state of a call: the next call works, whatever came before it.

A thousand of each kind. Each run says how many of them reached which layer, because a mutant that is dropped at the
door proves nothing about the rooms behind it.
"""

from __future__ import annotations

import asyncio
import copy
import random
import traceback
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.session import sdp
from gateway.sip.message import Message, Request, respond
from gateway.xmpp import stanzas
from tests.scenarios.scene import CONTACT, DOMAIN, OUR_NUMBER, Device, Scene
from tests.support import phone_session

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
EACH = 200  # of each kind, in each of the five states

ODD = (
    *(
        "",
        " ",
        "0",
        "-1",
        "65536",
        "99999999999999999999",
        "1e9",
        "NaN",
        "true",
        "\u0661",
        "\u202eabc",
        "a\u0301",
        "%",
        "%%",
    ),
    *("x" * 5000, "urn:xmpp:jingle:1", "sendrecv", "both", "127.0.0.1", "::1", "host.local", "<>&\"'", "2p9P"),
)


# States of a call


@dataclass
class Moment:
    """Where a call stands: who calls whom, and in which dialog."""

    scene: Scene
    juliet: Device
    contact: str = CONTACT
    sid: str = "s1"
    invite: Request | None = None  # that the phone got
    chance: random.Random = field(default_factory=random.Random)


async def idle(scene: Scene) -> Moment:
    return Moment(scene, scene.device())


async def ringing_out(scene: Scene) -> Moment:
    juliet = scene.device()
    juliet.initiates(CONTACT, "s1")
    invite = await scene.phone.hears("INVITE")
    scene.phone.answers(invite, 180)
    await juliet.hears("session-info")
    return Moment(scene, juliet, invite=invite)


async def talking_out(scene: Scene) -> Moment:
    at = await ringing_out(scene)
    if at.invite is not None:
        scene.phone.answers(at.invite, 200, phone_session())
    await at.juliet.hears("session-accept")
    return at


async def ringing_in(scene: Scene) -> Moment:
    juliet = scene.device()
    scene.phone.calls(OUR_NUMBER)
    propose = await juliet.hears("JMI propose")
    return Moment(scene, juliet, propose.get("from", ""), propose[0].get("id", ""))


async def talking_in(scene: Scene) -> Moment:
    at = await ringing_in(scene)
    at.juliet.says("proceed", at.contact, at.sid)
    await at.juliet.hears("session-initiate")
    at.juliet.accepts(at.contact, at.sid)
    scene.phone.confirms(await scene.phone.hears_back("200 OK"))
    return at


STATES = (idle, ringing_out, talking_out, ringing_in, talking_in)


# Mutations


def mutated_tree(chance: random.Random, root: ET.Element) -> ET.Element:
    """Still XML, no longer what it was: one to four changes anywhere below and in the root."""
    root = copy.deepcopy(root)
    for _ in range(chance.randint(1, 4)):
        elements = list(root.iter())
        element = chance.choice(elements)
        match chance.randrange(8):
            case 0 if len(element):
                element.remove(chance.choice(list(element)))
            case 1 if len(element):
                element.extend([copy.deepcopy(chance.choice(list(element)))] * chance.choice((1, 2, 50)))
            case 2 if element.attrib:
                del element.attrib[chance.choice(sorted(element.attrib))]
            case 3 | 4 if element.attrib:
                element.set(chance.choice(sorted(element.attrib)), chance.choice(ODD))
            case 5:
                element.tag = chance.choice((chance.choice(elements).tag, "nonsense", "{urn:x}payload-type"))
            case 6:
                element.text = chance.choice(ODD)
            case 7:
                inner = element
                for _ in range(chance.choice((1, 3, 100))):
                    inner = ET.SubElement(inner, chance.choice(elements).tag)
            case _:
                element.set(f"extra{chance.randrange(3)}", chance.choice(ODD))
    return root


def mutated_text(chance: random.Random, text: str) -> str:
    """One to three changes to lines and characters."""
    for _ in range(chance.randint(1, 3)):
        lines = text.split("\r\n")
        at = chance.randrange(len(lines))
        spot = chance.randrange(len(text) + 1)
        match chance.randrange(7):
            case 0:
                del lines[at]
            case 1:
                lines[at:at] = [lines[at]] * chance.choice((1, 100))
            case 2:
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                name, separator, _ = lines[at].partition(chance.choice((":", "=", " ")))
                lines[at] = name + separator + chance.choice(ODD)
            case 4:
                lines = [text[:spot] + chance.choice(ODD) + text[spot:]]
            case 5:
                lines = [text[:spot] + text[spot + chance.choice((1, 10, 100)) :]]
            case _:
                lines = [text[:spot] + chr(chance.randrange(256)) + text[spot + 1 :]]
        text = "\r\n".join(lines)
    return text


def jingle_vectors() -> list[ET.Element]:
    """Some were caught within their IQ."""
    roots = (ET.fromstring(path.read_bytes()) for path in sorted((VECTORS / "jingle").glob("*.xml")))
    return [element for root in roots for element in root.iter(f"{{{stanzas.JINGLE}}}jingle")]


def sdp_vectors() -> list[str]:
    texts = [path.read_text("utf-8") for path in sorted((VECTORS / "sdp").glob("*.sdp"))]
    return ["\r\n".join(text.splitlines()) + "\r\n" for text in texts]


# Kinds


def bad_jingle(at: Moment) -> Iterator[None]:
    """What clients send in a session, this call's or a new one's."""
    choose, vectors = at.chance.choice, jingle_vectors()
    for number in range(EACH):
        element = copy.deepcopy(choose(vectors))
        element.set("sid", at.sid if at.chance.random() < 0.7 else f"new{number}")
        if at.chance.random() < 0.2:
            element.set("action", choose(("session-info", "content-add", "content-modify", "security-info")))
        elif number > EACH * 0.8:  # it may well end the call, so not too early
            element.set("action", "session-terminate")
        request = stanzas.iq(at.contact, at.juliet.jid, id=f"bad{number}")
        request.append(mutated_tree(at.chance, element))
        at.juliet.sends(request)
        yield


NAMES = (
    *((stanzas.JMI, name) for name in ("propose", "proceed", "ringing", "reject", "retract", "finish")),
    *((stanzas.JINGLE, "jingle"), (stanzas.DISCO_INFO, "query"), (stanzas.PING, "ping"), (stanzas.CAPS, "c")),
    *(("urn:xmpp:temppres:0", "temppres"), (stanzas.RECEIPTS, "received"), (stanzas.STREAM, "error"), ("urn:x", "x")),
)
TYPES = ("get", "set", "result", "error", "chat", "subscribe", "probe", "unavailable", "", "-1")


def bad_stanzas(at: Moment) -> Iterator[None]:
    """XML-legal nonsense, made of words that mean something."""
    choose = at.chance.choice
    contacts = (at.contact, at.contact, DOMAIN, *(f"{local}@{DOMAIN}" for local in ("echo", "a%%b", "+1", *ODD)))
    for number in range(EACH):
        stanza = ET.Element(f"{{{stanzas.STREAM}}}{choose(('iq', 'message', 'presence'))}")
        for name, value in (("from", at.juliet.jid), ("to", choose(contacts)), ("type", choose(TYPES))):
            stanza.set(name, value)
        stanza.set("id", f"bad{number}")
        for _ in range(choose((0, 1, 1, 1, 2, 30))):
            space, name = choose(NAMES)
            child = ET.SubElement(stanza, f"{{{space}}}{name}")
            child.set("id", choose((at.sid, f"new{number}")))
            child.set(choose(("id", "sid", "node", "ver", "action")), choose((at.sid, at.sid, *ODD)))
            ET.SubElement(
                child, f"{{{stanzas.RTP}}}description", {"media": choose(("audio", "audio", "video", choose(ODD)))}
            )
        at.juliet.sends(stanza if at.chance.random() < 0.5 else mutated_tree(at.chance, stanza))
        yield


METHODS = ("INVITE", "OPTIONS", "BYE", "CANCEL", "INFO", "UPDATE", "ACK", "REFER", "NONSENSE")
STATUSES = (100, 180, 183, 200, 302, 401, 486, 600)


def bad_sip(at: Moment) -> Iterator[None]:
    """What a phone may say at that moment: requests of a new call and, in a call, of its dialog, and answers."""
    for number in range(EACH):
        if at.invite is not None and at.chance.random() < 0.4:
            message: Message = respond(at.invite, at.chance.choice(STATUSES), tag="phone")
        else:
            dialog = at.chance.choice((at.invite, None))
            message = at.scene.phone.request(at.chance.choice(METHODS), dialog, f"bad{number}")
        if not at.chance.randrange(2):
            message.headers.set("Content-Type", "application/sdp")
            message.body = sdp.render(phone_session()).encode()
        at.scene.phone.sends(mutated_text(at.chance, bytes(message).decode()).encode("utf-8", "replace"))
        yield


def bad_sdp(at: Moment) -> Iterator[None]:
    """Offers, in new calls and in this one."""
    at.scene.phone.confirming = True
    vectors = [*sdp_vectors(), sdp.render(phone_session())]
    for number in range(EACH):
        invite = at.scene.phone.request("INVITE", at.chance.choice((at.invite, None)), f"bad{number}")
        invite.headers.set("Content-Type", "application/sdp")
        invite.body = mutated_text(at.chance, at.chance.choice(vectors)).encode("utf-8", "replace")
        at.scene.phone.sends(bytes(invite))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("kind", [bad_jingle, bad_stanzas, bad_sip, bad_sdp])
async def test_a_thousand_mutants_leave_the_next_call_working(
    kind: Callable[[Moment], Iterator[None]], reached: Counter[str]
) -> None:
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(told(context)))
    for state in STATES:
        with capture_logs() as log:
            async with Scene() as scene:
                at = await state(scene)
                at.chance = random.Random(f"{kind.__name__} {state.__name__}")
                scene.phone.heard.clear()
                at.juliet.heard.clear()
                for number, _ in enumerate(kind(at)):
                    if number % 2:  # no more than a socket's buffer holds
                        await scene.phone.is_heard()
                        reached["200 OK"] -= 1
                await scene.phone.is_heard()
                reached["acknowledged"] += at.juliet.results
                reached.update(at.juliet.heard + scene.phone.heard)
                await the_next_call_works(scene)
                await scene.switchboard.drain()
        reached["calls"] += sum(line["event"] == "call" for line in log)
        assert [line for line in log if line.get("exc_info") or line["log_level"] in ("error", "critical")] == []
    assert "\n".join(unhandled) == ""
    assert reached["calls"] > 2 * len(STATES)  # of mutants, not only ours


def told(context: dict[str, Any]) -> str:
    """An exception that nobody caught, with its traceback."""
    error = context.get("exception")
    return "".join(traceback.format_exception(error)) if error else str(context)


async def the_next_call_works(scene: Scene) -> None:
    nurse = scene.device("nurse@shakespeare.lit/phone")
    nurse.initiates(CONTACT, "next")
    invite = await scene.phone.hears("INVITE", caller="nurse")
    scene.phone.answers(invite, 200, phone_session())
    await nurse.hears("session-accept")
    nurse.terminates(CONTACT, "next")
    await scene.phone.hears("BYE", caller="nurse")
    assert nurse.heard == ["session-accept"]
