"""Whole configurations in a folder, and what reading one comes to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway import configfile
from gateway.config import Config
from gateway.errors import ConfigurationError

MINIMAL = """\
[xmpp]
domain = "sip.example.com"
secret = "s3cret"
users = ["shakespeare.lit"]
"""


COMPLETE = """\
[xmpp]
domain = "sip.example.com"
server = "[2001:db8::1]:5347"
secret_file = "component.secret"
users = ["shakespeare.lit", "München.example"]
grace = 30

[sip]
domain = "Voice.example.com"
listen = ["udp:192.0.2.1:5060", "tcp:[::]:5070"]
advertise = "203.0.113.7"

[media]
engine = "embedded"
address = "192.0.2.1,2001:db8::1"
advertise = "203.0.113.7"
ports = [20000, 29999]
workers = 2
allow = ["10.0.0.0/8"]
tones = "GB"
first_packet = 30
silence = 120
bandwidth = 2000
rtpengine = ["udp:127.0.0.1:2223"]

[dialplan]
files = ["dialplan/*.toml"]

[storage]
url = "postgresql://gateway:s3cret@db.example/gateway"
key_file = "gateway.key"

[http]
listen = "127.0.0.1:8081"

[log]
level = "debug"
format = "json"
"""


ECHO = """\
[[route]]
name = "test line"
match = { kind = "name", name = "echo" }
via = "echo"
"""


TLS = """
[sip]
listen = ["udp:0.0.0.0:5060", "tls:0.0.0.0:5061", "wss:[::]:5443"]
certificate = "sip.crt"
key = "sip.key"
ca = "ca.pem"
strangers = "refuse"
"""


TRUNK = """\
[[trunk]]
name = "carrier"
proxy = "sips:sbc.carrier.example"
server_name = "carrier.example"
ca = "../ca.pem"
"""


def written(folder: Path, text: str = MINIMAL, **dialplan: str) -> Path:
    (folder / "dialplan").mkdir()
    for name, rules in (dialplan or {"echo": ECHO}).items():
        (folder / "dialplan" / f"{name}.toml").write_text(rules)
    for name in ("component.secret", "gateway.key"):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text("s3cret\n")
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def read(path: Path, **environ: str) -> Config:
    return configfile.read(path, environ)


def faults(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        configfile.read(path, environ or {})
    return [str(fault) for fault in error.value.faults]
