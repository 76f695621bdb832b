"""Keeping the store and the rows in step: garbage collection and verification."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from application.ports import (
    ArtifactStore,
    BlobInfo,
    BlobReferences,
    Clock,
    Fence,
    LockManager,
    SegmentStore,
    StoreUpkeep,
    UnitOfWork,
)
from application.streams import Tell, is_sound, tell_nobody
from domain.errors import CollectionRefused, StoreOfAnother
from domain.values import Digest

T = TypeVar("T")

_BATCH = 500
_SWEPT_AT_ONCE = 50
"""Blobs that one transaction sweeps: publishes wait for its end."""
_UPLOADS_AT_ONCE = 20
"""Uploads that one transaction removes: each may have thousands of segments."""
RECEIPTS_KEPT = timedelta(days=7)
"""How long an Idempotency-Key is remembered."""


@dataclass(frozen=True, slots=True)
class CollectGarbage:
    """Sweeps blobs that no version names and what broken uploads left, older than ``grace``, and
    uploads whose time is over.

    ``force``: also where the database names no blob at all, and so every blob of the store goes.
    """

    grace: timedelta
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Collected:
    """What was (or, in a dry run, would be) removed; sizes in bytes.

    Attributes:
        kept: blobs that are referenced or young.
        staged: what belongs to no upload any more.
        staged_size: the bytes of that, and of ``uploads``.
        uploads: those in several requests whose time is over.
    """

    blobs: int
    size: int
    kept: int
    staged: int
    staged_size: int
    receipts: int
    uploads: int


@dataclass(frozen=True, slots=True)
class CollectGarbageHandler:
    uow: Callable[[], UnitOfWork]
    store: ArtifactStore
    segments: SegmentStore
    references: BlobReferences
    locks: LockManager
    clock: Clock
    lock_timeout: float

    async def __call__(self, command: CollectGarbage) -> Collected:
        """Mark and sweep; of several replicas one does it.

        A blob that a publish is about to reference was renewed, and the store deletes only what
        has not been. Should a publish take longer than ``grace`` from renewing to committing, it
        finds out: blobs go inside a transaction that excludes every other one which writes, after
        another look at what is named, and a publish looks for its blobs inside its own.

        Raises:
            StoreOfAnother, CollectionRefused: the database is not the one of this store, or seems
                not to be.
            LockTimeout: another collection is running.
            LockLost: another one has begun, as this one was stopped for too long.
            StoreUnavailable, DatabaseUnavailable: nothing that is referenced was removed.
        """
        async with self.locks.hold("gc", timeout=self.lock_timeout) as fence:
            cutoff = self.clock.now() - command.grace
            await claim_store(self.store, self.references)
            if not command.force:
                await self._check_that_something_stays(cutoff)
            blobs = size = kept = 0
            async with aclosing(_batches(self.store.list())) as batches:
                async for batch in batches:
                    doomed = await self._unnamed([b for b in batch if b.renewed_at < cutoff])
                    if not command.dry_run:
                        doomed = await self._sweep(doomed, cutoff, fence)
                    kept += len(batch) - len(doomed)
                    blobs, size = blobs + len(doomed), size + sum(blob.size for blob in doomed)
            staged, staged_size = await self.store.sweep_staging(
                older_than=cutoff, dry_run=command.dry_run
            )
            uploads, freed = await self._end_uploads(command.dry_run)
            orphans, lost = await self._sweep_segments(cutoff, command.dry_run)
            receipts = 0 if command.dry_run else await self._forget_receipts()
        staged, staged_size = staged + orphans, staged_size + freed + lost
        return Collected(blobs, size, kept, staged, staged_size, receipts, uploads)

    async def take_turn(self, every: timedelta) -> bool:
        """Whether nobody has collected, or begun to, for so long; the caller should then.

        Raises:
            DatabaseUnavailable
        """
        async with self.uow() as uow:
            due = await uow.take_turn("gc", self.clock.now(), every)
            await uow.commit()
        return due

    async def _check_that_something_stays(self, cutoff: datetime) -> None:
        if await self.references.page(None, 1):
            return
        async with aclosing(self.store.list()) as blobs:
            async for blob in blobs:
                if blob.renewed_at < cutoff:
                    raise CollectionRefused(
                        "The database names no blob at all, but the store holds some: perhaps they "
                        "do not belong together. Every blob would be removed; force it if they may."
                    )

    async def _unnamed(self, blobs: list[BlobInfo]) -> list[BlobInfo]:
        if not blobs:
            return []
        named = await self.references.referenced([blob.digest for blob in blobs])
        return [blob for blob in blobs if blob.digest not in named]

    async def _sweep(
        self, doomed: list[BlobInfo], cutoff: datetime, fence: Fence | None
    ) -> list[BlobInfo]:
        swept: list[BlobInfo] = []
        for start in range(0, len(doomed), _SWEPT_AT_ONCE):
            async with self.uow() as uow:
                await uow.exclude_writers()  # nobody else's rows change now
                await uow.check_fence(fence)
                unnamed = await self._unnamed(doomed[start : start + _SWEPT_AT_ONCE])
                swept += await self._discard(unnamed, cutoff)
        return swept

    async def _discard(self, blobs: list[BlobInfo], cutoff: datetime) -> list[BlobInfo]:
        """Beside one another, since everybody waits; none is still under way when this ends."""
        gone = await asyncio.gather(
            *(self.store.discard(blob.digest, unless_renewed_since=cutoff) for blob in blobs),
            return_exceptions=True,
        )
        for outcome in gone:
            if isinstance(outcome, BaseException):
                raise outcome
        return [blob for blob, outcome in zip(blobs, gone, strict=True) if outcome]

    async def _end_uploads(self, dry_run: bool) -> tuple[int, int]:
        """Removes the uploads whose time is over; how many, and the bytes of their segments."""
        at, after = self.clock.now(), ""
        count = size = 0
        while True:
            async with self.uow() as uow:
                over = await uow.uploads.expired(at, after=after, limit=_UPLOADS_AT_ONCE)
                segments = [each for upload in over for each in await uow.uploads.segments(upload)]
                if not dry_run:
                    for upload in over:
                        await uow.uploads.remove(upload)
                    await uow.commit()
            if not over:
                return count, size
            if not dry_run:
                await self.segments.remove([segment.name for segment in segments])
            after, count = over[-1], count + len(over)
            size += sum(segment.size for segment in segments)

    async def _sweep_segments(self, cutoff: datetime, dry_run: bool) -> tuple[int, int]:
        """Removes old segments that no upload has; how many, and their bytes."""
        count = size = 0
        async with aclosing(_batches(self.segments.list())) as batches:
            async for batch in batches:
                old = [segment for segment in batch if segment.written_at < cutoff]
                async with self.uow() as uow:
                    named = await uow.uploads.named([segment.name for segment in old])
                orphans = [segment for segment in old if segment.name not in named]
                if not dry_run:
                    await self.segments.remove([segment.name for segment in orphans])
                count, size = count + len(orphans), size + sum(each.size for each in orphans)
        return count, size

    async def _forget_receipts(self) -> int:
        async with self.uow() as uow:
            count = await uow.receipts.forget(older_than=self.clock.now() - RECEIPTS_KEPT)
            await uow.commit()
        return count


async def claim_store(store: StoreUpkeep, references: BlobReferences) -> None:
    """Makes the store this registry's if it is nobody's yet.

    Raises:
        StoreOfAnother: its blobs belong to another registry.
        StoreUnavailable, DatabaseUnavailable
    """
    registry = await references.registry()
    owner = await store.claim(registry)
    if owner != registry:
        raise StoreOfAnother(
            f"The artifact store belongs to the registry {owner}, the database is that of "
            f"{registry}: DATABASE_URL and MODEL_STORAGE_PATH do not belong together."
        )


async def _batches(items: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
    batch: list[T] = []
    async with aclosing(items):
        async for item in items:
            batch.append(item)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Verified:
    """``missing``: named by a version and absent. ``corrupt``: present with other bytes or
    unreadable. ``unreferenced``: named by no version. ``size``: bytes that were hashed."""

    blobs: int
    size: int
    missing: tuple[Digest, ...]
    corrupt: tuple[Digest, ...]
    unreferenced: int

    @property
    def clean(self) -> bool:
        """Whether every version has its bytes, unchanged, and no stored byte is damaged."""
        return not self.missing and not self.corrupt


@dataclass(frozen=True, slots=True)
class VerifyHandler:
    store: ArtifactStore
    references: BlobReferences

    async def __call__(self, tell: Tell = tell_nobody) -> Verified:
        """Reads and re-hashes every stored blob, and looks for those that versions name.

        Raises:
            StoreUnavailable, DatabaseUnavailable: it could not be finished.
        """
        total = 0
        async for blob in self.store.list():
            total += blob.size
        blobs = size = unreferenced = 0
        corrupt: list[Digest] = []
        async with aclosing(_batches(self.store.list())) as batches:
            async for batch in batches:
                named = await self.references.referenced([blob.digest for blob in batch])
                unreferenced += len(batch) - len(named)
                for blob in batch:
                    sound = await is_sound(self.store, blob.digest)
                    if sound is False:
                        corrupt.append(blob.digest)
                    blobs, size = blobs + (sound is not None), size + blob.size
                    tell(size, max(total, size))
        missing = await self._missing(set(corrupt))
        return Verified(blobs, size, missing, tuple(corrupt), unreferenced)

    async def _missing(self, corrupt: set[Digest]) -> tuple[Digest, ...]:
        missing: list[Digest] = []
        after: Digest | None = None
        while page := await self.references.page(after, _BATCH):
            for digest, size in page:
                if digest in corrupt:
                    continue
                info = await self.store.stat(digest)
                if info is None or info.size != size:
                    missing.append(digest)
            after = page[-1][0]
        return tuple(missing)
