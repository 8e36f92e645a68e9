"""The shape of tables: what a key may hold."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.dialplan.schema import REPEATED, SINGLE, EmergencySection, MatchSection, RouteSection, TrunkSection


def test_one_word_is_a_list_of_one() -> None:
    assert EmergencySection.model_validate({"action": "route", "via": "carrier"}).via == ("carrier",)
    assert MatchSection.model_validate({"from": ["@office"]}).from_ == ("@office",)


def test_a_trunk_is_cautious_unless_told_otherwise() -> None:
    trunk = TrunkSection.model_validate({"name": "a", "proxy": "sip:a.example"})
    assert (trunk.register_, trunk.srtp, trunk.transcode, trunk.dtmf) == (False, "off", "fallback", "rfc4733")
    assert trunk.max_calls is None


@pytest.mark.parametrize("model", [*SINGLE.values(), *REPEATED.values()])
def test_no_table_takes_a_key_that_it_does_not_know(model: type[RouteSection]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        model.model_validate({"unheard_of": 1})


@pytest.mark.parametrize("value", [1, {"a": 1}, [1], None])
def test_words_are_text(value: object) -> None:
    with pytest.raises(ValidationError):
        RouteSection.model_validate({"name": "a", "via": value})


def test_nothing_is_bent_into_another_type() -> None:
    with pytest.raises(ValidationError):
        TrunkSection.model_validate({"name": "a", "proxy": "sip:a.example", "max_calls": "3"})
