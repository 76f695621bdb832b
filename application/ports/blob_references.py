"""Which blobs the registry's versions name: what garbage collection and verification ask."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from domain.values import Digest


class BlobReferences(Protocol):
    async def referenced(self, digests: Collection[Digest]) -> set[Digest]:
        """Those of the given digests (at most 500) that some version names.

        Raises:
            DatabaseUnavailable: the answer is not known; assume all are.
        """
        ...

    async def page(self, after: Digest | None, limit: int) -> list[tuple[Digest, int]]:
        """Distinct referenced digests above ``after`` with their sizes, ascending.

        Raises:
            DatabaseUnavailable
        """
        ...
