"""[[trunk]] tables -> trunks, checked for what they say of proxies, passwords, certificates and media."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway import addresses
from gateway.addresses import SipUri
from gateway.dialplan.compiled import Plan
from gateway.dialplan.rules import Trunk, is_encrypted
from gateway.dialplan.schema import TrunkSection
from gateway.dialplan.tables import Table, Tables, near
from gateway.errors import AddressError

CODECS = ("PCMA", "PCMU", "G722", "opus")
TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
RESERVED = frozenset({"direct", "echo", "enum", "joined", "xmpp"})  # what a via can be beside a trunk


def proxy_of(text: str) -> tuple[SipUri, str]:
    """The proxy of a trunk, and the path of its WebSocket. Raises AddressError.

    `wss://pbx.example:8089/ws` is `sip:pbx.example:8089;transport=wss`, asked for at /ws: RFC 7118 says nothing of
    paths. COMPAT: Asterisk's is /ws, and it answers 404 at any other.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in ("ws", "wss"):
        return SipUri.parse(text), "/"
    place, _, path = rest.partition("/")
    if not path.isascii() or " " in path or any(character in place for character in ";?@"):
        raise AddressError(f"not the URL of a WebSocket: {text!r}")
    return SipUri.parse(f"sip:{place};transport={scheme.lower()}"), f"/{path}"


