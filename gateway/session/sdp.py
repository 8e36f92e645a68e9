"""Session <-> SDP.

    text ── lines ── one head, n sections ── Session          (parse)
    Session ── v o s c t a*, (m c a*)* ── text                (render, in the order of RFC 8866 §5)

Rules: what is needed and cannot be read is an error that names its line; what is optional and cannot be read is as if
it were not there (RFC 8866 §5, RFC 8839 §5.1 ask for that). One pass, bounded in size and count. The renderer writes
only what the parser would read back: a required field with an odd character is an error, an optional one is left out,
so that no field can smuggle a line of its own.

RFC 8866 (SDP), 8839 (ICE), 8122 and 8842 (fingerprint, setup), 9143 (BUNDLE), 5761 and 3605 (rtcp-mux, rtcp), 4585
(rtcp-fb), 8285 (extmap), 5576 (ssrc), 4568 (crypto).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gateway.errors import SdpError
from gateway.session import text as limits
from gateway.session.codecs import STATIC
from gateway.session.model import (
    Candidate,
    Codec,
    Crypto,
    Direction,
    Fingerprint,
    HeaderExtension,
    Ice,
    Media,
    Profile,
    Session,
    Setup,
    Source,
    Transport,
)
from gateway.session.text import is_address, is_fingerprint, is_ice, is_token, is_visible, preferred, whole

MAX_TEXT = 65_536
MAX_LINES = 2_000
_MAX_ORIGIN = 10**20
_DIRECTIONS, _SETUPS = frozenset(Direction), frozenset(Setup)
_PROFILES = {str(profile): profile for profile in Profile}
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound to
_TYPES = frozenset("abcdefghijklmnopqrstuvwxyz")
_NO_FORMAT = "127"  # an m= line needs a format (RFC 3264 §6: a rejected one too); nobody explains this one


# ------------------------------------------------------------------------------------------------------------ reading


@dataclass(slots=True)
class _Part:
    """The lines of the head, or of one m= section."""

    line: int = 0
    m: str = ""
    connection: str | None = None
    origin: str = ""
    attributes: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def all(self, name: str) -> list[tuple[int, str]]:
        """Line and value of each a= line of that name."""
        return self.attributes.get(name, [])

    def first(self, name: str) -> str | None:
        return self.attributes[name][0][1] if name in self.attributes else None

    def has(self, name: str) -> bool:
        return name in self.attributes


def parse(text: str) -> Session:
    """What a peer's SDP says. Raises SdpError; never anything else, whatever the text is."""
    head, *sections = _parts(text)
    if len(sections) > limits.MAX_MEDIA:
        raise SdpError(f"more than {limits.MAX_MEDIA} media sections", sections[limits.MAX_MEDIA].line)
    lines = [_m_line(section) for section in sections]
    names = _names(sections, [line.kind for line in lines])
    media = tuple([_media(*each, head) for each in zip(names, lines, sections, strict=True)])
    user, session_id, version = _origin(head.origin)
    return Session(media, _bundle(head, media), user, session_id, version)


def _parts(text: str) -> list[_Part]:
    if len(text) > MAX_TEXT:
        raise SdpError(f"more than {MAX_TEXT} characters")
    lines = text.split("\n")  # not splitlines(): that also splits where RFC 8866 does not
    if len(lines) > MAX_LINES:
        raise SdpError(f"more than {MAX_LINES} lines")
    part = _Part()
    parts = [part]
    begun, dirty = False, "\0" in text
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r \t")
        if not line:
            continue
        if dirty and "\0" in line:
            raise SdpError("a NUL character", number)
        kind, _, value = line.partition("=")
        if kind not in _TYPES or kind == line:
            raise SdpError(f"not a type=value line: {line[:40]!r}", number)
        value = value.strip()
        if not begun and (kind, value) != ("v", "0"):
            raise SdpError("a description begins with v=0", number)
        begun = True
        if kind == "m":
            part = _Part(number, value)
            parts.append(part)
        elif kind == "c" and part.connection is None:  # RFC 8866 §5.7: the first of several is the base layer's
            part.connection = _connection(value, number)
        elif kind == "o":
            part.origin = value
        elif kind == "a":
            name, _, content = value.partition(":")
            part.attributes.setdefault(name.strip().lower(), []).append((number, content.strip()))
    if not begun:
        raise SdpError("no description at all")
    return parts


