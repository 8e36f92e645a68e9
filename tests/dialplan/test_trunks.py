"""[[trunk]] tables: what is read from beside them, and what is wrong about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.addresses import SipUri
from gateway.dialplan.trunks import RESERVED, proxy_of, read_secret
from gateway.errors import ConfigurationError
from tests.dialplan.test_load import faults_of, loaded, password


def trunk(name: str = "carrier", **keys: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in ({"proxy": '"sip:192.0.2.1"'} | keys).items())
    return f'[[trunk]]\nname = "{name}"\n{lines}'


def test_a_trunk_has_the_password_of_its_file(tmp_path: Path) -> None:
    password(tmp_path)
    plan, _ = loaded(tmp_path, a=trunk(username='"romeo"', password_file='"carrier.password"'))
    found = plan.trunks["carrier"]
    assert (found.username, found.password) == ("romeo", "s3cret")
    assert "s3cret" not in repr(found)
    assert found.proxy == SipUri.parse("sip:192.0.2.1")


def test_trunks_at_one_host_want_the_same_proof(tmp_path: Path) -> None:
    """Their connections are shared: one of them would be believed by the word of the other."""
    for name in ("ca.pem", "other.pem"):
        (tmp_path / name).write_text("")
    first = trunk("first", proxy='"sip:pbx.example;transport=tls"', ca='"ca.pem"')
    fault = "proxy: trunk first has the same host and another"
    proof = "ca, server_name, certificate or key"

    def second(proxy: str, **keys: str) -> list[str]:
        try:
            loaded(tmp_path, a=first + trunk("second", proxy=f'"{proxy}"', **keys))
        except ConfigurationError as error:
            return [str(each) for each in error.faults]
        return []

    for keys in ({"ca": '"other.pem"'}, {"ca": '"ca.pem"', "server_name": '"sbc.example"'}, {}):
        told = f"a.toml:7: {fault} {proof}: connections are shared, so say the same"
        assert second("sip:pbx.example:5071;transport=tls", **keys) == [told]
    assert second("wss://pbx.example/ws", ca='"ca.pem"') == []  # a path is for WebSockets alone
    assert second("sip:pbx.example:5071;transport=tls", ca='"ca.pem"') == []
    assert second("sip:pbx.example") == []  # UDP proves nothing
    assert second("sip:elsewhere.example;transport=tls") == []
    first = trunk("first", proxy='"ws://pbx.example:8088/ws"')
    told = f"a.toml:6: {fault} path: connections are shared, so say the same"
    assert second("ws://pbx.example:8080/other") == [told]
    assert second("sip:pbx.example;transport=tls", ca='"ca.pem"') == []


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_trunk_has_the_name_of_another_way(tmp_path: Path, name: str) -> None:
    assert faults_of(tmp_path, a=trunk(name)) == [f"a.toml:2: {name!r} is a reserved name"]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"proxy": '"sip:a@192.0.2.1"'}, "3: proxy: sip:HOST, with port and transport where needed"),
        ({"proxy": '"sip:203.0.113.7"'}, "3: proxy: 203.0.113.7 is this gateway itself"),
        ({"proxy": '"sip:192.0.2.1;transport=tpc"'}, "3: proxy: 'tpc' is no transport, did you mean 'tcp'?"),
        ({"register": "true"}, "4: to register, a trunk needs its username"),
        ({"codecs": '"PCMB"'}, "4: 'PCMB' is no codec, did you mean 'PCMU'?"),
        ({"prices": '"a"'}, "4: 'a' is no prices"),
        ({"policy": '"a"'}, "4: 'a' is no policy"),
        ({"allow": '"192.0.2.1/24"'}, "4: allow: 192.0.2.1/24 has host bits set"),
        ({"ca": '"ca.pem"'}, "4: ca: there is no file ca.pem"),
    ],
)
def test_what_a_trunk_cannot_be_is_a_fault(tmp_path: Path, keys: dict[str, str], fault: str) -> None:
    assert faults_of(tmp_path, a=trunk(**keys)) == [f"a.toml:{fault}"]


def test_a_secret_that_everybody_can_read_is_doubtful(tmp_path: Path) -> None:
    password(tmp_path)
    assert read_secret(tmp_path / "carrier.password") == ("s3cret", None, None)
    (tmp_path / "carrier.password").chmod(0o644)
    assert read_secret(tmp_path / "carrier.password")[2] == "can be read by everybody on this machine"
    assert read_secret(tmp_path / "nothing") == (None, "cannot be read: No such file or directory", None)


@pytest.mark.parametrize(
    ("text", "proxy", "path"),
    [
        ("wss://pbx.example:8089/ws", "sip:pbx.example:8089;transport=wss", "/ws"),
        ("WS://[2001:db8::1]", "sip:[2001:db8::1];transport=ws", "/"),
        ("ws://pbx.example/sip?tenant=1", "sip:pbx.example;transport=ws", "/sip?tenant=1"),
        ("sip:pbx.example;transport=ws", "sip:pbx.example;transport=ws", "/"),
        ("sips:pbx.example", "sips:pbx.example", "/"),
    ],
)
def test_a_trunk_may_be_the_url_of_its_websocket(text: str, proxy: str, path: str) -> None:
    uri, found = proxy_of(text)
    assert (str(uri), found) == (proxy, path)
