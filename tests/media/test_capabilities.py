from __future__ import annotations

from typing import get_args

from gateway.media.capabilities import CAPABILITIES
from gateway.settings import MediaSection


def test_every_engine_that_can_be_configured_is_in_the_table() -> None:
    assert set(CAPABILITIES) == set(get_args(MediaSection.model_fields["engine"].annotation))


def test_what_the_daemons_cannot_do_is_said() -> None:
    assert CAPABILITIES["embedded"].test_lines
    assert not CAPABILITIES["rtpengine"].test_lines
    assert not CAPABILITIES["rtpengine"].push
