"""The machine's own time and identities."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from application.ports.clock import Clock, IdGenerator


class SystemClock(Clock):
    def now(self) -> datetime:
        """The machine's clock; it may step back when the machine corrects it."""
        return datetime.now(UTC)


class RandomIds(IdGenerator):
    def new(self) -> str:
        """A version 4 UUID (RFC 9562) without its dashes: 122 random bits."""
        return uuid.uuid4().hex
