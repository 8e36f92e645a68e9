"""Far ends of media, as the media room's tests have them."""

from __future__ import annotations

from tests.media.conftest import phone, ports, stranger

__all__ = ["phone", "ports", "stranger"]
