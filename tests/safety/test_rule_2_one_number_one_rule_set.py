"""Rule 2: a number is a number call however it is written, a host that is or resolves to a trunk is that trunk, and our
own names are never dialled.
"""

from __future__ import annotations

import pytest

from gateway.sip.locate import Answer, Question
from gateway.sip.resolver import Resolver
from tests.safety.stage import CARRIER, PREMIUM, Stage
from tests.scenarios.scene import DOMAIN, NUMBER
from tests.support import phone_session

# Whatever stands before the % of a SIP URI, or alone, and may be read as +1 900 555 0123 by somebody down the line.
PREMIUM_USERS = (
    PREMIUM,
    "19005550123",
    "9005550123",
    "01119005550123",
    "+1-900-555-0123",
    "+1.900.555.0123",
    r"(900)\20555-0123",
    r"+1\20900\20555\200123",
    "＋１９００５５５０１２３",
    "١٩٠٠٥٥٥٠١٢٣",  # Arabic-Indic digits, which the library would read too
    r"\2b19005550123",
    r"+19005550123\3apassword",
    "+19005550123;npdi",
    "+19005550123;phone-context=example.com",
    r"+19005550123\3bext=1",
    "+19005550123#",
    "*67+19005550123",
    "*6719005550123",
    "+1900555012\u00b3",  # a superscript three
    "+1900555\u200b0123",  # with a zero-width space
    "+1900555\u00ad0123",  # with a soft hyphen
)
TRUNK_HOSTS = (
    "127.0.0.1",
    r"127.0.0.1\3a5060",
    r"127.0.0.1\3a5099",
    r"[\3a\3affff\3a127.0.0.1]",
    r"[\3a\3affff\3a7f00\3a1]",
    r"[0\3a0\3a0\3a0\3a0\3affff\3a7f00\3a0001]",
    "127.0.0.1;transport=tcp",
    "127.0.0.1;user=phone",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    CARRIER,
    CARRIER.upper(),
    f"{CARRIER}.",
    f"{CARRIER}..",
    r"sbc.carrier.example\3a5070",
    "ｓｂｃ．ｃａｒｒｉｅｒ．ｅｘａｍｐｌｅ",
    "sbc。carrier。example",
    "alias.example",
    "six.example",
    "elsewhere.example;maddr=127.0.0.1",
    "elsewhere.example;transport=udp;maddr=sbc.carrier.example",
    r"elsewhere.example;maddr=127.0.0.1\3a5060",
    "elsewhere.example;MADDR=127.0.0.1",
    "elsewhere.example;lr",
    "elsewhere.example;method=REFER",
    "elsewhere.example;ttl=1",
    "elsewhere.example;received=127.0.0.1",
    r"elsewhere.example?Route=<sip\3a127.0.0.1>",
    r"elsewhere.example\3fRoute=x",
    r"127.0.0.1\40elsewhere.example",
)
NAMES = {"alias.example": "127.0.0.1", "six.example": "::ffff:127.0.0.1", "elsewhere.example": "127.0.0.2"}
DENIED = ("forbidden", "congestion")


@pytest.mark.parametrize("user", PREMIUM_USERS)
async def test_a_premium_number_alone_is_refused_however_it_is_written(user: str) -> None:
    for scheme in ("", r"tel\3a", r"TEL\3a", "tel:"):
        async with Stage(NAMES) as stage:
            assert (await stage.calls(f"{scheme}{user}")).cause == "forbidden"
            assert not stage.invited


@pytest.mark.parametrize("host", TRUNK_HOSTS)
async def test_a_premium_number_at_a_trunk_is_refused_however_the_trunk_is_written(host: str) -> None:
    for scheme in ("", r"sips\3a", r"sip\3a", "sip:"):
        async with Stage(NAMES) as stage:
            assert (await stage.calls(f"{scheme}{PREMIUM}%{host}")).cause in DENIED
            assert not stage.invited


@pytest.mark.parametrize("user", PREMIUM_USERS)
async def test_a_premium_number_is_refused_however_it_is_written_at_any_host(user: str) -> None:
    async with Stage(NAMES) as stage:
        stage.stranger.busy = True
        host = rf"127.0.0.2\3a{stage.stranger.address[1]}"
        record = await stage.calls(f"{user}%{host}")
        if (
            user == r"\2b19005550123"
        ):  # no escape of ours (XEP-0106 §4): a backslash, and somebody's name at his own host
            assert (record.cause, stage.phone.heard) == ("busy", ["200 OK"])
        else:
            assert record.cause in DENIED
            assert not stage.invited
    for trunk in ("127.0.0.1", "alias.example"):
        async with Stage(NAMES) as stage:
            assert (await stage.calls(f"{user}%{trunk}")).cause in DENIED
            assert not stage.invited


@pytest.mark.parametrize("user", ["romeo", "echo", "romeo%x", r"romeo\40elsewhere.example", "anonymous", "a+1900"])
@pytest.mark.parametrize("host", ["127.0.0.1", CARRIER, "alias.example", r"[\3a\3affff\3a127.0.0.1]", r"127.0.0.1\3a9"])
async def test_a_trunk_takes_numbers_only(user: str, host: str) -> None:
    async with Stage(NAMES) as stage:
        assert (await stage.calls(f"{user}%{host}")).cause in DENIED
        assert not stage.invited


