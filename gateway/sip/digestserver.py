"""The server's side of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): who calls in with a name and a word.

    INVITE ──> Authorization? ── none, or not good ──> 401 with challenges: SHA-256, then MD5
                   └── good ──> it is that account's
                   └── good, but the nonce is old or was used ──> 401, stale=true

Nothing is remembered of those who are challenged: a nonce is its time and a MAC over time, source and realm. An unknown
name and a wrong word cost the same work and get the same answer. Only who knew the word hears that a nonce is stale,
and only his uses of it are counted: a request that is heard again on its way buys nobody a call (RFC 7616 §5.4). Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.addresses import SipUri
from gateway.errors import AddressError
from gateway.sip.digest import HASHES, Challenge, Credentials, response
from gateway.sip.headers import AuthField, quote
from gateway.sip.message import Request

ALGORITHMS = ("SHA-256", "MD5")  # in our order of preference, which is the order of the fields (RFC 8760 §2.3)
LIFETIME = 60.0  # seconds that a nonce is good for: a challenge is answered at once
MAX_NONCES = 10_000  # whose uses are counted
MAX_CLAIM = 4096  # characters of an Authorization that are looked at

# What the name of nobody is compared with. Its secrecy does not matter: nobody is let in as nobody.
NOBODY = Credentials("", "nobody")

Accounts = Callable[[], Mapping[str, str]]  # name -> password, as the configuration says now


@dataclass(frozen=True, slots=True)
class Finding:
    """`account` is whose password the request proved to know, None when it did not; `stale`: it is to ask again."""

    account: str | None
    stale: bool = False


class DigestServer:
    """`key` is a secret of this process; the nonces of an earlier one are stale, and nobody notices."""

    def __init__(self, realm: str, accounts: Accounts, key: bytes) -> None:
        self.realm = realm
        self._accounts = accounts
        self._key = key
        self._uses: OrderedDict[str, tuple[int, int]] = OrderedDict()  # nonce -> highest count, those below as bits

    @property
    def active(self) -> bool:
        """Whether anybody could be let in by a password."""
        return bool(self._accounts())

    def claims_us(self, request: Request) -> bool:
        """Whether the caller says that he is of our realm, as only those may who have an account."""
        return request.from_.host == self.realm.lower()

    def challenges(self, source: str, now: float, *, stale: bool = False) -> list[str]:
        """The values of WWW-Authenticate, one for each algorithm."""
        nonce = self._nonce(int(now * 1000), source)
        again = ", stale=true" if stale else ""
        return [
            f'Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={algorithm}, qop="auth"{again}'
            for algorithm in ALGORITHMS
        ]

    def judge(self, request: Request, source: str, now: float) -> Finding:
        """What the Authorization of a request is worth. Whatever is in it, this raises nothing."""
        found = Finding(None)
        for value in request.headers.all("Authorization")[:4]:
            if len(value) > MAX_CLAIM:
                continue
            claim = AuthField.parse(value)
            if claim.scheme.lower() == "digest" and claim.parameter("realm") == self.realm:
                found = self._judge(claim, request, source, now)
                if found.account is not None:
                    return found
        return found

    def _judge(self, claim: AuthField, request: Request, source: str, now: float) -> Finding:
        name = claim.parameter("username") or ""
        nonce = claim.parameter("nonce") or ""
        algorithm = (claim.parameter("algorithm") or "MD5").upper()
        count = claim.parameter("nc") or ""
        qop = (claim.parameter("qop") or "").lower()
        if algorithm not in ALGORITHMS or algorithm not in HASHES or qop not in ("auth", "auth-int"):
            return Finding(None)  # not what we asked for
        uri = claim.parameter("uri") or ""
        password = self._accounts().get(name)
        credentials = NOBODY if password is None else Credentials(name, password)
        expected = response(
            Challenge(self.realm, nonce, algorithm, qop, None, stale=False, proxy=False),
            credentials,
            request.method,
            uri,
            body=request.body,
            cnonce=claim.parameter("cnonce") or "",
            count=count,
        )
        given = (claim.parameter("response") or "").lower()
        good = hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))
        if not good or password is None or not _same(uri, request.uri):
            return Finding(None)
        if not self._is_fresh(nonce, source, now) or not self._is_new(nonce, count):
            return Finding(None, stale=True)
        return Finding(name)

    def _nonce(self, milliseconds: int, source: str) -> str:
        text = f"{milliseconds:x}"
        mac = hmac.new(self._key, f"{text} {source} {self.realm}".encode(), hashlib.sha256)
        return f"{text}-{mac.hexdigest()[:32]}"

    def _is_fresh(self, nonce: str, source: str, now: float) -> bool:
        """Whether it is ours, for this source, and young enough."""
        text = nonce.partition("-")[0]
        if not text or len(text) > 16 or not set(text) <= set("0123456789abcdef"):
            return False
        made = int(text, 16)
        good = hmac.compare_digest(self._nonce(made, source).encode(), nonce.encode("utf-8", "surrogateescape"))
        return good and 0 <= now * 1000 - made + 1 <= LIFETIME * 1000

    def _is_new(self, nonce: str, count: str) -> bool:
        """Whether this use of the nonce is the first of its number; UDP may swap two of them (a window of 64)."""
        if not (len(count) == 8 and set(count.lower()) <= set("0123456789abcdef")):
            return False
        number = int(count, 16)
        highest, below = self._uses.pop(nonce, (0, 0))
        if number > highest:
            below = ((below << 1 | 1) << (number - highest - 1)) & (2**64 - 1) if number - highest <= 64 else 0
            new, highest = True, number
        else:
            bit = 1 << (highest - number - 1) if highest > number else 0
            new = 0 < highest - number <= 64 and not below & bit
            below |= bit & (2**64 - 1)
        self._uses[nonce] = (highest, below)
        if len(self._uses) > MAX_NONCES:
            self._uses.popitem(last=False)
        return new


def _same(claimed: str, asked: str) -> bool:
    """Whether the digest was made for this Request-URI (RFC 7616 §3.4.6); what was not may be another's call.

    COMPAT: proxies on the way that change parameters. User, host and port must be those that the caller signed.
    """
    if claimed == asked:
        return True
    try:
        one, other = SipUri.parse(claimed), SipUri.parse(asked)
    except AddressError:
        return False
    return (one.scheme, one.user, one.host, one.port) == (other.scheme, other.user, other.host, other.port)
