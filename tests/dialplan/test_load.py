"""Dialplan files: the broken ones with each of their faults, and what whole ones become.

A line of broken/*.toml that is at fault says so itself, after each `#!`.
"""

from __future__ import annotations

import ipaddress
import shutil
from pathlib import Path

import pytest

from gateway.addresses import SipUri
from gateway.dialplan import load
from gateway.dialplan.hours import Hours, zone_of
from gateway.dialplan.numbers import Kind
from gateway.dialplan.plan import CallerSettings, Emergency, Format, InboundMatch, LimitRule, Match, Plan, Policy
from gateway.dialplan.regex import Regex
from gateway.errors import ConfigurationError, Fault

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.toml"))


def loaded(folder: Path, **texts: str) -> tuple[Plan, tuple[Fault, ...]]:
    files = []
    for name, text in texts.items():
        files.append(folder / f"{name}.toml")
        files[-1].write_text(text)
    return loaded_files(folder, *files)


def loaded_files(folder: Path, *files: Path) -> tuple[Plan, tuple[Fault, ...]]:
    endpoints = {("203.0.113.7", 5060), ("127.0.0.1", 5060)}
    return load.load(files, users=["shakespeare.lit"], own={"sip.example.com"}, endpoints=endpoints, base=folder)


def faults_of(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        loaded(folder, **texts)
    return [str(fault) for fault in error.value.faults]


def password(folder: Path, name: str = "carrier.password", text: str | bytes = "s3cret\n") -> None:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    (folder / name).chmod(0o600)


def test_there_are_enough_broken_files() -> None:
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_every_fault_of_a_broken_file_is_told_at_once_with_its_line(file: Path, tmp_path: Path) -> None:
    password(tmp_path, "empty.password", "\n")
    password(tmp_path, "binary.password", b"\xff\xfe\n")
    copy = tmp_path / file.name
    shutil.copy(file, copy)
    expected = [
        f"{file.name}:{number}: {fault.strip()}"
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for fault in line.split("#!")[1:]
    ]
    with pytest.raises(ConfigurationError) as error:
        loaded_files(tmp_path, copy)
    assert sorted(map(str, error.value.faults)) == sorted(expected)


def test_faults_come_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    found = faults_of(tmp_path, b="x = 1\ny = 2\n", a="z = 3\n")
    assert [line.split(": ")[0] for line in found] == ["b.toml:1", "b.toml:2", "a.toml:1"]


def test_a_file_that_is_not_there_is_a_fault_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("x = 1\n")
    with pytest.raises(ConfigurationError) as error:
        loaded_files(tmp_path, tmp_path / "a.toml", tmp_path / "b.toml")
    assert list(map(str, error.value.faults)) == [
        "a.toml: cannot be read: No such file or directory",
        "b.toml:1: unknown key 'x'",
    ]


def test_what_may_stand_once_may_stand_in_one_file_only(tmp_path: Path) -> None:
    text = '[numbers]\nregion = "US"\n'
    assert faults_of(tmp_path, a=text, b="\n" + text) == ["b.toml:2: [numbers] stands in a.toml:1 already"]
    groups = '[groups]\noffice = ["juliet@shakespeare.lit"]\n'
    assert faults_of(tmp_path, a=groups, b=groups) == ["b.toml:2: there is a group 'office' already"]


def test_a_mistyped_trunk_makes_no_second_fault_where_it_is_used(tmp_path: Path) -> None:
    text = """
[[trunk]]
name = "carrier"
proxi = "sip:sbc.carrier.example"
[[route]]
name = "friends"
match = { kind = "uri" }
via = "carrier"
"""
    assert faults_of(tmp_path, a=text) == [
        "a.toml:2: 'proxy' is missing",
        "a.toml:4: unknown key 'proxi', did you mean 'proxy'?",
    ]


TRUNK = """
[[trunk]]
name = "carrier"
proxy = "sip:sbc.carrier.example;transport=tcp"
username = "romeo"
password_file = "carrier.password"
register = true
from = "+12025550100"
codecs = "PCMU"
max_calls = 30
allow = "192.0.2.0/24"
"""


def test_a_trunk_is_read_with_its_password_which_is_never_shown(tmp_path: Path) -> None:
    password(tmp_path)
    plan, warnings = loaded(tmp_path, a=TRUNK)
    trunk = plan.trunks["carrier"]
    assert not warnings
    assert trunk.proxy == SipUri.parse("sip:sbc.carrier.example;transport=tcp")
    assert (trunk.username, trunk.password, trunk.register, trunk.from_) == ("romeo", "s3cret", True, "+12025550100")
    assert (trunk.codecs, trunk.max_calls) == (("PCMU",), 30)
    assert trunk.allow == (ipaddress.ip_network("192.0.2.0/24"),)
    assert "s3cret" not in repr(plan)


def test_a_trunk_may_prove_itself_by_a_password_of_its_own(tmp_path: Path) -> None:
    password(tmp_path)
    (tmp_path / "inbound").write_text("p0ison\n")
    (tmp_path / "inbound").chmod(0o600)
    inbound = 'inbound_username = "capulet"\ninbound_password_file = "inbound"\n'
    plan, warnings = loaded(tmp_path, a=TRUNK + inbound)
    trunk = plan.trunks["carrier"]
    assert not warnings
    assert (trunk.inbound_username, trunk.inbound_password, trunk.password) == ("capulet", "p0ison", "s3cret")
    assert "p0ison" not in repr(plan)
    for wrong, told in (
        ('inbound_username = "capulet"\n', "inbound_username and inbound_password_file go together"),
        (inbound.replace('"inbound"', '"nowhere"'), "inbound_password_file: nowhere"),
        (inbound + TRUNK.replace("carrier", "other") + inbound, "another trunk has the same name"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            loaded(tmp_path, a=TRUNK + wrong)


def test_a_trunk_over_tls_is_read_with_the_names_and_files_that_prove_it(tmp_path: Path) -> None:
    password(tmp_path)
    for name in ("ca.pem", "ours.crt", "ours.key"):
        (tmp_path / name).touch()
    files = 'ca = "ca.pem"\ncertificate = "ours.crt"\nkey = "ours.key"\n'
    names = 'server_name = "SBC.example"\ntls_names = ["Carrier.example"]\n'
    plan, warnings = loaded(tmp_path, a=TRUNK.replace("transport=tcp", "transport=TLS") + files + names)
    trunk = plan.trunks["carrier"]
    assert not warnings
    assert (trunk.server_name, trunk.tls_names) == ("sbc.example", ("carrier.example",))
    assert [trunk.ca, trunk.certificate, trunk.key] == [
        str(tmp_path / name) for name in ("ca.pem", "ours.crt", "ours.key")
    ]


def test_what_a_trunk_over_tls_lacks_is_told(tmp_path: Path) -> None:
    password(tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        loaded(tmp_path, a=TRUNK.replace("transport=tcp", "transport=tsl") + 'ca = "ca.pem"\nkey = "our.key"\n')
    faults = "\n".join(map(str, raised.value.faults))
    for what in ("'tsl' is no transport", "there is no file ca.pem", "there is no file our.key", "a key without its"):
        assert what in faults


def test_a_password_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    password(tmp_path)
    (tmp_path / "carrier.password").chmod(0o644)
    _, warnings = loaded(tmp_path, a=TRUNK)
    assert [(fault.line, fault.warning) for fault in warnings] == [(6, True)]
    assert "can be read by everybody" in str(warnings[0])


def test_tones_through_a_codec_that_bends_them_are_warned_of(tmp_path: Path) -> None:
    password(tmp_path)
    for dtmf in ("info", "inband"):
        assert loaded(tmp_path, a=TRUNK + f'dtmf = "{dtmf}"\n')[1] == ()
    _, warnings = loaded(tmp_path, a=TRUNK.replace('"PCMU"', '["PCMA", "opus"]') + 'dtmf = "inband"\n')
    assert [(fault.line, "Opus bends them" in str(fault)) for fault in warnings] == [(12, True)]


def test_keys_for_the_media_that_travel_in_the_clear_are_warned_of(tmp_path: Path) -> None:
    password(tmp_path)
    _, warnings = loaded(tmp_path, a=TRUNK + 'srtp = "required"\n')
    assert [(fault.line, "travel in the signalling" in str(fault)) for fault in warnings] == [(12, True)]
    assert loaded(tmp_path, a=TRUNK.replace("transport=tcp", "transport=tls") + 'srtp = "required"\n')[1] == ()


def test_words_and_lists_of_words_are_one(tmp_path: Path) -> None:
    text = """
[emergency]
action = "route"
via = "a"
numbers = ["110"]
[[trunk]]
name = "a"
proxy = "sip:a.example"
[[route]]
name = "r"
via = "a"
[route.match]
kind = "uri"
host = ["München.example", "*.Shakespeare.lit"]
user = "Romeo"
from = "Juliet@shakespeare.lit"
[[inbound]]
match = { trunk = "a", user = "Nurse", number = ["+1 (202) 555-0100"] }
to = "Nurse@shakespeare.lit"
"""
    plan, _ = loaded(tmp_path, a=text)
    assert plan.emergency == Emergency("route", ("a",), "emergency", frozenset({"110"}))
    assert plan.routes[0].match == Match(
        kind=(Kind.URI,),
        host=("xn--mnchen-3ya.example", "*.shakespeare.lit"),
        user=("romeo",),
        from_=("juliet@shakespeare.lit",),
    )
    assert plan.inbound[0].name == "inbound 1"
    assert plan.inbound[0].match == InboundMatch(False, ("a",), ("+12025550100",), ("nurse",))
    assert plan.inbound[0].to == ("nurse@shakespeare.lit",)


def test_while_our_users_are_unknown_nothing_is_said_about_them(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[[inbound]]\nmatch = { source = "any" }\nto = "juliet@anywhere.example"\n')
    plan, warnings = load.load([file], users=[])
    assert plan.inbound[0].to == ("juliet@anywhere.example",)
    assert not warnings


def test_a_file_elsewhere_is_shown_with_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("x = 1\n")
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        load.load([tmp_path / "a.toml"], users=["shakespeare.lit"], base=tmp_path / "elsewhere")


def test_policies_limits_and_what_is_set_for_users_are_read(tmp_path: Path) -> None:
    text = """
[numbers]
region = "GB"
zone = "Europe/London"
anonymous_prefix = "*67"
[groups]
office = ["juliet@shakespeare.lit"]
[[policy]]
name = "national"
to = { format = "national", prefix = "9", exceptions = { "+1*" = "international" } }
asserted = {}
[[trunk]]
name = "a"
proxy = "sip:a.example"
policy = "national"
[users."Juliet@shakespeare.lit"]
caller_id = "+44 20 7946 0018"
display = "Juliet"
region = "US"
[users."@office"]
anonymous = true
[[limit]]
user = ["@office", "*@shakespeare.lit"]
per_minute = 3
[[limit]]
trunk = "a"
concurrent = 2
longest = 60
[[route]]
name = "r"
match = { regex = '[+]44[0-9]+', hours = ["Mon-Fri 08:00-18:00"], kind = "uri" }
via = "a"
policy = "national"
anonymous = false
"""
    plan, warnings = loaded(tmp_path, a=text)
    assert not warnings
    to = Format("national", "9", (("+1*", "international"),))
    assert plan.policies["national"] == Policy("national", None, to, Format(), Format())
    assert plan.trunks["a"].policy == "national"
    assert plan.callers == {
        "juliet@shakespeare.lit": CallerSettings("+442079460018", "Juliet", "US"),
        "@office": CallerSettings(anonymous=True),
    }
    assert plan.limits == (
        LimitRule(user=("@office", "*@shakespeare.lit"), per_minute=3),
        LimitRule(trunk="a", concurrent=2, longest=60),
    )
    rule = plan.routes[0]
    assert (rule.policy, rule.anonymous, plan.anonymous_prefix) == ("national", False, "*67")
    assert rule.match.regex == (Regex("[+]44[0-9]+"),)
    assert rule.match.hours == Hours.parse(["Mon-Fri 08:00-18:00"], zone_of("Europe/London"))


def test_an_emergency_has_a_callback_and_a_place(tmp_path: Path) -> None:
    text = """
[[trunk]]
name = "a"
proxy = "sip:a.example"
[emergency]
action = "route"
via = "a"
callback = "+12025550100"
[emergency.location]
street = "Independence Avenue"
country = "US"
city = "Washington"
"""
    plan, warnings = loaded(tmp_path, a=text)
    assert not warnings
    assert plan.emergency
    assert plan.emergency.callback == "+12025550100"
    assert plan.emergency.location == (("country", "US"), ("A3", "Washington"), ("RD", "Independence Avenue"))


def test_an_emergency_call_that_nobody_can_call_back_is_warned_of(tmp_path: Path) -> None:
    text = '[[trunk]]\nname = "a"\nproxy = "sip:a.example"\n[emergency]\naction = "route"\nvia = "a"\n'
    _, warnings = loaded(tmp_path, a=text)
    assert [(fault.line, fault.warning) for fault in warnings] == [(4, True)]


def test_enum_is_asked_below_the_names_that_are_given(tmp_path: Path) -> None:
    head = '[emergency]\naction = "refuse"\n[numbers]\n'
    rule = '[[route]]\nname = "it"\nmatch = { kind = "number" }\nvia = "enum"\nfailover = "not-found"\n'
    plan, warnings = loaded(tmp_path, a=head + 'enum_suffix = ["E164.Example", "e164.arpa"]\n' + rule)
    assert (plan.enum_suffixes, warnings) == (("e164.example", "e164.arpa"), ())
    assert plan.routes[0].via == ("enum",)
    assert loaded(tmp_path, a=head + rule)[0].enum_suffixes == ("e164.arpa",)


def test_a_rule_that_may_lead_on_hides_no_later_one(tmp_path: Path) -> None:
    head = '[emergency]\naction = "refuse"\n[[trunk]]\nname = "carrier"\nproxy = "sip:192.0.2.1"\n'
    numbers = '[[route]]\nname = "{0}"\nmatch = {{ kind = "number" }}\nvia = {1}\n'
    listed, others = numbers.format("listed", '"enum"'), numbers.format("others", '"carrier"')
    assert [rule.name for rule in loaded(tmp_path, a=head + listed + others)[0].routes] == ["listed", "others"]
    both = numbers.format("both", '["enum", "carrier"]')
    assert faults_of(tmp_path, a=head + both + others) == [
        "a.toml:10: rule 'others' is never reached: 'both' before it matches all that it does"
    ]


@pytest.mark.parametrize("suffixes", ["[]", '["a", "b", "c", "d", "e", "f"]'])
def test_enum_is_asked_below_a_few_names(tmp_path: Path, suffixes: str) -> None:
    assert faults_of(tmp_path, a=f"[numbers]\nenum_suffix = {suffixes}\n") == [
        "a.toml:2: enum_suffix: one to 5 domains"
    ]


def test_what_enum_cannot_do_is_a_fault(tmp_path: Path) -> None:
    text = """
[numbers]
enum_suffix = ["e164 arpa"]
[[route]]
name = "addresses"
match = { kind = "uri" }
via = "enum"
[[route]]
name = "test line"
match = { name = "echo" }
via = "echo"
enum_failure = "refuse"
[[example]]
to = "echo"
enum = ["mailto:a@b.example"]
expect = { outcome = "route" }
"""
    found = faults_of(tmp_path, a=text)
    assert [fault.partition(": ")[0] for fault in found] == ["a.toml:3", "a.toml:7", "a.toml:12", "a.toml:15"]
    assert found[1].endswith('enum has numbers: match kind = "number"')
    assert found[2].endswith("enum_failure is for enum, and it is not asked")
