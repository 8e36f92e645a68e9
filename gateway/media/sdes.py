"""SRTP keys that signalling carries (SDES: RFC 4568; AES-GCM: RFC 7714 §14).

Each end names the key that it sends with: one line for each suite in an offer, the chosen one in an answer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from gateway.errors import MediaError
from gateway.media.srtp import PROFILES, Profile
from gateway.session.model import Crypto

_GCM, _CM = PROFILES
# The first is what every telephone with SDES has (RFC 4568 §6.2: mandatory).
SUITES: dict[str, Profile] = {"AES_CM_128_HMAC_SHA1_80": _CM, "AEAD_AES_128_GCM": _GCM}


def ours(random: Callable[[int], bytes]) -> tuple[Crypto, ...]:
    """A new key for each suite. `random` gives so many bytes that nobody can guess."""
    return tuple(
        Crypto(tag, suite, "inline:" + base64.b64encode(random(profile.key + profile.salt)).decode())
        for tag, (suite, profile) in enumerate(SUITES.items(), 1)
    )


def master(crypto: Crypto) -> bytes:
    """The master key and salt in `inline:key[|lifetime][|MKI:length]`. Raises MediaError for what we cannot do."""
    profile = SUITES.get(crypto.suite)
    if profile is None:
        raise MediaError(f"SRTP suite {crypto.suite} is not supported")
    if crypto.parameters:
        # RFC 4568 §6.3: UNENCRYPTED_SRTP, KDR, FEC_ORDER, …: whoever does not do them must not accept the line
        raise MediaError(f"SRTP session parameters are not supported: {crypto.parameters}")
    method, _, inline = crypto.key.partition(":")
    key, *more = inline.split("|")
    if method != "inline" or any(":" in part for part in more):
        raise MediaError("an SRTP key with a key identifier (MKI) is not supported")
    try:
        found = base64.b64decode(key, validate=True)
    except binascii.Error as error:
        raise MediaError("the SRTP key is no base64") from error
    if len(found) != profile.key + profile.salt:
        raise MediaError(f"the SRTP key has {len(found)} bytes, where {crypto.suite} needs another number")
    return found
