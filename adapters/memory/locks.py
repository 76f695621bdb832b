"""Locks within one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary, WeakValueDictionary

from application.ports.lock_manager import Fence, LockManager
from domain.errors import LockTimeout


class MemoryLockManager(LockManager):
    """One asyncio lock per name and event loop; a lock lasts as long as somebody wants it."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[
            asyncio.AbstractEventLoop, WeakValueDictionary[str, asyncio.Lock]
        ] = WeakKeyDictionary()

    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[Fence | None]:  # noqa: ASYNC109
        """Waits in the order of asking."""
        locks = self._loops.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        lock = locks.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(timeout):
                await lock.acquire()
        except TimeoutError:
            raise LockTimeout(
                f"Others were working on this for all of the {timeout:g} seconds waited; try again."
            ) from None
        try:
            yield None
        finally:
            lock.release()

    async def check(self) -> None:
        """Nothing can be out of reach here."""
