"""An XMPP user with a telephone: slixmpp below, Jingle of jingle.py, voice of voice.py.

    async with Client("juliet@shakespeare.lit", "secret", port) as juliet:
        call = await juliet.call("echo@sip.shakespeare.lit")         # XEP-0353, as Conversations does
        await call.answered()
        await call.voice.hears(juliet.tone)
        await call.hang_up()

A user with `jmi=False` is one of a client that knows no Jingle Message Initiation: it calls and is called directly, by
full JIDs that it knows from presence. `strict` refuses whatever one of the clients in the field would refuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Any, Protocol, Self
from xml.etree import ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher.base import MatcherBase

from ..peers import tones
from ..peers.process import HOST, PATIENCE, leaves, witnesses
from . import jingle
from .jingle import Codec, Content, Refusal
from .voice import Voice

CARBONS = "urn:xmpp:carbons:2"
HINTS = "urn:xmpp:hints"
TEMPPRES = "urn:xmpp:temppres:0"


class Has(MatcherBase):
    """Matches a stanza of this kind with a child in this namespace."""

    def match(self, xml: Any) -> bool:
        kind, namespace = self._criteria
        return bool(xml.xml.tag.endswith(f"}}{kind}")) and any(
            child.tag.startswith(f"{{{namespace}}}") for child in xml.xml
        )


class Client:
    """A user who is online, in a resource of its own. `tone` is what he says in every call, 0 is silence."""

    def __init__(
        self,
        jid: str,
        password: str,
        port: int,
        *,
        tone: float | None = None,
        jmi: bool = True,
        codecs: tuple[Codec, ...] = jingle.LIBWEBRTC,
        resource: str = "phone",
        strict: bool = True,
        carbons: bool = False,
    ) -> None:
        self.jid = self.name = f"{jid}/{resource}"
        self.tone = tones.draw() if tone is None else tone
        self.jmi = jmi
        self.codecs = codecs
        self.strict = strict
        self.calls: list[Call] = []
        self.carbons: list[
            str
        ] = []  # what other devices said and were told of calls: "sent proceed", "received propose"
        self.texts: list[tuple[str, str]] = []  # messages: sender's bare JID and body
        self.presences: dict[str, ET.Element] = {}  # the last one of each full JID, also of those gone offline
        self.online = asyncio.Event()
        self._wants_carbons = carbons
        self._port = port
        self._incoming: asyncio.Queue[Call] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        # Loopback needs no TLS; the password goes by SCRAM.
        plain = {"feature_mechanisms": {"unencrypted_scram": True}}
        self.xmpp = slixmpp.ClientXMPP(self.jid, password, plugin_config=plain)
        self.xmpp.enable_direct_tls = self.xmpp.enable_starttls = False
        self.xmpp.enable_plaintext = True
        for plugin in ("xep_0030", "xep_0115", "xep_0199"):
            self.xmpp.register_plugin(plugin)
        self.xmpp.add_event_handler("session_start", self._on_session)
        self.xmpp.add_event_handler("disconnected", self._on_disconnected)
        self.xmpp.add_event_handler("presence", self._on_presence)
        self._handle("iq", jingle.JINGLE, self._on_jingle)
        self._handle("message", jingle.JMI, self._on_jmi)
        self._handle("message", CARBONS, self._on_carbon)
        self.xmpp.add_event_handler("message", self._on_text)

    async def __aenter__(self) -> Self:
        self.xmpp.connect(HOST, self._port)
        try:
            await asyncio.wait_for(self.online.wait(), PATIENCE)
        except TimeoutError:
            raise AssertionError(f"{self.jid} could not log in") from None
        witnesses.append(self)
        return self

    async def __aexit__(self, *problem: object) -> None:
        self._closing = True
        leaves(self, *problem)
        for call in self.calls:
            await call.voice.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.xmpp.disconnect(wait=1.0)

    def tail(self) -> str:
        """What was said in its calls."""
        return "\n".join(line for call in self.calls for line in (str(call), *call.transcript))

    # --- doing

    async def add(self, contact: str) -> str:
        """Puts a contact on the roster and waits until he is online; his full JID."""
        self.xmpp.send_presence_subscription(contact)
        return await self.sees(contact)

    async def sees(self, contact: str, timeout: float = PATIENCE) -> str:
        """Waits until some resource of this bare JID is available; its full JID."""

        def available() -> str | None:
            for jid, presence in self.presences.items():
                if jid.partition("/")[0] == contact and presence.get("type") is None:
                    return jid
            return None

        found: str = await self._until(available, f"{contact} did not come online", timeout)
        return found

    async def request_presence(self, contact: str, reason: str = "media") -> str:
        """Temporary presence (XEP-0276): asks and waits for the answer; who answered."""
        self.presences.pop(contact, None)
        presence: Any = self.xmpp.make_presence(pto=contact)
        presence.append(ET.Element(f"{{{TEMPPRES}}}temppres", reason=reason))
        presence.send()
        return await self.sees(contact.partition("/")[0])

    async def features(self, jid: str) -> set[str]:
        """What disco#info says of this JID."""
        answer = await self.xmpp.plugin["xep_0030"].get_info(jid=slixmpp.JID(jid), timeout=PATIENCE)
        return set(answer["disco_info"]["features"])

    async def call(self, contact: str, codecs: tuple[Codec, ...] | None = None) -> Call:
        """Calls a contact: a bare JID with JMI, otherwise a full JID (or the bare one, if nobody is there yet)."""
        call = Call(self, contact, uuid.uuid4().hex, outgoing=True, codecs=codecs or self.codecs)
        self.calls.append(call)
        await call.start()
        return call

    async def reads(self, contact: str, timeout: float = PATIENCE) -> str:
        """Waits for a text from this contact, the last one."""

        def found() -> str | None:
            return next((body for sender, body in reversed(self.texts) if sender == contact), None)

        text: str = await self._until(found, f"{contact} wrote nothing", timeout)
        return text

    def write(self, contact: str, text: str) -> None:
        """A chat message."""
        self.xmpp.send_message(slixmpp.JID(contact), text, mtype="chat")

    async def hears_of(self, carbon: str, timeout: float = PATIENCE) -> None:
        """Waits for a carbon of another device's Jingle message, "sent proceed"."""
        await self._until(lambda: carbon in self.carbons, f"no carbon of {carbon}, but {self.carbons}", timeout)

    async def incoming(self, timeout: float = PATIENCE) -> Call:
        """Waits for somebody to call."""
        try:
            return await asyncio.wait_for(self._incoming.get(), timeout)
        except TimeoutError:
            raise AssertionError(f"nobody called {self.jid}") from None

    # --- what comes in

    def _handle(self, kind: str, namespace: str, handler: Callable[[ET.Element], None]) -> None:
        def take(stanza: Any) -> None:
            handler(stanza.xml)

        self.xmpp.register_handler(Callback(f"{kind} {namespace}", Has((kind, namespace)), take))

    async def _on_session(self, _: object) -> None:
        disco = self.xmpp.plugin["xep_0030"]
        for feature in (*jingle.FEATURES, *((jingle.JMI,) if self.jmi else ())):
            await disco.add_feature(feature)
        await self.xmpp.get_roster()
        await self.xmpp.plugin["xep_0115"].update_caps()
        if self._wants_carbons:
            enable: Any = self.xmpp.make_iq_set(ET.Element(f"{{{CARBONS}}}enable"))
            await enable.send(timeout=PATIENCE)
        self.xmpp.send_presence()
        await self.xmpp.get_roster()  # its answer follows the presence: from now on a call finds this device
        self.online.set()

    def _on_disconnected(self, _: object) -> None:
        """A server that went away is looked for until it is back."""
        was_online = self.online.is_set()
        self.online.clear()
        self.presences.clear()
        if was_online and not self._closing:
            self.xmpp.connect(HOST, self._port)

    def _on_presence(self, presence: Any) -> None:
        if presence.xml.get("type") in (None, "unavailable", "error"):
            self.presences[presence.xml.get("from")] = presence.xml
            self._spawn(self._notify())

    def _on_carbon(self, message: ET.Element) -> None:
        for carbon in message.findall(f"{{{CARBONS}}}*"):
            for element in carbon.iter():
                if element.tag.startswith(f"{{{jingle.JMI}}}"):
                    self.carbons.append(f"{carbon.tag.partition('}')[2]} {element.tag.partition('}')[2]}")
        self._spawn(self._notify())

    def _on_text(self, message: Any) -> None:
        if message["body"]:
            self.texts.append((message["from"].bare, message["body"]))
            self._spawn(self._notify())

    def _on_jmi(self, message: ET.Element) -> None:
        sender, element = message.get("from", ""), message[0]
        element = next(child for child in message if child.tag.startswith(f"{{{jingle.JMI}}}"))
        action, sid = element.tag.partition("}")[2], element.get("id", "")
        call = self._find(sid)
        if message.get("type") == "error" or sender.partition("/")[0] == self.jid.partition("/")[0]:
            if call and message.get("type") == "error":
                call.note("← error on", action)
                call.end("error")
        elif action == "propose" and call is None and self.jmi:
            call = Call(self, sender, sid, outgoing=False, codecs=self.codecs, proposed=True)
            self._ring(call, "← propose")
        elif call is not None:
            call.on_message(action, sender)

    def _on_jingle(self, iq: ET.Element) -> None:
        if iq.get("type") != "set":
            return
        element = iq.find(f"{{{jingle.JINGLE}}}jingle")
        assert element is not None
        sender, sid, action = iq.get("from", ""), element.get("sid", ""), element.get("action", "")
        call = self._find(sid)
        if call is None and action == "session-initiate":
            call = Call(self, sender, sid, outgoing=False, codecs=self.codecs)
            self._ring(call, "← session-initiate without a propose")
        elif call is None or sender != call.peer:
            self._answer(iq, "item-not-found", "unknown-session")
            return
        self._answer(iq)
        self._spawn(call.on_jingle(action, element))

    def _ring(self, call: Call, note: str) -> None:
        call.note(note)
        self.calls.append(call)
        self._incoming.put_nowait(call)
        call.ring()

    def _answer(self, iq: ET.Element, condition: str = "", jingle_condition: str = "") -> None:
        answer: Any = self.xmpp.make_iq_result(iq.get("id"), ito=iq.get("from"))
        if condition:
            answer["type"] = "error"
            answer["error"]["condition"] = condition
            answer["error"].append(ET.Element(f"{{urn:xmpp:jingle:errors:1}}{jingle_condition}"))
        answer.send()

    def _find(self, sid: str) -> Call | None:
        return next((call for call in self.calls if call.sid == sid and not call.over), None)

    # --- helpers of calls

    def send_message(self, to: str, element: ET.Element) -> None:
        message: Any = self.xmpp.make_message(to, mtype="chat")
        message.append(element)
        message.append(ET.Element(f"{{{HINTS}}}store"))
        message.send()

    async def send_jingle(self, to: str, element: ET.Element) -> str:
        """Sends a request and waits for its answer; the condition of an error, or nothing."""
        try:
            iq: Any = self.xmpp.make_iq_set(element, ito=to)
            await iq.send(timeout=PATIENCE)
        except IqError as error:
            return str(error.condition)
        except IqTimeout:
            return "no answer"
        return ""

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            task.get_loop().call_exception_handler({"message": "in a client's task", "exception": task.exception()})

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, found: Callable[[], Any], complaint: str, timeout: float) -> Any:
        try:
            async with asyncio.timeout(timeout), self._changed:
                while not (result := found()):
                    await self._changed.wait()
                return result
        except TimeoutError:
            raise AssertionError(f"{self.jid}: {complaint}; seen were {sorted(self.presences)}") from None


