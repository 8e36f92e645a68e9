"""The messages of RFC 4475, octet for octet, for whichever test wants to be tortured. See tests/vectors/README.md."""

from __future__ import annotations

import re
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
TORTURE = VECTORS / "rfc4475"


def octets(path: Path) -> bytes:
    """What a vector holds: its first line says what it is, LF is CRLF, `\\xNN` is one octet."""
    text = path.read_text(encoding="utf-8").partition("\n")[2]
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.replace("\n", "\r\n").encode())


def torture(name: str) -> bytes:
    return octets(TORTURE / f"{name}.sip")


def everything() -> list[Path]:
    """All vectors of SIP messages there are."""
    return [*sorted((VECTORS / "sip").glob("*.sip")), *sorted(TORTURE.glob("*.sip"))]
