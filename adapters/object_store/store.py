"""The artifact store on a bucket."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from adapters.object_store.blobs import Blobs
from adapters.object_store.bucket import Bucket, ObjectMissing
from adapters.object_store.incoming import Incoming, Sizes
from adapters.object_store.threads import Threads
from application.ports.artifact_store import ArtifactStore, StagedBlob
from application.ports.file_validator import FileSource
from application.ports.store_upkeep import BlobInfo
from application.settling import settle
from domain.errors import BlobNotFound, DigestMismatch, StoreFull, StoreUnavailable
from domain.values import Digest

_HASHERS = 4


@dataclass(frozen=True, slots=True)
class _MemorySource(FileSource):
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    async def read_at(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


@dataclass(frozen=True, slots=True)
class _ObjectSource(FileSource):
    bucket: Bucket
    key: str
    length: int

    @property
    def size(self) -> int:
        return self.length

    async def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, self.length - offset)
        if length <= 0:
            return b""
        try:
            return await self.bucket.read_at(self.key, offset, length)
        except ObjectMissing:
            raise StoreUnavailable("These bytes are not in the object store.") from None


class _StagedObject(StagedBlob):
    """In memory while it is small, else under a key of its own in the bucket."""

    def __init__(self, store: ObjectArtifactStore, key: str) -> None:
        self._store = store
        self._key = key
        self._incoming = store.incoming(key)
        self._content: bytes | None = None
        self._digest: Digest | None = None
        self._size = 0
        self._spilled = False

    async def write(self, chunk: bytes) -> None:
        await self._incoming.write(chunk)

    async def finish(self) -> tuple[Digest, int]:
        """A small one that finds no room in memory becomes an object too."""
        if self._digest is None:
            digest, self._size = await self._incoming.digest()
            content = self._incoming.content
            if content is None:
                await self._incoming.complete()
            elif self._store.held + len(content) > self._store.sizes.held:
                self._spilled = True
                await self._store.bucket.put(self._key, content)
            else:
                self._content = content
                self._store.held += len(content)
            self._digest = digest
        return self._digest, self._size

    @property
    def source(self) -> FileSource:
        if self._content is not None:
            return _MemorySource(self._content)
        return _ObjectSource(self._store.bucket, self._key, self._size)

    async def commit(self) -> BlobInfo:
        digest, size = await self.finish()
        return await settle(asyncio.create_task(self._commit(digest, size)))

    async def _commit(self, digest: Digest, size: int) -> BlobInfo:
        """Small bytes are simply written again, which makes the blob young."""
        blobs, bucket, content = self._store.blobs, self._store.bucket, self._content
        key = blobs.key(digest)
        if content is not None:
            return await blobs.adopt(digest, partial(bucket.put, key, content), mark=False)
        present = await blobs.renew(digest)
        if present is not None and present.size == size:
            return present
        try:
            return await blobs.adopt(digest, partial(bucket.copy, self._key, key, size), mark=True)
        except ObjectMissing:
            raise StoreUnavailable("The staged bytes have gone; send them again.") from None

    async def drop(self) -> None:
        """Removes what is not needed any more, committed or not."""
        await self._incoming.abandon()
        if self._content is not None:
            self._store.held -= len(self._content)
            self._content = None
        elif self._spilled or self._incoming.sent_on:
            with suppress(StoreFull, StoreUnavailable):  # else a sweep does it
                await self._store.bucket.delete([self._key])


class ObjectArtifactStore(ArtifactStore):
    """Several processes may use one prefix of a bucket at once.

    Attributes:
        held: bytes in memory that are complete and not yet committed.
    """

    def __init__(self, blobs: Blobs, sizes: Sizes = Sizes()) -> None:  # noqa: B008  (frozen)
        self.blobs = blobs
        self.bucket = blobs.bucket
        self.sizes = sizes
        self.held = 0
        self._threads = Threads(_HASHERS, "blob-hasher")

    def incoming(self, key: str, size: int | None = None) -> Incoming:
        """For bytes that go to this key, unless they are few."""
        return Incoming(
            self.bucket,
            key,
            self._threads,
            small=self.sizes.small,
            part_size=self.sizes.part_for(size),
        )

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[StagedBlob]:
        blob = _StagedObject(self, f"{self.blobs.prefix}staging/{secrets.token_hex(16)}")
        try:
            yield blob
        finally:
            await settle(asyncio.create_task(blob.drop()))

    async def put(
        self, digest: Digest, chunks: AsyncIterator[bytes], *, size: int | None = None
    ) -> BlobInfo:
        """Straight to where the blob lies: it is there once its last part has proved right."""
        key = self.blobs.key(digest)
        incoming = self.incoming(key, size)
        try:
            async for chunk in chunks:
                await incoming.write(chunk)
            found, _ = await incoming.digest()
            if found != digest:
                raise DigestMismatch.of(found, digest)
            content = incoming.content
            if content is not None:
                write = partial(self.bucket.put, key, content)
                return await self.blobs.adopt(digest, write, mark=False)
            await self.blobs.mark(digest)  # S3 will say that it is as old as its first part
            return await self.blobs.adopt(digest, incoming.complete, mark=True)
        finally:
            await settle(asyncio.create_task(incoming.abandon()))

    async def link(
        self, digest: Digest, *, filename: str, media_type: str, lifetime: float
    ) -> str | None:
        key = self.blobs.key(digest)
        return await self.bucket.link(
            key, filename=filename, media_type=media_type, lifetime=lifetime
        )

    async def renew(self, digest: Digest) -> BlobInfo | None:
        return await self.blobs.renew(digest)

    async def stat(self, digest: Digest) -> BlobInfo | None:
        return await self.blobs.stat(digest)

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        return await self.blobs.absent(digests)

    async def read(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self.bucket.read(self.blobs.key(digest), start, stop)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ObjectMissing:
            raise BlobNotFound.named(digest) from None

    def source(self, digest: Digest, size: int) -> FileSource:
        return _ObjectSource(self.bucket, self.blobs.key(digest), size)

    def list(self) -> AsyncGenerator[BlobInfo, None]:
        return self.blobs.list()

    async def discard(self, digest: Digest, *, unless_renewed_since: datetime) -> bool:
        return await self.blobs.discard(digest, unless_renewed_since)

    async def sweep_staging(self, *, older_than: datetime, dry_run: bool) -> tuple[int, int]:
        prefix = self.blobs.prefix
        count = size = 0
        async with aclosing(self.bucket.list(f"{prefix}staging")) as staged:
            async for left in staged:
                if left.modified < older_than:
                    if not dry_run:
                        await self.bucket.delete([left.key])
                    count, size = count + 1, size + left.size
        for folder in ("staging", "blobs"):
            found = await self.bucket.sweep_parts(f"{prefix}{folder}", older_than, dry_run=dry_run)
            count, size = count + found[0], size + found[1]
        if not dry_run:
            await self.blobs.sweep_marks(older_than)
        return count, size

    async def claim(self, registry: str) -> str:
        key = f"{self.blobs.prefix}registry"
        while True:  # it is looked at far more often than it is made
            with suppress(ObjectMissing):
                async with aclosing(self.bucket.read(key, 0, None)) as chunks:
                    return b"".join([chunk async for chunk in chunks]).decode()
            if await self.bucket.create(key, registry.encode()):
                return registry

    async def check(self) -> None:
        """Lists a folder that is empty: whether the bucket is there, and lets this service in."""
        async with aclosing(self.bucket.list(f"{self.blobs.prefix}check")) as nothing:
            await anext(nothing, None)
