"""Mutated datagrams at the ports of a call that goes on; `make fuzz-media` sends a million."""

from __future__ import annotations

import aioice.ice
import pytest

from tests.media import fuzz

pytestmark = pytest.mark.slow


async def test_mutated_packets_of_every_kind_leave_a_call_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)  # which run() replaces
    outcome = await fuzz.run(12_000, 1)
    assert outcome.talks
    assert outcome.same_worker
    assert outcome.lost == []
    kinds = {kind.partition(" ")[0] for kind in outcome.sent}
    assert kinds == {"STUN", "DTLS", "SRTP", "SRTCP", "RTP", "RTCP"}
    for where, counted in outcome.counters.items():
        assert counted["stranger"] > 100, where
        assert counted["received"] < 10 or where == "telephone", where  # only plain RTP is heard of anybody's making
    before, after = outcome.memory
    assert after < before * 1.2
