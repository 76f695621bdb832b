"""Mutual exclusion by name.

Locks only spare contenders pointless retries; correctness never depends on them. The database
decides who gets a version number, also under a lock manager that lets everybody in.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol


class LockManager(Protocol):
    def hold(self, name: str, *, timeout: float) -> AbstractAsyncContextManager[None]:
        """Holds the lock of this name while the block runs; it is freed when the holder dies.

        Args:
            name: any text; equal names exclude one another. A holder must not ask for a second
                lock (names may share one).
            timeout: seconds to wait for it.

        Raises:
            LockTimeout: others held it all that time.
            StoreUnavailable: the lock service cannot be reached.
        """
        ...

    async def check(self) -> None:
        """For readiness: returns when locks can be taken.

        Raises:
            StoreUnavailable: they cannot.
        """
        ...
