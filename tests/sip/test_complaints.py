"""gateway.sip.complaints: all are counted, a few are told."""

from __future__ import annotations

from gateway.sip.complaints import Complaints
from gateway.sip.overload import Rate


def test_the_first_are_told_and_of_a_flood_only_how_many_they_were() -> None:
    complaints = Complaints(0.0, Rate(0.5, 2.0))
    assert [complaints.note("certificate", 0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert complaints.note("no tls", 1.0) is None
    assert complaints.note("no tls", 2.0) == 4, "so many before it were not told"
    assert complaints.note("no tls", 4.0) == 0
    assert complaints.counts == {"certificate": 5, "no tls": 3}
