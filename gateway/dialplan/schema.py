"""The shape of dialplan files: a model per table. What tables say about one another is checked in load.py, `include`,
which stands above all of them, in files.py.

The texts below the keys are the reference in dialplan/README.md (ops/reference.py writes it there).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from gateway.dialplan.fields import Count, Failures, Record, RingSeconds, Spelling, Text, Transcoding, Weights, Words
from gateway.dialplan.schema_money import AllowanceSection, BudgetSection, BurstSection, PricesSection
from gateway.dialplan.toml import Section


class NumbersSection(Section):
    """How numbers are read."""

    region: str | None = None
    """Where people dial from (`"US"`), for national, short and emergency numbers; `[users]` may say otherwise."""
    unassigned: Literal["refuse", "route"] = "refuse"
    """What becomes of numbers that nobody has."""
    zone: str | None = None
    """The time zone of `hours`, as `"Europe/London"`, for rules that name none."""
    anonymous_prefix: Text | None = None
    """What is dialled before a number to call without name and number, as `"*67"`."""
    enum_suffix: Words = ("e164.arpa",)
    """Domains of DNS that are asked for numbers where a rule has `"enum"` for a via, one after the other (RFC 6116)."""


class LocationSection(Section):
    """A civic address that goes along with emergency calls as PIDF-LO (RFC 5139, RFC 6442)."""

    country: Text
    """Two letters of ISO 3166."""
    state: Text | None = None
    """State or province (A1)."""
    county: Text | None = None
    """County or district of it (A2)."""
    city: Text | None = None
    """City (A3)."""
    district: Text | None = None
    """Part of the city (A4)."""
    street: Text | None = None
    """Street (RD)."""
    number: Text | None = None
    """House number (HNO)."""
    number_suffix: Text | None = None
    """What follows the house number (HNS)."""
    landmark: Text | None = None
    """Landmark (LMK)."""
    location: Text | None = None
    """Anything else that helps to find it (LOC)."""
    floor: Text | None = None
    """Floor (FLR)."""
    name: Text | None = None
    """Who lives or works there (NAM)."""
    postcode: Text | None = None
    """Postal code (PC)."""
    building: Text | None = None
    """Building (BLD)."""
    unit: Text | None = None
    """Apartment or suite (UNIT)."""
    room: Text | None = None
    """Room (ROOM)."""


class EmergencySection(Section):
    """Emergency calls, before every rule and above every limit, for users of `[xmpp] users`. Required as soon as a rule
    leads to numbers or short codes.
    """

    action: Literal["route", "refuse"]
    """`"route"` by `via`, or `"refuse"` at once with a clear text."""
    via: Words = ()
    """Trunks, tried in this order."""
    foreign: Literal["emergency", "refuse"] = "emergency"
    """What another country's number is, as 911 dialled in Britain."""
    numbers: Words = ()
    """Emergency numbers of your own, beside the region's: 2 to 6 digits."""
    callback: Text | None = None
    """The number that is called back where the user has no `caller_id`, in E.164."""
    location: LocationSection | None = None
    """Where the users are. Calls of users whose own `region` is another country go without it."""


