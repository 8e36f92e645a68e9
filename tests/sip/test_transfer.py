"""gateway.sip.transfer: REFER and Replaces, read and written."""

from __future__ import annotations

import pytest

from gateway.call.causes import Cause
from gateway.errors import SipError
from gateway.sip.message import Headers, Request
from gateway.sip.transfer import Replaced, progress, refer, replaced


def asks(method: str, *fields: tuple[str, str]) -> Request:
    return Request(method, "sip:a@b", Headers(fields))


def test_a_blind_transfer_names_its_target() -> None:
    found = refer(asks("REFER", ("Refer-To", '"N" <sip:nurse@c.example;method=INVITE>'), ("Referred-By", "<sip:r@d>")))
    assert (str(found.target), found.replaces, found.referred_by, found.notify) == (
        "sip:nurse@c.example",
        "",
        "<sip:r@d>",
        True,
    )


def test_an_attended_transfer_names_the_dialog_in_whose_place_it_goes() -> None:
    target = "<sip:nurse@c.example?Replaces=12345%40h%3Bto-tag%3Dt1%3Bfrom-tag%3Df1&Require=replaces>"
    found = refer(asks("REFER", ("Refer-To", target), ("Refer-Sub", "false")))
    assert (str(found.target), found.replaces) == ("sip:nurse@c.example", "12345@h;to-tag=t1;from-tag=f1")
    assert not found.notify


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 400),
        ([("Refer-To", "<sip:a@b>"), ("Refer-To", "<sip:c@d>")], 400),
        ([("Refer-To", "<sip:a@b>, <sip:c@d>")], 400),
        ([("Refer-To", "nonsense")], 400),
        ([("Refer-To", "<mailto:a@b>")], 416),
        ([("Refer-To", "<sip:a b>")], 400),
        ([("Refer-To", "<sip:@b>")], 400),
        ([("Refer-To", "<sip:a@b;method=BYE>")], 400),
        ([("Refer-To", "<sip:a@b?Replaces=only-a-call-id>")], 400),
        ([("Refer-To", "<sip:a@b?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3&replaces=1>")], 400),
        ([("Refer-To", f"<sip:a@b?Replaces={'1' * 1100}>")], 400),
        ([("Refer-To", "<sip:a@b>"), ("Referred-By", "x" * 1100)], 400),
    ],
)
def test_transfers_that_cannot_be(fields: list[tuple[str, str]], status: int) -> None:
    with pytest.raises(SipError) as raised:
        refer(asks("REFER", *fields))
    assert raised.value.status == status


def test_the_dialog_in_whose_place_an_invite_comes() -> None:
    assert replaced(asks("INVITE")) is None
    found = replaced(asks("INVITE", ("Replaces", "98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only")))
    assert found == Replaced("98732@sip.example.com", "ff87ff", "r33th4x0r", early_only=True)


@pytest.mark.parametrize(
    "fields",
    [
        [("Replaces", "1;to-tag=2;from-tag=3"), ("Replaces", "1;to-tag=2;from-tag=3")],
        [("Replaces", "1;to-tag=2;from-tag=3"), ("Join", "1;to-tag=2;from-tag=3")],
        [("Replaces", "1;to-tag=2")],
        [("Replaces", ";to-tag=2;from-tag=3")],
    ],
)
def test_places_that_cannot_be_taken(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(SipError):
        replaced(asks("INVITE", *fields))


@pytest.mark.parametrize(
    ("cause", "body", "state"),
    [
        (None, "SIP/2.0 100 Trying\r\n", "active;expires=180"),
        (Cause.NORMAL, "SIP/2.0 200 OK\r\n", "terminated;reason=noresource"),
        (Cause.CONGESTION, "SIP/2.0 503 Service Unavailable\r\n", "terminated;reason=noresource"),
        (Cause.TOO_LONG, "SIP/2.0 400 Bad Request\r\n", "terminated;reason=noresource"),
    ],
)
def test_how_it_goes(cause: Cause | None, body: str, state: str) -> None:
    text, headers = progress(cause)
    assert text == body
    assert headers["Subscription-State"] == state
    assert headers["Event"] == "refer"
