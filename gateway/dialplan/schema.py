"""The shape of dialplan files: a model per table. What tables say about one another is checked in load.py."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gateway.dialplan.toml import Section


def one_or_more(value: object) -> object:
    """A single word stands for a list of one; TOML's lists become tuples."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]
Text = Annotated[str, Field(min_length=1)]


class NumbersSection(Section):
    region: str | None = None
    unassigned: Literal["refuse", "route"] = "refuse"


class EmergencySection(Section):
    action: Literal["route", "refuse"]
    via: Words = ()
    foreign: Literal["emergency", "refuse"] = "emergency"
    numbers: Words = ()


class TrunkSection(Section):
    name: Text
    proxy: Text
    username: Text | None = None
    password_file: Text | None = None
    register_: bool = Field(False, alias="register")
    from_: Text | None = Field(None, alias="from")
    codecs: Annotated[Words, Field(min_length=1)] = ("PCMA", "PCMU")
    dtmf: Literal["rfc4733", "info", "inband"] = "rfc4733"
    srtp: Literal["off", "optional", "required"] = "off"
    transcode: Literal["fallback", "never", "prefer-opus"] = "fallback"
    max_calls: Annotated[int, Field(ge=1)] | None = None
    allow: Words = ()


class MatchSection(Section):
    kind: Words = ()
    country: Words = ()
    type: Words = ()
    number: Words = ()
    host: Words = ()
    user: Words = ()
    name: Words = ()
    from_: Words = Field((), alias="from")


class RouteSection(Section):
    name: Text
    match: MatchSection = Field(default_factory=lambda: MatchSection.model_validate({}))
    via: Words = ()
    refuse: Text | None = None


class InboundMatchSection(Section):
    source: Literal["any"] | None = None
    trunk: Words = ()
    number: Words = ()
    user: Words = ()


class InboundSection(Section):
    name: Text | None = None
    match: InboundMatchSection
    to: Annotated[Words, Field(min_length=1)]
    ring: Literal["parallel", "sequence"] = "parallel"


class ExpectSection(Section):
    outcome: Literal["route", "refuse"]
    kind: str | None = None
    number: str | None = None
    target: str | None = None
    via: Words | None = None
    rule: str | None = None
    reason: str | None = None
    to: Words | None = None
    ring: Literal["parallel", "sequence"] | None = None


class ExampleSection(Section):
    from_: Text | None = Field(None, alias="from")
    to: Text | None = None
    inbound: Text | None = None
    trunk: Text | None = None
    region: Text | None = None
    at: datetime | None = None
    expect: ExpectSection


SINGLE: Mapping[str, type[Section]] = {"numbers": NumbersSection, "emergency": EmergencySection}
REPEATED: Mapping[str, type[Section]] = {
    "trunk": TrunkSection,
    "route": RouteSection,
    "inbound": InboundSection,
    "example": ExampleSection,
}