class TrunkSection(Section):
    """A provider or PBX."""

    name: Text
    """What rules call it."""
    proxy: Text
    """`sip:HOST`, with port and `;transport=` where needed; or the URL of its WebSocket, `wss://HOST:PORT/PATH`."""
    username: Text | None = None
    """For digest authentication, with `password_file`."""
    password_file: Text | None = None
    """A file beside this one whose first line is the password."""
    register_: bool = Field(False, alias="register")
    """Whether it wants to be told where we are."""
    from_: Text | None = Field(None, alias="from")
    """The number that calls show where the user has no `caller_id`."""
    from_host: Text | None = None
    """The host that From and P-Asserted-Identity have, where it wants its own; by default `[sip] domain`. With
    `register` also the domain that `username` is registered in; by default the host of `proxy`."""
    codecs: Annotated[Words, Field(min_length=1)] = ("PCMA", "PCMU")
    """Of `PCMA`, `PCMU`, `G722` and `opus`, the best first."""
    dtmf: Literal["rfc4733", "info", "inband"] = "rfc4733"
    """How digits go and come: as telephone-events beside the voice, in SIP INFO, or as tones in the voice."""
    srtp: Literal["off", "optional", "required"] = "off"
    """Media encryption by keys in the SDP (SDES): never; with whoever takes the keys that are offered beside plain RTP;
    or with everybody, and no call without."""
    transcode: Literal["fallback", "never", "prefer-opus"] = "fallback"
    """When media is transcoded: where no codec is common, never, or to give XMPP Opus."""
    video: bool = False
    """Whether calls may have video, where both ends do: VP8, VP9, H264 or AV1, relayed as it comes."""
    max_calls: Count | None = None
    """Calls at a time, in both directions."""
    allow: Words = ()
    """Networks that its calls come from, beside the address in `proxy`."""
    ping: Annotated[int, Field(ge=0, le=3600)] = 0
    """Seconds between OPTIONS to it, which tell whether it is there; 0: none. One that is silent is tried last."""
    tls_names: Words = ()
    """Names in the certificate with which its calls come over TLS; `[sip] ca` says whose certificates count."""
    inbound_username: Text | None = None
    """With `inbound_password_file`: its calls may come from anywhere, if they prove to be its own by digest
    authentication. Callers whom nobody knows are asked to."""
    inbound_password_file: Text | None = None
    """A file beside this one whose first line is that password."""
    ca: Text | None = None
    """A PEM file beside this one: who signs its own certificate; by default the system's authorities or `[sip] ca`."""
    server_name: Text | None = None
    """The name in its own certificate, where that is not the host of `proxy`."""
    certificate: Text | None = None
    """A PEM file beside this one: what we show it, where that is not the certificate of `[sip]`."""
    key: Text | None = None
    """The file with the key of `certificate`, where it is not in the same one."""
    policy: Text | None = None
    """The `[[policy]]` that numbers follow."""
    prices: Text | None = None
    """The `[[prices]]` that it charges. What has no price there is not called by it."""
    transfers: bool = True
    """Whether it may send the user whom it talks with elsewhere (REFER, a redirection): the new call is the user's, by
    his rules and limits."""


class FormatSection(Section):
    """How a number is spelled."""

    format: Spelling = "e164"
    """`e164` is +442079460018, `international` 442079460018, `national` what is dialled in the policy's region: there
    02079460018, and 00442079460018 elsewhere. Where each carrier has an exit code of its own, as in Brazil, calls to
    other countries are refused: give them a rule whose policy has `international` and the carrier's code for a
    `prefix`."""
    prefix: str = ""
    """What stands before it."""
    exceptions: Annotated[dict[str, Spelling], Field(strict=False, default_factory=dict)]
    """Patterns of E.164 numbers, as `"+1800*"`, with the format of theirs, which has no prefix."""


class PolicySection(Section):
    """How a trunk, or a rule, wants numbers spelled; without one they are E.164."""

    name: Text
    """What trunks and rules call it."""
    region: str | None = None
    """Whose numbers are national, in calls from the trunk too; by default the region of `[numbers]`."""
    to: FormatSection = Field(default_factory=lambda: FormatSection.model_validate({}))
    """The number that is called."""
    from_: FormatSection = Field(default_factory=lambda: FormatSection.model_validate({}), alias="from")
    """The caller's number in From."""
    asserted: FormatSection | None = None
    """The caller's number in P-Asserted-Identity, which is sent only where this is set, or for anonymous calls."""


class LimitSection(Section):
    """What may be used at a time. Has one of `user`, `group` and `trunk`."""

    user: Words = ()
    """JIDs with `*`, or `@group`: each user counts for himself. The first `[[limit]]` that is for a user counts."""
    group: Text | None = None
    """A group, which counts as a whole."""
    trunk: Text | None = None
    """A trunk, in both directions."""
    concurrent: Count | None = None
    """Calls at a time."""
    per_minute: Count | None = None
    """Calls that begin within a minute; of users and groups those that they make, of trunks all."""
    longest: Count | None = None
    """Seconds until a call is ended."""


class UserSection(Section):
    """What is set for a user, `[users."juliet@shakespeare.lit"]`, or for a group, `[users."@office"]`. A user's own
    settings win over those of his groups.
    """

    caller_id: Text | None = None
    """The number that his calls show, in E.164; it wins over a trunk's `from`."""
    display: Text | None = None
    """The name that his calls show."""
    region: str | None = None
    """Where he dials from; without it the country of his `caller_id`, and then the region of `[numbers]`."""
    anonymous: bool | None = None
    """Whether his calls withhold name and number (RFC 3323, RFC 3325). Trunks are still told, in confidence."""
    ring_seconds: RingSeconds | None = None
    """How long he is rung by calls from trunks, where the rule does not say; of several users who are rung the longest
    time counts."""
    longest: Count | None = None
    """Seconds until a call of his is ended, whoever called; of this, his rule's and his limits' the least counts."""
    transcode: Transcoding | None = None
    """When media of the calls that he makes is transcoded, where the rule does not say."""
    budget: AllowanceSection | None = None
    """What he may use up of all calls that a trunk may be asked for, in place of what `[[budget]]`s of each user
    for all calls say; those with a `match` and those of groups hold beside it."""


