"""A stage without a gateway: what a script says is kept, and a test says what it hears."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

from tests.clients import user_agent as ua
from tests.clients.home import ERRORS, STREAM, Home
from tests.clients.user_agent import JINGLE, JMI, Info, make
from tests.scenarios.clock import jumping, passes
from tests.scenarios.scene import DOMAIN, NUMBER, Scene
from tests.support import FakeEngine

CONTACT = f"{NUMBER}@{DOMAIN}"
VOICE = f"{CONTACT}/sip"
CALLABLE = Info(
    frozenset({("client", "phone", "", "SIP")}),
    frozenset({ua.CAPS, ua.DISCO_INFO, ua.JINGLE, JMI, ua.RTP, ua.RTP_AUDIO, ua.DTLS, ua.ICE_UDP}),
)
WITHOUT_JMI = Info(CALLABLE.identities, CALLABLE.features - {JMI})
OURS = ua.IceCredentials("gate", "g" * 22)

Change = Callable[[ET.Element], object]


class Alone:
    """Juliet's server, with us in the gateway's place."""

    def __init__(self) -> None:
        self.said: list[ET.Element] = []
        self.engine = FakeEngine()
        scene = SimpleNamespace(homes={}, from_server=self.said.append, engine=self.engine)
        self.home = Home(cast(Scene, scene))
        self._number = 0

    def labels(self) -> list[str]:
        return [ua.label(stanza) for stanza in self.said]

    def last(self, label: str) -> ET.Element:
        return next(stanza for stanza in reversed(self.said) if ua.label(stanza) == label)

    def shows(self, info: Info, from_: str = VOICE, **caps: str) -> None:
        """Presence with these capabilities; `caps` are attributes of `<c/>` that are not as they should be."""
        shown = make(ua.CAPS, "c", **{"hash": "sha-1", "node": "urn:gate", "ver": info.ver, **caps})
        self.home.deliver(make(STREAM, "presence", shown, to=self.home.account, **{"from": from_}))

    async def tells(self, info: Info, *, node: str | None = None) -> None:
        """The answer to the question for it; `node` is not the one that was asked."""
        await passes(1)
        asked = self.last("iq get")
        answer = info.element(node or asked[0].get("node"))
        self.answers(asked, answer)

    def answers(self, iq: ET.Element, *inside: ET.Element, error: str = "") -> None:
        back = {"to": iq.get("from", ""), "from": iq.get("to", ""), "id": iq.get("id", "")}
        if error:
            wrong = ET.Element(f"{{{STREAM}}}error", {"type": "cancel"})
            wrong.append(make(ERRORS, error))
            inside = (wrong,)
        self.home.deliver(make(STREAM, "iq", *inside, type="error" if error else "result", **back))

    def jmi(self, action: str, sid: str, to: str, *inside: ET.Element, from_: str = VOICE, **more: str) -> None:
        spoken = make(JMI, action, *inside, id=sid)
        self.home.deliver(make(STREAM, "message", spoken, to=to, type="chat", **{"from": from_}, **more))

    def jingle(self, action: str, sid: str, to: str, *inside: ET.Element, from_: str = VOICE) -> None:
        self._number += 1
        element = make(JINGLE, "jingle", *inside, action=action, sid=sid)
        request = make(STREAM, "iq", element, to=to, type="set", id=f"q{self._number}", **{"from": from_})
        self.home.deliver(request)

    def description(self, setup: str, *changes: Change, media: str = "audio", name: str = "0") -> list[ET.Element]:
        """A good `<content/>` with its group, and what a test makes of it."""
        wire = ua.transport(OURS, setup, [ua.candidate(1)])
        content = ua.content(name, ua.description(media, (ua.OPUS, ua.EVENTS)), wire)
        for change in changes:
            change(content)
        return [ua.bundle([content.get("name", "")]), content]


def without(path: str, attribute: str) -> Change:
    """Take an attribute from the first element of this name below."""

    def change(content: ET.Element) -> None:
        del _find(content, path).attrib[attribute]

    return change


def with_(path: str, **attributes: str) -> Change:
    """Set attributes of the first element of this name below, or of the content itself."""

    def change(content: ET.Element) -> None:
        _find(content, path).attrib.update(attributes)

    return change


def _find(content: ET.Element, name: str) -> ET.Element:
    return next(element for element in content.iter() if ua.local(element) == name)


@asynccontextmanager
async def alone() -> AsyncIterator[Alone]:
    with jumping():
        yield Alone()