@pytest.mark.parametrize("host", ["127.0.0.1", CARRIER, "alias.example", "127.0.0.2", r"127.0.0.1\3a5099"])
async def test_a_number_at_a_host_takes_the_number_rules_and_leaves_by_their_trunk(host: str) -> None:
    async with Stage(NAMES) as stage:
        juliet = stage.device()
        juliet.initiates(f"{NUMBER}%{host}@{DOMAIN}", "s1")
        invite = await stage.phone.hears("INVITE")
        address, port = stage.phone.address
        assert invite.uri == f"sip:{NUMBER}@{address}:{port}"
        stage.phone.answers(invite, 486)
        assert (await stage.over()).via == "carrier"
        assert "INVITE" not in stage.stranger.heard


@pytest.mark.parametrize(
    "local",
    ["911", "112", "9-1-1", "+1911", "911%127.0.0.2", "112%elsewhere.example", "911;x=y%127.0.0.2", "9.1.1%127.0.0.2"],
)
async def test_an_emergency_call_goes_to_its_trunk_whatever_host_is_named(local: str) -> None:
    async with Stage(NAMES) as stage:
        juliet = stage.device()
        juliet.initiates(f"{local}@{DOMAIN}", "s1")
        invite = await stage.phone.hears("INVITE")
        assert (invite.uri.partition("@")[0]) in ("sip:911", "sip:112")
        stage.phone.answers(invite, 486)
        assert (await stage.over()).rule == "emergency"
        assert "INVITE" not in stage.stranger.heard


@pytest.mark.parametrize(
    "host",
    [
        DOMAIN,
        DOMAIN.upper(),
        f"{DOMAIN}.",
        r"sip.example.com\3a5099",
        "ourselves.example",
        "127.0.0.3",
        r"[\3a\3affff\3a127.0.0.3]",
        "ｓｉｐ．ｅｘａｍｐｌｅ．ｃｏｍ",
    ],
)
async def test_we_never_dial_ourselves(host: str) -> None:
    async with Stage({"ourselves.example": "127.0.0.3"}) as stage:
        for user in ("juliet", r"juliet\40shakespeare.lit", "romeo%x"):
            stage.traced.clear()
            assert (await stage.calls(f"{user}%{host}")).cause in DENIED
            assert not stage.invited


@pytest.mark.parametrize("then", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_a_name_that_becomes_a_trunk_between_decision_and_dialling_is_not_dialled(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(_: object, question: Question) -> Answer:
        return [then] if question.kind == "A" else []

    monkeypatch.setattr(Resolver, "ask", ask)
    async with Stage({"rebound.example": "127.0.0.2"}) as stage:
        port = stage.phone.address[1]
        for local in ("romeo%rebound.example", rf"romeo%rebound.example\3a{port}"):
            assert (await stage.calls(local)).cause == "congestion"
        assert not stage.invited


async def test_a_trunk_that_was_not_looked_up_yet_is_looked_up_before_anybody_may_call_around_it() -> None:
    async with Stage({"alias.example": "192.0.2.77", CARRIER: "192.0.2.77"}) as stage:
        assert (await stage.calls("romeo%alias.example")).cause == "forbidden"


@pytest.mark.parametrize(
    "contact",
    ["sip:romeo@127.0.0.1:{port}", "sip:romeo@127.0.0.1:{port};maddr=127.0.0.1", "sip:+19005550123@127.0.0.1:{port}"],
)
async def test_a_direct_callee_cannot_send_what_follows_to_a_trunk(contact: str) -> None:
    """His Contact and Record-Route say where ACK and BYE go (RFC 3261 §12.1.2): never where he could not be called."""
    async with Stage(NAMES) as stage:
        juliet = stage.device()
        address, port = stage.stranger.address
        juliet.initiates(rf"romeo%{address}\3a{port}@{DOMAIN}", "s1")
        invite = await stage.stranger.hears("INVITE")
        named = contact.format(port=stage.phone.address[1])
        stage.stranger.answers(invite, 200, phone_session(), contact=f"<{named}>", route=f"<{named};lr>")
        await stage.stranger.hears("ACK")
        juliet.terminates(rf"romeo%{address}\3a{port}@{DOMAIN}", "s1")
        await stage.stranger.hears("BYE")
        await stage.over()
        await stage.phone.is_heard()
        assert stage.phone.heard == ["200 OK"], "the carrier heard of nothing but the question whether we are there"


async def test_a_request_that_has_had_its_hops_is_not_taken_further() -> None:
    async with Stage(NAMES) as stage:
        invite = stage.phone.request("INVITE", None, "spent")
        invite.headers.set("Max-Forwards", "0")
        stage.phone.sends(bytes(invite))
        await stage.phone.hears_back("483 Too Many Hops")
        assert stage.switchboard.live == 0
