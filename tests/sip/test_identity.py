"""gateway.sip.identity: what networks say of who calls, who is there, and who it was for first."""

from __future__ import annotations

import pytest

from gateway.addresses import SipUri
from gateway.sip.calls import OutgoingCall
from gateway.sip.identity import asserted, diverted, identity_headers, is_hidden, party
from gateway.sip.message import Headers, Request


def said(*fields: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:a@b", Headers(fields))


def uri(text: str) -> SipUri:
    return SipUri.parse(text)


def test_the_first_legible_assertion_counts() -> None:
    message = said(("P-Asserted-Identity", 'nonsense, "J, R" <sip:+12025550100@c.example>, <tel:+12025550101>'))
    assert asserted(message) == uri("sip:+12025550100@c.example")
    assert asserted(said()) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        (
            [("P-Asserted-Identity", '"Nurse" <sip:nurse@c>'), ("Remote-Party-ID", "<sip:x@c>")],
            ("sip:nurse@c", "Nurse"),
        ),
        ([("Remote-Party-ID", '"Nurse" <sip:nurse@c>;party=called;privacy=off')], ("sip:nurse@c", "Nurse")),
        ([("Remote-Party-ID", "<sip:nurse@c>;privacy=full")], None),
        ([("Remote-Party-ID", "nonsense")], None),
        ([("P-Asserted-Identity", "<sip:nurse@c>"), ("Privacy", "id")], None),
        ([("P-Asserted-Identity", "<sip:nurse@c>"), ("Privacy", "none")], ("sip:nurse@c", "")),
    ],
)
def test_who_is_at_the_far_end(fields: list[tuple[str, str]], expected: tuple[str, str] | None) -> None:
    found = party(said(*fields))
    assert (None if found is None else (str(found[0]), found[1])) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        ([("Diversion", "<sip:second@c>;reason=no-answer, <sip:first@c>;reason=busy")], "sip:first@c"),
        ([("Diversion", "<sip:second@c>"), ("Diversion", "<sip:first@c>")], "sip:first@c"),
        ([("Diversion", "nonsense")], None),
        ([("History-Info", "<sip:third@c>;index=1.2, <sip:first@c>;index=1, <sip:second@c>;index=1.1")], "sip:first@c"),
        ([("History-Info", "<sip:ten@c>;index=10, <sip:two@c>;index=2, <sip:x@c>;index=x")], "sip:two@c"),
        ([("History-Info", "<sip:only@c>;index=1")], None),
        ([("History-Info", "<sip:a@c>, <sip:b@c>")], None),
    ],
)
def test_whom_a_forwarded_call_was_for_first(fields: list[tuple[str, str]], expected: str | None) -> None:
    found = diverted(said(*fields))
    assert (None if found is None else str(found)) == expected


def test_who_hides() -> None:
    assert is_hidden(said(), uri("sip:anonymous@anonymous.invalid"))
    assert is_hidden(said(), uri("sip:Anonymous@c.example"))
    assert is_hidden(said(("Privacy", "header;user, id")), uri("sip:a@b"))
    assert not is_hidden(said(("Privacy", "none")), uri("sip:a@b"))


def test_what_we_say_of_a_caller() -> None:
    call = OutgoingCall(uri("sip:a@b"), uri("sip:c@d"), "", asserted=uri("sip:+1@d"), anonymous=True)
    assert identity_headers(call) == {"P-Asserted-Identity": "<sip:+1@d>", "Privacy": "id"}
    assert identity_headers(OutgoingCall(uri("sip:a@b"), uri("sip:c@d"), "")) == {}
