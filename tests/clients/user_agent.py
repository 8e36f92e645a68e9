"""What all scripted clients have in common: an address, a clock, IQs that are answered, sight, and a media stack.

A scripted client is one real client on one device: it sends what that client sends, with its timers, and refuses or
breaks where that client would. Each such rule cites the client's own source. Nothing here or in the clients uses the
gateway's code to spell or to read a stanza, so that a mistake cannot be made on both sides.

    a scene says            call(contact)   answer()   decline()   hang_up()
    a scene sees            sees[-1], await until("connected")
    a client overrides      on_jingle   on_jmi   on_receipt   on_bounce   on_presence   on_carbon   on_media   …
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.session.model import Candidate, Setup, Transport
from tests.clients.home import DELAY, ERRORS, STREAM, Home, bare, bounce, kind

JINGLE = "urn:xmpp:jingle:1"
JINGLE_ERRORS = "urn:xmpp:jingle:errors:1"
JMI = "urn:xmpp:jingle-message:0"
RTP = "urn:xmpp:jingle:apps:rtp:1"
RTP_AUDIO = "urn:xmpp:jingle:apps:rtp:audio"
RTP_VIDEO = "urn:xmpp:jingle:apps:rtp:video"
RTP_INFO = "urn:xmpp:jingle:apps:rtp:info:1"
ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
GROUPING = "urn:xmpp:jingle:apps:grouping:0"
CAPS = "http://jabber.org/protocol/caps"
CAPS2 = "urn:xmpp:caps"
HASHES = "urn:xmpp:hashes:2"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
RECEIPTS = "urn:xmpp:receipts"
HINTS = "urn:xmpp:hints"
PING = "urn:xmpp:ping"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

FINGERPRINT = ":".join(["5A"] * 32)
PATIENCE = 150.0  # s of the scene's clock that `until` waits
ICE_TAKES = 0.5  # s until two ends that know each other have met
ICE_FAILS_AFTER = 20.0  # s without a working pair, after which a WebRTC stack says "failed"

Then = Callable[[ET.Element], None]


def local(element: ET.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def space(element: ET.Element) -> str:
    return element.tag[1:].partition("}")[0] if element.tag.startswith("{") else ""


def first(parent: ET.Element, namespace: str, name: str | None = None) -> ET.Element | None:
    """The first child of this namespace, and of this name if one is given."""
    return next((c for c in parent if space(c) == namespace and name in (None, local(c))), None)


def children(parent: ET.Element, namespace: str, name: str) -> list[ET.Element]:
    return parent.findall(f"{{{namespace}}}{name}")


def make(namespace: str, name: str, /, *inside: ET.Element, text: str | None = None, **attributes: str) -> ET.Element:
    """An element; an underscore in an attribute's name stands for a hyphen."""
    element = ET.Element(f"{{{namespace}}}{name}", {key.replace("_", "-"): value for key, value in attributes.items()})
    element.extend(inside)
    element.text = text
    return element


def condition(error: ET.Element) -> str:
    """The defined condition of an error stanza."""
    body = error.find(f"{{{STREAM}}}error")
    return "" if body is None else next((local(c) for c in body if space(c) == ERRORS and local(c) != "text"), "")


def jingle_condition(error: ET.Element) -> str:
    """The application's condition (XEP-0166 §12) of an error stanza."""
    body = error.find(f"{{{STREAM}}}error")
    return "" if body is None else next((local(c) for c in body if space(c) == JINGLE_ERRORS), "")


def reason_of(element: ET.Element) -> str:
    """The condition in a `<reason/>` of a Jingle element or a Jingle message; empty without one."""
    reason = first(element, JINGLE, "reason")
    return "" if reason is None else next((local(c) for c in reason if local(c) != "text"), "")


def reason(name: str, text: str = "") -> ET.Element:
    element = make(JINGLE, "reason", make(JINGLE, name))
    if text:
        element.append(make(JINGLE, "text", text=text))
    return element


# ---------------------------------------------------------------------------------------------- capabilities (XEP-0115)


