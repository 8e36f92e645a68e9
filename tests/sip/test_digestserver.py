"""gateway.sip.digestserver: who is let in by a password, and that nobody learns which names there are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from gateway.sip import digestserver
from gateway.sip.digest import Authenticator, Credentials, response
from gateway.sip.digestserver import LIFETIME, DigestServer, Finding
from gateway.sip.headers import AuthField
from gateway.sip.message import Headers, Request, Response
from gateway.sip.overload import Source, Standing
from tests.sip.bench import Bench, peer, statuses
from tests.sip.wire import SDP, answer, field, fields

HERE = "192.0.2.9"
URI = "sip:juliet@gw.example"
ACCOUNTS = {"montague": "balcony", "capulet": "poison"}
NOW = 1000.0


def server(key: bytes = b"key") -> DigestServer:
    return DigestServer("gw.example", lambda: ACCOUNTS, key)


def digest(algorithm: str, *parts: str) -> str:
    return hashlib.new({"MD5": "md5", "SHA-256": "sha256"}[algorithm], ":".join(parts).encode()).hexdigest()


class Claimant:
    """A client that computes what RFC 7616 §3.4.1 says, by itself."""

    def __init__(
        self, nonce: str, name: str = "montague", password: str = "balcony", algorithm: str = "SHA-256"
    ) -> None:
        self.nonce, self.name, self.password, self.algorithm = nonce, name, password, algorithm

    def field(self, count: str = "00000001", *, uri: str = URI, method: str = "INVITE", **others: str) -> str:
        algorithm = self.algorithm
        secret = digest(algorithm, self.name, "gw.example", self.password)
        target = digest(algorithm, method, uri)
        made = digest(algorithm, secret, self.nonce, count, "c", "auth", target)
        values = {
            "username": f'"{self.name}"', "realm": '"gw.example"', "nonce": f'"{self.nonce}"', "uri": f'"{uri}"',
            "response": f'"{made}"', "algorithm": algorithm, "qop": "auth", "nc": count, "cnonce": '"c"', **others,
        }  # fmt: skip
        return "Digest " + ", ".join(f"{key}={value}" for key, value in values.items() if value)


def nonce_of(made: DigestServer, now: float = NOW, source: str = HERE) -> str:
    return AuthField.parse(made.challenges(source, now)[0]).parameter("nonce") or ""


def invite(*claims: str, method: str = "INVITE", uri: str = URI, body: bytes = b"") -> Request:
    headers = [("From", "<sip:montague@gw.example>;tag=1"), *(("Authorization", claim) for claim in claims)]
    return Request(method, uri, Headers(headers), body)


def test_the_challenge_offers_sha_256_and_then_md5() -> None:
    first, second = (AuthField.parse(value) for value in server().challenges(HERE, NOW))
    assert [first.parameter("algorithm"), second.parameter("algorithm")] == ["SHA-256", "MD5"]
    assert {each.parameter("realm") for each in (first, second)} == {"gw.example"}
    assert {each.parameter("qop") for each in (first, second)} == {"auth"}
    assert first.parameter("stale") is None
    assert AuthField.parse(server().challenges(HERE, NOW, stale=True)[0]).parameter("stale") == "true"


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_who_knows_the_password_is_let_in(algorithm: str) -> None:
    made = server()
    claim = Claimant(nonce_of(made), algorithm=algorithm).field()
    assert made.judge(invite(claim), HERE, NOW + 1) == Finding("montague")
    assert made.judge(invite("Basic abc", "Digest realm=other", claim.replace("gw", "xx")), HERE, NOW) == Finding(None)


def test_our_own_client_is_let_in_again_and_again() -> None:
    made = server()
    client = Authenticator(Credentials("capulet", "poison"), lambda: "cnonce")
    refusal = Response(401, "", Headers(("WWW-Authenticate", value) for value in made.challenges(HERE, NOW)))
    assert client.learn(refusal, again=False)
    for _ in range(70):
        ((name, value),) = client.headers("INVITE", URI, b"body")
        assert (name, made.judge(invite(value, body=b"body"), HERE, NOW)) == ("Authorization", Finding("capulet"))


@pytest.mark.parametrize(
    "claim",
    [
        lambda c: c.field(response='"0"'),
        lambda c: c.field(response="\u00fc"),
        lambda c: c.field(response=""),
        lambda c: c.field(qop=""),
        lambda c: c.field(qop="token"),
        lambda c: c.field(algorithm="MD5"),
        lambda c: c.field(algorithm="SHA-9000"),
        lambda c: c.field(cnonce='"other"'),
        lambda c: c.field(method="BYE"),
        lambda c: c.field(uri="sip:+900123456@gw.example"),
        lambda c: c.field(uri="nonsense"),
        lambda c: Claimant(c.nonce, password="wrong").field(),
        lambda c: Claimant(c.nonce, name="nobody").field(),
        lambda c: Claimant(c.nonce, name="", password="nobody").field(),
        lambda c: c.field() + " " * 5000,
        lambda c: "Digest",
        lambda c: "",
    ],
)
def test_whatever_is_wrong_with_a_claim_it_is_worth_nothing(claim: Callable[[Claimant], str]) -> None:
    made = server()
    assert made.judge(invite(claim(Claimant(nonce_of(made)))), HERE, NOW) == Finding(None)


def test_a_nonce_ages_and_only_who_knows_the_password_is_told() -> None:
    made = server()
    old = nonce_of(made)
    late = NOW + LIFETIME + 1
    assert made.judge(invite(Claimant(old).field()), HERE, NOW + LIFETIME - 1) == Finding("montague")
    assert made.judge(invite(Claimant(old).field("00000002")), HERE, late) == Finding(None, stale=True)
    assert made.judge(invite(Claimant(old, password="wrong").field()), HERE, late) == Finding(None)
    assert made.judge(invite(Claimant(old, name="nobody").field()), HERE, late) == Finding(None)


@pytest.mark.parametrize(
    "nonce",
    [
        *("", "0-0", "xyz-1", "-", "ffffffffffffffffff-0"),
        nonce_of(server(b"another key")),
        nonce_of(server(), source="192.0.2.7"),
        nonce_of(server(), now=NOW + 5),
    ],
)
def test_a_nonce_that_is_not_ours_for_this_source_is_stale(nonce: str) -> None:
    assert server().judge(invite(Claimant(nonce).field()), HERE, NOW) == Finding(None, stale=True)


def test_each_use_of_a_nonce_counts_once_whatever_their_order() -> None:
    made = server()
    claimant = Claimant(nonce_of(made))

    def let_in(count: int) -> bool:
        return made.judge(invite(claimant.field(f"{count:08x}")), HERE, NOW).account is not None

    assert [let_in(count) for count in (1, 1, 3, 2, 2, 3, 80, 20, 20, 79, 10, 80, 200, 136, 135, 136)] == [
        True, False, True, True, False, False, True, True, False, True, False, False, True, True, False, False
    ]  # fmt: skip
    assert not made.judge(invite(claimant.field("1")), HERE, NOW).account
    assert not made.judge(invite(claimant.field("0000000g")), HERE, NOW).account


def test_only_so_many_nonces_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digestserver, "MAX_NONCES", 3)
    made = server()
    for number in range(10):
        claim = Claimant(nonce_of(made, NOW + number)).field()
        assert made.judge(invite(claim), HERE, NOW + number).account
    assert len(made._uses) == 3


def test_a_proxy_may_change_the_parameters_of_the_uri_and_nothing_else() -> None:
    made = server()
    claim = Claimant(nonce_of(made)).field(uri=f"{URI};transport=udp")
    assert made.judge(invite(claim, uri="sip:eve@gw.example"), HERE, NOW) == Finding(None)
    assert made.judge(invite(claim, uri="http://gw.example"), HERE, NOW) == Finding(None)
    assert made.judge(invite(claim), HERE, NOW) == Finding("montague")


# At the agent's door


class Door(Bench):
    """A gateway with trunks that prove themselves by passwords, and its `standing` of everybody else."""

    def __init__(self, standing: Standing = Standing.STRANGER, accounts: dict[str, str] | None = None) -> None:
        super().__init__()
        self.asked: list[Source] = []
        found = ACCOUNTS if accounts is None else accounts
        self.agent.digest = DigestServer("gw.example", lambda: found, b"key")
        self.agent.standing = lambda source: standing

    def calls(self, *, password: str = "balcony", name: str = "montague", host: str = "wire.example") -> list[str]:
        """What somebody hears who calls, and calls again with a password."""
        caller = peer()
        caller.target, caller.from_ = URI, f"<sip:x@{host}>;tag=1"
        refusals = self.take(caller.request("INVITE", content=SDP))
        if statuses(refusals) != [401]:
            return refusals
        self.take(caller.request("ACK", sequence=1))
        nonce = AuthField.parse(field(refusals[0], "WWW-Authenticate")).parameter("nonce") or ""
        claim = Claimant(nonce, name, password).field()
        return self.take(caller.request("INVITE", extra=f"Authorization: {claim}", content=SDP))


def test_a_trunk_at_an_unknown_address_is_let_in_by_its_password() -> None:
    door = Door()
    assert statuses(door.calls()) == [100]
    assert [request.account for _, request in door.incoming] == ["montague"]
    assert door.agent.gate.counts == {"challenged": 1}


def test_an_unknown_name_and_a_wrong_password_get_the_same_answer() -> None:
    door = Door()
    one, other = door.calls(password="wrong"), door.calls(name="nobody")
    assert statuses(one + other) == [401, 401]
    for name in ("WWW-Authenticate", "Warning", "Retry-After"):
        assert fields(one[0], name) == fields(other[0], name)
    assert "stale" not in one[0]
    assert door.incoming == []


def test_unknown_names_cost_the_same_work_as_wrong_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    real = response

    def counting(*args: object, **kwargs: object) -> str:
        hashed.append("digest")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(digestserver, "response", counting)
    for wrong in ({"password": "wrong"}, {"name": "nobody"}):
        Door().calls(**wrong)
    assert hashed == ["digest", "digest"]


def test_where_nobody_has_a_password_strangers_hear_nothing() -> None:
    door = Door(accounts={})
    assert door.calls() == []
    assert door.agent.gate.counts == {"ignored": 1}


def test_scanners_hear_nothing_even_where_calls_are_challenged() -> None:
    door = Door()
    for name in ("OPTIONS", "REGISTER", "MESSAGE", "SUBSCRIBE"):
        assert door.take(peer().request(name)) == []
    assert door.agent.busy == (0, 0)


def test_who_guesses_hears_nothing_after_a_while() -> None:
    door = Door()
    heard = [statuses(door.calls(password="wrong")) for _ in range(40)]
    assert heard[0] == [401]
    assert heard[-1] == []


def test_where_anybody_may_call_only_who_says_to_be_ours_is_challenged() -> None:
    door = Door(Standing.GUEST)
    assert statuses(door.calls()) == [100]
    assert [request.account for _, request in door.incoming] == [None]
    assert statuses(door.calls(host="GW.example", password="wrong")) == [401]
    assert statuses(door.calls(host="gw.example")) == [100]
    assert door.incoming[-1][1].account == "montague"


def test_a_nonce_that_grew_old_is_replaced_without_asking_anybody() -> None:
    door = Door()
    caller = peer()
    caller.target = URI
    refusal = door.take(caller.request("INVITE", content=SDP))[0]
    nonce = AuthField.parse(field(refusal, "WWW-Authenticate")).parameter("nonce") or ""
    door.wait(LIFETIME + 1)
    claim = Claimant(nonce).field()
    again = door.take(caller.request("INVITE", extra=f"Authorization: {claim}", content=SDP))
    assert statuses(again) == [401]
    assert all("stale=true" in value for value in fields(again[0], "WWW-Authenticate"))


def test_what_comes_inside_the_call_is_not_challenged() -> None:
    door = Door()
    door.calls()
    usage, request = door.incoming[-1]
    ok = door.reply(usage, request, 200, SDP)[0]
    inside = peer()
    inside.call_id, inside.from_ = field(ok, "Call-ID"), field(ok, "From")
    inside.took(ok)
    door.take(inside.request("ACK", sequence=2))
    assert statuses(door.take(inside.request("BYE", sequence=3))) == [200]
    assert answer(ok, 200)
