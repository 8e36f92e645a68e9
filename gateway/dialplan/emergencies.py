"""What is a call for help. It is recognised before anything is normalised, and by exact comparison alone.

    dialled                       in US                      in GB
    911                           ours                       of another country
    999                           of another country         ours
    +1911, 9-1-1, (911)           ours                       of another country
    0111911 | 001911              ours                       of another country      exit code and calling code
    911;phone-context=+1          ours                       of another country      RFC 3966
    urn:service:sos.police        ours, 911 is sent          ours, 112 is sent       RFC 5031
    911#, *67911, *31#911         ours                       of another country      # ends it, *67 asks for no name
    9111, 1911, 09111234567       none: a number that begins with 911 is a number

Rules
 1. The caller's own region is asked first, the operator's list with it; then the country that the string itself names;
    then the numbers that every telephone knows.
 2. What another country calls an emergency keeps that country's calling code, and is told apart (`foreign`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

import phonenumbers
from phonenumbers import PhoneMetadata

from gateway.contacts import Dialled

# Emergency numbers that every phone without a SIM card knows, in any country (3GPP TS 22.101 §10.1.1).
FOREIGN = frozenset({"000", "08", "110", "112", "118", "119", "911", "999"})

# What regulators publish as emergency numbers and the library's metadata (9.0) lacks. A mistake here costs nobody help:
# the call reaches the trunk of [emergency] under the digits that were dialled.
_PUBLISHED: dict[str, frozenset[str]] = {
    region: frozenset(found.split())
    for region, found in {
        "AM": "112 911",  # joined to 101-103
        "AT": "128 140 141 142 147",  # RTR, KEM-V: gas, mountain rescue, doctors, counselling, children
        "BR": "191 194 197 198 199",  # Anatel, public emergency services: further police, civil defence
        "CI": "185",  # ARTCI: ambulance
        "CM": "118 119",  # ART: fire, ambulance
        "CN": "122",  # MIIT: road accidents
        "ES": "061 062 080 091 092",  # CNMC, report on emergency telephones: ambulance, Guardia Civil, fire, police
        "FR": "114 115 119 191 196 197 116000 116117",  # ARCEP, list of emergency numbers
        "GH": "112",  # NCA
        "GR": "108",  # EETT: coast guard
        "ID": "115",  # Kominfo FTP Nasional: search and rescue
        "IT": "114",  # MIMIT, list of emergency services: children
        "JP": "118",  # MIC: coast guard
        "KE": "911",  # CA
        "LB": "125",  # civil defence
        "LK": "1990",  # TRCSL: ambulance
        "NG": "112",  # NCC
        "PE": "106",  # MTC: ambulance
        "PT": "117",  # ANEPC: forest fires
        "RS": "192 193 194",  # RATEL: police, fire, ambulance; the metadata has them as before 2010, 92 to 94
        "RU": "104",  # federal law 126, article 52: gas
        "SA": "998",  # CST: civil defence
        "TR": "156 158 177",  # Ministry of the Interior: gendarmerie, coast guard, forests; joined to 112
        "TT": "811",  # ambulance
        "UA": "104",  # NKEK: gas
        "UG": "112",  # UCC
        "VN": "112",  # MIC: search and rescue
    }.items()
}


# What people dial around a number: # to say that it is complete; to call without name and number, or with them, *67 and
# *82 in North America, *31# and #31# elsewhere (3GPP TS 22.030 §6.5.5.1). Whoever calls for help is heard without.
_AROUND = re.compile(r"(?:[*#]31[*#]|\*(?:31|67|82))?(\+?[0-9]+)#?")
_LONGEST = 6  # digits of an emergency number: 116000 in France


@dataclass(frozen=True, slots=True)
class Emergency:
    """`dial` is what a trunk is sent; `foreign` when it is no emergency number where the caller is."""

    dial: str
    foreign: bool = False


def recognise(dialled: Dialled, region: str | None, listed: Collection[str] = ()) -> Emergency | None:
    """The emergency that a dialled string is by rules 1 and 2 without the numbers that every telephone knows.

    `listed` are the operator's own emergency numbers.
    """
    text = dialled.text
    if text.startswith("urn:"):
        return _sos(region)
    if text in listed or is_emergency(text, region):
        return Emergency(text)
    if (inside := bare(text)) != text:
        return recognise(replace(dialled, text=inside), region, listed)
    named = international(text, region)
    if not named and dialled.context.startswith("+"):
        named = f"{calling_code(dialled.context[1:])}{text}"
    if named:
        code = calling_code(named)
        rest = named[len(code) :]
        for country in regions(code):
            if is_emergency(rest, country):
                home = region in regions(code) and is_emergency(rest, region)
                return Emergency(rest) if home else Emergency(f"+{named}", foreign=True)
    return None


def bare(text: str) -> str:
    """A number without what people dial around it."""
    found = _AROUND.fullmatch(text)
    return found[1] if found else text


def hidden_in(code: str, region: str | None, listed: Collection[str] = ()) -> str | None:
    """The emergency number in a service code (*911, *21*112#, *55911), which somebody down the line might call."""
    parts = re.findall(r"[0-9]+", code)
    tails: list[str] = [part[begin:] for part in parts for begin in (0, 2, 3)]
    return next((tail for tail in tails if tail in listed or is_emergency(tail, region)), None)


def is_emergency(text: str, region: str | None) -> bool:
    """Whether these digits, and no others, call for help in a region."""
    if region is None or len(text) > _LONGEST or not text.isdigit():
        return False
    return text in _PUBLISHED.get(region, ()) or bool(phonenumbers.is_emergency_number(text, region))


def _sos(region: str | None) -> Emergency:
    """The number for urn:service:sos. Services below it may be served as the general one (RFC 5031 §4.2)."""
    # 112 is in the metadata of North America and Australia because mobile telephones know it; networks want their own.
    order = {1: ("911",), 61: ("000",)}.get(phonenumbers.country_code_for_region(region or "ZZ"), ())
    for number in (*order, "112", "911", "999", "111"):
        if is_emergency(number, region):
            return Emergency(number)
    return Emergency("112", foreign=True)  # police and fire have numbers of their own there; networks know 112, E.161.1


# What a dialled string says about its country itself ------------------------------------------------------------------


def international(text: str, region: str | None) -> str:
    """The digits after the + or after the region's exit code, "" when there is neither."""
    if text.startswith("+"):
        return text[1:]
    prefix = re.match(_exit_codes(region), text)
    return text[prefix.end() :] if prefix else ""


def is_exit_code(text: str, region: str | None) -> bool:
    """Whether it goes abroad, and nothing behind it: 011 in the US."""
    return bool(re.fullmatch(_exit_codes(region), text))


def _exit_codes(region: str | None) -> str:
    """A regular expression; one that never matches where there are none."""
    metadata = PhoneMetadata.metadata_for_region(region) if region else None
    return (metadata.international_prefix if metadata else None) or r"(?!)"


def regions(code: str) -> tuple[str, ...]:
    """The regions of a calling code, the main one first; none for networks of no country."""
    if not code.isdigit():
        return ()
    found = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ())
    return tuple(region for region in found if region != "001")


def calling_code(digits: str) -> str:
    """The calling code in front; none is the beginning of another (E.164 §6.2.1)."""
    return next(
        (digits[:length] for length in (1, 2, 3) if not digits.startswith("0") and regions(digits[:length])), ""
    )
