"""The shape of gateway.toml: its sections, their keys, what may stand there and what does when a key is left out.

What keys say about one another, about files and about the dialplan is checked where they are read (configfile.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gateway.dialplan.fields import Text, Words, one_or_more
from gateway.dialplan.toml import Section


class XmppSection(Section):
    domain: Text
    server: Text = "127.0.0.1:5347"
    secret: Annotated[Text | None, Field(repr=False)] = None
    secret_file: Text | None = None
    users: Annotated[Words, Field(min_length=1)]
    grace: Annotated[float, Field(ge=0, le=3600, strict=False)] = 60.0
    inline_candidates: bool = False
    ringing_after: Annotated[float, Field(ge=0, le=60, strict=False)] = 4.0
    chat_dtmf: bool = False
    chat_lines: Literal["off", "failures", "all"] = "failures"
    language: Literal["en", "de", "fr"] = "en"


class SipSection(Section):
    domain: Text | None = None
    listen: Annotated[Words, Field(min_length=1)] = ("udp:0.0.0.0:5060", "tcp:0.0.0.0:5060")
    advertise: Text | None = None
    certificate: Text | None = None
    key: Text | None = None
    ca: Text | None = None
    nameservers: Words = ()  # ADDRESS, ADDRESS:PORT or [IPV6]:PORT, three at most; without any the system's
    strangers: Literal["silent", "refuse"] = "silent"


class MediaSection(Section):
    engine: Literal["embedded", "rtpengine"] = "embedded"
    address: Text = "0.0.0.0"  # noqa: S104 -- media comes from anywhere
    advertise: Text | None = None
    ports: Annotated[tuple[int, int], BeforeValidator(one_or_more)] = (20_000, 29_999)
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    allow: Words = ()
    hold: Text | None = None  # a WAV or Opus file for those who wait
    tones: Annotated[str, Field(pattern="^([A-Za-z]{2})?$")] = ""  # whose ringing and busy tones (ISO 3166)
    first_packet: Annotated[float, Field(ge=5, le=3600, strict=False)] = 60.0  # s
    silence: Annotated[float, Field(ge=5, le=86400, strict=False)] = 60.0  # s
    video: bool = False  # with SIP addresses that are no trunk's; a trunk has a word of its own
    bandwidth: Annotated[int, Field(ge=100, le=100_000)] = 1_000  # kbit/s that each end of a call may send
    recordings: Text | None = None  # the folder that calls are recorded to
    record_format: Literal["wav", "opus"] = "wav"
    record_notice: Text | None = None  # a WAV or Opus file that says so, in place of two beeps
    rtpengine: Words = ()  # its daemons: udp:ADDRESS:PORT, with ;weight=NUMBER where they differ
    rtpengine_events: Text | None = None  # ADDRESS:PORT that their DTMF log is sent to


class DialplanSection(Section):
    files: Annotated[Words, Field(min_length=1)] = ("dialplan/*.toml",)
    watch: bool = False


class StorageSection(Section):
    url: Annotated[Text, Field(repr=False)] = "sqlite:///gateway.db"  # may hold a password
    key_file: Text | None = None  # for credentials of users, none of which are kept yet
    keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = None  # of call records; without it for ever


class HttpSection(Section):
    listen: Text = "127.0.0.1:8080"


class CallsSection(Section):
    """How many calls there may be: in the whole gateway, of one user, of strangers from SIP. What a `[[limit]]` of the
    dialplan says is beside these.
    """

    most: Annotated[int, Field(ge=1, le=100_000)] = 1000
    per_user: Annotated[int, Field(ge=1, le=100_000)] = 20
    strangers: Annotated[int, Field(ge=1, le=100_000)] = 200
    strangers_per_name: Annotated[int, Field(ge=1, le=100_000)] = 5
    strangers_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 60


class LogSection(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


SECTIONS: Mapping[str, type[Section]] = {
    "xmpp": XmppSection,
    "sip": SipSection,
    "media": MediaSection,
    "dialplan": DialplanSection,
    "storage": StorageSection,
    "http": HttpSection,
    "log": LogSection,
    "calls": CallsSection,
}
