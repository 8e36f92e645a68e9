"""What text from outside may become a field of the model, and how much of it: shared by both spellings.

Every check is a single pass over a string whose length is bounded first; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.session.model import Fingerprint

# Bounds of what one session may carry. A Chromium offer with video stays below a third of each.
MAX_MEDIA = 16
MAX_CODECS = 64
MAX_PARAMETERS = 32  # of one codec, or of one source
MAX_FEEDBACK = 32
MAX_CANDIDATES = 64  # of one section
MAX_EXTENSIONS = 64
MAX_SOURCES = 64
MAX_CRYPTO = 16
MAX_FINGERPRINTS = 16
MAX_FIELD = 1024  # characters of one value

# token-char of RFC 8866 §9
_TOKEN = frozenset("!#$%&'*+-.^_`{|}~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
# ice-char of RFC 8839 §5.1, and what mistaken peers put there beside it (XEP-0176 sets no alphabet)
_ICE = _TOKEN | frozenset("/=:")
_ADDRESS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:-_")
_HEX = frozenset("0123456789ABCDEF:")


def whole(text: str | None, most: int, least: int = 0) -> int | None:
    """The decimal number, or None where it is none or lies outside of least..most."""
    if not text or len(text) > 20 or not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if least <= value <= most else None


def is_token(text: str | None) -> bool:
    return bool(text) and len(text or "") <= MAX_FIELD and _TOKEN.issuperset(text or "")


def is_ice(text: str | None) -> bool:
    """Fit for ufrag, pwd, foundation (RFC 8839 §5.4: at most 256 characters)."""
    return bool(text) and len(text or "") <= 256 and _ICE.issuperset(text or "")


def is_address(text: str | None) -> bool:
    """Fit for an IP address or a host name; whether it is a good one is for the media room to say."""
    return bool(text) and len(text or "") <= 255 and _ADDRESS.issuperset(text or "")


def is_visible(text: str) -> bool:
    """Printable and on one line: neither controls (CR, LF, NUL), nor surrogates, nor odd blanks; may be empty."""
    return len(text) <= MAX_FIELD and text.isprintable()


def is_fingerprint(text: str) -> bool:
    """Upper-case hexadecimal pairs with colons (RFC 8122 §5)."""
    pairs = text.split(":")
    return 16 <= len(pairs) <= 64 and _HEX.issuperset(text) and all(len(pair) == 2 for pair in pairs)


def preferred(fingerprints: Sequence[Fingerprint]) -> Fingerprint | None:
    """Of one certificate's fingerprints the one that everybody can check (RFC 8122 §5), or else the longest."""
    every = next((f for f in fingerprints if f.algorithm == "sha-256"), None)
    return every or max(fingerprints, key=lambda f: len(f.value), default=None)


def visible(text: str, most: int = MAX_FIELD) -> str:
    """The text without what is_visible refuses: for people, and for XML, which forbids most controls."""
    return "".join(c if c.isprintable() else " " for c in text[:most])
