"""Mutual exclusion by name.

Locks only spare contenders pointless retries; correctness never depends on them. The database
decides who gets a version number, also under a lock manager that lets everybody in.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fence:
    """The number of this holding of the lock ``name``: a later one has a higher number.

    A lock that ends by itself (a lease) gives one, drawn from the database; the holder's
    transaction shows it (:meth:`UnitOfWork.check_fence`), so that a holder who has overslept the
    end of its lease writes nothing.
    """

    name: str
    number: int


class LockManager(Protocol):
    def hold(self, name: str, *, timeout: float) -> AbstractAsyncContextManager[Fence | None]:
        """Holds the lock of this name while the block runs; it is freed when the holder dies.

        Gives a fence where the lock can end before the block does, else None.

        Args:
            name: any text; equal names exclude one another. A holder must not ask for a second
                lock (names may share one).
            timeout: seconds to wait for it.

        Raises:
            LockTimeout: others held it all that time.
            LockUnavailable: the lock service cannot be reached.
        """
        ...

    async def check(self) -> None:
        """For readiness: returns when locks can be taken.

        Raises:
            LockUnavailable: they cannot.
        """
        ...
