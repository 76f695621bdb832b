"""Blobs in a dictionary."""

from __future__ import annotations

import asyncio
import builtins
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from application.ports.artifact_store import ArtifactStore, StagedBlob
from application.ports.clock import Clock
from application.ports.file_validator import FileSource
from application.ports.store_upkeep import BlobInfo
from application.streams import put_by_staging
from domain.errors import BlobNotFound, StoreFull, StoreUnavailable
from domain.values import Digest

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Bytes(FileSource):
    content: bytes | bytearray

    @property
    def size(self) -> int:
        return len(self.content)

    async def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self.content[offset : offset + length])


class _Staged(StagedBlob):
    def __init__(self, store: MemoryArtifactStore) -> None:
        self._store = store
        self._content = bytearray()

    @property
    def held(self) -> int:
        """Bytes that count against the store's capacity."""
        return len(self._content)

    async def write(self, chunk: bytes) -> None:
        """Lets others have their turn, as a store that does I/O would."""
        await asyncio.sleep(0)
        self._store.make_room(len(chunk))
        self._content += chunk

    async def finish(self) -> tuple[Digest, int]:
        return Digest(hashlib.sha256(self._content).hexdigest()), len(self._content)

    @property
    def source(self) -> FileSource:
        return _Bytes(self._content)

    async def commit(self) -> BlobInfo:
        digest, _ = await self.finish()
        await asyncio.sleep(0)
        info = self._store.keep(digest, bytes(self._content))
        self._content = bytearray()
        return info


@dataclass(frozen=True, slots=True)
class _StoredSource(FileSource):
    store: MemoryArtifactStore
    digest: Digest
    expected: int

    @property
    def size(self) -> int:
        return self.expected

    async def read_at(self, offset: int, length: int) -> bytes:
        try:
            return self.store.content(self.digest)[offset : offset + length]
        except BlobNotFound as error:
            raise StoreUnavailable(error.detail) from None


class MemoryArtifactStore(ArtifactStore):
    """Keeps every blob in memory.

    Args:
        clock: tells when a blob was renewed; the machine's clock if there is none.
        capacity: bytes after which the store is full, staged ones included.
    """

    def __init__(self, *, clock: Clock | None = None, capacity: int | None = None) -> None:
        self._clock = clock
        self._capacity = capacity
        self._blobs: dict[Digest, tuple[bytes, BlobInfo]] = {}
        self._staged: set[_Staged] = set()
        self._owner: str | None = None

    def _now(self) -> datetime:
        return self._clock.now() if self._clock else datetime.now(UTC)

    def make_room(self, size: int) -> None:
        """Raises: StoreFull."""
        held = sum(len(content) for content, _ in self._blobs.values())
        held += sum(staged.held for staged in self._staged)
        if self._capacity is not None and held + size > self._capacity:
            raise StoreFull(f"The store holds {self._capacity} bytes and is full.")

    def keep(self, digest: Digest, content: bytes) -> BlobInfo:
        """Makes the bytes visible."""
        info = BlobInfo(digest, len(content), self._now())
        self._blobs[digest] = (content, info)
        return info

    def content(self, digest: Digest) -> bytes:
        """Raises: BlobNotFound."""
        try:
            return self._blobs[digest][0]
        except KeyError:
            raise BlobNotFound.named(digest) from None

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[StagedBlob]:
        staged = _Staged(self)
        self._staged.add(staged)
        try:
            yield staged
        finally:
            self._staged.discard(staged)

    async def put(
        self,
        digest: Digest,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None = None,  # noqa: ARG002
    ) -> BlobInfo:
        return await put_by_staging(self, digest, chunks)

    async def link(
        self,
        digest: Digest,  # noqa: ARG002
        *,
        filename: str,  # noqa: ARG002
        media_type: str,  # noqa: ARG002
        lifetime: float,  # noqa: ARG002
    ) -> str | None:
        """There is no way to these bytes but through this process."""
        return None

    async def renew(self, digest: Digest) -> BlobInfo | None:
        if digest not in self._blobs:
            return None
        content, info = self._blobs[digest]
        renewed = replace(info, renewed_at=self._now())
        self._blobs[digest] = (content, renewed)
        return renewed

    async def stat(self, digest: Digest) -> BlobInfo | None:
        return self._blobs[digest][1] if digest in self._blobs else None

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        return {digest for digest in digests if digest not in self._blobs}

    async def read(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        content = self.content(digest)
        stop = len(content) if stop is None else min(stop, len(content))
        for offset in range(start, stop, _CHUNK):
            await asyncio.sleep(0)
            yield content[offset : min(offset + _CHUNK, stop)]

    def source(self, digest: Digest, size: int) -> FileSource:
        return _StoredSource(self, digest, size)

    async def list(self) -> AsyncGenerator[BlobInfo, None]:
        for digest in builtins.list(self._blobs):
            if digest in self._blobs:
                yield self._blobs[digest][1]

    async def discard(self, digest: Digest, *, unless_renewed_since: datetime) -> bool:
        if digest not in self._blobs or self._blobs[digest][1].renewed_at >= unless_renewed_since:
            return False
        del self._blobs[digest]
        return True

    async def sweep_staging(
        self,
        *,
        older_than: datetime,  # noqa: ARG002
        dry_run: bool,  # noqa: ARG002
    ) -> tuple[int, int]:
        """Nothing outlives a broken upload here."""
        return 0, 0

    async def claim(self, registry: str) -> str:
        self._owner = self._owner or registry
        return self._owner

    async def check(self) -> None:
        self.make_room(1)
