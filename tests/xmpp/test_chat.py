"""Lines in the conversation."""

from __future__ import annotations

from gateway.xmpp.chat import line

JULIET, CONTACT = "juliet@shakespeare.lit", "+12025550123@sip.example.com"
BODY = "{jabber:component:accept}body"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def test_a_line_comes_from_the_contact_and_is_kept_for_a_user_who_is_offline() -> None:
    said = line(JULIET, CONTACT, "c1", (("en", "Missed call"),))
    assert (said.get("to"), said.get("from"), said.get("type"), said.get("id")) == (JULIET, CONTACT, "chat", "c1")
    assert said.find("{urn:xmpp:hints}store") is not None


def test_a_client_that_knows_one_body_reads_the_first_and_others_pick_their_language() -> None:
    said = line(JULIET, CONTACT, "c1", (("de", "Verpasster Anruf"), ("en", "Missed call")))
    bodies = [(body.get(LANG), body.text) for body in said.findall(BODY)]
    assert bodies == [(None, "Verpasster Anruf"), ("en", "Missed call")]


def test_what_no_stanza_may_hold_is_not_said() -> None:
    assert line(JULIET, CONTACT, "c1", (("en", "a\x00b"),)).findtext(BODY) == "a\N{REPLACEMENT CHARACTER}b"
