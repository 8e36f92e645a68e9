"""How a dialled string is read: an emergency, a number, a short code, or why it is none.

Order
 1. Emergency, before any normalisation (emergencies.py).
 2. A number that the numbering plan knows (E.164 from here on).
 3. A short or service code of the region: what the metadata knows as one, what has a `*` or `#`, and what is too short
    to be a number.
 4. The rest is refused with its reason, or is an unassigned number, about which the operator decides.

What is not guessed
 - A national number where no region is known, and a local one without its area code (RFC 3966 §5.1.5).
 - Digits without the national prefix, where they are few enough for a local number: 30123456 is a telephone in Berlin
   for the library, and in Munich it is another one.
 - Numbers of somebody's own plan (`;phone-context=example.com`).
 - A + in front of what is no calling code. The library would read on without it, differently in each region.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberFormat, PhoneNumberType, ValidationResult
from phonenumbers.shortnumberinfo import ShortNumberCost

from gateway.contacts import MAX_DIALLED, Dialled
from gateway.dialplan import emergencies
from gateway.dialplan.emergencies import FOREIGN

__all__ = [
    "CALLING_CODES", "FOREIGN", "LONGEST_SHORT", "REGIONS", "SATELLITE", "SHORT_TYPES", "TYPES", "Kind", "Reading",
    "Region", "country_of", "digits_from", "international", "national", "one_exit_code", "read", "region_of",
]  # fmt: skip

# Numbering plans of the world are more patterns than `re` keeps compiled; each is compiled once, for as long as we run.
phonenumbers.enable_pattern_cache()


class Kind(StrEnum):
    URI = "uri"
    NUMBER = "number"
    EMERGENCY = "emergency"
    SHORT = "short"
    NAME = "name"


# Satellite and other networks of no country, as ITU's list of assigned codes (E.164 Annex D) has them: Inmarsat,
# personal numbers, Iridium and Globalstar, international networks, disaster relief, international premium rate. The
# library sees mobiles, VoIP and UANs in them; what they have in common is their price.
SATELLITE = frozenset({870, 878, 881, 882, 883, 888, 979})

_TYPES: dict[int, tuple[str, ...]] = {
    PhoneNumberType.FIXED_LINE: ("fixed_line",),
    PhoneNumberType.MOBILE: ("mobile",),
    PhoneNumberType.FIXED_LINE_OR_MOBILE: ("fixed_line", "mobile"),
    PhoneNumberType.TOLL_FREE: ("toll_free",),
    PhoneNumberType.PREMIUM_RATE: ("premium_rate",),
    PhoneNumberType.SHARED_COST: ("shared_cost",),
    PhoneNumberType.VOIP: ("voip",),
    PhoneNumberType.PERSONAL_NUMBER: ("personal_number",),
    PhoneNumberType.PAGER: ("pager",),
    PhoneNumberType.UAN: ("uan",),
    PhoneNumberType.VOICEMAIL: ("voicemail",),
    PhoneNumberType.UNKNOWN: ("unknown",),
}
# Where a published plan says another type than the library (9.0), and it matters to who pays.
_PUBLISHED: dict[str, tuple[str, ...]] = {
    "+3640": ("shared_cost",),  # NMHH: blue numbers; the library has them as free
    "+54810": ("shared_cost",),  # ENACOM: 0810
    "+601300": ("shared_cost",),  # MCMC: 1300, charged as a local call; the library has them as free
    "+6114": ("satellite",),  # ACMA: 014
    "+7954": ("satellite",),  # Russia's own satellite network
}
_PUBLISHED_LENGTHS = sorted({len(prefix) for prefix in _PUBLISHED})
TYPES = frozenset(name for names in _TYPES.values() for name in names) | {"satellite"}

REGIONS = frozenset(phonenumbers.SUPPORTED_REGIONS)
CALLING_CODES = frozenset(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)

_WHY = {
    ValidationResult.TOO_SHORT: "too short for a number",
    ValidationResult.TOO_LONG: "too long for a number",
    ValidationResult.INVALID_LENGTH: "of a length that no number of that country has",
    ValidationResult.INVALID_COUNTRY_CODE: "of no country",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "a local number without its area code",
}
_COST: dict[int, tuple[str, ...]] = {
    ShortNumberCost.PREMIUM_RATE: ("premium_rate",),
    ShortNumberCost.TOLL_FREE: ("toll_free",),
}
SHORT_TYPES = frozenset({"premium_rate", "toll_free"})  # of short codes
# Extensions and the like are of no length that a number has, and have at most this many digits. A number without its
# area code can be as short (RFC 3966 §5.1.5 forbids to guess it), and is known where the metadata knows its length.
LONGEST_SHORT = 6
_NO_LENGTH = frozenset({ValidationResult.TOO_SHORT, ValidationResult.INVALID_LENGTH})
# Digits of the longest local number. National numbering plans leave room for nine, Austria's direct dialling for more.
_LOCAL = {"AT": 12}
_LOCAL_ELSEWHERE = 9


@dataclass(frozen=True, slots=True)
class Reading:
    """What a dialled string means. `dial` is the number without its extension; `problem` says why it cannot be called.

    `number` is E.164, for kind number alone; `country` the library's region, None when it is of none. A short code has
    types where its price is known.
    """

    kind: Kind
    dial: str
    number: str | None = None
    country: str | None = None
    calling_code: int | None = None
    types: tuple[str, ...] = ()
    assigned: bool = True
    foreign: bool = False
    problem: str | None = None
    extension: str = ""

    @property
    def user(self) -> str:
        """What a trunk is sent, the user part of a SIP URI (RFC 3261 §19.1.6)."""
        return f"{self.dial};ext={self.extension}" if self.extension else self.dial


def read(dialled: Dialled, region: str | None, emergency: Collection[str] = (), *, at_a_host: bool = False) -> Reading:
    """Reads a dialled string as somebody in `region` means it; `emergency` are the operator's own emergency numbers.

    `at_a_host`: it is the user part of an address, where 110 and 118 are extensions and no tourist's call for help.
    """
    text = dialled.text
    if len(text) > MAX_DIALLED:
        return Reading(Kind.NUMBER, text, problem=f"a number of more than {MAX_DIALLED} digits")
    if found := emergencies.recognise(dialled, region, emergency):
        return Reading(Kind.EMERGENCY, found.dial, foreign=found.foreign)
    bare = emergencies.bare(text)
    if bare in FOREIGN and not at_a_host and not _known_short(bare, region):
        return Reading(Kind.EMERGENCY, bare, foreign=True)
    there = region
    if dialled.context.startswith("+"):
        there = next(iter(emergencies.regions(emergencies.calling_code(dialled.context[1:]))), None)
    elif dialled.context:
        problem = f"{text} is of the numbering plan of {dialled.context}, which nobody here knows"
        return Reading(Kind.NUMBER, text, problem=problem)
    reading = _service(text, there, emergency) or _read(text, there)
    if reading.problem:
        return reading
    if reading.kind is Kind.NUMBER:
        return dataclasses.replace(reading, extension=dialled.extension) if dialled.extension else reading
    wrong = None
    if dialled.extension:
        wrong = f"{text} is a short code, and those have no extensions"
    elif dialled.context and _code_of(region) != _code_of(there):
        wrong = f"{text} is a short code of another country, {dialled.context}"
    return dataclasses.replace(reading, problem=wrong) if wrong else reading


def _code_of(region: str | None) -> int:
    return phonenumbers.country_code_for_region(region or "ZZ")


def _service(text: str, region: str | None, emergency: Collection[str]) -> Reading | None:
    """A code with `*` or `#`. With a number inside (*67…, *21*…#) somebody down the line would call that number, or
    divert calls to it, and no rule would have seen it.
    """
    if "*" not in text and "#" not in text:
        return None
    inside = max(re.split(r"[*#]", text), key=len)
    problem = f"{text} is a service code with a number inside" if len(inside) > LONGEST_SHORT or "+" in text else None
    if found := emergencies.hidden_in(text, region, emergency):
        problem = f"{text} is a service code with an emergency number inside: call {found} alone"
    return Reading(Kind.SHORT, text, problem=problem)


def _read(text: str, region: str | None) -> Reading:
    if emergencies.is_exit_code(text, region) and not _known_short(text, region):
        return _none(text, f"{text} is an exit code, and no number follows")
    abroad = bool(emergencies.international(text, region))
    parsed = _parsed(text, region)
    if isinstance(parsed, str):
        code = not abroad and len(text) <= LONGEST_SHORT
        return Reading(Kind.SHORT, text, types=_cost(text, region)) if code else _none(text, parsed)
    type_ = phonenumbers.number_type(parsed)
    assigned = type_ != PhoneNumberType.UNKNOWN
    local = None if abroad else _could_be_local(text, parsed, region, assigned=assigned)
    if assigned:
        return _none(text, local) if local else _number(parsed, _TYPES.get(type_, ("unknown",)), assigned=True)
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    if not abroad and (_known_short(text, region) or _like_short(text, possible)):
        return Reading(Kind.SHORT, text, types=_cost(text, region))
    if possible != ValidationResult.IS_POSSIBLE:
        return _none(text, f"{text} is {_WHY.get(possible, 'not a number')}")
    problem = local or _prefix_left(text, parsed, abroad=abroad)
    return _none(text, problem) if problem else _number(parsed, ("unknown",), assigned=False)


def _none(text: str, problem: str) -> Reading:
    return Reading(Kind.NUMBER, text, problem=problem)


def _parsed(text: str, region: str | None) -> PhoneNumber | str:
    plus = text.startswith("+")
    if region is None and not plus:
        return f"{text} is a national number, and no region is set"
    try:
        parsed = phonenumbers.parse(text, None if plus else region)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            return f"{text} is of no country"
        return f"{text} cannot be read as a number"
    # The calling code of North America is its national prefix too, and the library takes both away.
    digits = emergencies.international(text, region) or text
    if parsed.country_code == 1 and len(digits) > len("1") + 10:
        return f"{text} is {_WHY[ValidationResult.TOO_LONG]}"
    return parsed


def _number(parsed: PhoneNumber, types: tuple[str, ...], *, assigned: bool) -> Reading:
    number = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    code = parsed.country_code or 0
    country = phonenumbers.region_code_for_number(parsed)
    published = next((found for n in _PUBLISHED_LENGTHS if (found := _PUBLISHED.get(number[:n]))), None)
    return Reading(
        Kind.NUMBER,
        number,
        number=number,
        country=country if country in REGIONS else None,  # "001" is the library's word for networks of no country
        calling_code=code,
        types=("satellite",) if code in SATELLITE else published or types,
        assigned=assigned,
    )


def _metadata(parsed: PhoneNumber) -> PhoneMetadata | None:
    """The metadata of a number's country; of the main one where several share a calling code."""
    return PhoneMetadata.metadata_for_region(phonenumbers.region_code_for_country_code(parsed.country_code or 0))


def _could_be_local(text: str, parsed: PhoneNumber, region: str | None, *, assigned: bool) -> str | None:
    """Why digits without the national prefix are left alone, where national numbers are written with one.

    Some never are, as 1588 numbers in Korea; the metadata tells for those that are assigned. Others without the prefix
    may well be another country's without its +: 12025550123 in Germany.
    """
    metadata = _metadata(parsed)
    if metadata is None or metadata.fixed_line is None or not (prefix := metadata.national_prefix):
        return None
    longest = min(_LOCAL.get(region or "", _LOCAL_ELSEWHERE), max(metadata.fixed_line.possible_length, default=0) - 1)
    if text.startswith(prefix) or (assigned and len(text) > longest):
        return None
    known = parsed if assigned else phonenumbers.example_number(region or "")
    written = phonenumbers.format_number(known, PhoneNumberFormat.NATIONAL) if known else ""
    prefixed = str(phonenumbers.normalize_digits_only(written)).startswith(prefix)
    if not prefixed and (assigned or len(text) > longest):
        return None
    if len(text) > longest:
        return f"{text} is no number as it stands: write it with {prefix} in front, or with + and its calling code"
    return f"{text} could be a local number: write it with {prefix} and its area code, or with +{parsed.country_code}"


def _prefix_left(text: str, parsed: PhoneNumber, *, abroad: bool) -> str | None:
    """Whether the national prefix stayed in front: 0911 in Germany is an area code alone, and never +490911."""
    metadata = _metadata(parsed)
    prefix = metadata.national_prefix if metadata else None
    if not prefix or not phonenumbers.national_significant_number(parsed).startswith(prefix):
        return None
    if abroad and prefix != "0":  # elsewhere a number may well begin with the digit of the prefix: +7 800
        return None
    return f"{text} is not a number with the national prefix {prefix} in front"


def _like_short(text: str, possible: int) -> bool:
    # 01 12 is the beginning of a number where numbers begin with 0, and 0 alone an operator.
    begun = text.startswith("0") and len(text) > 2
    return len(text) <= LONGEST_SHORT and possible in _NO_LENGTH and not begun


def _short_number(text: str, region: str) -> PhoneNumber | None:
    """The digits as they stand: parsing would take a national prefix away."""
    code = phonenumbers.country_code_for_region(region)
    if not code or not text.isdigit() or len(text) > LONGEST_SHORT:
        return None
    zeros = len(text) - len(text.lstrip("0")) if text.strip("0") else len(text) - 1
    return PhoneNumber(code, int(text), italian_leading_zero=zeros > 0, number_of_leading_zeros=zeros or None)


def _known_short(text: str, region: str | None) -> bool:
    """Whether the metadata knows these digits as a code of the region, such as directory enquiries."""
    number = _short_number(text, region or "")
    return number is not None and bool(phonenumbers.is_valid_short_number_for_region(number, region or ""))


def _cost(text: str, region: str | None) -> tuple[str, ...]:
    number = _short_number(text, region or "")
    return _COST.get(phonenumbers.expected_cost_for_region(number, region or ""), ()) if number else ()


# Whose region it is ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Region:
    """Where somebody dials from, None when nobody said, and who said it, after "the region": "of group office"."""

    code: str | None
    source: str
    said: bool = False  # of this caller himself; a number only suggests where he is, a file where most are


def region_of(
    *,
    asked: str | None = None,
    user: str | None = None,
    groups: Iterable[tuple[str, str | None]] = (),
    number: str | None = None,
    file: str | None = None,
) -> Region:
    """The region of a caller: what was asked for, else what is said of the user, else of the first of his groups that
    says one, else the country of his own number (E.164), else what the file says.

    What was said of him wins over what his number suggests: people move, and take their numbers with them.
    """
    if asked:
        return Region(asked, "that was asked for", said=True)
    if user:
        return Region(user, "of the user", said=True)
    for name, region in groups:
        if region:
            return Region(region, f"of group {name}", said=True)
    if number and (country := country_of(number)):
        return Region(country, f"of {number}")
    return Region(file, "of [numbers]" if file else "that nobody set")


def country_of(number: str) -> str | None:
    """The region of an E.164 number; of an unassigned one, if its calling code has but one."""
    parsed = _parsed(number, None)
    if isinstance(parsed, str):
        return None
    country = phonenumbers.region_code_for_number(parsed)
    return country if country in REGIONS else None


# How a number is written ----------------------------------------------------------------------------------------------


def national(number: str) -> str:
    """An E.164 number as its own country writes it: `020 7946 0018`. Unchanged when it is of no country."""
    return _formatted(number, PhoneNumberFormat.NATIONAL)


def international(number: str) -> str:
    """An E.164 number as E.123 writes it: `+44 20 7946 0018`."""
    return _formatted(number, PhoneNumberFormat.INTERNATIONAL)


def _formatted(number: str, style: int) -> str:
    parsed = _parsed(number, None)
    return number if isinstance(parsed, str) else phonenumbers.format_number(parsed, style)


def one_exit_code(region: str) -> bool:
    """Whether people in a region dial all other countries alike. Elsewhere each carrier has an exit code of its own."""
    return any(digits_from(number, region)[0] != "+" for number in ("+442079460018", "+12025550123"))


def digits_from(number: str, region: str) -> str:
    """What a telephone in `region` dials for an E.164 number: `02079460018` in GB, `011442079460018` in the US.

    With the + where the region has several exit codes, where the digits would be read as another number, and for what
    is no number.
    """
    parsed = _parsed(number, None)
    if isinstance(parsed, str):
        return number
    written = phonenumbers.format_out_of_country_calling_number(parsed, region)
    digits = str(phonenumbers.normalize_digits_only(written))
    # The library writes 00 for Hong Kong, where 001 is an exit code: 0012025550123 is a telephone in Egypt there.
    return number if written.startswith("+") or _parsed(digits, region) != parsed else digits
