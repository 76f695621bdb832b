"""No lock at all: everybody is let in.

What ``LOCK_METHOD=none`` asks for, and the proof that correctness does not rest on a lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from application.ports.lock_manager import Fence, LockManager


class NoLockManager(LockManager):
    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[Fence | None]:  # noqa: ARG002, ASYNC109
        """Lets everybody in at once."""
        yield None

    async def check(self) -> None:
        """There is nothing that could be unreachable."""
