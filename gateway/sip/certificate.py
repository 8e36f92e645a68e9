"""Whose certificate it is: the SIP domains that one names, and whether they are the one asked for (RFC 5922). Pure.

A certificate is what ssl.SSLSocket.getpeercert() gives of one that was verified; an empty one names nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping

from gateway.sip.headers import host_port

MAX_NAMES = 256  # a content network's certificate has a hundred

Certificate = Mapping[str, object]


def names_in(certificate: Certificate) -> tuple[str, ...]:
    """The SIP domains and addresses in it, lower case, as RFC 5922 §7.1 finds them.

    URIs of the scheme sip without a user; only without those the DNS names; the CN only where there is no alternative
    name at all. Addresses count beside them: trunks are often configured by one.
    """
    alternatives = tuple(_alternatives(certificate))
    uris = [text for kind, text in alternatives if kind == "URI" and text.lower().startswith("sip:")]
    found = [domain for text in uris if (domain := _domain(text[4:]))]
    if not uris:
        found = [text.lower().rstrip(".") for kind, text in alternatives if kind == "DNS"]
    found += [str(address) for kind, text in alternatives if kind == "IP Address" if (address := _ip(text))]
    if not alternatives:
        found = [text.lower() for text in _common_names(certificate)]
    return tuple(dict.fromkeys(name for name in found if name))[:MAX_NAMES]


def speaks_for(names: Collection[str], domain: str, *, wildcards: bool = False) -> bool:
    """Whether a certificate with these names is that of the domain.

    Names are compared whole; RFC 5922 §7.2 forbids wildcards. COMPAT: Twilio's Elastic SIP Trunking serves
    `*.pstn.twilio.com`; with `wildcards`, which is for far ends that we chose ourselves, one stands for one label.
    """
    wanted = domain.lower().rstrip(".").strip("[]")
    address = _ip(wanted)
    if address is not None:
        return str(address) in names
    if not wanted:
        return False
    _, dot, parent = wanted.partition(".")
    return wanted in names or (wildcards and bool(dot) and "." in parent and f"*.{parent}" in names)


def _alternatives(certificate: Certificate) -> Iterator[tuple[str, str]]:
    found = certificate.get("subjectAltName", ())
    for pair in found if isinstance(found, tuple) else ():
        if isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair):
            yield pair[0], pair[1]


def _common_names(certificate: Certificate) -> Iterator[str]:
    subject = certificate.get("subject", ())
    for names in subject if isinstance(subject, tuple) else ():
        for key, value in names:
            if key == "commonName":
                yield value


def _domain(hostport: str) -> str:
    """The host of a sip URI's rest; "" when it names a user, which is a person's certificate and no domain's."""
    if "@" in hostport:
        return ""
    host, _ = host_port(hostport.partition(";")[0].partition("?")[0])
    return host.rstrip(".")


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        return None
