"""The shape of what dialplan files say about money: price tables, budgets and bursts. As schema.py, these are the
reference too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.dialplan.fields import Amount, Count, Currency, Text, Words
from gateway.dialplan.toml import Section


class PricesSection(Section):
    """What calls cost, by the beginning of the number. Trunks and routes name it."""

    name: Text
    """What trunks and routes call it."""
    file: Text
    """A CSV file beside this one. Its first line names the columns: `prefix` (digits of E.164, the longest that fits
    counts), `connect` and `per_minute` (decimals, with a point and six digits behind it at most), and where wanted
    `first` and `step`, and `destination`, which is for people. Up to 200,000 lines."""
    currency: Currency
    """Of all its prices, as `"EUR"`."""
    first: Annotated[int, Field(ge=0, le=3600)] = 1
    """Seconds that an answered call is charged for at least; a line of the file may say otherwise."""
    step: Annotated[int, Field(ge=1, le=3600)] = 1
    """Seconds that are charged whole after that, once they have begun: 60 for minutes."""
    unpriced: Literal["refuse", "free"] = "refuse"
    """What has no line, short codes and SIP addresses among it: is not called by this price, or costs nothing."""


class CountedSection(Section):
    """What counts: all that it says has to be so. Without it all calls that a trunk may be asked for."""

    country: Words = ()
    """As in `route.match`."""
    type: Words = ()
    """As in `route.match`."""
    number: Words = ()
    """As in `route.match`."""


class SubjectSection(Section):
    """Whose calls count, and which."""

    name: Text
    """What users are told, and what counters are kept under: under another name they begin anew."""
    user: Words = ()
    """JIDs with `*`, or `@group`: each user counts for himself."""
    group: Text | None = None
    """A group, which counts as a whole."""
    match: CountedSection = Field(default_factory=lambda: CountedSection.model_validate({}))
    """Which calls count, as below; without it all that a trunk may be asked for."""


class AllowanceSection(Section):
    """What may be used up. Each begins anew with the hour, the day and the month of UTC."""

    calls_per_hour: Count | None = None
    """Calls that are answered; one counts while it is tried, and not when nobody answered it."""
    calls_per_day: Count | None = None
    """Likewise."""
    minutes_per_hour: Count | None = None
    """Minutes of answered calls; who has used them up is warned, and his call is ended."""
    minutes_per_day: Count | None = None
    """Likewise."""
    spend_per_hour: Amount | None = None
    """What answered calls cost, by the prices of trunks and routes."""
    spend_per_day: Amount | None = None
    """Likewise."""
    spend_per_month: Amount | None = None
    """Likewise."""


class BudgetSection(AllowanceSection, SubjectSection):
    """What may be used up in an hour, a day or a month. Has one of `user` and `group`. Every budget that is for a call
    counts, and emergency calls are under none.
    """

    freeze: bool = False
    """Whether who uses it up may make no calls that cost until an operator thaws him (`gateway thaw`)."""


class BurstSection(SubjectSection):
    """More calls than anybody makes, which freeze the account that makes them. Has one of `user` and `group`."""

    calls: Count
    """So many may begin..."""
    within: Annotated[int, Field(ge=1, le=86_400)]
    """...within so many seconds; one more, and the account may make no calls that cost until an operator thaws it."""
