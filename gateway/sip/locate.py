"""Where the next hop of a URI may be (RFC 3263 §4): questions for DNS, and from the answers targets in order. Pure.

    URI ──> numeric? ──────────────────────────────────────────────────> target
        ├─> port or transport named? ── no ──> NAPTR ──> services ┐
        └─────────────────────────────> SRV by transport ─────────┴──> A, AAAA ──> targets

`search` is a generator: it yields questions, several at a time when they may be asked at once, is sent their answers,
and returns the targets. Whoever runs it brings the network. Every address passes `permit`, literal ones too: nobody
probes our networks by naming a host in them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.addresses import SipUri
from gateway.sip.targets import Target

MAX_TARGETS = 8
LONGEST = 128  # characters of an address, a zone with it
MAX_RECORDS = 16  # of one answer that are looked at

Permit = Callable[[str], bool]
Chance = Callable[[], float]  # 0 <= chance() < 1

PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}  # RFC 3261 §19.1.2, RFC 7118 §5.2
SECURE = frozenset({"TLS", "WSS"})
# RFC 3263 §4.1, RFC 7118 §5.2.2
SERVICES = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS", "SIP+D2W": "WS", "SIPS+D2W": "WSS"}
SRV = {"UDP": "_sip._udp.", "TCP": "_sip._tcp.", "TLS": "_sips._tcp."}


@dataclass(frozen=True, slots=True)
class Question:
    """`kind` is "NAPTR", "SRV", "A", "AAAA", or "HOST": what this machine knows beside DNS (/etc/hosts)."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Naptr:
    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    priority: int
    weight: int
    port: int
    target: str  # without the last dot; "" is the root: there is no such service


Answer = Sequence[Naptr | Srv | str]  # addresses are text; empty when there is no such record
Search = Generator[tuple[Question, ...], tuple[Answer, ...], list[Target]]


def anyone(address: str) -> bool:
    """The policy of no policy."""
    return True


def ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address if the text is one."""
    return _address(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=4096)  # every datagram has one on it
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def transport_of(uri: SipUri) -> str | None:
    """The transport that a URI asks for, upper case; None when it leaves that to us, "" when it asks the impossible.

    sips over TCP is TLS, over WS it is WSS (RFC 3261 §26.2.2, RFC 7118 §5.3). `transport=tls` is long deprecated and
    what everybody writes.
    """
    named = (uri.parameter("transport") or "").upper()
    if uri.scheme != "sips":
        return named or None
    return {"": None, "TCP": "TLS", "TLS": "TLS", "WS": "WSS", "WSS": "WSS"}.get(named, "")


def literal(uri: SipUri, permit: Permit) -> Target | None:
    """The target of a URI whose host is an address; None when it is a name, not permitted, or by no way of ours."""
    address = ip_of(host_of(uri))
    if address is None or not spoken(uri):
        return None
    host, transport = str(address), transport_of(uri) or _usual(uri)
    return Target(transport, host, uri.port or PORTS[transport]) if permit(host) else None


def host_of(uri: SipUri) -> str:
    return uri.parameter("maddr") or uri.host


def spoken(uri: SipUri) -> bool:
    """Whether the URI can be reached by a transport of ours at all."""
    wanted = transport_of(uri)
    return uri.scheme in ("sip", "sips") and (wanted is None or wanted in PORTS)


def _usual(uri: SipUri) -> str:
    return "TLS" if uri.scheme == "sips" else "UDP"


def search(uri: SipUri, permit: Permit, chance: Chance) -> Search:
    """The targets of this URI, best first; empty when it leads nowhere."""
    host, wanted = host_of(uri), transport_of(uri)
    if ip_of(host) is not None:
        target = literal(uri, permit)
        return [target] if target is not None else []
    if not host or not spoken(uri):
        return []
    found: list[tuple[str, Srv]] | None = None
    # A name without a dot is of this machine or its network: DNS has no services for it.
    if uri.port is None and "." in host and not _is_local(host):
        found = yield from _services(host, wanted, secure=uri.scheme == "sips", chance=chance)
    if found is None:
        transport = wanted or _usual(uri)
        found = [(transport, Srv(0, 0, uri.port or PORTS[transport], host))]
    targets: list[Target] = []
    for transport, service in found[:MAX_TARGETS]:
        addresses = yield from _addresses(service.target)
        targets += [Target(transport, address, service.port) for address in addresses if permit(address)]
    return list(dict.fromkeys(targets))[:MAX_TARGETS]


def _services(
    host: str, wanted: str | None, *, secure: bool, chance: Chance
) -> Generator[tuple[Question, ...], tuple[Answer, ...], list[tuple[str, Srv]] | None]:
    """Which services there are, in order, each with its transport; None when DNS knows of none (RFC 3263 §4.2)."""
    chosen: list[tuple[str, str]] = []  # transport, the name of its SRV records
    if wanted is None:
        (records,) = yield (Question(host, "NAPTR"),)
        chosen = _chosen([record for record in records if isinstance(record, Naptr)], secure=secure)
    if not chosen:
        transports = [wanted] if wanted else ["TLS"] if secure else ["UDP", "TCP"]
        chosen = [(transport, SRV[transport] + host) for transport in transports if transport in SRV]
        first_only = True
    else:
        first_only = False
    if not chosen:
        return None
    answers = yield tuple(Question(name, "SRV") for _, name in chosen)
    found: list[tuple[str, Srv]] = []
    known = False
    for (transport, _), answer in zip(chosen, answers, strict=True):
        services = [record for record in answer if isinstance(record, Srv)][:MAX_RECORDS]
        known = known or bool(services)
        # A root as the only target: the service is decidedly not available (RFC 2782).
        found += [(transport, service) for service in ordered(services, chance) if service.target]
        if found and first_only:
            break  # whoever lists UDP and TCP lists the same hosts twice: one round of silence is enough
    return found if known else None


def _chosen(records: Iterable[Naptr], *, secure: bool) -> list[tuple[str, str]]:
    """The services that we speak, by the lowest order that has one, and then by preference (RFC 3403 §4.1)."""
    usable = [
        record
        for record in records
        if record.flags.lower() == "s"
        and record.replacement
        and (transport := SERVICES.get(record.service.upper())) is not None
        and (not secure or transport in SECURE)
    ][:MAX_RECORDS]
    lowest = min((record.order for record in usable), default=0)
    best = sorted((record for record in usable if record.order == lowest), key=lambda record: record.preference)
    return [(SERVICES[record.service.upper()], record.replacement) for record in best[:4]]


def ordered(records: Iterable[Srv], chance: Chance) -> list[Srv]:
    """By priority, and within one by weight at random: each next one in proportion to its weight (RFC 2782)."""
    out: list[Srv] = []
    waiting = sorted(records, key=lambda record: (record.priority, record.weight))  # weightless ones first
    while waiting:
        group = [record for record in waiting if record.priority == waiting[0].priority]
        drawn = chance() * (sum(record.weight for record in group) + 1)
        running = 0
        for record in group:
            running += record.weight
            if running >= int(drawn):
                break
        out.append(record)
        waiting.remove(record)
    return out


def _is_local(name: str) -> bool:
    return name.lower() == "localhost" or name.lower().endswith(".localhost")


def _addresses(name: str) -> Generator[tuple[Question, ...], tuple[Answer, ...], list[str]]:
    """A and AAAA; the system's own resolver knows names that DNS does not."""
    address = ip_of(name)
    if address is not None:
        return [str(address)]
    if _is_local(name):
        return ["127.0.0.1", "::1"]  # RFC 6761 §6.3: nobody is asked, and nobody can say otherwise
    found: list[str] = []
    if "." in name:
        for answer in (yield (Question(name, "A"), Question(name, "AAAA"))):
            found += [record for record in answer if isinstance(record, str)][:MAX_RECORDS]
    if not found:
        (answer,) = yield (Question(name, "HOST"),)
        found = [record for record in answer if isinstance(record, str)][:MAX_RECORDS]
    return [str(known) for text in found if (known := ip_of(text)) is not None]
