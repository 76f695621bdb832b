"""The bytes of uploads that arrive in several requests, while they are incomplete."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """``name``: ``upload/segment``, the ids of both; ``size``: in bytes."""

    name: str
    size: int
    written_at: datetime


class SegmentStore(Protocol):
    """Beside the blobs, in what all replicas share. Every method may raise StoreUnavailable."""

    async def write(self, upload: str, content: bytes) -> str:
        """Makes these bytes durable, and returns their name, which nothing had before.

        Args:
            upload: the id of the upload, 32 hex digits.

        Raises:
            StoreFull: there is no room.
        """
        ...

    def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """The bytes, in chunks of at most 1 MiB.

        Raises:
            BlobNotFound: on the first step.
        """
        ...

    async def remove(self, names: Collection[str]) -> None:
        """Deletes those of them that are there."""
        ...

    def list(self) -> AsyncGenerator[StoredSegment, None]:
        """Every segment, in no particular order, in bounded memory."""
        ...
