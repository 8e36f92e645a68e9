"""What one asks of the SIP room, and what it says of whoever calls: the two descriptions of a call. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.addresses import SipUri
from gateway.call.events import Leg
from gateway.call.leg import Admitted, LegControl
from gateway.session.model import Session
from gateway.sip.digest import Credentials
from gateway.sip.layer import Address


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """An INVITE that came in. What it says of its caller is a claim; `source` is where the packet came from.

    `session` is None when the caller wants to be offered one (LegControl.ask). `diverted` is whom the call was for
    first, if it was forwarded. `replaces` names the call of ours whose place it wants to take (RFC 3891): the gateway's
    id of it, the leg, its attempt. Whether this source may do so is not decided here.
    """

    uri: SipUri
    from_uri: SipUri
    from_name: str
    to_uri: SipUri
    asserted: SipUri | None  # P-Asserted-Identity, to be believed from trusted trunks alone
    source: Address
    protocol: str  # "UDP", "TCP"
    max_forwards: int
    session: Session | None
    anonymous: bool  # the caller asks for privacy (RFC 3323), or hides already
    key: str  # Call-ID
    diverted: SipUri | None = None
    replaces: tuple[str, Leg, int] | None = None
    names: tuple[str, ...] = ()  # what a verified certificate says of the source
    account: str | None = None  # whose password it proved to know


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """An INVITE to be sent: to `proxy` if there is one, else to where `target` leads.

    `asserted` becomes P-Asserted-Identity, which is for trunks alone (RFC 3325 §5). With `anonymous` neither From nor
    Contact tells who calls. `place` is a PIDF-LO document that goes along (RFC 6442). `headers` go along as they are:
    Diversion, Referred-By, Replaces. `patience` is how many seconds nobody need say anything at all, None: 64*T1.
    """

    target: SipUri
    from_uri: SipUri
    from_name: str
    max_forwards: int = 70
    credentials: Credentials | None = None
    proxy: SipUri | None = None
    headers: tuple[tuple[str, str], ...] = ()
    asserted: SipUri | None = None
    anonymous: bool = False
    place: str | None = None
    patience: float | None = None


OnCall = Callable[[IncomingCall, LegControl], Admitted]
