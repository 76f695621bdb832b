"""Time and identity, the two things a pure core may not make up."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time in UTC, timezone-aware, to the microsecond."""
        ...


class IdGenerator(Protocol):
    def new(self) -> str:
        """32 lower-case hex digits that were never returned before, by any replica."""
        ...