@dataclass(frozen=True)
class Info:
    """An answer to disco#info."""

    identities: frozenset[tuple[str, str, str, str]]  # category, type, lang, name
    features: frozenset[str]
    node: str | None = None

    @classmethod
    def read(cls, query: ET.Element) -> Info:
        identities = (
            (i.get("category", ""), i.get("type", ""), i.get(XML_LANG, ""), i.get("name", ""))
            for i in children(query, DISCO_INFO, "identity")
        )
        features = (f.get("var", "") for f in children(query, DISCO_INFO, "feature"))
        return cls(frozenset(identities), frozenset(features), query.get("node"))

    @property
    def ver(self) -> str:
        """The verification string (XEP-0115 §5.1), sha-1; without forms, which the gateway has none of."""
        spelled = "".join(f"{'/'.join(identity)}<" for identity in sorted(self.identities))
        spelled += "".join(f"{feature}<" for feature in sorted(self.features))
        return base64.b64encode(hashlib.sha1(spelled.encode(), usedforsecurity=False).digest()).decode()

    @property
    def caps2(self) -> str:
        """The hash of XEP-0390 §4.1, sha-256; again without forms."""
        features = "".join(sorted(f"{feature}\x1f" for feature in self.features))
        identities = "".join(
            sorted("".join(f"{part}\x1f" for part in identity) + "\x1e" for identity in self.identities)
        )
        spelled = f"{features}\x1c{identities}\x1c\x1c"
        return base64.b64encode(hashlib.sha256(spelled.encode()).digest()).decode()

    def element(self, node: str | None) -> ET.Element:
        query = make(DISCO_INFO, "query", **({} if node is None else {"node": node}))
        for category, type_, lang, name in sorted(self.identities):
            identity = make(DISCO_INFO, "identity", category=category, type=type_)
            identity.attrib |= ({XML_LANG: lang} if lang else {}) | ({"name": name} if name else {})
            query.append(identity)
        query.extend(make(DISCO_INFO, "feature", var=feature) for feature in sorted(self.features))
        return query


# ------------------------------------------------------------------------------------------------ Jingle, as it is sent


@dataclass(frozen=True)
class Payload:
    id: int
    name: str
    clock: int
    channels: int = 1
    parameters: tuple[tuple[str, str], ...] = ()

    def element(self) -> ET.Element:
        element = make(RTP, "payload-type", id=str(self.id), name=self.name, clockrate=str(self.clock))
        if self.channels != 1:
            element.set("channels", str(self.channels))
        element.extend(make(RTP, "parameter", name=name, value=value) for name, value in self.parameters)
        return element


OPUS = Payload(111, "opus", 48000, 2, (("minptime", "10"), ("useinbandfec", "1")))
PCMU, PCMA, G722 = Payload(0, "PCMU", 8000), Payload(8, "PCMA", 8000), Payload(9, "G722", 8000)
EVENTS = Payload(110, "telephone-event", 48000)
EVENTS_8000 = Payload(126, "telephone-event", 8000)
VP8 = Payload(96, "VP8", 90000)

# What libwebrtc of 2024 offers, in its order.
WEBRTC_AUDIO = (OPUS, G722, PCMU, PCMA, EVENTS, EVENTS_8000)
WEBRTC_VIDEO = (VP8,)


@dataclass(frozen=True)
class IceCredentials:
    """One generation of an ICE agent's username fragment and password (RFC 8839 §5.4: 4 and 22 characters at least)."""

    ufrag: str
    pwd: str


def candidate(number: int = 1, port: int = 50000) -> ET.Element:
    return make(
        ICE_UDP,
        "candidate",
        component="1",
        foundation=str(1000 + number),
        generation="0",
        id=f"candidate-{number}",
        ip="192.0.2.77",
        network="0",
        port=str(port + number),
        priority=str(2130706431 - number),
        protocol="udp",
        type="host",
    )


def transport(ice: IceCredentials, setup: str = "", candidates: Iterable[ET.Element] = ()) -> ET.Element:
    element = make(ICE_UDP, "transport", ufrag=ice.ufrag, pwd=ice.pwd)
    if setup:
        element.append(make(DTLS, "fingerprint", hash="sha-256", setup=setup, text=FINGERPRINT))
    element.extend(candidates)
    return element


def description(media: str, payloads: Iterable[Payload], *, mux: bool = True) -> ET.Element:
    element = make(RTP, "description", *(payload.element() for payload in payloads), media=media)
    if mux:
        element.append(make(RTP, "rtcp-mux"))
    return element


def content(name: str, *inside: ET.Element, creator: str = "initiator", senders: str = "") -> ET.Element:
    element = make(JINGLE, "content", *inside, creator=creator, name=name)
    if senders:
        element.set("senders", senders)
    return element


def bundle(names: Iterable[str]) -> ET.Element:
    return make(GROUPING, "group", *(make(GROUPING, "content", name=name) for name in names), semantics="BUNDLE")


def media_of(jingle: ET.Element) -> list[tuple[str, str]]:
    """Name and media of each content, in order."""
    found = []
    for each in children(jingle, JINGLE, "content"):
        described = first(each, RTP, "description")
        found.append((each.get("name", ""), "" if described is None else described.get("media", "")))
    return found


