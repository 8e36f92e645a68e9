from __future__ import annotations

import base64
import secrets
from dataclasses import replace

import pytest

from gateway.errors import MediaError
from gateway.media.sdes import SUITES, master, ours
from gateway.session.model import Crypto


def test_there_is_a_new_key_for_each_suite() -> None:
    first, second = ours(secrets.token_bytes), ours(secrets.token_bytes)
    assert [crypto.suite for crypto in first] == ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"]
    assert [crypto.tag for crypto in first] == [1, 2]
    assert len({crypto.key for crypto in (*first, *second)}) == 4
    for crypto in first:
        profile = SUITES[crypto.suite]
        assert len(master(crypto)) == profile.key + profile.salt


def test_the_key_of_the_specifications_example_is_read() -> None:
    line = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20"  # RFC 4568 §9.1, without its MKI
    assert master(Crypto(1, "AES_CM_128_HMAC_SHA1_80", line)) == b"YS___semctl () {\t220;}\n}\nunles"


GOOD = Crypto(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + base64.b64encode(bytes(30)).decode())


@pytest.mark.parametrize(
    ("crypto", "reason"),
    [
        (replace(GOOD, suite="F8_128_HMAC_SHA1_80"), "not supported"),
        (replace(GOOD, parameters="UNENCRYPTED_SRTP"), "session parameters"),
        (replace(GOOD, key=GOOD.key + "|2^20|1:4"), "MKI"),
        (replace(GOOD, key=GOOD.key + "|1:4"), "MKI"),
        (replace(GOOD, key="outline:" + GOOD.key[7:]), "MKI"),
        (replace(GOOD, key="inline:***"), "base64"),
        (replace(GOOD, key=GOOD.key[:-4]), "bytes"),
        (replace(GOOD, suite="AEAD_AES_128_GCM"), "bytes"),
        (replace(GOOD, key=""), "MKI"),
    ],
)
def test_what_we_cannot_do_is_refused_and_the_key_is_never_told(crypto: Crypto, reason: str) -> None:
    with pytest.raises(MediaError, match=reason) as raised:
        master(crypto)
    assert GOOD.key[7:30] not in str(raised.value)