def _connection(value: str, line: int) -> str:
    """`IN IP4 192.0.2.1/127`: the address, without time-to-live and count."""
    words = value.split()
    address = words[-1].partition("/")[0] if len(words) == 3 else ""
    if not is_address(address):
        raise SdpError("no address in c=", line)
    return address


def _origin(value: str) -> tuple[str, str, int]:
    words = value.split()
    if len(words) < 3 or not is_visible(words[0]):
        return "-", "0", 0
    number = whole(words[1], _MAX_ORIGIN)
    return words[0], "0" if number is None else str(number), whole(words[2], _MAX_ORIGIN) or 0


def _bundle(head: _Part, media: tuple[Media, ...]) -> tuple[str, ...]:
    """Names in one BUNDLE group (RFC 9143 §7.2), the first that is given."""
    names = {m.name for m in media}
    for _, value in head.all("group"):
        semantics, *members = value.split()[: limits.MAX_MEDIA + 1] or [""]
        if semantics.upper() == "BUNDLE":
            return tuple(dict.fromkeys(name for name in members if name in names))
    return ()


def _names(parts: list[_Part], kinds: list[str]) -> list[str]:
    """Of each section its mid, or its kind where it has none, so that every name is there once."""
    mids, taken = [part.first("mid") for part in parts], set[str]()
    for mid, part in zip(mids, parts, strict=True):
        if mid is None:
            continue
        if not is_token(mid):
            raise SdpError("a=mid is no token", part.line)
        if mid in taken:
            raise SdpError(f"a=mid:{mid} twice", part.line)
        taken.add(mid)
    names = []
    for kind, mid in zip(kinds, mids, strict=True):
        name = mid or _free(kind, taken)
        taken.add(name)
        names.append(name)
    return names


def _free(kind: str, taken: set[str]) -> str:
    number, name = 1, kind
    while name in taken:
        number += 1
        name = f"{kind}{number}"
    return name


class _Line(NamedTuple):
    """An m= line."""

    kind: str
    port: int
    proto: str
    formats: list[str]


def _media(name: str, line: _Line, part: _Part, head: _Part) -> Media:
    kind, port, proto, formats = line
    direction = _direction(part) or _direction(head) or Direction.SENDRECV
    profile = _PROFILES.get(proto.upper())
    if profile is None:
        foreign = " ".join((proto, *formats))
        return Media(name, kind, (), Transport(port=0), direction=direction, rejected=True, foreign=foreign)
    ice = _ice(part, head)
    address = part.connection or head.connection
    if address is None or address in _UNSPECIFIED:
        address = None
        if ice is None:  # RFC 3264 §8.4: how RFC 2543 spelt hold
            direction = {Direction.SENDRECV: Direction.SENDONLY, Direction.RECVONLY: Direction.INACTIVE}.get(
                direction, direction
            )
    transport = Transport(
        address=address,
        port=port,
        rtcp_port=whole((part.first("rtcp") or "").partition(" ")[0], 65_535),
        rtcp_mux=part.has("rtcp-mux"),
        ice=ice,
        fingerprint=_fingerprint(part, head),
        crypto=_crypto(part),
    )
    return Media(
        name=name,
        kind=kind,
        codecs=_codecs(part, formats),
        transport=transport,
        profile=profile,
        direction=direction,
        ptime=_ptime(part.first("ptime")),
        extensions=_extensions(part, head),
        sources=_sources(part),
        rejected=port == 0 and not part.has("bundle-only"),  # RFC 9143 §6
    )


