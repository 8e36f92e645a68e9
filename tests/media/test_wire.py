from __future__ import annotations

from typing import Any

import pytest

from gateway.call.causes import Cause
from gateway.errors import NgError
from gateway.media import ng
from gateway.media.engine import Connected, Digit, LegStatistics, Lost
from gateway.media.leg import Patience
from gateway.media.wire import pack, unpack
from gateway.media.worker import WorkerSettings
from gateway.session.model import Candidate, Codec, Direction, Fingerprint, Ice, Setup, Stream, Transport

CANDIDATE = Candidate("1", 1, "udp", 2_130_706_431, "192.0.2.1", 5_000, "srflx", "10.0.0.1", 5_000, tcp_type=None)
OPUS = Codec(111, "opus", 48_000, 2, (("useinbandfec", "1"),), ("transport-cc",))


@pytest.mark.parametrize(
    "value",
    [
        CANDIDATE,
        Transport("192.0.2.1", 4_000, 4_001),
        Transport(
            ice=Ice("u", "p", (CANDIDATE,), ("trickle",), True, True), fingerprint=Fingerprint("a", "b", Setup.ACTIVE)
        ),
        Stream(OPUS, (OPUS,), None, (), Direction.RECVONLY, 30, True),
        LegStatistics(1, 2, 3, 4, (("stranger", 5),), "opus", True),
        Connected("call", "leg"),
        Lost("call", "leg", Cause.MEDIA_LOST, "why"),
        Digit("call", "leg", "#", 100),
    ],
)
def test_what_goes_over_the_wire_comes_back(value: Any) -> None:
    assert unpack(type(value), ng.decode(ng.encode(pack(value)))) == value


def test_settings_with_seconds_and_nothing_advertised_come_back() -> None:
    settings = WorkerSettings("0.0.0.0", None, 4_000, 4_999, ("10.0.0.0/8",), Patience(1.5, 2.5, 3.5))
    assert unpack(WorkerSettings, pack(settings)) == settings


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Transport, None),
        (Transport, {"port": "5000"}),
        (Transport, {"unheard-of": 1}),
        (Candidate, {"foundation": "1"}),
        (Fingerprint, {"algorithm": "sha-256", "value": "AB", "setup": "sideways"}),
        (Lost, {"call": "c", "leg": "l", "cause": "BOREDOM", "text": ""}),
        (Ice, {"ufrag": "u", "pwd": "p", "candidates": {}}),
        (LegStatistics, {"dropped": [["stranger"]]}),
    ],
)
def test_what_is_not_of_the_kind_is_refused(kind: type[Any], data: Any) -> None:
    with pytest.raises(NgError):
        unpack(kind, data)
