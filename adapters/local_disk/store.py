"""The artifact store on a local disk: the port's methods, each a few hops into threads."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from adapters.local_disk.files import BlobFolder, BlobReader
from adapters.local_disk.staging import LocalStagedBlob, ThreadedSource, Threads
from application.ports.artifact_store import ArtifactStore, StagedBlob
from application.ports.file_validator import FileSource
from application.ports.store_upkeep import BlobInfo
from application.streams import put_by_staging
from domain.values import Digest

_WRITERS = 16
_READERS = 8
_LOOKERS = 4
_LISTED = 500


class _Walk:
    """An iteration over all blobs that threads advance, one at a time."""

    def __init__(self, blobs: Iterator[BlobInfo]) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()

    def next(self) -> list[BlobInfo]:
        """The next batch; empty at the end."""
        with self._lock:
            return list(itertools.islice(self._blobs, _LISTED))

    def close(self) -> None:
        """Closes the folder that is open; waits for :meth:`next`."""
        with self._lock:
            self._blobs.close()  # type: ignore[attr-defined]


class LocalDiskArtifactStore(ArtifactStore):
    """Blobs in one folder; several processes may use it at once.

    Writing and syncing have threads of their own, so that a hundred uploads on a slow disk do not
    keep downloads waiting; an upload occupies one only while a batch is being written. So has what
    looks at blobs without reading them through: a publish or a sweep waits for it while it keeps
    every other writer of the database waiting.

    Args:
        root: the folder; made when first needed, not before.
    """

    def __init__(self, root: Path | str) -> None:
        self._folder = BlobFolder(Path(root))
        self._writers = Threads(_WRITERS, "blob-writer")
        self._readers = Threads(_READERS, "blob-reader")
        self._lookers = Threads(_LOOKERS, "blob-looker")

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[StagedBlob]:
        blob = LocalStagedBlob(self._folder, self._writers, self._lookers)
        try:
            yield blob
        finally:
            await blob.aclose()

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
        """Nobody but the service can reach a local disk."""
        return None

    async def renew(self, digest: Digest) -> BlobInfo | None:
        return await self._lookers.run(self._folder.renew, digest)

    async def stat(self, digest: Digest) -> BlobInfo | None:
        return await self._lookers.run(self._folder.stat, digest)

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        return await self._lookers.run(self._folder.absent, digests)

    async def read(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Reads one chunk ahead of the consumer."""
        reader = BlobReader(self._folder, digest, start, stop)
        try:
            chunk = await self._readers.run(reader.next)
            while chunk:
                ahead = None if reader.done else self._readers.submit(reader.next)
                yield chunk
                chunk = await asyncio.wrap_future(ahead) if ahead else b""
        finally:
            if not reader.done:
                self._readers.submit(reader.close)

    def source(self, digest: Digest, size: int) -> FileSource:
        return ThreadedSource(size, self._lookers, functools.partial(self._folder.read_at, digest))

    async def list(self) -> AsyncGenerator[BlobInfo, None]:
        walk = _Walk(self._folder.walk())
        try:
            while batch := await self._readers.run(walk.next):
                for info in batch:
                    yield info
        finally:
            self._readers.submit(walk.close)

    async def discard(self, digest: Digest, *, unless_renewed_since: datetime) -> bool:
        return await self._lookers.run(self._folder.discard, digest, unless_renewed_since)

    async def sweep_staging(self, *, older_than: datetime, dry_run: bool) -> tuple[int, int]:
        return await self._readers.run(self._folder.sweep_staging, older_than, dry_run)

    async def claim(self, registry: str) -> str:
        return await self._lookers.run(self._folder.claim, registry)

    async def check(self) -> None:
        await self._lookers.run(self._folder.probe)
