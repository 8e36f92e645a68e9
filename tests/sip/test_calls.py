"""gateway.sip.calls: what a call is when nobody says otherwise."""

from __future__ import annotations

from gateway.addresses import SipUri
from gateway.sip.calls import OutgoingCall


def test_nothing_is_added_to_a_call_that_nobody_asked_for() -> None:
    uri = SipUri.parse("sip:juliet@example.com")
    call = OutgoingCall(uri, uri, "")
    assert (call.headers, call.asserted, call.proxy, call.place, call.credentials) == ((), None, None, None, None)
    assert not call.anonymous
    assert call.max_forwards == 70
