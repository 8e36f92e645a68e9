"""Shares in their order, and their bounds."""

from __future__ import annotations

from gateway.xmpp.shares import SHARES_PER_USER, Bounded, Shares

JULIET = "juliet@shakespeare.lit/balcony"
ROMEO = "romeo%shakespeare.lit@sip.example.com"


def test_a_bounded_mapping_forgets_its_oldest() -> None:
    held: Bounded[str, int] = Bounded(2)
    held["a"], held["b"] = 1, 2
    held["a"] = 3
    held["c"] = 4
    assert list(held) == ["a", "c"]
    assert (held.get("a"), held.get("b"), held.pop("c"), held.pop("c")) == (3, None, 4, None)
    assert ("a" in held, len(held)) == (True, 1)


def test_what_is_asked_for_again_is_the_newest() -> None:
    shares = Shares(10)
    for now, contact in enumerate((ROMEO, "echo@sip.example.com", ROMEO)):
        assert list(shares.add((JULIET, contact), float(now))) == []
    assert shares.oldest() == ((JULIET, "echo@sip.example.com"), 1.0)
    assert list(shares) == [(JULIET, "echo@sip.example.com"), (JULIET, ROMEO)]


def test_a_users_oldest_share_ends_for_his_newest() -> None:
    shares = Shares(1000)
    for n in range(SHARES_PER_USER):
        assert list(shares.add((JULIET, f"{n}@sip.example.com"), 0.0)) == []
    assert list(shares.add((JULIET, ROMEO), 0.0)) == [(JULIET, "0@sip.example.com")]
    assert list(shares.add(("nurse@shakespeare.lit/x", ROMEO), 0.0)) == []
    assert len(shares) == SHARES_PER_USER + 1


def test_the_oldest_of_all_ends_when_there_is_no_room() -> None:
    shares = Shares(2)
    for name in ("a", "b"):
        assert list(shares.add((f"{name}@x.lit/x", ROMEO), 0.0)) == []
    assert list(shares.add(("c@x.lit/x", ROMEO), 0.0)) == [("a@x.lit/x", ROMEO)]


def test_shares_of_a_user_and_a_contact_are_found_by_any_of_their_addresses() -> None:
    shares = Shares(10)
    pairs = [(JULIET, ROMEO), ("juliet@shakespeare.lit", f"{ROMEO}/sip")]
    for pair in (*pairs, (JULIET, "echo@sip.example.com")):
        list(shares.add(pair, 0.0))
    assert list(shares.of("juliet@shakespeare.lit/garden", f"{ROMEO}/x")) == pairs
    for pair in pairs:
        assert shares.remove(pair) == pair
        assert pair not in shares
    assert shares.of(JULIET, ROMEO) == ()
    shares.remove((JULIET, "echo@sip.example.com"))
    assert (shares.oldest(), len(shares)) == (None, 0)
