"""IQ requests that are about us and not about a call: each gets one reply, and a registration what follows from it.

    to anybody     disco#info, disco#items, ping (XEP-0199), version (0092), time (0202), vCard and more (profile.py)
    to the domain  jabber:iq:gateway (0100 §6.3), jabber:iq:register (0077), jabber:iq:last (0012 §5: the uptime)
    anything else  service-unavailable; of a JID that cannot be mapped, jid-malformed or item-not-found

Who is asked what, and by whom, is all that counts; who is told without asking: presence.py.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.xmpp import disco, profile, stanzas
from gateway.xmpp.presence import Presences
from gateway.xmpp.profile import PUBSUB
from gateway.xmpp.stanzas import bare, local

TEST_LINES = (("echo", "Echo test"),)  # names that the domain lists, where the dialplan has them
PROMPT = "Please enter the telephone number (+12025550123) or SIP address (romeo@shakespeare.lit) to call."


class Services:
    """Answers for `presences`' domain. `unix_now` gives seconds of UNIX time."""

    def __init__(
        self,
        presences: Presences,
        *,
        mappable: Callable[[str], bool],
        version: str,
        unix_now: Callable[[], float],
    ) -> None:
        self._presences = presences
        self._mappable = mappable
        self._version = version
        self._unix_now = unix_now
        self._since = unix_now()

    def answer(self, request: ET.Element, child: ET.Element) -> list[ET.Element]:
        """The reply to an IQ request, and what goes with it."""
        asked = request.get("to", "")
        if local(asked) and not self._mappable(local(asked)):
            return [stanzas.error(request, *disco.complaint(local(asked)))]
        space, name = stanzas.split(child)
        if (space, name) == (stanzas.REGISTER, "query") and not local(asked):
            return self._register(request, child)
        if request.get("type") == "get":
            found = self._got(request, child, space, name)
        else:
            found = self._resolved(request, child) if (space, name) == (stanzas.GATEWAY, "query") else None
        if found is None:
            return [stanzas.error(request, "service-unavailable")]
        return [found]

    def _got(self, request: ET.Element, child: ET.Element, space: str, name: str) -> ET.Element | None:
        """The reply to a question; None when it is not one of ours."""
        user, asked = request.get("from", ""), request.get("to", "")
        reply = stanzas.result(request)
        match (space, name, bool(local(asked))):
            case (stanzas.DISCO_INFO, "query", _):
                return self._info(request, child.get("node"))
            case (stanzas.DISCO_ITEMS, "query", _):
                if not disco.has_items(child.get("node")):
                    return stanzas.error(request, "item-not-found")
                listed = () if local(asked) or child.get("node") else tuple(self._lines(user, asked))
                reply.append(disco.items(listed, child.get("node")))
            case (stanzas.PING, "ping", _):
                pass  # XEP-0199 §4.2: the empty result is all
            case (stanzas.VERSION, "query", _):
                _fill(reply, child, name="xmpp-sip-gateway", version=self._version)
            case (stanzas.TIME, "time", _):
                utc = datetime.fromtimestamp(self._unix_now(), UTC)
                _fill(reply, child, tzo="+00:00", utc=utc.strftime("%Y-%m-%dT%H:%M:%SZ"))
            case (profile.VCARD_TEMP, "vCard", _):
                reply.append(profile.vcard_temp(profile.profile(local(asked))))
            case (profile.VCARD4, "vcard", _):
                reply.append(profile.vcard4(profile.profile(local(asked))))
            case (profile.PUBSUB, "pubsub", _):
                return _items(request, child)
            case (stanzas.LAST, "query", False):
                uptime = max(0, int(self._unix_now() - self._since))
                ET.SubElement(reply, child.tag, {"seconds": str(uptime)})
            case (stanzas.GATEWAY, "query", False):
                _fill(reply, child, desc=PROMPT, prompt="Number or SIP address")
            case _:
                return None
        return reply

    def _info(self, request: ET.Element, node: str | None) -> ET.Element:
        user, asked = request.get("from", ""), request.get("to", "")
        if node:
            entity = self._presences.sets.asked(node, of_contact=bool(local(asked)))
        else:
            entity = self._presences.known_as(user, asked)
        if entity is None:
            return stanzas.error(request, "item-not-found")
        reply = stanzas.result(request)
        reply.append(entity.info(node))
        return reply

    def _lines(self, user: str, asked: str) -> list[tuple[str, str]]:
        """The test lines that this user may call."""
        may_call = self._presences.may_call
        lines = (line for line in TEST_LINES if self._mappable(line[0]) and may_call(bare(user), line[0]))
        return [(f"{line}@{bare(asked)}", name) for line, name in lines]

    def _resolved(self, request: ET.Element, child: ET.Element) -> ET.Element | None:
        """What people write, as a JID."""
        asked, space = request.get("to", ""), stanzas.GATEWAY
        if local(asked):
            return None
        said = child.findtext(f"{{{space}}}prompt") or ""
        written = disco.local_of(said)
        if not written or not self._mappable(written):
            return stanzas.error(request, "item-not-found", disco.complaint(said.strip())[1])
        reply = stanzas.result(request)
        # XEP-0100 §6.3 names <jid/>; older clients read <prompt/>.
        jid = f"{written}@{bare(asked)}"
        _fill(reply, child, jid=jid, prompt=jid)
        return reply

    def _register(self, request: ET.Element, child: ET.Element) -> list[ET.Element]:
        """XEP-0077 with nothing to fill in: whose user it is, his server vouches for. Registered users get the domain's
        presence, by which dialling applications know that the gateway is there.
        """
        user, asked = request.get("from", ""), bare(request.get("to", ""))
        if not self._presences.ours(user):
            return [stanzas.error(request, "not-allowed", "This gateway is for the users of another server.")]
        reply = stanzas.result(request)
        if request.get("type") == "get":
            query = ET.SubElement(reply, child.tag)
            if self._presences.registered(user):
                ET.SubElement(query, f"{{{stanzas.REGISTER}}}registered")
            text = "There is nothing to fill in. Registered users see in their contact list that the gateway is there."
            ET.SubElement(query, f"{{{stanzas.REGISTER}}}instructions").text = text
            return [reply]
        if child.find(f"{{{stanzas.REGISTER}}}remove") is not None:
            return [reply, *self._presences.unregister(user, asked)]
        followed = self._presences.register(user, asked)
        if followed is None:
            return [stanzas.error(request, "resource-constraint", "There is no room for more users.", type="wait")]
        return [reply, *followed]


def _fill(reply: ET.Element, child: ET.Element, **texts: str) -> None:
    """The request's payload again, with children in its namespace."""
    space, _ = stanzas.split(child)
    query = ET.SubElement(reply, child.tag)
    for name, text in texts.items():
        ET.SubElement(query, f"{{{space}}}{name}").text = text


def _items(request: ET.Element, child: ET.Element) -> ET.Element | None:
    """The items of one node, as a PEP service would answer (XEP-0060 §6.5)."""
    wanted = child.find(f"{{{PUBSUB}}}items")
    if wanted is None:
        return None
    node = wanted.get("node", "")
    found = profile.item(profile.profile(local(request.get("to", ""))), node)
    if found is None:
        return stanzas.error(request, "item-not-found")
    id_, payload = found
    reply = stanzas.result(request)
    items = ET.SubElement(ET.SubElement(reply, child.tag), f"{{{PUBSUB}}}items", {"node": node})
    ET.SubElement(items, f"{{{PUBSUB}}}item", {"id": id_}).append(payload)
    return reply