class MatchSection(Section):
    """What a rule is for: all that it says has to be so. Each key is a word or a list, of which one has to fit."""

    kind: Words = ()
    """`number`, `short`, `uri` or `name`; never `emergency`."""
    country: Words = ()
    """Regions (`"US"`) or calling codes (`"+44"`)."""
    type: Words = ()
    """`fixed_line`, `mobile` (each also what is known only as one of the two), `toll_free`, `premium_rate`,
    `shared_cost`, `voip`, `personal_number`, `pager`, `uan`, `voicemail`, `satellite`, `unknown`. Of short codes, where
    their price is known: `toll_free` and `premium_rate`."""
    number: Words = ()
    """Numbers as +E.164 or short codes, with `*` for any digits."""
    host: Words = ()
    """The host of a SIP address; `*.example.com` for the hosts below one."""
    user: Words = ()
    """The user part of a SIP address, with `*` for any text."""
    name: Words = ()
    """The local part of a name, with `*` for any text."""
    from_: Words = Field((), alias="from")
    """Callers: JIDs with `*`, or `@group`. Without it a rule is for users of `[xmpp] users`; `check` warns of rules for
    others."""
    regex: Words = ()
    """Regular expressions for the whole of what is called: a number, a short code, `user@host` or a name, in lower
    case. They are matched in one pass, so there are no back references and no looking around."""
    hours: Words = ()
    """When the rule holds, as `"Mon-Fri 08:00-18:00"`, `"Sat"` or `"22:00-06:00"`."""
    zone: str | None = None
    """The time zone of `hours`."""


class RouteSection(Section):
    """Calls from XMPP. The first rule that matches decides, by `via` or by `refuse`."""

    name: Text
    """What explanations and call records call it."""
    match: MatchSection = Field(default_factory=lambda: MatchSection.model_validate({}))
    """What it is for, as below; without it everything."""
    via: Words = ()
    """Trunks, tried one after the other while they are out of order; `"direct"` for the host in the address itself;
    `"enum"` for the SIP addresses that DNS has for the number; or `"echo"`, the test line."""
    refuse: Text | None = None
    """A text for the caller, in place of `via`."""
    policy: Text | None = None
    """The `[[policy]]` that numbers follow, in place of the trunk's."""
    anonymous: bool | None = None
    """Whether calls withhold name and number, whatever `[users]` says."""
    early_media: bool = False
    """Whether callers hear what comes before the answer: announcements, the network's own ringing."""
    transcode: Transcoding | None = None
    """When media is transcoded, in place of the trunk's word; `direct` has `fallback` without it."""
    transfers: bool | None = None
    """Whether who is called may send the caller elsewhere (REFER, a redirection): the new call is the caller's, by
    these rules. Without it trunks may, as far as they say so, and others may not."""
    weights: Weights = ()
    """For several vias: a number for each. Which one is asked first is drawn for every call, `[70, 30]` the first one
    in 70 of 100; then among those that are left, and those of weight 0 last. Without it the order is that of `via`."""
    failover: Failures | None = None
    """For several vias: the causes that lead to the next one, of `busy`, `certificate`, `congestion`, `declined`,
    `forbidden`, `internal`, `media-failed`, `no-answer`, `no-common-codec`, `not-found`, `protocol`, `security`,
    `timeout` and `unavailable`; without it `certificate`, `congestion`, `timeout` and `internal`. The end of
    `ring_seconds` always does."""
    ring_seconds: RingSeconds | None = None
    """How long a via has to be answered before the next one is asked, and all of them as many times as there are vias;
    then the call is refused. Without it they have 120 seconds together."""
    longest: Count | None = None
    """Seconds until a call is ended; of this and of limits the least counts."""
    enum_failure: Literal["next", "refuse"] = "next"
    """What follows where DNS gives no answer about the number: the next via, as where it is not listed, or none. A rule
    that has no other via leads to the next rule."""
    order: Literal["given", "cheapest"] = "given"
    """For several vias: in the order of `via`, or the one first by which a call of one minute costs the least, by the
    prices of the trunks. What is no trunk costs nothing, and what costs the same keeps its order."""
    prices: Text | None = None
    """The `[[prices]]` that the caller is charged by whatever trunk, in place of the trunk's."""
    record: Record = "no"
    """Whether answered calls are recorded, and with `"notice"` both hear so first."""


