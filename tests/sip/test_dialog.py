"""gateway.sip.dialog: route sets, targets, numbers."""

from __future__ import annotations

import pytest

from gateway.errors import SipError
from gateway.sip.dialog import MAX_ROUTES, Dialog
from gateway.sip.message import Headers, Request, Response

BASE = [("From", "<sip:a@b>;tag=ours"), ("To", "<sip:c@d>;tag=theirs"), ("Call-ID", "x"), ("CSeq", "7 INVITE")]


def request(*fields: tuple[str, str], method: str = "INVITE", number: int = 7) -> Request:
    base = [(n, v if n != "CSeq" else f"{number} {method}") for n, v in BASE]
    return Request(method, "sip:c@d", Headers([*base, *fields]))


def response(*fields: tuple[str, str], status: int = 200) -> Response:
    return Response(status, "", Headers([*BASE, *fields]))


CONTACT = ("Contact", "<sip:c@192.0.2.9;transport=tcp>")
P1, P2 = "<sip:p1;lr>", "<sip:p2:5070;lr;x=y>"


def test_the_callers_route_set_is_reversed_and_the_callees_is_not() -> None:
    routes = ("Record-Route", f"{P2}, {P1}")
    uac = Dialog.of_response(request(), response(routes, CONTACT, status=180))
    assert uac.early
    assert uac.routes == (P1, P2)
    assert uac.next_hop == "sip:p1;lr"
    uas = Dialog.of_request(request(routes, CONTACT), "mine")
    assert uas.routes == (P2, P1)
    assert uas.key == ("x", "mine", "ours")
    assert uac.key == ("x", "ours", "theirs")


def test_requests_inside_go_to_the_contact_by_the_routes() -> None:
    dialog = Dialog.of_response(request(), response(("Record-Route", P1), CONTACT))
    bye = dialog.request("BYE")
    assert (bye.uri, bye.headers["Route"], bye.headers["CSeq"]) == ("sip:c@192.0.2.9;transport=tcp", P1, "8 BYE")
    assert dialog.request("ACK", 7).headers["CSeq"] == "7 ACK"
    assert dialog.request("INFO").headers["CSeq"] == "9 INFO"


def test_a_strict_router_gets_its_own_uri_and_the_target_last() -> None:
    dialog = Dialog.of_response(request(), response(("Record-Route", "<sip:last;lr>, <sip:strict>"), CONTACT))
    bye = dialog.request("BYE")
    assert bye.uri == "sip:strict"
    assert bye.headers.all("Route") == ["<sip:last;lr>", "<sip:c@192.0.2.9;transport=tcp>"]
    assert dialog.next_hop == "sip:strict"


def test_without_a_contact_the_target_is_who_was_asked() -> None:
    assert Dialog.of_response(request(), response()).target == "sip:c@d"
    with pytest.raises(SipError):
        Dialog.of_request(request(), "mine")


def test_who_has_no_tag_needs_no_contact_either() -> None:
    invite = request()
    invite.headers.set("From", "<sip:a@192.0.2.9>")
    dialog = Dialog.of_request(invite, "mine")
    assert (dialog.target, dialog.key) == ("sip:a@192.0.2.9", ("x", "mine", ""))


def test_a_2xx_replaces_the_route_set_and_the_target_of_an_early_dialog() -> None:
    dialog = Dialog.of_response(request(), response(("Record-Route", P2), CONTACT, status=180))
    dialog.confirm(response(("Record-Route", P1), ("Contact", "<sip:new@h>")))
    assert (dialog.routes, dialog.target, dialog.early) == ((P1,), "sip:new@h", False)
    dialog.confirm(response())
    assert dialog.target == "sip:new@h"


def test_numbers_must_rise_and_only_some_requests_move_the_target() -> None:
    dialog = Dialog.of_request(request(CONTACT), "mine")
    assert dialog.receive(request(("Contact", "<sip:no@h>"), method="INFO", number=8)) is None
    assert dialog.target == "sip:c@192.0.2.9;transport=tcp"
    assert dialog.receive(request(method="INFO", number=8)) == 500
    assert dialog.receive(request(method="INFO", number=3)) == 500
    assert dialog.receive(request(("Contact", "<sip:yes@h>"), method="UPDATE", number=12)) is None
    assert dialog.receive(request(method="UPDATE", number=13)) is None
    assert dialog.target == "sip:yes@h"
    dialog.refresh(response())
    dialog.refresh(response(("Contact", "<sip:later@h>")))
    assert dialog.target == "sip:later@h"


@pytest.mark.parametrize("routes", ["nonsense", ", ".join(["<sip:p;lr>"] * (MAX_ROUTES + 1))])
def test_routes_that_cannot_be_used_make_no_dialog(routes: str) -> None:
    with pytest.raises(SipError):
        Dialog.of_request(request(CONTACT, ("Record-Route", routes)), "mine")