def _m_line(part: _Part) -> _Line:
    words = part.m.split()
    if len(words) < 4:
        raise SdpError("m= lacks a port, a protocol or a format", part.line)
    kind, ports, proto, *formats = words
    port = whole(ports.partition("/")[0], 65_535)
    if port is None:
        raise SdpError("no port in m=", part.line)
    if not is_token(kind) or not all(map(is_token, proto.split("/"))):
        raise SdpError("m= names no medium or protocol", part.line)
    if len(formats) > limits.MAX_CODECS:
        raise SdpError(f"more than {limits.MAX_CODECS} formats", part.line)
    if not all(map(is_token, formats)):
        raise SdpError("a format in m= is no token", part.line)
    return _Line(kind.lower(), port, proto, formats)


def _direction(part: _Part) -> Direction | None:
    return next((Direction(key) for key in part.attributes if key in _DIRECTIONS), None)


def _ptime(value: str | None) -> int | None:
    """Milliseconds; some write `20.0`."""
    return whole((value or "").partition(".")[0], 1000, 1)


def _codecs(part: _Part, formats: list[str]) -> tuple[Codec, ...]:
    maps: dict[int, Codec] = {}
    for line, value in part.all("rtpmap"):
        number, _, encoding = value.partition(" ")
        pt = whole(number, 127)
        name, *rest = encoding.strip().split("/")
        clock = whole(rest[0], 10_000_000, 1) if rest else None
        channels = whole(rest[1], 255, 1) if len(rest) > 1 else 1
        if pt is None or not is_token(name) or clock is None or channels is None:
            raise SdpError(f"a=rtpmap cannot be read: {value[:40]!r}", line)
        maps.setdefault(pt, Codec(pt, name, clock, channels))
    parameters = _parameters(part)
    feedback = _feedback(part)
    codecs = []
    for pt in dict.fromkeys(_pt(number, part.line) for number in formats):
        codec = maps.get(pt) or STATIC.get(pt)
        if codec is not None:  # a dynamic number that nobody explained cannot be used, and harms nobody
            said, fb = parameters.get(pt, ()), feedback.get(pt, ()) + feedback.get(None, ())
            if said or fb:
                codec = replace(codec, parameters=said, feedback=tuple(dict.fromkeys(fb))[: limits.MAX_FEEDBACK])
            codecs.append(codec)
    return tuple(codecs)


def _pt(number: str, line: int) -> int:
    pt = whole(number, 127)
    if pt is None:
        raise SdpError(f"no payload type: {number[:10]!r}", line)
    return pt


def _parameters(part: _Part) -> dict[int, tuple[tuple[str, str], ...]]:
    found: dict[int, tuple[tuple[str, str], ...]] = {}
    for _, value in part.all("fmtp"):
        number, _, rest = value.partition(" ")
        pt = whole(number, 127)
        if pt is not None:
            pieces = rest.split(";", limits.MAX_PARAMETERS)[: limits.MAX_PARAMETERS]
            pairs = [_parameter(piece.strip()) for piece in pieces]
            pairs = [pair for pair in pairs if any(pair) and all(map(is_visible, pair))]
            found[pt] = (found.get(pt, ()) + tuple(pairs))[: limits.MAX_PARAMETERS]
    return found


def _parameter(piece: str) -> tuple[str, str]:
    name, equals, value = piece.partition("=")
    return (name.rstrip(), value.lstrip()) if equals else ("", name)


def _feedback(part: _Part) -> dict[int | None, tuple[str, ...]]:
    """rtcp-fb by payload type; None stands for `*` (RFC 4585 §4.2)."""
    found: dict[int | None, tuple[str, ...]] = {}
    for _, value in part.all("rtcp-fb"):
        number, _, what = value.partition(" ")
        pt = None if number == "*" else whole(number, 127)
        said = " ".join(what.split())
        if (pt is not None or number == "*") and said and is_visible(said):
            found[pt] = (*found.get(pt, ()), said)[: limits.MAX_FEEDBACK]
    return found


