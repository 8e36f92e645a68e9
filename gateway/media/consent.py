"""STUN that repeats itself (RFC 7675), in short.

Once ICE has selected a pair, both ends ask the same again every few seconds for as long as the call lasts, and answer
the same. Only the transaction is another one, and with it what proves the message and what seals it:

    kind, length, cookie | transaction | attributes | MESSAGE-INTEGRITY | FINGERPRINT
          8 octets             12                            24                8

So aioice composes, reads and judges a check once (ice.py), and what is like it is composed, believed and answered here,
for a tenth of the time. Whatever has another form is not believed, and goes the long way.
"""

from __future__ import annotations

import hmac
import ipaddress
from binascii import crc32

REQUEST, RESPONSE = b"\x00\x01", b"\x01\x01"  # of the method Binding (RFC 8489 §5)
COOKIE = b"\x21\x12\xa4\x42"
HEAD, TAIL = 20, 32  # octets around the attributes
_INTEGRITY, _FINGERPRINT, _MAPPED = b"\x00\x08\x00\x14", b"\x80\x28\x00\x04", b"\x00\x20"  # §14.5, 14.7, 14.2
_SEAL = 0x5354554E


def compose(kind: bytes, transaction: bytes, attributes: bytes, key: bytes) -> bytes:
    """A whole message. MESSAGE-INTEGRITY covers a length that ends behind itself (RFC 8489 §14.5)."""
    said = COOKIE + transaction + attributes
    proof = hmac.digest(key, kind + (len(attributes) + 24).to_bytes(2) + said, "sha1")
    proven = kind + (len(attributes) + TAIL).to_bytes(2) + said + _INTEGRITY + proof
    return proven + _FINGERPRINT + (crc32(proven) ^ _SEAL).to_bytes(4)


def is_authentic(data: bytes, kind: bytes, key: bytes) -> bool:
    """Whether this is such a message, in that form, by someone who has the key."""
    return hmac.compare_digest(data, compose(kind, data[8:HEAD], data[HEAD:-TAIL], key))


class Answer:
    """What a check from this address is answered (XOR-MAPPED-ADDRESS: §14.2), whatever its transaction."""

    __slots__ = ("_address", "_head", "_size")

    def __init__(self, address: str, port: int) -> None:
        packed = ipaddress.ip_address(address).packed
        self._size, self._address = len(packed), int.from_bytes(packed)
        family = b"\x00\x01" if self._size == 4 else b"\x00\x02"
        self._head = _MAPPED + (self._size + 4).to_bytes(2) + family + (port ^ int.from_bytes(COOKIE[:2])).to_bytes(2)

    def to(self, transaction: bytes, key: bytes) -> bytes:
        mask = int.from_bytes((COOKIE + transaction)[: self._size])
        return compose(RESPONSE, transaction, self._head + (self._address ^ mask).to_bytes(self._size), key)
