"""Who calls, as a trunk or a telephone is told it (RFC 3261 From, RFC 3323, RFC 3325, RFC 6442)."""

from __future__ import annotations

from gateway.addresses import SipUri
from gateway.call.events import Destination
from gateway.dialplan.plan import Identity, Trunk
from gateway.line import Line
from gateway.sip.targets import SILENCE
from gateway.sip.telephony import Account, Credentials, OutgoingCall


def outgoing_call(line: Line, to: Destination, domain: str, *, alternative: bool = False) -> OutgoingCall:
    """The call to a callee by SIP; `domain` is our own, under which callers appear. With an `alternative` silence is a
    failure before the caller loses his patience. Raises AddressError.
    """
    trunk = line.plan.trunks.get(to.via)
    identity = line.identities.get(to.via, Identity())
    callback = line.emergency.callback if line.emergency else None
    # An escaped @ is legal in a user part and makes the caller's address one that can be called back.
    host = (trunk.from_host if trunk else None) or domain
    from_uri = SipUri("sip", identity.from_user or callback or line.payer, host)
    asserted = identity.asserted or callback
    return OutgoingCall(
        target=SipUri.parse(to.target),
        from_uri=from_uri,
        from_name=identity.display,
        credentials=credentials_of(trunk) if trunk else None,
        proxy=trunk.proxy if trunk else None,
        headers=line.headers.get(to, ()),
        # RFC 3325 §5: nobody outside of the trust that a trunk stands for gets an asserted identity.
        asserted=SipUri("sip", asserted, host) if trunk and asserted else None,
        anonymous=identity.anonymous and line.emergency is None,  # those who come to help must know whom
        place=line.emergency.geolocation if line.emergency else None,
        patience=SILENCE if alternative else None,
    )


def credentials_of(trunk: Trunk) -> Credentials | None:
    """What a trunk wants to know of us, when it asks."""
    return Credentials(trunk.username, trunk.password or "") if trunk.username else None


def account_of(trunk: Trunk) -> Account:
    """As whom we are registered at a trunk: in its domain, which its proxy need not be named after (RFC 3261 §10.2)."""
    address = SipUri("sip", trunk.username, trunk.from_host or trunk.proxy.host)
    return Account(trunk.name, trunk.proxy, address, credentials_of(trunk))