def libwebrtc_refuses(offer: list[ET.Element], answer: ET.Element) -> str:
    """Why setRemoteDescription() of an answer fails in libwebrtc, whose rules are those of JSEP (RFC 8829 §5.11).

    Empty when it does not. `offer` is what was sent inside `<jingle/>`.
    """
    offered = make(JINGLE, "jingle", *offer)
    if media_of(offered) != media_of(answer):
        return f"the order of m-lines in answer doesn't match order in offer: {media_of(offered)}, {media_of(answer)}"
    groups = [[c.get("name") for c in group] for group in children(answer, GROUPING, "group")]
    if groups and not children(offered, GROUPING, "group"):
        return "a BUNDLE group that was not offered (RFC 8843 §7.3)"
    for theirs, ours in zip(children(answer, JINGLE, "content"), children(offered, JINGLE, "content"), strict=True):
        name, wire = theirs.get("name", ""), first(theirs, ICE_UDP, "transport")
        if wire is None or len(wire.get("ufrag", "")) < 4 or len(wire.get("pwd", "")) < 22:
            return f"{name}: ufrag or pwd is missing or too short (RFC 8839 §5.4)"
        mark = first(wire, DTLS, "fingerprint")
        if mark is None or mark.get("setup") not in ("active", "passive"):
            return f"{name}: no fingerprint, or a setup that is no answer (RFC 8842 §5.3)"
        known = {p.get("id") for p in ours.iter(f"{{{RTP}}}payload-type")}
        chosen = [p.get("id") for p in theirs.iter(f"{{{RTP}}}payload-type")]
        if not chosen or not set(chosen) <= known:
            return f"{name}: payload types {chosen} of {sorted(map(str, known))}"
    return ""


# ---------------------------------------------------------------------------------------------------------- the client


