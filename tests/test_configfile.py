"""gateway.toml and the environment: how they are read, and each fault of broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import configfile
from gateway.errors import ConfigurationError
from tests.configurations import COMPLETE, ECHO, MINIMAL, TLS, faults, read, written


def test_a_minimal_configuration_has_sensible_defaults(tmp_path: Path) -> None:
    found = read(written(tmp_path))
    assert (found.xmpp_domain, found.sip_domain) == ("sip.example.com", "sip.example.com")
    assert found.server == ("127.0.0.1", 5347)
    assert found.sip_listen == ("udp:0.0.0.0:5060", "tcp:0.0.0.0:5060")
    assert found.sip_nameservers == ()  # this machine's
    assert (found.media_ports, found.media_workers) == ((20_000, 29_999), 0)
    assert found.storage_url == f"sqlite:///{tmp_path.resolve()}/gateway.db"
    assert (found.http_listen, found.log_level, found.log_format) == ("127.0.0.1:8080", "info", "text")
    assert found.plan.named("echo")
    assert found.warnings == ()


def test_name_servers_come_with_their_ports(tmp_path: Path) -> None:
    servers = '[sip]\nnameservers = ["127.0.0.1:5353", "2001:db8::53", "[::1]:5353"]\n'
    assert read(written(tmp_path, MINIMAL + servers)).sip_nameservers == (
        ("127.0.0.1", 5353),
        ("2001:db8::53", 53),
        ("::1", 5353),
    )


def test_certificates_that_cannot_be_used_are_faults(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configfile.read(written(tmp_path, MINIMAL + TLS), {})
    faults = "\n".join(map(str, raised.value.faults))
    for name in ("sip.crt", "sip.key", "ca.pem"):
        assert f"{name} is not there" in faults
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        configfile.read(tmp_path / "gateway.toml", {})
    text = MINIMAL + '[sip]\nlisten = ["tls:0.0.0.0:5061"]\nkey = "sip.key"\n'
    (tmp_path / "gateway.toml").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        configfile.read(tmp_path / "gateway.toml", {})
    faults = "\n".join(map(str, raised.value.faults))
    assert "'tls:0.0.0.0:5061' needs the certificate of [sip]" in faults
    assert "a key without its certificate" in faults


def test_the_dialplan_knows_what_is_ours(tmp_path: Path) -> None:
    plan = read(written(tmp_path, COMPLETE)).plan
    assert plan.users == ("shakespeare.lit", "münchen.example")
    assert plan.own == {"sip.example.com", "voice.example.com"}
    assert {("192.0.2.1", 5060), ("203.0.113.7", 5060), ("127.0.0.1", 5070), ("::1", 5070)} <= plan.endpoints


# The environment -----------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    found = read(
        written(tmp_path, COMPLETE),
        GATEWAY_XMPP__SECRET="other",
        GATEWAY_XMPP__USERS="verona.example, shakespeare.lit",
        GATEWAY_XMPP__GRACE="5",
        GATEWAY_MEDIA__PORTS="[30000, 30999]",
        GATEWAY_MEDIA__WORKERS="1",
        GATEWAY_SIP__LISTEN="udp:192.0.2.9:5060",
        GATEWAY_LOG__LEVEL="error",
        PATH="/bin",
    )
    assert found.secret == "other"
    assert found.users == ("verona.example", "shakespeare.lit")
    assert (found.grace, found.media_ports, found.media_workers) == (5.0, (30_000, 30_999), 1)
    assert (found.sip_listen, found.log_level) == (("udp:192.0.2.9:5060",), "error")


def test_the_environment_can_bring_what_the_file_has_not(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    environ = {
        "GATEWAY_XMPP__DOMAIN": "sip.example.com",
        "GATEWAY_XMPP__SECRET": "123",
        "GATEWAY_XMPP__USERS": "shakespeare.lit",
    }
    found = configfile.read(path, environ)
    assert (found.xmpp_domain, found.secret) == ("sip.example.com", "123")


def test_faults_of_the_environment_are_told_by_their_names(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_SECRET": "s3cret",
        "GATEWAY_XMPP__SECERT": "s3cret",
        "GATEWAY_MEDIA__WORKERS": "many",
        "GATEWAY_LOG__LEVEL": "loud",
        "GATEWAY_XMPP__SECRET_FILE": "missing",
        "GATEWAY_SIP__ADVERTISE": "here",
    }
    found = faults(written(tmp_path), environ)
    assert sorted(found) == [
        "environment: GATEWAY_LOG__LEVEL: level: input should be 'debug', 'info', 'warning' or 'error'",
        "environment: GATEWAY_MEDIA__WORKERS: workers: input should be a valid integer",
        "environment: GATEWAY_SECRET: there is no such key",
        "environment: GATEWAY_SIP__ADVERTISE: 'here' is no IP address",
        "environment: GATEWAY_XMPP__SECERT: there is no such key",
        "environment: GATEWAY_XMPP__SECRET_FILE: missing cannot be read: No such file or directory",
    ]


# Faults --------------------------------------------------------------------------------------------------------------

BROKEN = {
    "nothing": ("", ["gateway.toml:1: 'domain' is missing in [xmpp]", "gateway.toml:1: 'users' is missing in [xmpp]"]),
    "no toml": ("[xmpp\n", ["gateway.toml:1: Expected ']' at the end of a table declaration"]),
    "unknown": (
        MINIMAL + "nick = 1\n[sipp]\n[media]\nport = 1\n[log]\nlevels = 1\n",
        [
            "gateway.toml:5: unknown key 'nick'",
            "gateway.toml:6: unknown section 'sipp', did you mean 'sip'?",
            "gateway.toml:8: unknown key 'port', did you mean 'ports'?",
            "gateway.toml:10: unknown key 'levels', did you mean 'level'?",
        ],
    ),
    "not a table": (MINIMAL + "[http]\n[[log]]\n", ["gateway.toml:6: 'log' must be a table"]),
    "xmpp": (
        '[xmpp]\ndomain = "sip example"\nserver = "127.0.0.1"\nsecret = "a"\nsecret_file = "b"\nusers = ["a b"]\n'
        "grace = -1\n",
        [
            "gateway.toml:1: [xmpp] needs one of secret and secret_file",
            "gateway.toml:2: not a host name: 'sip example'",
            "gateway.toml:3: '127.0.0.1' has no port",
            "gateway.toml:6: not a host name: 'a b'",
            "gateway.toml:7: grace: input should be greater than or equal to 0",
        ],
    ),
    "no secret": (
        '[xmpp]\ndomain = "sip.example.com"\nusers = ["sip.example.com"]\nserver = "a:b"\n',
        [
            "gateway.toml:1: [xmpp] needs one of secret and secret_file",
            "gateway.toml:3: sip.example.com is the gateway's own domain, not its users'",
            "gateway.toml:4: not a port: 'b'",
        ],
    ),
    "an empty secret file": (
        MINIMAL.replace('secret = "s3cret"', 'secret_file = "/dev/null"'),
        ["gateway.toml:3: /dev/null is empty"],
    ),
    "sip": (
        MINIMAL
        + '[sip]\ndomain = "-"\nadvertise = "gateway.example"\n'
        + 'listen = ["udp:0.0.0.0:5060", "0.0.0.0:5060", "udpp:1.2.3.4:5", "tcp:localhost:5060",'
        + ' "udp:0.0.0.0:5060", "tcp:[::]"]\n',
        [
            "gateway.toml:6: not a host name: '-'",
            "gateway.toml:7: 'gateway.example' is no IP address",
            "gateway.toml:8: '0.0.0.0:5060' is not TRANSPORT:ADDRESS:PORT",
            "gateway.toml:8: 'udpp:1.2.3.4:5' is not TRANSPORT:ADDRESS:PORT, did you mean 'udp'?",
            "gateway.toml:8: 'localhost' is no IP address",
            "gateway.toml:8: 'udp:0.0.0.0:5060' stands there twice",
            "gateway.toml:8: '[::]' has no port",
        ],
    ),
    "name servers": (
        MINIMAL + '[sip]\nnameservers = ["192.0.2.53", "dns.example:53", "[2001:db8::1]:x"]\n',
        ["gateway.toml:6: 'dns.example' is no IP address", "gateway.toml:6: not a port: 'x'"],
    ),
    "a name server with a port, or one group more": (
        MINIMAL + '[sip]\nnameservers = ["2001:db8::53", "2001:db8::1:53"]\n',
        ["gateway.toml:6: [2001:db8::1]:53 with a port, [2001:db8::1:53] without: '2001:db8::1:53'"],
    ),
    "too many name servers": (
        MINIMAL + '[sip]\nnameservers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]\n',
        ["gateway.toml:6: nameservers: three at most are asked"],
    ),
    "media": (
        MINIMAL
        + '[media]\nengine = "rtpengine"\naddress = "eth0"\nadvertise = "192.0.2.1,x"\nports = [5000, 6000]\n'
        + 'workers = 1000\nallow = ["10.0.0.1/8"]\n',
        [
            'gateway.toml:6: engine = "rtpengine" needs rtpengine = ["udp:ADDRESS:PORT"]',
            "gateway.toml:7: 'eth0' is no IP address",
            "gateway.toml:8: 'x' is no IP address",
            "gateway.toml:9: ports: 5060 is one of [sip] listen",
            "gateway.toml:10: workers: input should be less than or equal to 256",
            "gateway.toml:11: 10.0.0.1/8 has host bits set",
        ],
    ),
    "rtpengine's daemons": (
        MINIMAL
        + '[media]\nengine = "rtpengine"\nrtpengine = ["udp:192.0.2.1", "192.0.2.1:2223"]\n'
        + 'rtpengine_events = "x"\n',
        [
            "gateway.toml:7: 'udp:192.0.2.1' names no port",
            "gateway.toml:7: '192.0.2.1:2223' is not udp:ADDRESS:PORT or udp:ADDRESS:PORT;weight=NUMBER",
            "gateway.toml:8: 'x' has no port",
        ],
    ),
    "ports": (
        MINIMAL + "[media]\nports = [30000, 20000]\n",
        ["gateway.toml:6: ports: the lowest and the highest, from 1024 to 65535"],
    ),
    "media's sounds and limits": (
        MINIMAL + '[media]\nhold = "none.wav"\ntones = "USA"\nfirst_packet = 1\nbandwidth = 5\n',
        [
            "gateway.toml:6: none.wav cannot be played: No such file or directory",
            "gateway.toml:7: tones: string should match pattern '^([A-Za-z]{2})?$'",
            "gateway.toml:8: first_packet: input should be greater than or equal to 5",
            "gateway.toml:9: bandwidth: input should be greater than or equal to 100",
        ],
    ),
    "recordings": (
        MINIMAL + '[media]\nrecordings = "nowhere"\nrecord_format = "mp3"\nrecord_notice = "none.wav"\n',
        [
            "gateway.toml:6: nowhere is no folder",
            "gateway.toml:7: record_format: input should be 'wav' or 'opus'",
            "gateway.toml:8: none.wav cannot be played: No such file or directory",
        ],
    ),
    "one port": (MINIMAL + "[media]\nports = [30000]\n", ["gateway.toml:6: ports: too few values"]),
    "dialplan": (
        MINIMAL + '[dialplan]\nfiles = ["dialplan/*.toml", "more/*.toml", "", "/nowhere/*.toml"]\n',
        [
            "gateway.toml:6: 'more/*.toml' finds no file",
            "gateway.toml:6: '/nowhere/*.toml' finds no file",
            "gateway.toml:6: '' is no pattern of file names",
        ],
    ),
    "http": (MINIMAL + '[http]\nlisten = "0.0.0.0"\n', ["gateway.toml:6: '0.0.0.0' has no port"]),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN)
def test_every_fault_is_told_at_once_with_its_line(text: str, expected: list[str], tmp_path: Path) -> None:
    found = faults(written(tmp_path, text))
    assert sorted(line for line in found if "warning" not in line) == sorted(expected)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path / "gateway.toml") == ["gateway.toml: cannot be read: No such file or directory"]


def test_what_works_and_is_seldom_meant_is_a_warning(tmp_path: Path) -> None:
    text = MINIMAL.replace('secret = "s3cret"', 'secret_file = "component.secret"')
    path = written(tmp_path, text + '[http]\nlisten = "[::]:8080"\n[storage]\nkey_file = "missing.key"\n')
    (tmp_path / "component.secret").chmod(0o644)
    found = read(path)
    assert [(fault.line, fault.warning) for fault in found.warnings] == [(3, True), (6, True), (8, True)]
    assert found.secret == "s3cret"


def test_the_console_may_listen_on_localhost_by_name(tmp_path: Path) -> None:
    assert read(written(tmp_path, MINIMAL + '[http]\nlisten = "localhost:80"\n')).warnings == ()


# The dialplan --------------------------------------------------------------------------------------------------------


def test_a_dialplan_may_lie_anywhere(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(MINIMAL + f'[dialplan]\nfiles = ["{tmp_path.resolve()}/dialplan/e*.toml", "dialplan/echo.toml"]\n')
    assert [rule.name for rule in read(path).plan.routes] == ["test line"]


def test_faults_of_the_dialplan_come_with_those_of_the_configuration(tmp_path: Path) -> None:
    found = faults(written(tmp_path, MINIMAL + "x = 1\n", a="y = 1\n", b=ECHO + 'refuse = "no"\n'))
    assert found == [
        "gateway.toml:5: unknown key 'x'",
        "dialplan/a.toml:1: unknown key 'y'",
        "dialplan/b.toml:1: rule 'test line' needs one of via and refuse",
    ]


def test_an_example_that_does_not_hold_is_a_fault(tmp_path: Path) -> None:
    example = '[[example]]\nfrom = "juliet@shakespeare.lit"\nto = "echo"\nexpect = { outcome = "refuse" }\n'
    found = faults(written(tmp_path, a=ECHO + example))
    assert found == ["dialplan/a.toml:8: the example's outcome is route, expected refuse (calls the test line)"]


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("sqlite:///x.db", "sqlite:///{}/x.db"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("postgresql:///gateway", "postgresql:///gateway"),
    ],
)
def test_a_database_file_lies_beside_the_configuration(url: str, absolute: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, MINIMAL + f'[storage]\nurl = "{url}"\n'))
    assert found.storage_url == absolute.format(tmp_path.resolve())


def test_the_database_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('nonsense = 1\n[storage]\nurl = "sqlite:///calls.db"\n[xmpp]\ndomain = 5\n')
    assert configfile.storage_url(path, {}) == f"sqlite:///{tmp_path}/calls.db"
    assert configfile.storage_url(path, {"GATEWAY_STORAGE__URL": "sqlite:////x.db"}) == "sqlite:////x.db"


def test_a_database_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[storage]\nurl = 5\n")
    with pytest.raises(ConfigurationError):
        configfile.storage_url(path, {})


def test_an_engine_that_cannot_do_what_the_dialplan_says_is_warned_of(tmp_path: Path) -> None:
    text = MINIMAL + '[media]\nengine = "rtpengine"\nrtpengine = ["udp:192.0.2.1:2223;weight=2"]\n'
    found = configfile.read(written(tmp_path, text, echo=ECHO), {})
    assert [str(warning) for warning in found.warnings if warning.file == "gateway.toml"] == [
        "gateway.toml:6: warning: "
        "without rtpengine_events, where dtmf-log-dest of rtpengine sends to, no digits are traced",
        "gateway.toml:6: warning: route test line: rtpengine has no test lines: its calls will fail",
    ]
    assert (found.media_engine, found.rtpengine.nodes[0].weight) == ("rtpengine", 2)


@pytest.mark.parametrize(
    ("dtmf", "told"),
    [
        ("rfc4733", []),
        ("inband", ["gateway.toml:6: trunk carrier: rtpengine cannot hear digits as tones"]),
        ("info", ['gateway.toml:6: trunk carrier: dtmf = "info" needs rtpengine_events']),
    ],
)
def test_digits_that_the_engine_cannot_carry_are_a_fault(dtmf: str, told: list[str], tmp_path: Path) -> None:
    text = MINIMAL + '[media]\nengine = "rtpengine"\nrtpengine = ["udp:192.0.2.1:2223"]\n'
    trunk = f'[[trunk]]\nname = "carrier"\nproxy = "sip:192.0.2.9"\ndtmf = "{dtmf}"\n'
    try:
        configfile.read(written(tmp_path, text, trunk=trunk), {})
        found = []
    except ConfigurationError as error:
        found = [str(fault) for fault in error.faults if not fault.warning]
    assert found == told


def test_what_has_no_effect_with_rtpengine_is_said(tmp_path: Path) -> None:
    media = '[media]\nengine = "rtpengine"\nrtpengine = ["udp:192.0.2.1:2223"]\nrtpengine_events = "192.0.2.9:2224"\n'
    found = read(written(tmp_path, MINIMAL + media + "ports = [30000, 30999]\nworkers = 2\nsilence = 30\n"))
    assert [str(warning) for warning in found.warnings if "without effect" in str(warning)] == [
        "gateway.toml:9: warning: ports: without effect, for rtpengine has settings of its own",
        "gateway.toml:10: warning: workers: without effect, for rtpengine has settings of its own",
    ]


RECORDING = """
[[route]]
name = "recorded"
match = { host = "*.example.org" }
via = "direct"
record = "notice"
"""


@pytest.mark.parametrize(
    ("media", "told"),
    [
        ('engine = "embedded"\nrecordings = "calls"', []),
        (
            'engine = "embedded"',
            ["gateway.toml:5: route recorded: it records, and [media] recordings names no folder"],
        ),
        (
            'engine = "rtpengine"\nrtpengine = ["udp:192.0.2.1:2223"]\nrecordings = "calls"',
            ["gateway.toml:6: route recorded: rtpengine cannot record"],
        ),
    ],
    ids=["folder", "no folder", "rtpengine"],
)
def test_a_rule_that_records_needs_a_folder_and_an_engine_that_can(tmp_path: Path, media: str, told: list[str]) -> None:
    (tmp_path / "calls").mkdir()
    path = written(tmp_path, MINIMAL + f"[media]\n{media}\n")
    (tmp_path / "dialplan" / "recorded.toml").write_text(RECORDING)
    found = faults(path) if told else []
    assert [line for line in found if "warning" not in line] == told
    if not told:
        assert read(path).media.recordings


def test_call_records_are_kept_for_ever_or_for_days(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read(path).storage_keep_days is None
    path.write_text(MINIMAL + "[storage]\nkeep_days = 90\n")
    assert read(path).storage_keep_days == 90
    path.write_text(MINIMAL + "[storage]\nkeep_days = 0\n")
    (fault,) = faults(path)
    assert "greater than or equal to 1" in fault
