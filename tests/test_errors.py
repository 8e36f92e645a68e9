"""The tree of errors."""

from __future__ import annotations

import pytest

from gateway import errors


def test_a_wire_error_says_how_to_answer_it_in_its_own_protocol() -> None:
    assert errors.SipError("no Via").status == 400
    assert errors.JingleError("no sid").condition == "bad-request"
    assert str(errors.SdpError("no v=", 3)) == "line 3: no v="
    assert str(errors.SdpError("empty")) == "empty"


@pytest.mark.parametrize("kind", [errors.SdpError, errors.JingleError, errors.SipError, errors.NgError])
def test_what_a_peer_did_wrong_is_one_family(kind: type[errors.WireError]) -> None:
    with pytest.raises(errors.WireError):
        raise kind("x")


def test_a_configuration_error_lists_every_fault_with_its_place() -> None:
    faults = (errors.Fault("gateway.toml", 3, "unknown key"), errors.Fault("a.toml", 9, "slow", warning=True))
    assert str(errors.ConfigurationError(faults)) == "gateway.toml:3: unknown key\na.toml:9: warning: slow"