class Call:
    """A call of a Client, in whichever direction.

    `transcript` is what was said about it, `reason` why it ended: a Jingle reason, "reject", "retract", or what this
    client refused in what the far side sent.
    """

    def __init__(
        self,
        client: Client,
        peer: str,
        sid: str,
        *,
        outgoing: bool,
        codecs: tuple[Codec, ...],
        proposed: bool = False,
    ) -> None:
        self.client = client
        self.peer = peer
        self.sid = sid
        self.voice = Voice(client.tone, controlling=outgoing)
        self.reason = ""
        self.transcript: list[str] = []
        self.remote: Content | None = None
        self._codecs = codecs
        self._outgoing = outgoing
        self._jmi = proposed or (outgoing and client.jmi and "/" not in peer)
        self._local: Content | None = None
        self._accepted = False  # an incoming propose that was answered with proceed
        self.held = False  # by the far side
        self._rings = asyncio.Event()
        self._answered = asyncio.Event()
        self._over = asyncio.Event()

    def __str__(self) -> str:
        return f"call {'to' if self._outgoing else 'from'} {self.peer}"

    @property
    def over(self) -> bool:
        return self._over.is_set()

    @property
    def rang(self) -> bool:
        return self._rings.is_set()

    # --- what the user does

    async def start(self) -> None:
        if self._jmi:
            propose = ET.Element(f"{{{jingle.JMI}}}propose", id=self.sid)
            ET.SubElement(propose, f"{{{jingle.RTP}}}description", media="audio")
            self._say(self.peer, propose)
        else:
            await self._initiate(trickle=False)

    async def accept(self) -> None:
        """Takes an incoming call, and waits until it is up."""
        if self._jmi and not self._accepted:
            self._accepted = True
            self._say(self.peer, ET.Element(f"{{{jingle.JMI}}}proceed", id=self.sid))
        await self._wait_for(lambda: self.remote is not None, "the caller did not bring his session")
        assert self.remote is not None
        offered = {(codec.name.lower(), codec.rate) for codec in self._codecs}
        common = tuple(codec for codec in self.remote.codecs if (codec.name.lower(), codec.rate) in offered)
        candidates = await self.voice.gather()
        self._local = self.voice.content(self.remote.name, common, "active", candidates, bundled=self.remote.bundled)
        self.voice.connect(self.remote, "active", common)
        await self._request(jingle.write("session-accept", self.sid, self._local, responder=self.client.jid))
        self._answered.set()
        await self._connected()

    async def hang_up(self) -> None:
        """Ends the call, cancels it or refuses it, whichever is due."""
        if self.over:
            return
        if self._jmi and self._local is None and self.remote is None:
            action = "retract" if self._outgoing else "reject"
            to = self.peer.partition("/")[0] if self._outgoing else self.peer
            self._say(to, ET.Element(f"{{{jingle.JMI}}}{action}", id=self.sid))
            self.end(action)
        else:
            await self.terminate("success" if self._answered.is_set() else "cancel" if self._outgoing else "decline")

    async def terminate(self, condition: str) -> None:
        """Ends a session that was initiated, with this reason."""
        self.end(condition)
        await self._request(jingle.info(self.sid, "session-terminate", jingle.reason(condition)))
        await self.voice.close()

    async def press(self, keys: str) -> None:
        """Sends keys by signalling (XEP-0181); `voice.press` sends them as media."""
        for key in keys:
            dtmf = ET.Element(f"{{{jingle.DTMF}}}dtmf", action="button-down", code=key)
            await self._request(jingle.info(self.sid, "session-info", dtmf))
            dtmf = ET.Element(f"{{{jingle.DTMF}}}dtmf", action="button-up", code=key)
            await self._request(jingle.info(self.sid, "session-info", dtmf))

    # --- what he waits for

    async def ringing(self, timeout: float = PATIENCE) -> None:
        await self._wait(self._rings, "it did not ring", timeout)

    async def answered(self, timeout: float = PATIENCE) -> None:
        """Waits until the call was answered and voice can flow."""
        await self._wait(self._answered, "it was not answered", timeout)
        await self._connected()

    async def holds(self, held: bool, timeout: float = PATIENCE) -> None:
        """Waits until the far side holds this call, or holds it no more."""
        await self._wait_for(lambda: self.held is held, f"held is to be {held}", timeout)

    async def ended(self, timeout: float = PATIENCE) -> str:
        """Waits for the end; its reason."""
        try:
            await asyncio.wait_for(self._over.wait(), timeout)
        except TimeoutError:
            raise AssertionError(f"{self} did not end\n" + "\n".join(self.transcript)) from None
        return self.reason

    async def _connected(self) -> None:
        await self._wait_for(lambda: self.voice.connected.is_set() or bool(self.voice.failure), "no media connection")
        if self.voice.failure:
            raise AssertionError(f"{self}: {self.voice.failure}")

    async def _wait(self, event: asyncio.Event, complaint: str, timeout: float) -> None:
        await self._wait_for(event.is_set, complaint, timeout)

    async def _wait_for(self, found: Callable[[], bool], complaint: str, timeout: float = PATIENCE) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not found() and not self.over:
                    await asyncio.sleep(0.01)
        if not found():
            end = f"it ended: {self.reason}" if self.over else f"within {timeout} s"
            raise AssertionError(f"{self}: {complaint}, {end}\n" + "\n".join(self.transcript))

    # --- what the far side does

    def ring(self) -> None:
        """Tells the caller that it rings here."""
        if self._jmi:
            self._say(self.peer, ET.Element(f"{{{jingle.JMI}}}ringing", id=self.sid))
        else:
            self.client._spawn(
                self._request(jingle.info(self.sid, "session-info", ET.Element(f"{{{jingle.RTP_INFO}}}ringing")))
            )

    def on_message(self, action: str, sender: str) -> None:
        self.note("←", action)
        if action == "ringing" and self._outgoing:
            self._rings.set()
        elif action == "proceed" and self._outgoing and self._local is None:
            self.peer = sender
            self.client._spawn(self._initiate(trickle=True))
        elif action in ("reject", "retract") and not self._answered.is_set():
            self.end(action)  # of a call that is up they mean nothing (Conversations: "ignoring retract")

    async def on_jingle(self, action: str, element: ET.Element) -> None:
        try:
            await self._take(action, element)
        except Refusal as refusal:
            self.note("refused:", str(refusal))
            self.end(f"refused: {refusal}")
            await self._request(jingle.info(self.sid, "session-terminate", jingle.reason("failed-application")))

    async def _take(self, action: str, element: ET.Element) -> None:
        self.note("←", action, *(child.tag.partition("}")[2] for child in element if action == "session-info"))
        if action == "session-initiate" and not self._outgoing:
            self.remote = jingle.read(element, strict=self.client.strict)
        elif action == "session-accept" and self._local is not None:
            self.remote = jingle.read(element, self._local, strict=self.client.strict)
            numbers = [codec.number for codec in self.remote.codecs]
            agreed = tuple(next(c for c in self._local.codecs if c.number == number) for number in numbers)
            # An answer's "active" is the far side's; ours is what remains.
            setup = "passive" if self.remote.setup == "active" else "active"
            self.voice.connect(self.remote, setup, agreed)
            self._answered.set()
        elif action == "transport-info":
            transport = element.find(f".//{{{jingle.ICE}}}transport")
            if transport is not None:
                await self.voice.add(jingle.read_candidates(transport, strict=self.client.strict))
        elif action == "session-info" and element.find(f"{{{jingle.RTP_INFO}}}ringing") is not None:
            self._rings.set()
        elif action == "session-info":
            said = {child.tag.partition("}")[2] for child in element if child.tag.startswith(f"{{{jingle.RTP_INFO}}}")}
            self.held = "hold" in said or (self.held and not said & {"unhold", "active"})
        elif action == "session-terminate":
            self.end(jingle.read_reason(element))
            await self.voice.close()

    # --- inside

    def end(self, reason: str) -> None:
        if not self.over:
            self.reason = reason
            self._over.set()

    def note(self, *words: str) -> None:
        self.transcript.append(" ".join(words))

    async def _initiate(self, *, trickle: bool) -> None:
        candidates = await self.voice.gather()
        self._local = self.voice.content("0", self._codecs, "actpass", () if trickle else candidates)
        await self._request(jingle.write("session-initiate", self.sid, self._local, initiator=self.client.jid))
        if trickle:
            for candidate in candidates:
                await self._request(jingle.write_candidates(self.sid, self._local, (candidate,)))

    def _say(self, to: str, element: ET.Element) -> None:
        self.note("→", element.tag.partition("}")[2])
        self.client.send_message(to, element)

    async def _request(self, element: ET.Element) -> None:
        """A Jingle request; as in Conversations, an error or no answer ends the call."""
        action = element.get("action", "")
        self.note("→", action)
        if error := await self.client.send_jingle(self.peer, element):
            self.note("←", error, "on", action)
            self.end(f"{error} on {action}")


class Telephone(Protocol):
    """A peer that says a tone and records what it hears."""

    tone: float

    async def hears(self, frequency: float) -> None: ...


async def both_hear(call: Call, phone: Telephone) -> None:
    """Waits until each has heard the other's tone."""
    await asyncio.gather(call.voice.hears(phone.tone), phone.hears(call.client.tone))
