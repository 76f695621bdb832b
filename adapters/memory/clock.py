"""A clock that stands still and identities that count, so that a test can name what comes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from application.ports.clock import Clock, IdGenerator


class FixedClock(Clock):
    """Shows the same time until it is advanced."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Moves on and returns the new time."""
        self._now += by
        return self._now


class SequentialIds(IdGenerator):
    """1, 2, 3 ... as 32 hex digits."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> str:
        self._last += 1
        return f"{self._last:032x}"
