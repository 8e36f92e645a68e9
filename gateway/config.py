"""What the gateway is started with, and what each room gets of it: frozen settings of its own.

Rooms are imported when their settings are asked for: `gateway check` needs none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.dialplan.files import matching
from gateway.dialplan.plan import Plan
from gateway.errors import Fault
from gateway.settings import CallsSection

if TYPE_CHECKING:
    from gateway.media.embedded import MediaSettings
    from gateway.media.rtpengine import RtpengineSettings
    from gateway.sip.overload import Door
    from gateway.sip.telephony import SipSettings
    from gateway.sip.tls import TlsSettings
    from gateway.xmpp.component import XmppSettings


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without faults. `warnings` are for the operator; paths and URLs are absolute."""

    path: Path
    xmpp_domain: str
    server: tuple[str, int]
    secret: str = field(repr=False)
    users: tuple[str, ...]
    grace: float
    inline_candidates: bool
    ringing_after: float | None
    chat_dtmf: bool
    chat_lines: Literal["off", "failures", "all"]
    language: str
    calls: CallsSection
    sip_domain: str
    sip_listen: tuple[str, ...]
    sip_advertise: str | None
    sip_certificate: Path | None
    sip_key: Path | None
    sip_ca: Path | None
    sip_nameservers: tuple[tuple[str, int], ...]  # none: this machine's
    sip_strangers: Literal["silent", "refuse"]
    media_engine: Literal["embedded", "rtpengine"]
    media_address: str
    media_advertise: str | None
    media_ports: tuple[int, int]
    media_workers: int
    media_allow: tuple[str, ...]
    media_hold: Path | None
    media_tones: str
    media_first_packet: float
    media_silence: float
    media_bandwidth: int
    media_recordings: Path | None
    media_record_format: Literal["wav", "opus"]
    media_record_notice: Path | None
    media_video: bool
    media_rtpengine: tuple[str, ...]
    media_rtpengine_events: tuple[str, int] | None
    storage_url: str = field(repr=False)
    storage_keep_days: int | None  # of call records; None: for ever
    key_file: Path | None
    http_listen: str
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["text", "json"]
    dialplan_patterns: tuple[str, ...]
    dialplan_watch: bool
    plan: Plan
    warnings: tuple[Fault, ...] = ()

    @property
    def dialplan_files(self) -> tuple[Path, ...]:
        """The files that the dialplan is read from, as they are there now."""
        named = (path for pattern in self.dialplan_patterns for path in matching(self.path.parent, pattern))
        included = (path for folder, pattern in self.plan.includes for path in matching(Path(folder), pattern))
        return tuple(dict.fromkeys((*named, *included)))

    @property
    def xmpp(self) -> XmppSettings:
        from gateway.xmpp.component import XmppSettings  # noqa: PLC0415 -- see the module's docstring

        host, port = self.server
        return XmppSettings(
            self.xmpp_domain,
            host,
            port,
            self.secret,
            self.users,
            self.grace,
            ringing_after=self.ringing_after,
            chat_dtmf=self.chat_dtmf,
            inline_candidates=self.inline_candidates,
        )

    @property
    def sip(self) -> SipSettings:
        from gateway.sip.telephony import SipSettings  # noqa: PLC0415

        return SipSettings(self.sip_domain, self.sip_listen, self.sip_advertise)

    @property
    def tls(self) -> TlsSettings:
        """Our certificate, and by what each trunk is known to be itself."""
        from gateway.sip.tls import TlsPeer, TlsSettings  # noqa: PLC0415

        def path(name: str | None) -> Path | None:
            return Path(name) if name is not None else None

        peers: dict[str, TlsPeer] = {}
        for trunk in self.plan.trunks.values():  # those of one host agree, as far as it concerns them
            known = peers.get(trunk.proxy.host, TlsPeer())
            if trunk.proves:
                proof = path(trunk.ca), trunk.server_name, path(trunk.certificate), path(trunk.key)
                known = TlsPeer(*proof, known.ws_path)
            if trunk.by_websocket:
                known = replace(known, ws_path=trunk.ws_path)
            peers[trunk.proxy.host] = known
        return TlsSettings(self.sip_certificate, self.sip_key, self.sip_ca, peers)

    @property
    def door(self) -> Door:
        """Who is heard of those who are no trunk."""
        from gateway.sip.overload import Door  # noqa: PLC0415

        return Door(strangers=self.sip_strangers)

    @property
    def media(self) -> MediaSettings:
        from gateway.media.embedded import MediaSettings  # noqa: PLC0415
        from gateway.media.leg import Patience  # noqa: PLC0415

        return MediaSettings(
            address=self.media_address,
            advertise=self.media_advertise,
            ports=self.media_ports,
            workers=self.media_workers,
            allow=self.media_allow,
            patience=Patience(first=self.media_first_packet, silence=self.media_silence),
            hold=str(self.media_hold or ""),
            bandwidth=self.media_bandwidth * 1_000,
            region=self.media_tones,
            json_log=self.log_format == "json",
            recordings=str(self.media_recordings or ""),
            record_format=self.media_record_format,
            record_notice=str(self.media_record_notice or ""),
        )

    @property
    def rtpengine(self) -> RtpengineSettings:
        from gateway.media.leg import Patience  # noqa: PLC0415
        from gateway.media.rtpengine import RtpengineSettings  # noqa: PLC0415
        from gateway.media.rtpengine_pool import address  # noqa: PLC0415

        return RtpengineSettings(
            tuple(address(text) for text in self.media_rtpengine),
            self.media_rtpengine_events,
            self.media_allow,
            Patience(first=self.media_first_packet, silence=self.media_silence),
            hold=str(self.media_hold or ""),
            region=self.media_tones,
        )