def _extensions(part: _Part, head: _Part) -> tuple[HeaderExtension, ...]:
    found: dict[int, HeaderExtension] = {}
    for _, value in (part.all("extmap") + head.all("extmap"))[: limits.MAX_EXTENSIONS]:
        words = value.split()
        number, _, direction = words[0].partition("/") if words else ("", "", "")
        key = whole(number, 4095 + 256, 1)
        if key is None or len(words) < 2 or not is_visible(words[1]) or (direction and direction not in _DIRECTIONS):
            continue
        found.setdefault(key, HeaderExtension(key, words[1], Direction(direction or "sendrecv")))
    return tuple(found.values())


def _sources(part: _Part) -> tuple[Source, ...]:
    found: dict[int, list[tuple[str, str]]] = {}
    for _, value in part.all("ssrc"):
        number, _, attribute = value.partition(" ")
        name, _, content = attribute.strip().partition(":")
        ssrc = whole(number, 0xFFFFFFFF)
        if ssrc is None or not is_token(name) or not is_visible(content):
            continue
        if ssrc not in found and len(found) == limits.MAX_SOURCES:
            continue
        parameters = found.setdefault(ssrc, [])
        if len(parameters) < limits.MAX_PARAMETERS:
            parameters.append((name, content.strip()))
    return tuple(Source(ssrc, tuple(parameters)) for ssrc, parameters in found.items())


def _crypto(part: _Part) -> tuple[Crypto, ...]:
    found = []
    for _, value in part.all("crypto"):
        words = value.split(None, 3)
        tag = whole(words[0], 10**9) if words else None
        if tag is not None and len(words) >= 3 and is_token(words[1]) and all(map(is_visible, words)):
            found.append(Crypto(tag, words[1], words[2], words[3] if len(words) > 3 else ""))
    return tuple(found)[: limits.MAX_CRYPTO]


def _fingerprint(part: _Part, head: _Part) -> Fingerprint | None:
    """Of several the one that everybody can check (RFC 8122 §5); both lines may stand in the head (RFC 8842 §5.1)."""
    lines = part.all("fingerprint") or head.all("fingerprint")
    if not lines:
        return None
    found: list[Fingerprint] = []
    said = (part.first("setup") or head.first("setup") or "actpass").lower()
    # Absent is as good as "either": RFC 8842 §5.2 demands the line, so whoever leaves it out has no preference.
    setup = Setup(said) if said in _SETUPS else Setup.ACTPASS
    for line, value in lines[: limits.MAX_FINGERPRINTS]:
        algorithm, _, digest = value.partition(" ")
        digest = digest.strip().upper()
        if not is_token(algorithm) or not is_fingerprint(digest):
            raise SdpError("a=fingerprint cannot be read", line)
        found.append(Fingerprint(algorithm.lower(), digest, setup))
    return preferred(found)


def _ice(part: _Part, head: _Part) -> Ice | None:
    ufrag = part.first("ice-ufrag") or head.first("ice-ufrag")
    pwd = part.first("ice-pwd") or head.first("ice-pwd")
    if ufrag is None or pwd is None:
        return None
    if not is_ice(ufrag) or not is_ice(pwd):
        raise SdpError("a=ice-ufrag or a=ice-pwd cannot be read", part.line)
    found = (candidate(value) for _, value in part.all("candidate"))
    options = (part.first("ice-options") or head.first("ice-options") or "").split()
    return Ice(
        ufrag,
        pwd,
        tuple(c for c in found if c is not None)[: limits.MAX_CANDIDATES],
        tuple(filter(is_token, options))[:16],
        lite=head.has("ice-lite"),
        complete=part.has("end-of-candidates") or head.has("end-of-candidates"),
    )


