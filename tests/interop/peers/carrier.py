"""The dialplan of a gateway with one trunk, whichever peer plays it: Juliet's number there, and a number to call."""

from __future__ import annotations

OURS = "+12025550100"  # Juliet's
THEIRS = "+12025550123"


def plan(proxy: str, *keys: str) -> str:
    """`proxy` is the trunk's SIP URI, `keys` are more lines of its table."""
    more = "\n".join(keys)
    return f"""
[numbers]
region = "US"

[emergency]
action = "refuse"

[[trunk]]
name = "carrier"
proxy = "{proxy}"
from = "{OURS}"
{more}

[[route]]
name = "numbers"
match = {{ kind = "number", country = ["US"] }}
via = "carrier"

[[inbound]]
match = {{ number = "{OURS}" }}
to = "juliet@shakespeare.lit"
"""
