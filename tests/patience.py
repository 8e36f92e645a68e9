"""How long a test waits for what is sure to come: longer than any machine takes, however busy it is with others.

It is what a failure costs, no measure of anything. Where failures are expected (tests/test_house.py), they cost less.
"""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("TEST_PATIENCE", "60"))  # seconds
