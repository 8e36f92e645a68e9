"""The client's side of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760).

    401/407 ── challenges() ──> the strongest that we can answer ── Session.authorize() ──> Authorization

Of several challenges the strongest is taken, of equals the server's first: that order is our policy (RFC 8760 §2.4
allows one), so that nobody on the way talks us down to MD5 by reordering fields. One Session remembers one challenge's
nonce and counts its uses. A request that answered a challenge and is challenged again answers only if it hears that the
nonce was stale: anything else means that the password is wrong, and asking again would lock the account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.sip.headers import AuthField, quote
from gateway.sip.message import Response


def _hasher(name: str) -> Callable[[bytes], str]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest()


HASHES: dict[str, Callable[[bytes], str]] = {
    "MD5": _hasher("md5"),
    "SHA-256": _hasher("sha256"),
    "SHA-512-256": _hasher("sha512_256"),
}
if "sha512_256" not in hashlib.algorithms_available:  # some builds of OpenSSL leave it out
    del HASHES["SHA-512-256"]


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge that we can answer."""

    realm: str
    nonce: str
    algorithm: str  # as the server wrote it; "" when it did not
    qop: str  # "auth", "auth-int" or "" for none (RFC 2069)
    opaque: str | None
    stale: bool
    proxy: bool
    userhash: bool = False  # the server would rather not read our name (RFC 7616 §3.4.4)

    @property
    def strength(self) -> int:
        """More is better; MD5 is broken, the others are not."""
        return 0 if self.base == "MD5" else 1

    @property
    def base(self) -> str:
        return (self.algorithm or "MD5").upper().removesuffix("-SESS")

    @property
    def session(self) -> bool:
        return self.algorithm.upper().endswith("-SESS")


def challenges(response: Response) -> list[Challenge]:
    """The challenges to answer: the strongest of the server's, and of each proxy's realm.

    A server names one realm and several algorithms; only of proxies there may be several (RFC 3261 §22.3).
    """
    found: dict[tuple[bool, str], Challenge] = {}
    for name, proxy in (("WWW-Authenticate", False), ("Proxy-Authenticate", True)):
        for value in response.headers.all(name):
            read = _challenge(AuthField.parse(value), proxy)
            if read is not None:
                key = (proxy, read.realm if proxy else "")
                if key not in found or read.strength > found[key].strength:
                    found[key] = read
    return list(found.values())


def _challenge(read: AuthField, proxy: bool) -> Challenge | None:
    realm, nonce = read.parameter("realm"), read.parameter("nonce")
    if read.scheme.lower() != "digest" or realm is None or not nonce:
        return None
    algorithm = read.parameter("algorithm") or ""
    if (algorithm or "MD5").upper().removesuffix("-SESS") not in HASHES:
        return None
    offered = [word.strip().lower() for word in (read.parameter("qop") or "").split(",") if word.strip()]
    qop = next((word for word in ("auth", "auth-int") if word in offered), None)
    if offered and qop is None:
        return None
    stale = (read.parameter("stale") or "").lower() == "true"
    userhash = (read.parameter("userhash") or "").lower() == "true"
    return Challenge(realm, nonce, algorithm, qop or "", read.parameter("opaque"), stale, proxy, userhash)


class Session:
    """What was agreed with one server: its challenge and how often its nonce was used."""

    def __init__(self, challenge: Challenge, credentials: Credentials) -> None:
        self.challenge = challenge
        self._credentials = credentials
        self._count = 0

    @property
    def header(self) -> str:
        return "Proxy-Authorization" if self.challenge.proxy else "Authorization"

    def authorize(self, method: str, uri: str, body: bytes, cnonce: str) -> str:
        """The value of `header` for one request; each call uses the nonce once more."""
        self._count += 1
        challenge, credentials = self.challenge, self._credentials
        count = f"{self._count:08x}"
        digest = response(challenge, credentials, method, uri, body=body, cnonce=cnonce, count=count)
        name = credentials.username
        if challenge.userhash:
            name = HASHES[challenge.base](f"{name}:{challenge.realm}".encode("utf-8", "surrogateescape"))
        out = [
            f"username={quote(name)}",
            f"realm={quote(challenge.realm)}",
            f"nonce={quote(challenge.nonce)}",
            f"uri={quote(uri)}",
            f'response="{digest}"',
        ]
        if challenge.algorithm:
            out.append(f"algorithm={challenge.algorithm}")
        if challenge.userhash:
            out.append("userhash=true")
        if challenge.opaque is not None:
            out.append(f"opaque={quote(challenge.opaque)}")
        if challenge.qop:
            out += [f"qop={challenge.qop}", f"nc={count}", f"cnonce={quote(cnonce)}"]
        elif challenge.session:
            out.append(f"cnonce={quote(cnonce)}")
        return "Digest " + ", ".join(out)


def response(
    challenge: Challenge, credentials: Credentials, method: str, uri: str, *, body: bytes, cnonce: str, count: str
) -> str:
    """The request-digest of RFC 7616 §3.4.1, hexadecimal."""
    hashed = HASHES[challenge.base]

    def over(*parts: str) -> str:
        return hashed(":".join(parts).encode("utf-8", "surrogateescape"))

    secret = over(credentials.username, challenge.realm, credentials.password)
    if challenge.session:
        secret = over(secret, challenge.nonce, cnonce)
    target = over(method, uri, hashed(body)) if challenge.qop == "auth-int" else over(method, uri)
    if challenge.qop:
        return over(secret, challenge.nonce, count, cnonce, challenge.qop, target)
    return over(secret, challenge.nonce, target)


class Authenticator:
    """Answers the challenges to one sequence of requests with one pair of credentials, once each."""

    def __init__(self, credentials: Credentials, cnonce: Callable[[], str]) -> None:
        self._credentials = credentials
        self._cnonce = cnonce
        self._sessions: dict[tuple[bool, str], Session] = {}

    def learn(self, refusal: Response, *, again: bool) -> bool:
        """Take the challenges of a 401 or 407. False when asking again would not help.

        `again`: this request was refused before, and has answered what it was asked then.
        """
        better = False
        for challenge in challenges(refusal):
            key = (challenge.proxy, challenge.realm)
            known = self._sessions.get(key)
            fresh = known is not None and challenge.nonce != known.challenge.nonce
            # COMPAT: Asterisk and others forget a nonce of an earlier request without saying that it was stale.
            if known is None or (fresh and (challenge.stale or not again)):
                self._sessions[key] = Session(challenge, self._credentials)
                better = True
        return better

    def headers(self, method: str, uri: str, body: bytes) -> list[tuple[str, str]]:
        """The authentication fields of the next request."""
        return [
            (session.header, session.authorize(method, uri, body, self._cnonce()))
            for session in self._sessions.values()
        ]
