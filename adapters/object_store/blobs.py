"""Blobs below one prefix of a bucket: where they lie, how old they are, and who may delete them.

::

    <prefix>/blobs/<2 hex>/<sha256>   a blob
    <prefix>/renewals/<sha256>        an empty marker: when the blob was last renewed
    <prefix>/dooms/<sha256>           an empty marker: somebody is about to delete the blob
    <prefix>/staging/<32 hex>         bytes on their way in
    <prefix>/segments/...             see segments.py
    <prefix>/registry                 the id of the registry whose blobs these are

An object store has no lock and no transaction; docs/decisions/0013 argues why the order of requests
in ``renew``, ``adopt`` and ``discard`` is enough.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta

from adapters.object_store.bucket import Bucket, ObjectInfo
from application.ports.store_upkeep import BlobInfo
from domain.errors import InvalidDigest, StoreUnavailable
from domain.values import Digest

_LOOKS_AT_ONCE = 32
_PATIENCE = 5.0
"""Seconds that a writer waits for a collector, who needs some round trips."""
_POLL = 0.02
_COLLECTING = 10.0
"""Seconds after which a collector gives a blob up, and does not delete it. With those that deleting
may take they are fewer than PostgreSQL keeps the idle transaction in which it collects."""
STALE = timedelta(minutes=5)
"""The age of a doom whose collector has died or given up."""


class Blobs:
    """All methods may raise StoreUnavailable.

    Args:
        prefix: empty, or ends with a slash.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix

    def key(self, digest: Digest) -> str:
        """Where the blob lies, if it is there."""
        return f"{self.prefix}blobs/{digest[:2]}/{digest}"

    def _marker(self, digest: Digest) -> str:
        return f"{self.prefix}renewals/{digest}"

    def _doom(self, digest: Digest) -> str:
        return f"{self.prefix}dooms/{digest}"

    async def stat(self, digest: Digest) -> BlobInfo | None:
        """None if absent."""
        return _info(digest, *await self._look(digest))

    async def _look(self, digest: Digest) -> tuple[ObjectInfo | None, ObjectInfo | None]:
        """The blob and its marker."""
        head = self.bucket.head
        blob, marker = await asyncio.gather(head(self.key(digest)), head(self._marker(digest)))
        return blob, marker

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        """Those that are not there."""
        limit = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def look(digest: Digest) -> ObjectInfo | None:
            async with limit:
                return await self.bucket.head(self.key(digest))

        looks = [asyncio.ensure_future(look(digest)) for digest in digests]
        try:
            found = await asyncio.gather(*looks)
        finally:
            for look_ in looks:
                look_.cancel()
        return {digest for digest, info in zip(digests, found, strict=True) if info is None}

    async def mark(self, digest: Digest) -> None:
        """Makes a blob young, whether it is there or will be."""
        await self.bucket.put(self._marker(digest), b"")

    async def renew(self, digest: Digest) -> BlobInfo | None:
        """Resets the blob's age to zero; None if absent."""
        if await self.bucket.head(self.key(digest)) is None:
            return None
        return await self._stay(digest, mark=True)

    async def adopt(
        self, digest: Digest, write: Callable[[], Awaitable[None]], *, mark: bool
    ) -> BlobInfo:
        """Makes bytes visible by ``write``, again should a collector take them at once.

        Args:
            mark: what was written may seem older than it is.
        """
        for _ in range(3):
            await write()
            if (info := await self._stay(digest, mark=mark)) is not None:
                return info
        raise _contended()

    async def _stay(self, digest: Digest, *, mark: bool) -> BlobInfo | None:
        """Whether the blob, which has just become young, has escaped every collector.

        Marker, doom, blob, in this order: see docs/decisions/0013.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            if mark:
                await self.mark(digest)
            doom = await self.bucket.head(self._doom(digest))
            info = await self.stat(digest)
            if doom is None or info is None or info.renewed_at - doom.modified > STALE:
                return info
            while await self.bucket.head(doom.key) is not None:
                if time.monotonic() > deadline:
                    raise _contended()
                await asyncio.sleep(_POLL)

    async def discard(self, digest: Digest, since: datetime) -> bool:
        """Deletes the blob, or the marker of none, unless renewed at or after ``since``.

        Where deleting fails the doom stays: the request may yet arrive.
        """
        begun = time.monotonic()
        doom = self._doom(digest)
        if not await self.bucket.create(doom, b""):
            return False  # another collector is at it, or has died over it
        found = await self._look(digest)
        old = all(info is None or info.modified < since for info in found)
        if old := old and time.monotonic() - begun < _COLLECTING:
            await self.bucket.delete([self.key(digest), self._marker(digest)])
        await self.bucket.delete([doom])
        return old and found[0] is not None

    async def list(self) -> AsyncGenerator[BlobInfo, None]:
        """Every blob, by digest; objects that are no blobs are passed over."""
        async with aclosing(self._joined()) as joined:
            async for digest, blob, marker in joined:
                if info := _info(digest, blob, marker):
                    yield info

    async def sweep_marks(self, older_than: datetime) -> None:
        """Removes what interrupted work left: markers without a blob, and dooms."""
        async with aclosing(self._joined()) as joined:
            async for digest, blob, marker in joined:
                if blob is None and marker is not None and marker.modified < older_than:
                    await self.discard(digest, older_than)
        stale = min(older_than, datetime.now(UTC) - STALE)
        async with aclosing(self.bucket.list(f"{self.prefix}dooms")) as dooms:
            async for doom in dooms:
                if doom.modified < stale:
                    await self.bucket.delete([doom.key])

    async def _joined(
        self,
    ) -> AsyncGenerator[tuple[Digest, ObjectInfo | None, ObjectInfo | None], None]:
        """Blobs and markers, merged: both are listed by digest."""
        blobs = self._by_digest("blobs", self.key)
        markers = self._by_digest("renewals", self._marker)
        async with aclosing(blobs), aclosing(markers):
            blob, marker = await anext(blobs, None), await anext(markers, None)
            while blob is not None or marker is not None:
                digest = min(pair[0] for pair in (blob, marker) if pair is not None)
                mine = blob[1] if blob is not None and blob[0] == digest else None
                its = marker[1] if marker is not None and marker[0] == digest else None
                yield digest, mine, its
                if mine is not None:
                    blob = await anext(blobs, None)
                if its is not None:
                    marker = await anext(markers, None)

    async def _by_digest(
        self, folder: str, key: Callable[[Digest], str]
    ) -> AsyncGenerator[tuple[Digest, ObjectInfo], None]:
        async with aclosing(self.bucket.list(f"{self.prefix}{folder}")) as found:
            async for info in found:
                with suppress(InvalidDigest):
                    digest = Digest(info.key.rsplit("/", 1)[-1])
                    if info.key == key(digest):
                        yield digest, info


def _info(digest: Digest, blob: ObjectInfo | None, marker: ObjectInfo | None) -> BlobInfo | None:
    if blob is None:
        return None
    renewed_at = blob.modified if marker is None else max(blob.modified, marker.modified)
    return BlobInfo(digest, blob.size, renewed_at)


def _contended() -> StoreUnavailable:
    return StoreUnavailable("A garbage collection is taking this blob; try again.")
