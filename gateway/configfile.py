"""gateway.toml and the environment -> a Config, or every fault at once.

    gateway.toml ──┐                ┌─> Config (config.py)
                   ├─ read ─ check ─┤
    GATEWAY_X__Y ──┘                └─> the dialplan's files ─> Plan

Rules
 1. Every key comes by environment too: GATEWAY_XMPP__SECRET is `secret` of [xmpp], and wins over the file. A value that
    is no text is written as in TOML; a list may be separated by commas.
 2. An unknown key is a fault, and so is an unknown GATEWAY_ name.
 3. Files that are named are looked for beside gateway.toml, wherever the gateway was started.
 4. A secret is in no message and in no repr.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from gateway import addresses, contacts
from gateway.config import Config
from gateway.dialplan import examples, load, toml
from gateway.dialplan.files import matching
from gateway.dialplan.plan import Plan
from gateway.dialplan.toml import Document, Place, Section
from gateway.errors import AddressError, ConfigurationError, Fault, MediaError
from gateway.settings import (
    SECTIONS,
    CallsSection,
    DialplanSection,
    HttpSection,
    LogSection,
    MediaSection,
    SipSection,
    StorageSection,
    XmppSection,
)

PREFIX = "GATEWAY_"
TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")

_OF_WORKERS = ("address", "advertise", "ports", "workers", "bandwidth", "recordings", "record_format", "record_notice")

AnySection = TypeVar("AnySection", bound=Section)


def read(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Reads gateway.toml with everything it names, and proves the dialplan's examples.

    Raises ConfigurationError with every fault, warnings among them.
    """
    return _Reader(path, os.environ if environ is None else environ).config()


def storage_url(path: Path, environ: Mapping[str, str] | None = None) -> str:
    """The database that gateway.toml names, whatever else is wrong there: who looks up why calls fail needs no more.

    Raises ConfigurationError.
    """
    reader = _Reader(path, os.environ if environ is None else environ)
    section, faults = toml.validate(
        reader.document, StorageSection, reader.document.values.get("storage", {}), ("storage",)
    )
    if section is None or faults:
        raise ConfigurationError(load.in_order(faults))
    return reader._storage_url(section.url)