def candidate(value: str) -> Candidate | None:
    """The value of a=candidate (RFC 8839 §5.1), or None where it is none that could be used."""
    words = value.split()
    if len(words) < 8 or words[6].lower() != "typ" or len(words) > 64:
        return None
    component, priority, port = whole(words[1], 256, 1), whole(words[3], 0xFFFFFFFF), whole(words[5], 65_535)
    extra = {words[i].lower(): words[i + 1] for i in range(8, len(words) - 1, 2)}
    related, tcp_type = extra.get("raddr"), extra.get("tcptype")
    protocol, kind = words[2].lower(), words[7].lower()
    if (
        component is None
        or priority is None
        or port is None
        or protocol not in ("udp", "tcp")
        or kind not in ("host", "srflx", "prflx", "relay")
        or not is_ice(words[0])
        or not is_address(words[4])
    ):
        return None
    return Candidate(
        foundation=words[0],
        component=component,
        protocol=protocol,
        priority=priority,
        ip=words[4],
        port=port,
        type=kind,
        related_ip=related if is_address(related) else None,
        related_port=whole(extra.get("rport"), 65_535),
        generation=whole(extra.get("generation"), 0xFFFF) or 0,
        tcp_type=tcp_type if is_token(tcp_type) else None,
    )


# ------------------------------------------------------------------------------------------------------------ writing


def render(session: Session) -> str:
    """The session as SDP with CRLF. Raises SdpError where a required field cannot be spelt (foreign names, for one)."""
    addresses = [m.transport.address for m in session.media if not m.foreign]
    base = addresses[0] if addresses else None
    origin = session.origin if is_visible(session.origin) and len(session.origin.split()) == 1 else "-"
    number = session.id if whole(session.id, _MAX_ORIGIN) is not None else "0"
    lines = [
        "v=0",
        f"o={origin} {number} {session.version} {_in(base)}",
        "s=-",
        f"c={_in(base)}",
        "t=0 0",
    ]
    if session.bundle:
        lines.append(f"a=group:BUNDLE {' '.join(_need(is_token, name, 'name') for name in session.bundle)}")
    if any(m.transport.ice is not None and m.transport.ice.lite for m in session.media):
        lines.append("a=ice-lite")
    # A mid that says no more than the kind does is left out: plain SIP never asked for it.
    telling = bool(session.bundle) or [m.name for m in session.media] != _plain_names(session.media)
    for media in session.media:
        lines += _section(media, base, telling, bundled=media.name in session.bundle)
    return "\r\n".join(lines) + "\r\n"


def _plain_names(media: tuple[Media, ...]) -> list[str]:
    names: list[str] = []
    for section in media:
        names.append(_free(section.kind, set(names)))
    return names


def _need(check: Callable[[str], bool], value: str, what: str) -> str:
    if not check(value):
        raise SdpError(f"{what} cannot be written: {value[:40]!r}")
    return value


def _in(address: str | None) -> str:
    if address is None:
        return "IN IP4 0.0.0.0"
    return f"IN {'IP6' if ':' in address else 'IP4'} {_need(is_address, address, 'address')}"


