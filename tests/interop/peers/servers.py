"""A mark for tests that hold whichever XMPP server stands beside the gateway."""

from __future__ import annotations

import pytest

from .ejabberd import Ejabberd
from .prosody import Prosody

ON_EVERY_SERVER = pytest.mark.parametrize("server", [Prosody, Ejabberd], indirect=True, ids=lambda each: each.name)
