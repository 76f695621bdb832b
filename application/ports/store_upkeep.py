"""Looking after what is stored: what maintenance and readiness need of an artifact store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.values import Digest


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A stored blob.

    Attributes:
        size: in bytes.
        renewed_at: when it was written, or last referenced by a publish.
    """

    digest: Digest
    size: int
    renewed_at: datetime


class StoreUpkeep(Protocol):
    def list(self) -> AsyncGenerator[BlobInfo, None]:
        """Every visible blob, in no particular order, in bounded memory."""
        ...

    async def discard(self, digest: Digest, *, unless_renewed_since: datetime) -> bool:
        """Deletes the blob unless it was renewed at or after the given time; True when deleted."""
        ...

    async def sweep_staging(self, *, older_than: datetime, dry_run: bool) -> tuple[int, int]:
        """Removes staged bytes of broken uploads that were last written to before ``older_than``.

        Returns:
            their number, and their bytes together; with ``dry_run`` nothing is removed.
        """
        ...

    async def claim(self, registry: str) -> str:
        """Marks the store as the one of this registry, unless it is marked already.

        Of several at once one succeeds, and all are told the same.

        Returns:
            the id of the registry that it belongs to from now on.

        Raises:
            StoreUnavailable
        """
        ...

    async def check(self) -> None:
        """For readiness: returns when bytes can be stored.

        Raises:
            StoreUnavailable, StoreFull: saying why not.
        """
        ...