def _section(media: Media, base: str | None, telling: bool, bundled: bool) -> Iterator[str]:
    transport = media.transport
    if media.foreign:
        words = media.foreign.split()
        fits = len(words) > 1 and all(is_token(part) for word in words for part in word.split("/"))
        yield f"m={_need(is_token, media.kind, 'kind')} 0 {' '.join(words) if fits else 'RTP/AVP ' + _NO_FORMAT}"
    else:
        formats = " ".join(str(codec.pt) for codec in media.codecs) or _NO_FORMAT
        port = 0 if media.rejected else transport.port
        yield f"m={_need(is_token, media.kind, 'kind')} {port} {media.profile} {formats}"
        if transport.address != base:
            yield f"c={_in(transport.address)}"
    if telling:
        yield f"a=mid:{_need(is_token, media.name, 'name')}"
    if media.foreign:
        yield f"a={media.direction}"
        return
    if bundled and transport.port == 0 and not media.rejected:
        yield "a=bundle-only"
    yield from _transport(transport)
    common = _common_feedback(media.codecs)
    yield from (f"a=rtcp-fb:* {said}" for said in common if is_visible(said))
    for codec in media.codecs:
        yield from _codec(codec if not common else replace(codec, feedback=()))
    if media.ptime is not None:
        yield f"a=ptime:{media.ptime}"
    for extension in media.extensions:
        if is_visible(extension.uri) and " " not in extension.uri and extension.uri:
            way = "" if extension.direction is Direction.SENDRECV else f"/{extension.direction}"
            yield f"a=extmap:{extension.id}{way} {extension.uri}"
    for source in media.sources:
        for name, value in source.parameters:
            if is_token(name) and is_visible(value):
                yield f"a=ssrc:{source.ssrc} {name}{':' if value else ''}{value}"
    yield f"a={media.direction}"


def _transport(transport: Transport) -> Iterator[str]:
    if transport.rtcp_port is not None:
        yield f"a=rtcp:{transport.rtcp_port}"
    if transport.rtcp_mux:
        yield "a=rtcp-mux"
    ice = transport.ice
    if ice is not None:
        yield f"a=ice-ufrag:{_need(is_ice, ice.ufrag, 'ufrag')}"
        yield f"a=ice-pwd:{_need(is_ice, ice.pwd, 'pwd')}"
        options = [option for option in ice.options if is_token(option)]
        if options:
            yield f"a=ice-options:{' '.join(options)}"
    if transport.fingerprint is not None:
        fingerprint = transport.fingerprint
        algorithm = _need(is_token, fingerprint.algorithm, "hash")
        yield f"a=fingerprint:{algorithm} {_need(is_fingerprint, fingerprint.value, 'fingerprint')}"
        yield f"a=setup:{fingerprint.setup}"
    for crypto in transport.crypto:
        words = f"{crypto.tag} {crypto.suite} {crypto.key} {crypto.parameters}".strip()
        if is_token(crypto.suite) and crypto.key and is_visible(words):
            yield f"a=crypto:{words}"
    if ice is not None:
        yield from (f"a=candidate:{spelt}" for spelt in map(candidate_value, ice.candidates) if spelt)
        if ice.complete:
            yield "a=end-of-candidates"


def candidate_value(one: Candidate) -> str:
    """The value of a=candidate; empty where the candidate cannot be spelt."""
    value = f"{one.foundation} {one.component} {one.protocol} {one.priority} {one.ip} {one.port} typ {one.type}"
    if one.related_ip is not None:
        value += f" raddr {one.related_ip}"
    if one.related_port is not None:
        value += f" rport {one.related_port}"
    if one.tcp_type is not None:
        value += f" tcptype {one.tcp_type}"
    if one.generation:
        value += f" generation {one.generation}"
    return value if candidate(value) == replace(one, id="", network=0) else ""


def _common_feedback(codecs: tuple[Codec, ...]) -> tuple[str, ...]:
    """What is said once for all codecs (RFC 4585 §4.2: `*`): an INVITE should fit into a datagram."""
    said = {codec.feedback for codec in codecs}
    return said.pop() if len(codecs) > 1 and len(said) == 1 else ()


def _codec(codec: Codec) -> Iterator[str]:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    yield f"a=rtpmap:{codec.pt} {_need(is_token, codec.name, 'codec')}/{codec.clock_rate}{channels}"
    for feedback in codec.feedback:
        if is_visible(feedback):
            yield f"a=rtcp-fb:{codec.pt} {feedback}"
    pairs = [f"{name}={value}" if name else value for name, value in codec.parameters if _spellable(name, value)]
    if pairs:
        yield f"a=fmtp:{codec.pt} {';'.join(pairs)}"


def _spellable(name: str, value: str) -> bool:
    return bool(name or value) and is_visible(name + value) and ";" not in name + value