class _Reader:
    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.base = path.resolve().parent
        self.faults: list[Fault] = []
        found = toml.read(path, path.name)
        if isinstance(found, Fault):
            raise ConfigurationError((found,))
        self.document = self._with_environment(found, environ)

    def fault(self, place: Place, message: str, *, warning: bool = False) -> None:
        self.faults.append(self.document.fault(place, message, warning=warning))

    def _with_environment(self, document: Document, environ: Mapping[str, str]) -> Document:
        """The file's values with those of the environment over them (rule 1)."""
        values = {key: dict(value) if isinstance(value, dict) else value for key, value in document.values.items()}
        variables: dict[Place, str] = {}
        for name in sorted(environ):
            if not name.startswith(PREFIX):
                continue
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            model = SECTIONS.get(section)
            if model is None or key not in model.model_fields:
                self.faults.append(Fault(toml.ENVIRONMENT, 0, f"{name}: there is no such key"))
                continue
            table = values.setdefault(section, {})
            if not isinstance(table, dict):
                continue  # the file's fault, reported as such
            for other in {"secret", "secret_file"} - {key} if key in {"secret", "secret_file"} else ():
                table.pop(other, None)
            table[key] = _from_text(environ[name], model, key)
            variables[(section, key)] = name
        return Document(document.file, values, document.lines, variables)

    def _section(self, name: str, model: type[AnySection]) -> AnySection | None:
        """A section without the keys of a wrong shape, whose faults are noted; None when too much is missing."""
        value = self.document.values.get(name, {})
        section, faults = toml.validate(self.document, model, value, (name,))
        self.faults.extend(faults)
        return section

    def config(self) -> Config:
        for key in self.document.values:
            if key not in SECTIONS:
                self.fault((key,), f"unknown section {key!r}{load.near(key, SECTIONS)}")
        xmpp = self._section("xmpp", XmppSection)
        sip = self._section("sip", SipSection)
        media = self._section("media", MediaSection)
        dialplan = self._section("dialplan", DialplanSection)
        storage = self._section("storage", StorageSection)
        http = self._section("http", HttpSection)
        log = self._section("log", LogSection)
        calls = self._section("calls", CallsSection)

        domain = self._host(("xmpp", "domain"), xmpp.domain) if xmpp else ""
        users = self._users(domain, xmpp) if xmpp else ()
        server = self._endpoint(("xmpp", "server"), xmpp.server) if xmpp else ("", 0)
        secret = self._secret(xmpp) if xmpp else ""
        sip_domain = self._host(("sip", "domain"), sip.domain) if sip and sip.domain else domain
        listen = tuple(self._listen(sip)) if sip else ()
        if sip and sip.advertise:
            self._ip(("sip", "advertise"), sip.advertise)
        certificates = self._certificates(sip) if sip else {}
        nameservers = tuple(self._nameservers(sip)) if sip else ()
        if media:
            self._check_media(media, listen)
        events = self._rtpengine(media) if media and media.engine == "rtpengine" else None
        if http:
            self._check_http(http)
        key_file = self._key_file(storage) if storage else None
        plan = self._plan(dialplan, users, {domain, sip_domain} - {""}, set(self._endpoints(sip, media, listen)))

        if media and plan:
            self._check_capabilities(media, plan)
        if not (xmpp and sip and media and storage and http and log and calls and dialplan and plan) or any(
            not fault.warning for fault in self.faults
        ):
            raise ConfigurationError(load.in_order(self.faults))
        return Config(
            path=self.path.resolve(),
            xmpp_domain=domain,
            server=server,
            secret=secret,
            users=users,
            grace=xmpp.grace,
            inline_candidates=xmpp.inline_candidates,
            ringing_after=xmpp.ringing_after or None,
            chat_dtmf=xmpp.chat_dtmf,
            chat_lines=xmpp.chat_lines,
            language=xmpp.language,
            calls=calls,
            sip_domain=sip_domain,
            sip_listen=sip.listen,
            sip_advertise=sip.advertise,
            sip_certificate=certificates.get("certificate"),
            sip_key=certificates.get("key"),
            sip_ca=certificates.get("ca"),
            sip_nameservers=nameservers,
            sip_strangers=sip.strangers,
            media_engine=media.engine,
            media_address=media.address,
            media_advertise=media.advertise,
            media_ports=media.ports,
            media_workers=media.workers,
            media_allow=media.allow,
            media_hold=self.base / media.hold if media.hold else None,
            media_tones=media.tones,
            media_first_packet=media.first_packet,
            media_silence=media.silence,
            media_bandwidth=media.bandwidth,
            media_recordings=self.base / media.recordings if media.recordings else None,
            media_record_format=media.record_format,
            media_record_notice=self.base / media.record_notice if media.record_notice else None,
            media_video=media.video,
            media_rtpengine=media.rtpengine,
            media_rtpengine_events=events,
            storage_url=self._storage_url(storage.url),
            storage_keep_days=storage.keep_days,
            key_file=key_file,
            http_listen=http.listen,
            log_level=log.level,
            log_format=log.format,
            dialplan_patterns=dialplan.files,
            dialplan_watch=dialplan.watch,
            plan=plan,
            warnings=load.in_order(self.faults),
        )

    # One check per kind of value

    def _host(self, place: Place, text: str) -> str:
        try:
            return addresses.host_of(text)
        except AddressError as error:
            self.fault(place, str(error))
            return ""

    def _endpoint(self, place: Place, text: str) -> tuple[str, int]:
        try:
            host, port = addresses.host_and_port(text)
        except AddressError as error:
            self.fault(place, str(error))
            return "", 0
        if port is None:
            self.fault(place, f"{text!r} has no port")
        return host, port or 0

    def _ip(self, place: Place, text: str) -> None:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            self.fault(place, f"{text!r} is no IP address")

    def _users(self, domain: str, section: XmppSection) -> tuple[str, ...]:
        users = []
        for number, text in enumerate(section.users):
            if host := self._host(("xmpp", "users", number), text):
                # JIDs carry a domain in letters, not in ASCII (RFC 7622 §3.2).
                users.append(contacts.readable_host(host))
            if host and host == domain:
                self.fault(("xmpp", "users", number), f"{text} is the gateway's own domain, not its users'")
        return tuple(users)

    def _secret(self, section: XmppSection) -> str:
        if (section.secret is None) == (section.secret_file is None):
            self.fault(("xmpp",), "[xmpp] needs one of secret and secret_file")
            return ""
        if section.secret_file is None:
            return section.secret or ""
        secret, problem, warning = load.read_secret(self.base / section.secret_file)
        for text, is_warning in ((problem, False), (warning, True)):
            if text:
                self.fault(("xmpp", "secret_file"), f"{section.secret_file} {text}", warning=is_warning)
        return secret or ""

    def _listen(self, section: SipSection) -> Iterator[tuple[str, int]]:
        for number, text in enumerate(section.listen):
            place: Place = ("sip", "listen", number)
            transport, colon, endpoint = text.partition(":")
            if not colon or transport not in TRANSPORTS:
                near = load.near(transport, TRANSPORTS)
                self.fault(place, f"{text!r} is not TRANSPORT:ADDRESS:PORT{near}")
                continue
            if text in section.listen[:number]:
                self.fault(place, f"{text!r} stands there twice")
            host, port = self._endpoint(place, endpoint)
            if host:
                self._ip(place, host)
                yield host, port

    def _nameservers(self, section: SipSection) -> Iterator[tuple[str, int]]:
        """Addresses, as nobody could look up the name of a name server; no more than a call has patience for."""
        if len(section.nameservers) > 3:
            self.fault(("sip", "nameservers"), "nameservers: three at most are asked")
        for number, text in enumerate(section.nameservers):
            place: Place = ("sip", "nameservers", number)
            try:
                host, port = addresses.server(text)
            except AddressError as error:
                self.fault(place, str(error))
                continue
            self._ip(place, host.strip("[]"))
            yield host.strip("[]"), port or 53

    def _certificates(self, section: SipSection) -> dict[str, Path]:
        """The files of [sip], which have to be there and to go together."""
        names = {"certificate": section.certificate, "key": section.key, "ca": section.ca}
        files = {key: self.base / name for key, name in names.items() if name is not None}
        missing = [key for key, path in files.items() if not path.is_file()]
        for key in missing:
            self.fault(("sip", key), f"{names[key]} is not there")
        for number, text in enumerate(section.listen):
            if text.partition(":")[0] in ("tls", "wss") and section.certificate is None:
                self.fault(("sip", "listen", number), f"{text!r} needs the certificate of [sip]")
        if section.key is not None and section.certificate is None:
            self.fault(("sip", "key"), "a key without its certificate")
        if "certificate" in files and not missing:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files["certificate"], files.get("key"))
            except (OSError, ssl.SSLError) as error:
                self.fault(("sip", "certificate"), f"{section.certificate} cannot be used: {error}")
        return files

    def _check_media(self, section: MediaSection, listen: tuple[tuple[str, int], ...]) -> None:
        for key, value in (("address", section.address), ("advertise", section.advertise)):
            for part in value.split(",") if value else ():
                self._ip(("media", key), part.strip())
        low, high = section.ports
        if not 1024 <= low < high <= 65535:
            self.fault(("media", "ports"), "ports: the lowest and the highest, from 1024 to 65535")
        for _, port in listen:
            if low <= port <= high:
                self.fault(("media", "ports"), f"ports: {port} is one of [sip] listen")
        for number, network in enumerate(section.allow):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                self.fault(("media", "allow", number), str(error))
        for key, name in (("hold", section.hold), ("record_notice", section.record_notice)):
            if name is not None:
                self._check_sound(key, name)
        if section.recordings is not None:
            folder = self.base / section.recordings
            if not folder.is_dir():
                self.fault(("media", "recordings"), f"{section.recordings} is no folder")
            elif not os.access(folder, os.W_OK | os.X_OK):
                self.fault(("media", "recordings"), f"{section.recordings} cannot be written to")

    def _rtpengine(self, section: MediaSection) -> tuple[str, int] | None:
        """The daemons, each of which has to be an address; where their log of digits comes in."""
        from gateway.media import rtpengine_pool  # noqa: PLC0415

        if not section.rtpengine:
            self.fault(("media", "engine"), 'engine = "rtpengine" needs rtpengine = ["udp:ADDRESS:PORT"]')
        for number, text in enumerate(section.rtpengine):
            try:
                rtpengine_pool.address(text)
            except MediaError as error:
                self.fault(("media", "rtpengine", number), str(error))
        said = self.document.values.get("media", {})
        for key in _OF_WORKERS:
            if isinstance(said, dict) and key in said:
                message = f"{key}: without effect, for rtpengine has settings of its own"
                self.fault(("media", key), message, warning=True)
        if section.rtpengine_events is not None:
            return self._endpoint(("media", "rtpengine_events"), section.rtpengine_events)
        message = "without rtpengine_events, where dtmf-log-dest of rtpengine sends to, no digits are traced"
        self.fault(("media", "engine"), message, warning=True)
        return None

    def _check_capabilities(self, section: MediaSection, plan: Plan) -> None:
        """What the dialplan asks for and the engine cannot do."""
        from gateway.media.capabilities import CAPABILITIES  # noqa: PLC0415

        able, place = CAPABILITIES[section.engine], ("media", "engine")
        recorded = [f"route {rule.name}" for rule in plan.routes if rule.record != "no"]
        recorded += [f"inbound {rule.name}" for rule in plan.inbound if rule.record != "no"]
        for name in recorded:
            if not able.recording:
                self.fault(place, f"{name}: {section.engine} cannot record")
            elif section.recordings is None:
                self.fault(("media",), f"{name}: it records, and [media] recordings names no folder")
        for rule in plan.routes:
            if "echo" in rule.via and not able.test_lines:
                message = f"route {rule.name}: {section.engine} has no test lines: its calls will fail"
                self.fault(place, message, warning=True)
        if section.video and not able.video:
            message = f"{section.engine} relays no video: calls have their audio alone"
            self.fault(("media", "video"), message, warning=True)
        for trunk in plan.trunks.values():
            if trunk.video and not able.video:
                message = f"trunk {trunk.name}: {section.engine} relays no video: its calls have their audio alone"
                self.fault(place, message, warning=True)
            if trunk.dtmf == "inband" and not able.tones:
                self.fault(place, f"trunk {trunk.name}: {section.engine} cannot hear digits as tones")
            if trunk.dtmf == "info" and not able.push and section.rtpengine_events is None:
                self.fault(place, f'trunk {trunk.name}: dtmf = "info" needs rtpengine_events')

    def _check_sound(self, key: str, name: str) -> None:
        from gateway.media import prompts  # noqa: PLC0415

        try:
            prompts.read(self.base / name)
        except MediaError as error:
            self.fault(("media", key), f"{name} cannot be played: {error}")

    def _check_http(self, section: HttpSection) -> None:
        host, _ = self._endpoint(("http", "listen"), section.listen)
        try:
            loopback = ipaddress.ip_address(host or "127.0.0.1").is_loopback
        except ValueError:
            loopback = host == "localhost"
        if not loopback:
            message = f"{host} can be reached from elsewhere, and there is no password"
            self.fault(("http", "listen"), message, warning=True)

    def _key_file(self, section: StorageSection) -> Path | None:
        if section.key_file is None:
            return None
        path = self.base / section.key_file
        if not path.is_file():
            self.fault(
                ("storage", "key_file"),
                f"{section.key_file} is not there; nothing needs it yet, no credentials of users are kept",
                warning=True,
            )
        return path

    def _storage_url(self, url: str) -> str:
        """A relative path of SQLite from beside gateway.toml (rule 3)."""
        scheme, slashes, name = url.partition(":///")
        if slashes and scheme.startswith("sqlite") and name and not name.startswith(("/", ":memory:", "file:")):
            return f"{scheme}:///{self.base / name}"
        return url

    # The dialplan

    def _endpoints(
        self, sip: SipSection | None, media: MediaSection | None, listen: tuple[tuple[str, int], ...]
    ) -> Iterator[tuple[str, int]]:
        """Addresses and ports that lead back to us."""
        advertised = [text for text in (sip and sip.advertise, media and media.advertise) if text]
        for host, port in listen:
            wildcard = host in {"0.0.0.0", "::"}  # noqa: S104 -- compared, not bound
            for address in ("127.0.0.1", "::1", "localhost") if wildcard else (host,):
                yield address, port
            for text in advertised:
                for address in text.split(","):
                    yield address.strip(), port

    def _plan(
        self, section: DialplanSection | None, users: tuple[str, ...], own: set[str], endpoints: set[tuple[str, int]]
    ) -> Plan | None:
        if section is None:
            return None
        files: list[Path] = []
        for number, pattern in enumerate(section.files):
            try:
                found = matching(self.base, pattern)
            except ValueError:
                self.fault(("dialplan", "files", number), f"{pattern!r} is no pattern of file names")
                continue
            if not found:
                self.fault(("dialplan", "files", number), f"{pattern!r} finds no file")
            files.extend(path for path in found if path not in files)
        try:
            plan, warnings = load.load(files, users=users, own=own, endpoints=endpoints, base=self.base)
        except ConfigurationError as error:
            self.faults.extend(error.faults)
            return None
        self.faults.extend(warnings)
        self.faults.extend(examples.prove(plan))
        return plan


def _from_text(text: str, model: type[Section], key: str) -> object:
    """A variable's value in the type that its key wants (rule 1)."""
    annotation = str(model.model_fields[key].annotation)
    if not re.search(r"\b(?:int|float|tuple|bool)\b", annotation):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return [part.strip() for part in text.split(",")] if "tuple" in annotation else text