@dataclass(frozen=True, slots=True)
class Trunks:
    """Builds the trunks. `own` knows which addresses are ours; `folders` are by the names of the files."""

    tables: Tables
    own: Plan
    folders: Mapping[str, Path]

    def read(self) -> dict[str, Trunk]:
        """By their names, without those that have no proxy."""
        sections = list(self.tables.sections("trunk", TrunkSection))
        built = {section.name: self._trunk(table, section) for table, section in sections}
        self._agree([(table, trunk) for table, section in sections if (trunk := built[section.name])])
        return {name: trunk for name, trunk in built.items() if trunk}

    def _agree(self, trunks: list[tuple[Table, Trunk]]) -> None:
        """Connections to one host are shared, so what has to be proven there cannot differ from trunk to trunk."""
        first: dict[tuple[str, str], tuple[str, object]] = {}
        for table, trunk in trunks:
            for what, concerned, value in (
                ("ca, server_name, certificate or key", trunk.proves, trunk.proof),
                ("path", trunk.by_websocket, trunk.ws_path),
            ):
                if not concerned:
                    continue
                name, known = first.setdefault((trunk.proxy.host, what), (trunk.name, value))
                if known != value:
                    message = (
                        f"trunk {name} has the same host and another {what}: connections are shared, so say the same"
                    )
                    self.tables.fault(table, ("proxy",), f"proxy: {message}")

    def _trunk(self, table: Table, section: TrunkSection) -> Trunk | None:
        if section.name in RESERVED or section.name.startswith("@"):
            self.tables.fault(table, ("name",), f"{section.name!r} is a reserved name")
        try:
            proxy, ws_path = proxy_of(section.proxy)
        except AddressError as error:
            self.tables.fault(table, ("proxy",), f"proxy: {error}")
            proxy = None
        if proxy and (proxy.scheme == "tel" or proxy.user is not None):
            self.tables.fault(table, ("proxy",), "proxy: sip:HOST, with port and transport where needed")
        if proxy and self.own.is_own(proxy):
            self.tables.fault(table, ("proxy",), f"proxy: {proxy.host} is this gateway itself")
        if section.register_ and section.username is None:
            self.tables.fault(table, ("register",), "to register, a trunk needs its username")
        if (section.username is None) != (section.password_file is None):
            self.tables.fault(table, ("username",), "username and password_file go together")
        if (section.inbound_username is None) != (section.inbound_password_file is None):
            message = "inbound_username and inbound_password_file go together"
            self.tables.fault(table, ("inbound_username",), message)
        names = [each.inbound_username for _, each in self.tables.sections("trunk", TrunkSection)]
        if section.inbound_username is not None and names.count(section.inbound_username) > 1:
            self.tables.fault(table, ("inbound_username",), "another trunk has the same name")
        for number, codec in enumerate(section.codecs):
            if codec not in CODECS:
                self.tables.fault(table, ("codecs", number), f"{codec!r} is no codec{near(codec.upper(), CODECS)}")
        if proxy and (proxy.parameter("transport") or "udp").lower() not in TRANSPORTS:
            near_it = near((proxy.parameter("transport") or "").lower(), TRANSPORTS)
            self.tables.fault(table, ("proxy",), f"proxy: {proxy.parameter('transport')!r} is no transport{near_it}")
        if section.key is not None and section.certificate is None:
            self.tables.fault(table, ("key",), "a key without its certificate")
        files = {
            key: self._file(table, key, name)
            for key in ("ca", "certificate", "key")
            if (name := getattr(section, key)) is not None
        }
        if section.srtp != "off" and proxy is not None and not is_encrypted(proxy):
            message = "the keys of the media travel in the signalling, and to this proxy that is not encrypted"
            self.tables.fault(table, ("srtp",), message, warning=True)
        if section.dtmf == "inband" and any(codec.lower() == "opus" for codec in section.codecs):
            message = "digits are tones here, and Opus bends them: they are lost in calls that use it"
            self.tables.fault(table, ("dtmf",), message, warning=True)
        allow = []
        for number, network in enumerate(section.allow):
            try:
                allow.append(ipaddress.ip_network(network))
            except ValueError as error:
                self.tables.fault(table, ("allow", number), f"allow: {error}")
        self.tables.named(table, "policy", section.policy)
        password, inbound = (
            self._password(table, key, name) if (name := getattr(section, key)) else None
            for key in ("password_file", "inbound_password_file")
        )
        if proxy is None:
            return None
        return Trunk(
            section.name, proxy, section.username, password, section.register_, section.from_, section.codecs,
            section.dtmf, section.srtp, section.transcode, section.max_calls, tuple(allow),
            section.policy, section.transfers, section.ping, tuple(name.lower() for name in section.tls_names),
            files.get("ca"), section.server_name.lower() if section.server_name else None,
            files.get("certificate"), files.get("key"),
            section.inbound_username, inbound, self._from_host(table, section), section.prices, section.video,
            ws_path,
        )  # fmt: skip

    def _from_host(self, table: Table, section: TrunkSection) -> str | None:
        if section.from_host is None:
            return None
        try:
            return addresses.host_of(section.from_host)
        except AddressError as error:
            self.tables.fault(table, ("from_host",), f"from_host: {error}")
            return None

    def _file(self, table: Table, key: str, name: str) -> str:
        """The full path of a file that has to be there. A link stays one: renewed certificates are linked anew."""
        path = self.folders[table.document.file] / name
        path = path.parent.resolve() / path.name
        if not path.is_file():
            self.tables.fault(table, (key,), f"{key}: there is no file {name}")
        return str(path)

    def _password(self, table: Table, key: str, name: str) -> str | None:
        password, problem, warning = read_secret(self.folders[table.document.file] / name)
        for text, is_warning in ((problem, False), (warning, True)):
            if text:
                self.tables.fault(table, (key,), f"{key}: {name} {text}", warning=is_warning)
        return password


def read_secret(path: Path) -> tuple[str | None, str | None, str | None]:
    """The first line of a file with a secret; what is wrong with it; what is doubtful. The secret is in no message."""
    try:
        with path.open(encoding="utf-8") as file:
            secret = file.readline(4096).strip()
            mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}", None
    except UnicodeDecodeError:
        return None, "is not UTF-8", None
    if not secret:
        return None, "is empty", None
    return secret, None, "can be read by everybody on this machine" if mode & stat.S_IROTH else None