class InboundMatchSection(Section):
    """What an inbound rule is for."""

    source: Literal["any"] | None = None
    """`"any"`: also for callers who are no trunk; without it a rule is for trunks."""
    trunk: Words = ()
    """Trunks that the call comes from."""
    number: Words = ()
    """Numbers in any spelling, or `+E.164` with a `*` at the end."""
    user: Words = ()
    """The user part, as `juliet%shakespeare.lit`, with `*`."""
    caller: Words = ()
    """Who calls: a trunk's number as `+E.164` with `*`, `user@host` with `*` for anybody else, or `anonymous`. What
    strangers say of themselves is their own word."""
    hours: Words = ()
    """When the rule holds, as in `route.match`."""
    zone: str | None = None
    """The time zone of `hours`."""


class InboundSection(Section):
    """Calls from SIP. The first rule that matches decides."""

    name: Text | None = None
    """What explanations and call records call it."""
    match: InboundMatchSection
    """What it is for, as below."""
    to: Annotated[Words, Field(min_length=1)] | None = None
    """Users of `[xmpp] users`; `{user}` for what the first `*` of the user pattern stands for."""
    refuse: Text | None = None
    """A text for the caller's trunk, in place of `to`. A stranger learns no more than that nobody answers."""
    ring: Literal["parallel", "sequence"] = "parallel"
    """All at once, or one after the other."""
    ring_seconds: RingSeconds | None = None
    """How long they are rung by calls from trunks, in a sequence each of them; without it 55, in a sequence 25. The
    whole rings 170 at most. Strangers' calls ring 55 seconds whatever is said, or they would learn whom they reach."""
    longest: Count | None = None
    """Seconds until a call is ended; of this and of limits the least counts."""
    transcode: Transcoding | None = None
    """When media is transcoded, in place of the trunk's word."""
    record: Record = "no"
    """Whether answered calls are recorded, and with `"notice"` both hear so first."""


class ExpectSection(Section):
    """What must become of an example: `outcome`, and whatever else matters."""

    outcome: Literal["route", "refuse"]
    """Whether anybody is called."""
    kind: str | None = None
    """`number`, `emergency`, `short`, `uri` or `name`."""
    number: str | None = None
    """The number in E.164."""
    target: str | None = None
    """The SIP URI that the first via is asked for."""
    via: Words | None = None
    """The ways, in their order."""
    rule: str | None = None
    """The rule that decides."""
    reason: str | None = None
    """The text of a refusal."""
    to: Words | None = None
    """Who is rung by a call from SIP."""
    ring: Literal["parallel", "sequence"] | None = None
    """How."""
    tariff: Text | None = None
    """What it costs the caller by the first via, as `"0.012 EUR a minute"`, `"0.05 EUR and 0.10 EUR a minute, 60/60"`,
    or `"nothing"`."""
    budgets: Words | None = None
    """The budgets that it is booked under, in their order; `[]` for none."""
    record: Record | None = None
    """Whether it is recorded."""
    caller: Words | None = None
    """The user part of From towards each via, `"anonymous"` where it is withheld and `""` where it is our own form."""


class ExampleSection(Section):
    """A call and what must become of it; `check` proves it."""

    from_: Text | None = Field(None, alias="from")
    """Who calls; some user of `[xmpp] users` when left out."""
    to: Text | None = None
    """What he calls, without the gateway's domain."""
    inbound: Text | None = None
    """In place of both: the URI that SIP calls."""
    trunk: Text | None = None
    """The trunk that it comes from."""
    caller: Text | None = None
    """Beside `inbound`, who calls: `+12025550123`, `user@host` or `anonymous`; rules with `caller` need it."""
    region: Text | None = None
    """Where it is dialled."""
    at: datetime | None = None
    """When; rules with `hours` need it."""
    enum: Words | None = None
    """The SIP addresses that ENUM has for the number, `[]` for none; without it ENUM is not asked."""
    expect: ExpectSection
    """What must become of it."""


SINGLE: Mapping[str, type[Section]] = {"numbers": NumbersSection, "emergency": EmergencySection}
REPEATED: Mapping[str, type[Section]] = {
    "policy": PolicySection,
    "trunk": TrunkSection,
    "limit": LimitSection,
    "prices": PricesSection,
    "budget": BudgetSection,
    "burst": BurstSection,
    "route": RouteSection,
    "inbound": InboundSection,
    "example": ExampleSection,
}
NAMED: Mapping[str, type[Section]] = {"users": UserSection}
