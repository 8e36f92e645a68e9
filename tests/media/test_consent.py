from __future__ import annotations

import pytest
from aioice import stun

from gateway.media import consent

KEY, OTHER = b"the far end's password", b"another password"
TRANSACTION = bytes(range(100, 112))


def question(key: bytes = KEY) -> stun.Message:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, TRANSACTION)
    message.attributes.update({"USERNAME": "far:near", "PRIORITY": 7, "ICE-CONTROLLED": 1 << 60})
    message.add_message_integrity(key)
    return message


def test_a_check_is_composed_as_aioice_composes_it() -> None:
    whole = bytes(question())
    attributes = whole[consent.HEAD : -consent.TAIL]
    assert consent.compose(consent.REQUEST, TRANSACTION, attributes, KEY) == whole


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_an_answer_is_what_aioice_would_say_under_any_transaction(address: str) -> None:
    answer = consent.Answer(address, 40_007)
    for transaction in (TRANSACTION, bytes(12)):
        said = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction)
        said.attributes["XOR-MAPPED-ADDRESS"] = (address, 40_007)
        said.add_message_integrity(KEY)
        assert answer.to(transaction, KEY) == bytes(said)


def test_a_message_of_who_has_the_key_is_authentic() -> None:
    assert consent.is_authentic(bytes(question()), consent.REQUEST, KEY)


@pytest.mark.parametrize("place", range(len(bytes(question()))))
def test_a_message_of_which_anything_was_changed_is_not(place: int) -> None:
    data = bytearray(bytes(question()))
    data[place] ^= 1
    assert not consent.is_authentic(bytes(data), consent.REQUEST, KEY)


@pytest.mark.parametrize(
    "data",
    [
        bytes(question(OTHER)),
        bytes(question())[:-8],  # without FINGERPRINT: known to none but the long way
        bytes(question()) + b"\x80\x22\x00\x00",
        bytes(question())[:20],
        b"\x00\x01",
        b"",
    ],
    ids=["another's", "unsealed", "more behind it", "a head", "shorter", "nothing"],
)
def test_whatever_else_there_is_is_not(data: bytes) -> None:
    assert not consent.is_authentic(data, consent.REQUEST, KEY)


def test_a_question_is_no_answer() -> None:
    assert not consent.is_authentic(bytes(question()), consent.RESPONSE, KEY)