class UserAgent:
    """One device. `sees` is what its screen said, in order; `complaints` what its log says went wrong."""

    CLIENT = ""  # name, version and commit of what is imitated
    NODE = "https://client.example"
    INFO = Info(frozenset(), frozenset())  # its own answer to disco#info
    RINGS, TALKS = "incoming", "connected"  # what its screen says then
    _names = itertools.count(1)

    def __init__(self, home: Home, resource: str = "balcony") -> None:
        self.home = home
        self.jid = f"{home.account}/{resource}"
        self.there = False
        self.sees: list[str] = []
        self.complaints: list[str] = []
        self.heard: list[str] = []  # labels of all that came, "iq session-accept", "message ringing", …
        self.presences: dict[str, ET.Element] = {}  # of others, by the JID that they come from
        self.ice = self.new_credentials()
        self._ids = itertools.count(1)
        self._asked: dict[str, tuple[ET.Element, Then | None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()
        home.enters(self)

    # --- what a scene asks

    def screen(self, text: str) -> None:
        """Show this to the user."""
        self.sees.append(text)
        self._news.set()

    def complain(self, text: str) -> None:
        self.complaints.append(text)
        self._news.set()

    async def until(self, text: str) -> None:
        """Wait until the screen says this, now or since the call began."""
        await self._wait(lambda: text in self.sees, text)

    async def hears(self, label: str) -> None:
        """Wait until this came from the gateway."""
        await self._wait(lambda: label in self.heard, label)

    async def _wait(self, enough: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not enough():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            said = "\n".join(self.home.log[-40:])
            raise AssertionError(
                f"{self.CLIENT} waited for {what!r}; saw {self.sees}, heard {self.heard[-20:]}, "
                f"complains of {self.complaints}\n{said}"
            ) from None

    @property
    def busy(self) -> bool:
        """Whether a call is on its screen."""
        raise NotImplementedError

    @property
    def rings(self) -> bool:
        """Whether it can be answered, or declined."""
        return self.busy and self.sees[-1] == self.RINGS

    def dies(self) -> None:
        """The app is gone, with every call that it had, and says nothing to anybody; its server notices."""
        self.stop_all()
        self.forget_calls()
        self.screen("")
        self.goes_offline()

    def forget_calls(self) -> None:
        raise NotImplementedError

    def goes_offline(self) -> None:
        """The device loses its network, or is switched off."""
        self.home.leaves(self)

    def comes_back(self) -> None:
        self.home.enters(self)

    # --- the clock

    def later(self, seconds: float, what: Callable[[], None], name: str = "") -> str:
        """Do it after a while; a new one of the same name replaces the old one."""
        name = name or f"#{next(self._names)}"
        self.stop(name)

        def due() -> None:
            self._timers.pop(name, None)
            what()

        self._timers[name] = asyncio.get_running_loop().call_later(seconds, due)
        return name

    def stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def stop_all(self) -> None:
        for name in tuple(self._timers):
            self.stop(name)

    def waits_for(self, name: str) -> bool:
        return name in self._timers

    # --- to the gateway

    def send(self, stanza: ET.Element) -> None:
        self.home.from_device(self, stanza)

    def message(self, to: str, *inside: ET.Element, id: str = "", type: str = "chat") -> None:
        stanza = make(STREAM, "message", *inside, to=to, type=type)
        if id:
            stanza.set("id", id)
        self.send(stanza)

    def request(self, to: str, child: ET.Element, then: Then | None = None, *, type: str = "set") -> None:
        """An IQ; `then` gets the reply, without it `on_reply` does."""
        id_ = f"{resource_of(self.jid)}-{next(self._ids)}"
        stanza = make(STREAM, "iq", child, to=to, type=type, id=id_)
        self._asked[id_] = (stanza, then)
        self.send(stanza)

    def jingle(
        self, to: str, action: str, sid: str, *inside: ET.Element, then: Then | None = None, **more: str
    ) -> None:
        """A Jingle request; `more` are attributes of its element."""
        self.request(to, make(JINGLE, "jingle", *inside, action=action, sid=sid, **more), then)

    def acknowledge(self, iq: ET.Element, child: ET.Element | None = None) -> None:
        answer = make(STREAM, "iq", to=iq.get("from", ""), id=iq.get("id", ""), type="result")
        answer.extend([] if child is None else [child])
        self.send(answer)

    def refuse(self, iq: ET.Element, name: str, jingle: str = "") -> None:
        answer = bounce(iq, name)
        if jingle:
            answer[0].append(make(JINGLE_ERRORS, jingle))
        self.send(answer)

    def disco(self, jid: str, node: str | None = None) -> asyncio.Future[Info | None]:
        """Ask what somebody is and can; None when he refuses to say."""
        said: asyncio.Future[Info | None] = asyncio.get_running_loop().create_future()

        def then(reply: ET.Element) -> None:
            query = first(reply, DISCO_INFO, "query")
            if not said.done():
                said.set_result(None if reply.get("type") != "result" or query is None else Info.read(query))

        question = make(DISCO_INFO, "query", **({} if node is None else {"node": node}))
        self.request(jid, question, then, type="get")
        return said

    def announcement(self) -> ET.Element:
        """Its presence, with caps."""
        return make(STREAM, "presence", make(CAPS, "c", hash="sha-1", node=self.NODE, ver=self.INFO.ver))

    # --- from the gateway, and from the user's other devices

    def receive(self, stanza: ET.Element) -> None:
        self.heard.append(label(stanza))
        self._news.set()
        match kind(stanza):
            case "iq" if stanza.get("type") in ("result", "error"):
                request, then = self._asked.pop(stanza.get("id", ""), (None, None))
                if then is not None:
                    then(stanza)
                elif request is not None:
                    self.on_reply(request, stanza)
            case "iq":
                self._asked_of_us(stanza)
            case "presence":
                self.on_presence(stanza)
            case "message" if stanza.get("type") == "error":
                self.on_bounce(stanza)
            case "message":
                spoken, received = first(stanza, JMI), first(stanza, RECEIPTS, "received")
                if spoken is not None:
                    self.on_jmi(local(spoken), spoken, stanza)
                if received is not None:
                    self.on_receipt(received.get("id", ""), stanza)

    def _asked_of_us(self, iq: ET.Element) -> None:
        child = iq[0] if len(iq) else None
        if child is None:
            self.refuse(iq, "bad-request")
        elif space(child) == DISCO_INFO and iq.get("type") == "get":
            node = child.get("node")
            if node is None or node == f"{self.NODE}#{self.INFO.ver}":
                self.acknowledge(iq, self.INFO.element(node))
            else:
                self.refuse(iq, "item-not-found")
        elif space(child) == PING:
            self.acknowledge(iq)
        elif child.tag == f"{{{JINGLE}}}jingle" and iq.get("type") == "set":
            self.on_jingle(child.get("action", ""), child, iq)
        else:
            self.refuse(iq, "service-unavailable")

    def carbon(self, stanza: ET.Element, *, sent: bool) -> None:
        spoken = first(stanza, JMI)
        if spoken is not None:
            self.on_carbon(local(spoken), spoken, stanza, sent=sent)

    # --- for a client to override

    def call(self, contact: str, *, video: bool = False) -> None:
        """The user presses the button; where there are two, `video` says which."""
        raise NotImplementedError

    def answer(self) -> None:
        raise NotImplementedError

    def decline(self) -> None:
        raise NotImplementedError

    def hang_up(self) -> None:
        """Also before anybody answered."""
        raise NotImplementedError

    def on_jingle(self, action: str, element: ET.Element, iq: ET.Element) -> None:
        """A Jingle request. Whoever overrides this acknowledges or refuses it, or says nothing, as his client does."""
        self.refuse(iq, "item-not-found", "unknown-session")

    def on_reply(self, request: ET.Element, reply: ET.Element) -> None:
        """The reply to a request that nobody waits for in particular."""

    def on_jmi(self, action: str, element: ET.Element, message: ET.Element) -> None:
        """A Jingle message to this device, or to all."""

    def on_receipt(self, of: str, message: ET.Element) -> None:
        """Somebody got the message of this id."""

    def on_bounce(self, message: ET.Element) -> None:
        """An error message; its id is that of ours."""

    def on_carbon(self, action: str, element: ET.Element, message: ET.Element, *, sent: bool) -> None:
        """A Jingle message that another device of the user sent or was sent."""

    def on_presence(self, presence: ET.Element) -> None:
        """Presence of others is kept; one of a bare JID that goes takes all of its resources with it."""
        from_ = presence.get("from", "")
        if presence.get("type") is None:
            self.presences[from_] = presence
        elif presence.get("type") == "unavailable":
            gone = [jid for jid in self.presences if from_ in (jid, bare(jid))]
            for jid in gone:
                del self.presences[jid]

    def on_media(self) -> None:
        """ICE and DTLS are done."""

    def on_media_failed(self) -> None:
        """ICE has given up."""

    # --- media

    @classmethod
    def new_credentials(cls) -> IceCredentials:
        number = next(cls._names)
        return IceCredentials(f"u{number:03}", f"password{number:016}")

    def meet(self, remote: ET.Element) -> None:
        """Both descriptions are known here: `remote` is the `<jingle/>` with the gateway's. ICE and DTLS begin."""
        wire = next(remote.iter(f"{{{ICE_UDP}}}transport"))
        mark = first(wire, DTLS, "fingerprint")
        setup = "" if mark is None else mark.get("setup", "")
        reachable = first(wire, ICE_UDP, "candidate") is not None
        give_up_at = asyncio.get_running_loop().time() + ICE_FAILS_AFTER

        def look() -> None:
            if reachable and self._known_to_the_gateway(setup):
                self.on_media()
            elif asyncio.get_running_loop().time() >= give_up_at:
                self.on_media_failed()
            else:
                self.later(ICE_TAKES, look, "ice")

        self.later(ICE_TAKES, look, "ice")

    def _known_to_the_gateway(self, setup: str) -> bool:
        """Whether the gateway's engine was told of our credentials and a candidate, and plays the part it announced."""
        met: dict[object, bool] = {}  # leg: does it know a candidate of ours
        for what, leg, *facts in self.home.scene.engine.asked:
            match what, facts:
                case "connect", (Transport(ice=ice), _, _, Setup() as role) if ice and ice.ufrag == self.ice.ufrag:
                    if setup in (role.value, "actpass"):
                        met[leg] = met.get(leg, False) or bool(ice.candidates)
                case "restart", (ice, *_) if getattr(ice, "ufrag", "") == self.ice.ufrag:
                    met[leg] = True
                case "candidates", (tuple() as found, *_) if any(isinstance(c, Candidate) for c in found):
                    met[leg] = leg in met or met.get(leg, False)
        return any(met.values())


def resource_of(jid: str) -> str:
    return jid.partition("/")[2]


def delayed(stanza: ET.Element) -> float | None:
    """When it was stored by the server (XEP-0203), on the scene's clock; None when it came at once."""
    delay = first(stanza, DELAY, "delay")
    return None if delay is None else float(delay.get("stamp", "0"))


def label(stanza: ET.Element) -> str:
    """A stanza in two or three words: `iq session-accept`, `message ringing`, `presence unavailable`, `iq result`."""
    name, type_ = kind(stanza), stanza.get("type", "")
    element = first(stanza, JINGLE, "jingle")
    if type_ == "error":
        return f"{name} error {condition(stanza)}"
    if element is not None:
        return f"{name} {element.get('action', '')}"
    spoken, received = first(stanza, JMI), first(stanza, RECEIPTS, "received")
    if name == "message":
        return "message " + (local(spoken) if spoken is not None else "receipt" if received is not None else "text")
    return f"{name} {type_}".rstrip()
