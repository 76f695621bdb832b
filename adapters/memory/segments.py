"""Segments of incomplete uploads in a dictionary."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, Collection
from datetime import UTC, datetime
from uuid import uuid4

from application.ports.clock import Clock
from application.ports.segment_store import SegmentStore, StoredSegment
from domain.errors import BlobNotFound, StoreFull

_CHUNK = 1 << 20


class MemorySegmentStore(SegmentStore):
    """Keeps every segment in memory.

    Args:
        clock: tells when a segment was written; the machine's clock if there is none.
        capacity: bytes after which the store is full.
    """

    def __init__(self, *, clock: Clock | None = None, capacity: int | None = None) -> None:
        self._clock = clock
        self._capacity = capacity
        self._segments: dict[str, tuple[bytes, datetime]] = {}

    async def write(self, upload: str, content: bytes) -> str:
        """Lets others have their turn, as a store that does I/O would."""
        await asyncio.sleep(0)
        held = sum(len(each) for each, _ in self._segments.values())
        if self._capacity is not None and held + len(content) > self._capacity:
            raise StoreFull("The store has no room left.")
        name = f"{upload}/{uuid4().hex}"
        self._segments[name] = content, self._clock.now() if self._clock else datetime.now(UTC)
        return name

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        if name not in self._segments:
            raise BlobNotFound(f"There is no segment {name}.")
        content, _ = self._segments[name]
        for offset in range(0, len(content), _CHUNK):
            await asyncio.sleep(0)
            yield content[offset : offset + _CHUNK]

    async def remove(self, names: Collection[str]) -> None:
        for name in names:
            self._segments.pop(name, None)

    async def list(self) -> AsyncGenerator[StoredSegment, None]:
        for name, (content, at) in builtins.list(self._segments.items()):
            if name in self._segments:
                yield StoredSegment(name, len(content), at)
