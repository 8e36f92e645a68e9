r"""Contacts: the local part of a JID, and the SIP URI or telephone number that it stands for.

    local part (of …@sip.example.com)             what it names
    romeo%shakespeare.lit                         sip:romeo@shakespeare.lit
    romeo\40shakespeare.lit                       the same; XEP-0106, canonical is the line above
    romeo%192.0.2.1\3a5062;transport=tcp          sip:romeo@192.0.2.1:5062;transport=tcp
    romeo%[2001\3adb8\3a\3a1]                     sip:romeo@[2001:db8::1]
    jürgen%münchen.example                        sip:j%C3%BCrgen@xn--mnchen-3ya.example
    juliet\40shakespeare.lit%example.net          sip:juliet%40shakespeare.lit@example.net
    sips\3aromeo%shakespeare.lit                  sips:romeo@shakespeare.lit
    +12025550123, (202)\20555-0123, 911, *43#     a dialled string; the dialplan says what it means
    +12025550123;ext=55, tel\3a5550123;phone-context=+1202      the same with what RFC 3966 puts behind the number
    urn\3aservice\3asos                           a call for help (RFC 5031), a dialled string too
    echo, reception                               a name; the dialplan says whether there is one

Rules
 1. A local part with a `%` is a SIP URI, split at the last one. Without one, `\40` takes its place.
 2. Each piece is unescaped after the split. Beyond XEP-0106 two escapes are ours: `\25` for a `%` and `\3b` for a `;`,
    written only where the bare character would be read as syntax.
 3. JID local parts fold case and SIP user parts do not (RFC 3261 §19.1.4), so the way SIP → JID → SIP is equality after
    case folding, and JID → SIP → JID the identity on canonical local parts. The password and the headers of a SIP URI
    are no part of a name and get lost.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import idna

from gateway.addresses import SCHEMES, SipUri, host_and_port, host_of, is_parameter_name, shown
from gateway.errors import AddressError

MAX_LOCAL = 1023  # bytes, RFC 7622 §3.3
MAX_DIALLED = 32  # digits: E.164 has 15, and exit codes and service codes come on top
MAX_WRITTEN = 4 * MAX_DIALLED  # characters of a dialled string with its separators; of its parameters, as many again
MAX_EXTENSION = 20  # digits; RFC 3966 names no limit


# JID escaping, XEP-0106 -----------------------------------------------------------------------------------------------

_XEP_0106 = dict(zip(" \"&'/:<>@\\", ("20", "22", "26", "27", "2f", "3a", "3c", "3e", "40", "5c"), strict=True))
_OURS = _XEP_0106 | {"%": "25", ";": "3b"}
_CHARACTERS = {code: character for character, code in _OURS.items()}


def escape(text: str) -> str:
    """XEP-0106 §3: text that may stand in a local part. A backslash is escaped where it would begin an escape."""
    return "".join(_escaped(text, "", frozenset(_XEP_0106.values())))


def unescape(local: str) -> str:
    """XEP-0106 §3: the text that a local part stands for."""
    return _unescaped(local, frozenset(_XEP_0106.values()))


def _escaped(text: str, syntax: str, codes: frozenset[str]) -> Iterator[str]:
    """Escapes what JIDs forbid and what is in `syntax`, and backslashes that would be read as one of `codes`."""
    for index, character in enumerate(text):
        if character == "\\":
            yield "\\5c" if text[index + 1 : index + 3].lower() in codes else "\\"
        elif character in _XEP_0106 or character in syntax:
            yield "\\" + _OURS[character]
        else:
            yield character


def _unescaped(text: str, codes: frozenset[str]) -> str:
    first, *rest = text.split("\\")
    plain = [first]
    for part in rest:
        code = part[:2].lower()
        plain.append(_CHARACTERS[code] + part[2:] if code in codes else "\\" + part)
    return "".join(plain)


# Contacts -------------------------------------------------------------------------------------------------------------

_ALL_CODES = frozenset(_CHARACTERS)
# What stands between digits for the eye: RFC 3966 §5.1.1, what else people and address books write, and the marks of
# direction that come along when a number is copied. Compatibility folding has made spaces and hyphens of many already.
_VISUAL = " -.()[]/\u00a0\u00ad\u00b7\u2010\u2011\u2012\u2013\u2014\u2212\u200b\u200e\u200f\u2060\ufeff"
_DIRECTION = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SEPARATORS = str.maketrans("", "", _VISUAL + _DIRECTION)
# Digits and service codes; at least one digit; and *67+12025550123, a service code with a number behind it.
_DIALLED = re.compile(r"\+?(?=[*#]*[0-9])[0-9*#]+|[*#][0-9*#]*\+[0-9]+", re.ASCII)
_ALIKE = re.compile(r"(?=[+*#]*\d)[+\d*#]+")  # digits of any script, and a + anywhere
_SOS = re.compile(r"urn:service:sos(?:\.[a-z-]{1,32})*")


@dataclass(frozen=True, slots=True)
class Dialled:
    """A dialled string without its visual separators: `+12025550123`, `2025550123`, `911`, `*43#`, `urn:service:sos`.

    `extension` and `context` are the parameters ext and phone-context of RFC 3966: digits; `+` and digits, or a domain.
    """

    text: str
    extension: str = ""
    context: str = ""

    def __str__(self) -> str:
        text = f"{self.text};ext={self.extension}" if self.extension else self.text
        return f"{text};phone-context={self.context}" if self.context else text


@dataclass(frozen=True, slots=True)
class Name:
    """A local part that is neither a SIP URI nor dialled: `echo`, `reception`."""

    text: str


Contact = SipUri | Dialled | Name


def contact(local: str) -> Contact:
    """What a local part names. Raises AddressError for what cannot be mapped."""
    if not local:
        raise AddressError("an empty local part")
    if len(local) > MAX_LOCAL or len(local.encode("utf-8", "replace")) > MAX_LOCAL:
        raise AddressError(f"a local part of more than {MAX_LOCAL} bytes")
    if "@" in local:
        raise AddressError(f"not a local part: {shown(local)}")
    scheme, rest = _scheme(local)
    if scheme == "tel":
        return dialled(_unescaped(rest, _ALL_CODES))
    user, percent, place = rest.rpartition("%")
    if not percent:
        user, percent, place = rest.rpartition("\\40")
    if percent:
        return _sip_contact(scheme or "sip", user, place)
    if scheme:
        raise AddressError(f"a SIP address without a host: {shown(local)}")
    text = folded(_unescaped(local, _ALL_CODES))
    return dialled(text) if is_dialled(text) else Name(text)


def _scheme(local: str) -> tuple[str, str]:
    for scheme in SCHEMES:
        for colon in (":", "\\3a"):
            if local[: len(scheme) + len(colon)].lower() == scheme + colon:
                return scheme, local[len(scheme) + len(colon) :]
    return "", local


def _sip_contact(scheme: str, raw_user: str, place: str) -> SipUri:
    if not raw_user or "%%" in raw_user or raw_user[0] == "%" or raw_user[-1] == "%":
        raise AddressError(f"not a user: {shown(raw_user)}")
    user = _unescaped(raw_user, _ALL_CODES)
    raw_hostport, *raw_parameters = place.split(";")
    host, port = host_and_port(_unescaped(raw_hostport, _ALL_CODES))
    parameters: list[tuple[str, str | None]] = []
    for part in raw_parameters:
        name, equals, value = part.partition("=")
        name = _unescaped(name, _ALL_CODES).lower()
        if not is_parameter_name(name):
            raise AddressError(f"not a URI parameter: {shown(part)}")
        parameters.append((name, _unescaped(value, _ALL_CODES) if equals else None))
    return SipUri(scheme, user, host, port, tuple(parameters))


def is_dialled(text: str) -> bool:
    """Whether text is meant to be dialled. Letters are not (other readers would make a number of `flowers123`).

    What begins with a + is, and so are digits of other scripts, which dialled() refuses: nothing that looks like a
    number passes for a name.
    """
    written, compact = _written(text)
    return compact[:1] == "+" or bool(_ALIKE.fullmatch(compact) or _SOS.fullmatch(written))


def dialled(text: str) -> Dialled:
    """A dialled string, its visual separators gone, its parameters apart (RFC 3966 §3; those unknown are left out).

    Raises AddressError when it is not dialled, or of no possible length; costs the same however long the text is.
    """
    written, compact = _written(text)
    if _SOS.fullmatch(written):
        return Dialled(written)
    if len(written) > MAX_WRITTEN or len(compact) > MAX_DIALLED:
        raise AddressError(f"a number of more than {MAX_DIALLED} digits")
    if not _DIALLED.fullmatch(compact):
        other = _ALIKE.fullmatch(compact) and not compact.isascii()
        raise AddressError(f"not a number: {shown(text)}{', its digits are not 0 to 9' if other else ''}")
    # E.164 §6.2.1: at most 15 digits. The shortest that means anything is a one-digit country with a two-digit code.
    if compact.startswith("+") and not (compact[1:].isdigit() and 3 <= len(compact) - 1 <= 15):
        raise AddressError(f"not an international number: {shown(text)}")
    _, semicolon, parameters = text.partition(";")
    return _with_parameters(compact, parameters) if semicolon else Dialled(compact)


def _written(text: str) -> tuple[str, str]:
    """What stands before the parameters, as much of it as can matter, and the same without separators."""
    written = folded(text[: MAX_WRITTEN + 1].partition(";")[0])
    return written, written.translate(_SEPARATORS)


def _with_parameters(number: str, text: str) -> Dialled:
    if len(text) > MAX_WRITTEN + 255:  # a domain name has 253 characters
        raise AddressError(f"the parameters of a number are {len(text)} characters long")
    found: dict[str, str] = {}
    for part in filter(None, text.split(";")):
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if name in found:
            raise AddressError(f"two parameters {shown(name)}")  # RFC 3966 §3
        found[name] = value
    extension = folded(found.get("ext", "")).translate(_SEPARATORS)
    if "ext" in found and not (extension.isascii() and extension.isdigit() and len(extension) <= MAX_EXTENSION):
        raise AddressError(f"not an extension: {shown(found['ext'])}")
    context = folded(found.get("phone-context", "")).translate(_SEPARATORS) if "phone-context" in found else ""
    if context.startswith("+"):
        if not (context[1:].isascii() and context[1:].isdigit() and len(context) <= 16):
            raise AddressError(f"not a phone-context: {shown(context)}")
    elif "phone-context" in found:
        context = host_of(found["phone-context"])
    return Dialled(number, extension, "" if number.startswith("+") else context)  # RFC 3966 §5.1.4: for local numbers


def dialled_in(uri: SipUri) -> Dialled | None:
    """What the user part of a SIP URI, or a tel URI, dials (RFC 3261 §19.1.6), None when it is not meant to be dialled.

    Raises AddressError as dialled() does.
    """
    if uri.scheme == "tel":
        return _dialled_by(uri)
    text = uri.user or ""
    return dialled(text) if is_dialled(text) else None


def _dialled_by(tel: SipUri) -> Dialled:
    return dialled(";".join((tel.user or "", *(f"{name}={value or ''}" for name, value in tel.parameters))))


def mappable(local: str, named: Callable[[str], bool] = lambda name: False) -> bool:
    """Whether a local part names something; `named` says which names there are (Plan.named)."""
    try:
        found = contact(local)
        local_of(found)  # what has no canonical spelling could never be presented
    except AddressError:
        return False
    return not isinstance(found, Name) or named(found.text)


def local_of(address: Contact) -> str:
    """The canonical local part of an address. Raises AddressError when no JID can carry it."""
    match address:
        case Dialled():
            local = _dialled_local(address)
        case Name(text):
            local = "".join(_escaped(folded(text), "%", _ALL_CODES))
        case SipUri(scheme="tel"):
            local = _dialled_local(_dialled_by(address))
        case SipUri():
            local = folded(_sip_local(address))
    if len(local.encode("utf-8", "replace")) > MAX_LOCAL:
        raise AddressError(f"a local part of more than {MAX_LOCAL} bytes")
    # XEP-0106 §3: the escaped space may neither begin nor end a local part.
    if not local or local.startswith("\\20") or local.endswith("\\20") or not _is_local(local):
        raise AddressError(f"no JID can carry {shown(str(address))}")
    return local


def _dialled_local(address: Dialled) -> str:
    return "".join(_escaped(str(address), "", _ALL_CODES))


def _sip_local(uri: SipUri) -> str:
    user = folded(uri.user or "")
    if not user:  # some characters fold to nothing (RFC 3454 table B.1)
        raise AddressError(f"a SIP URI without a user: {shown(str(uri))}")
    bare = user[0] != "%" and user[-1] != "%" and "%%" not in user
    local = "".join(_escaped(user, "" if bare else "%", _ALL_CODES))
    if uri.scheme != "sip" or _scheme(local)[0]:
        local = f"{uri.scheme}\\3a{local}"
    host = f"[{uri.host}]" if ":" in uri.host else readable_host(uri.host)
    local += "%" + "".join(_escaped(host, "", _ALL_CODES))
    if uri.port is not None:
        local += f"\\3a{uri.port}"
    for name, value in uri.parameters:
        local += ";" + "".join(_escaped(name, "", _ALL_CODES))
        if value is not None:
            local += "=" + "".join(_escaped(folded(value), "%;", _ALL_CODES))
    return local


def readable_host(host: str) -> str:
    """A host for people: U-labels where they lead back to the same host, else as it is."""
    if "xn--" not in host:
        return host
    try:
        readable = folded(idna.decode(host))
        return readable if host_of(readable) == host else host
    except (idna.IDNAError, UnicodeError, AddressError):
        return host


def folded(text: str) -> str:
    """Case and compatibility folded as servers do with local parts (RFC 3454 tables B.1 and B.2 with NFKC)."""
    if text.isascii():
        return text.lower()
    text = "".join(character for character in text if not stringprep.in_table_b1(character))
    for _ in range(4):  # folding may undo the normal form, and the other way round; it settles after two rounds
        previous, text = text, unicodedata.normalize("NFKC", text).casefold()
        if text == previous:
            break
    return text


def _is_local(text: str) -> bool:
    """RFC 6122 appendix A: nothing prohibited or unassigned, and RFC 3454 §6 for what is written from right to left."""
    forbidden = (
        stringprep.in_table_c11_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
        stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
        stringprep.in_table_c9, stringprep.in_table_a1,
    )  # fmt: skip
    if text.isascii():
        return not any(character <= " " or character in "\"&'/:<>@\x7f" for character in text)
    if any(character in "\"&'/:<>@" or any(table(character) for table in forbidden) for character in text):
        return False
    if not any(map(stringprep.in_table_d1, text)):
        return True
    both_ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return both_ends and not any(map(stringprep.in_table_d2, text))


# How a SIP user names a user of XMPP ----------------------------------------------------------------------------------


def jid_of(uri: SipUri) -> str | None:
    """The bare JID that a URI of ours names in its user part, None when it names none.

    The `@` inside comes escaped (sip:juliet%40shakespeare.lit@sip.example.com, RFC 3261 §19.1.2) or as a bare `%`.
    """
    user = uri.user or ""
    for separator in ("@", "%"):
        local, found, domain = user.rpartition(separator)
        if found:
            try:
                return f"{prepared_local(local)}@{readable_host(host_of(domain))}"
            except AddressError:
                return None
    return None


def prepared_local(text: str) -> str:
    """The local part of a user that somebody on the SIP side named. Raises AddressError.

    Backslashes stay, they are escapes already; what no JID carries otherwise comes from people who type the name.
    """
    local = "".join(f"\\{_XEP_0106[c]}" if c in _XEP_0106 and c != "\\" else c for c in folded(text))
    if not local or len(local.encode("utf-8", "replace")) > MAX_LOCAL or not _is_local(local):
        raise AddressError(f"not the name of a user: {shown(text)}")
    return local
