"""How a dialled string is read: an emergency, a number, a short code, or why it is none.

Order
 1. Emergency, before any normalisation: exactly an emergency number of the caller's region; `+CC` (or the region's exit
    code and CC) followed by exactly an emergency number of that country; exactly an entry of the operator's list.
    Prefixes never count: 9111 is no emergency, and 0911 is the area code of Nürnberg.
 2. A number that the numbering plan knows (E.164 from here on).
 3. A short or service code of the region: what the metadata knows as one, what has a `*` or `#`, and what is too short
    to be a number.
 4. The rest is refused with its reason, or is an unassigned number, about which the operator decides.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberType, ValidationResult

from gateway.addresses import Dialled


class Kind(StrEnum):
    URI = "uri"
    NUMBER = "number"
    EMERGENCY = "emergency"
    SHORT = "short"
    NAME = "name"


# Emergency numbers that every phone without a SIM card knows, in any country (3GPP TS 22.101 §10.1.1).
FOREIGN = frozenset({"000", "08", "110", "112", "118", "119", "911", "999"})

# Networks that belong to no country (ITU-T E.164.1 and the list of assigned codes). The library sees mobiles in some.
SATELLITE = frozenset({870, 881, 882, 883, 979})

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


@dataclass(frozen=True, slots=True)
class Reading:
    """What a dialled string means. `dial` is what a trunk is sent; `problem` is set when it cannot be called.

    `number` is E.164, for kind number alone; `country` the library's region, None when it is of none.
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


def read(dialled: Dialled, region: str | None, emergency: Collection[str] = (), *, at_a_host: bool = False) -> Reading:
    """Reads a dialled string as somebody in `region` means it; `emergency` are the operator's own emergency numbers.

    `at_a_host`: it is the user part of an address, where 110 and 118 are extensions and no tourist's call for help.
    """
    text = dialled.text
    if found := _emergency(text, region, emergency):
        return found
    if text in FOREIGN and not at_a_host and not _known_short(text, region):
        return Reading(Kind.EMERGENCY, text, foreign=True)
    if "*" in text or "#" in text:
        return Reading(Kind.SHORT, text)
    parsed = _parsed(text, region)
    if isinstance(parsed, str):
        short = not text.startswith("+") and len(text) <= 6
        return Reading(Kind.SHORT, text) if short else Reading(Kind.NUMBER, text, problem=parsed)
    if phonenumbers.is_valid_number(parsed):
        return _number(parsed, assigned=True)
    if not text.startswith("+") and _short(parsed, region, text):
        return Reading(Kind.SHORT, text)
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    if possible == ValidationResult.IS_POSSIBLE and not _trunk_prefix_left(parsed, region):
        return _number(parsed, assigned=False)
    return Reading(Kind.NUMBER, text, problem=f"{text} is {_WHY.get(possible, 'not a number')}")


def _parsed(text: str, region: str | None) -> PhoneNumber | str:
    if region is None and not text.startswith("+"):
        return f"{text} is a national number, and no region is set"
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            return f"{text} is of no country"
        return f"{text} cannot be read as a number"


def _number(parsed: PhoneNumber, *, assigned: bool) -> Reading:
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    code = parsed.country_code or 0
    country = phonenumbers.region_code_for_number(parsed)
    types = ("satellite",) if code in SATELLITE else _TYPES.get(phonenumbers.number_type(parsed), ("unknown",))
    return Reading(
        Kind.NUMBER,
        number,
        number=number,
        country=country if country in REGIONS else None,  # "001" is the library's word for networks of no country
        calling_code=code,
        types=types,
        assigned=assigned,
    )


def _trunk_prefix_left(parsed: PhoneNumber, region: str | None) -> bool:
    """Whether the national prefix stayed in front: 0911 in Germany is an area code alone, and never +490911."""
    metadata = PhoneMetadata.metadata_for_region(region) if region else None
    same = metadata is not None and metadata.country_code == parsed.country_code
    return bool(same and metadata and metadata.national_prefix == "0" and parsed.italian_leading_zero)


def _short(parsed: PhoneNumber, region: str | None, text: str) -> bool:
    if region and phonenumbers.is_valid_short_number_for_region(parsed, region):
        return True
    # Extensions and the like. A number without its area code can be as short (RFC 3966 §5.1.5 forbids to guess it).
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    return len(text) <= 6 and possible in {ValidationResult.TOO_SHORT, ValidationResult.INVALID_LENGTH}


def _emergency(text: str, region: str | None, listed: Collection[str]) -> Reading | None:
    if text in listed or _is_emergency(text, region):
        return Reading(Kind.EMERGENCY, text)
    international = _international(text, region)
    if international:
        # A country's calling code is never the beginning of another's (E.164 §6.2.1), so at most one length fits.
        for length in (1, 2, 3):
            code, rest = international[:length], international[length:]
            for country in _regions(code):
                if _is_emergency(rest, country):
                    home = country == region
                    return Reading(Kind.EMERGENCY, rest if home else f"+{international}", foreign=not home)
    return None


def _is_emergency(text: str, region: str | None) -> bool:
    return region is not None and text.isdigit() and bool(phonenumbers.is_emergency_number(text, region))


def _known_short(text: str, region: str | None) -> bool:
    """Whether the region uses these digits for something else, as directory enquiries."""
    parsed = _parsed(text, region)
    if region is None or isinstance(parsed, str):
        return False
    return bool(phonenumbers.is_valid_short_number_for_region(parsed, region))


def _international(text: str, region: str | None) -> str:
    """The digits after the + or after the region's exit code, "" when there is neither."""
    if text.startswith("+"):
        return text[1:]
    metadata = PhoneMetadata.metadata_for_region(region) if region else None
    if metadata is None or not metadata.international_prefix:
        return ""
    prefix = re.match(metadata.international_prefix, text)
    return text[prefix.end() :] if prefix else ""


def _regions(code: str) -> tuple[str, ...]:
    if not code.isdigit() or code.startswith("0"):
        return ()
    return tuple(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ()))
