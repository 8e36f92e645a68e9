"""What a configuration becomes in each room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway import configfile
from gateway.config import Config
from gateway.sip.tls import Tls, TlsPeer
from tests.configurations import COMPLETE, ECHO, MINIMAL, TLS, TRUNK, read, written
from tests.sip.authority import Authority


def test_a_complete_configuration_reaches_each_room(tmp_path: Path) -> None:
    found: Config = read(written(tmp_path, COMPLETE))
    assert (found.xmpp.host, found.xmpp.port, found.xmpp.domain) == ("2001:db8::1", 5347, "sip.example.com")
    assert (found.xmpp.secret, found.xmpp.grace) == ("s3cret", 30.0)
    assert found.xmpp.users == ("shakespeare.lit", "münchen.example")
    assert (found.sip.domain, found.sip.advertise) == ("voice.example.com", "203.0.113.7")
    assert found.sip.listen == ("udp:192.0.2.1:5060", "tcp:[::]:5070")
    assert (found.media.address, found.media.advertise) == ("192.0.2.1,2001:db8::1", "203.0.113.7")
    assert (found.media.ports, found.media.workers, found.media.allow) == ((20_000, 29_999), 2, ("10.0.0.0/8",))
    assert (found.media.hold, found.media.region, found.media.bandwidth) == ("", "GB", 2_000_000)
    assert (found.media.patience.first, found.media.patience.silence) == (30.0, 120.0)
    assert found.storage_url == "postgresql://gateway:s3cret@db.example/gateway"
    assert found.key_file == tmp_path.resolve() / "gateway.key"
    assert (found.http_listen, found.log_level, found.log_format) == ("127.0.0.1:8081", "debug", "json")


def test_certificates_reach_the_sip_room(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("sip:sip.example.com")
    certificate.rename(tmp_path / "sip.crt")
    key.rename(tmp_path / "sip.key")
    found = configfile.read(written(tmp_path, MINIMAL + TLS, trunk=TRUNK, echo=ECHO), {})
    Tls(found.tls).server()
    assert found.tls.ca == tmp_path / "ca.pem"
    assert found.tls.peers["sbc.carrier.example"] == TlsPeer(tmp_path / "ca.pem", "carrier.example")
    assert found.door.strangers == "refuse"


def test_what_a_trunk_has_to_prove_is_not_forgotten_for_another_at_its_host(tmp_path: Path) -> None:
    """The second one is asked by UDP, the third by a WebSocket: neither has a word to say of certificates."""
    (tmp_path / "ca.pem").write_text("")
    trunks = (
        TRUNK
        + """
[[trunk]]
name = "by datagrams"
proxy = "sip:sbc.carrier.example"

[[trunk]]
name = "by a WebSocket"
proxy = "ws://sbc.carrier.example:8088/ws"
"""
    )
    found = configfile.read(written(tmp_path, trunk=trunks, echo=ECHO), {})
    peer = found.tls.peers["sbc.carrier.example"]
    assert (peer.ca, peer.server_name, peer.ws_path) == (tmp_path / "ca.pem", "carrier.example", "/ws")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    assert "s3cret" not in repr(read(written(tmp_path, COMPLETE)))


def test_reading_imports_no_room(tmp_path: Path) -> None:
    rooms = [
        "slixmpp",
        "aioice",
        "sqlalchemy",
        "gateway.switchboard",
        "gateway.sip.telephony",
        "gateway.media.embedded",
    ]
    program = (
        "import pathlib, sys; from gateway import configfile; configfile.read(pathlib.Path(sys.argv[1]), {}); "
        f"print([room for room in {rooms} if room in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(written(tmp_path))], capture_output=True, check=True, text=True
    )
    assert done.stdout == "[]\n"


def test_candidates_all_at_once_are_asked_for_when_the_operator_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    assert not read(path).xmpp.inline_candidates
    assert read(path, GATEWAY_XMPP__INLINE_CANDIDATES="true").xmpp.inline_candidates


def test_dialplan_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    rules = {name: ECHO.replace("test line", name).replace('"echo" }', f'"{name}" }}') for name in ("b", "a", "c")}
    assert [rule.name for rule in read(written(tmp_path, **rules)).plan.routes] == ["a", "b", "c"]


def test_recordings_go_to_a_folder_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    text = MINIMAL + '[media]\nrecordings = "calls"\nrecord_format = "opus"\n'
    media = read(written(tmp_path, text)).media
    assert (media.recordings, media.record_format, media.record_notice) == (str(tmp_path / "calls"), "opus", "")
