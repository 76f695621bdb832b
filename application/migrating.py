"""Copying a whole registry to another database, another store, or both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from application.ports import (
    ArtifactStore,
    BlobReferences,
    RegistryReader,
    RegistryRows,
    TableSum,
)
from application.streams import Tell, check_listing, is_sound, tell_nobody
from domain.errors import (
    BlobCorrupt,
    BlobNotFound,
    DigestMismatch,
    StoreOfAnother,
    StoreUnavailable,
)
from domain.values import Digest

T = TypeVar("T")

_PAGE = 500
_COPIES_AT_ONCE = 4
_LOOKS_AT_ONCE = 32
_IN_ANY_CASE = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry is, or will be."""

    store: ArtifactStore
    references: BlobReferences
    rows: RegistryRows


@dataclass(frozen=True, slots=True)
class MigrateStore:
    """Copies to ``target``, whose database has its schema. A store that stays where it is is the
    same object there; a database that does may have another name.

    ``verify``: reads and re-hashes every blob there, also those that were there before.
    """

    target: Place
    verify: bool = False


@dataclass(frozen=True, slots=True)
class MigratedStore:
    """What is in the target now, and what was done for it; sizes in bytes.

    Attributes:
        blobs, size: those that the versions there name; looked for, or read with ``verify``.
        copied, copied_size: bytes that went there, ``repaired`` blobs among them, which had been
            damaged there.
        present: blobs that were there before.
        lost: blobs that are not there as they should, and cannot be had from the source.
        tables: what was copied, or, where the database stays, what is there.
        differing: tables whose rows there are not those that were copied.
        changed: tables in which the source has changed since: what is new there is not copied.
        uploads: uploads in several requests that are under way, and left behind.
    """

    blobs: int
    size: int
    copied: int
    copied_size: int
    present: int
    repaired: int
    lost: tuple[Digest, ...]
    tables: dict[str, TableSum]
    differing: tuple[str, ...]
    changed: tuple[str, ...]
    uploads: int

    @property
    def verified(self) -> bool:
        """Whether all that was copied was found there, rows and bytes."""
        return not self.lost and not self.differing


@dataclass(slots=True)
class _Transfer:
    """Bytes on their way from a store to another; :class:`MigratedStore` has the same counts.

    Attributes:
        total, done: bytes to look at, and looked at, for whoever wants to know.
    """

    source: ArtifactStore
    target: Place
    tell: Tell
    total: int
    done: int = 0
    blobs: int = 0
    size: int = 0
    copied: int = 0
    copied_size: int = 0
    present: int = 0
    repaired: int = 0
    lost: set[Digest] = field(default_factory=set)

    async def bring(self, references: BlobReferences) -> None:
        """Copies what the target lacks of what these references name."""
        after: Digest | None = None
        while page := await references.page(after, _PAGE):
            await _together(self._copy, await self._lacking(page), _COPIES_AT_ONCE)
            after = page[-1][0]

    async def _lacking(self, page: list[tuple[Digest, int]]) -> list[tuple[Digest, int]]:
        """Those that the target has not. What it has is made young, unless its own rows hold it."""
        named = await self.target.references.referenced([digest for digest, _ in page])
        lacking: list[tuple[Digest, int]] = []

        async def look(blob: tuple[Digest, int]) -> None:
            digest, size = blob
            store = self.target.store
            info = await (store.stat(digest) if digest in named else store.renew(digest))
            if info is None or info.size != size:
                lacking.append(blob)
            else:
                self.present += 1
                self._advance(size)

        await _together(look, page, _LOOKS_AT_ONCE)
        return lacking

    async def complete(self, *, verify: bool) -> None:
        """Copies what else is not in the target of what its own rows name, and tries once more to
        get what was not to be had."""
        missed, self.lost = self.lost, set()
        after: Digest | None = None
        while page := await self.target.references.page(after, _PAGE):
            wanted = missed | await self.target.store.absent([digest for digest, _ in page])
            await _together(self._copy, [b for b in page if b[0] in wanted], _COPIES_AT_ONCE)
            if verify:
                there = [blob for blob in page if blob[0] not in self.lost]
                await _together(self._verify, there, _COPIES_AT_ONCE)
            self.blobs, self.size = self.blobs + len(page), self.size + sum(s for _, s in page)
            after = page[-1][0]

    async def _verify(self, blob: tuple[Digest, int]) -> None:
        digest, size = blob
        if not await is_sound(self.target.store, digest):
            await self._repair(digest, size)
        self._advance(size)

    async def _repair(self, digest: Digest, size: int) -> None:
        """Puts sound bytes in the place of damaged ones, which stay where there are no others."""
        if await is_sound(self.source, digest):
            await self.target.store.discard(digest, unless_renewed_since=_IN_ANY_CASE)
            await self._copy((digest, size))
            if await is_sound(self.target.store, digest):
                self.repaired += 1
                return
        self.lost.add(digest)

    async def _copy(self, blob: tuple[Digest, int]) -> None:
        digest, size = blob
        try:
            async with aclosing(self._read(digest)) as chunks:
                await self.target.store.put(digest, chunks, size=size)
        except (BlobNotFound, BlobCorrupt, DigestMismatch):
            self.lost.add(digest)
        else:
            self.copied, self.copied_size = self.copied + 1, self.copied_size + size

    async def _read(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """Raises: BlobCorrupt: these bytes cannot be read, but others can."""
        try:
            async with aclosing(self.source.read(digest)) as chunks:
                async for chunk in chunks:
                    yield chunk
                    self._advance(len(chunk))
        except StoreUnavailable as error:
            await check_listing(self.source)
            raise BlobCorrupt(f"The blob {digest} cannot be read: {error.detail}") from error

    def _advance(self, size: int) -> None:
        self.done += size
        self.tell(self.done, max(self.done, self.total))


@dataclass(frozen=True, slots=True)
class MigrateStoreHandler:
    source: Place
    reader: RegistryReader

    async def __call__(self, command: MigrateStore, tell: Tell = tell_nobody) -> MigratedStore:
        """Brings the blobs, then all rows, then the blobs that came meanwhile; and looks at it.

        What is there already stays, so that running it again goes on where it broke off. Others may
        write to the source meanwhile: the result says so, and running it again brings the rest.

        Raises:
            DatabaseOfAnother, StoreOfAnother: the target holds something else; it is left alone.
            StoreFull, StoreUnavailable, DatabaseUnavailable: running it again goes on from there.
        """
        source, target = self.source, command.target
        moves_rows = not await source.rows.same(target.rows)
        if moves_rows:
            await source.rows.check(target.rows)
        await self._claim(target.store)
        size = (await self.reader.stats()).distinct_size
        moves_bytes = target.store is not source.store
        transfer = _Transfer(source.store, target, tell, size * (moves_bytes + command.verify))
        if moves_bytes:
            await transfer.bring(source.references)
        tables = await (source.rows.copy(target.rows) if moves_rows else source.rows.sums())
        await transfer.complete(verify=command.verify)
        there = await target.rows.sums() if moves_rows else tables
        now = await source.rows.sums()
        return MigratedStore(
            blobs=transfer.blobs,
            size=transfer.size,
            copied=transfer.copied,
            copied_size=transfer.copied_size,
            present=transfer.present if moves_bytes else transfer.blobs - len(transfer.lost),
            repaired=transfer.repaired,
            lost=tuple(sorted(transfer.lost)),
            tables=tables,
            differing=_differing(tables, there),
            changed=_differing(tables, now),
            uploads=await source.rows.uploads(),
        )

    async def _claim(self, store: ArtifactStore) -> None:
        """Makes the store this registry's, before a collection for another one sees its blobs.

        Raises:
            StoreOfAnother
        """
        registry = await self.source.references.registry()
        owner = await store.claim(registry)
        if owner != registry:
            raise StoreOfAnother(
                f"The store to copy to belongs to the registry {owner}, and this one is "
                f"{registry}; name an empty place."
            )


def _differing(some: dict[str, TableSum], others: dict[str, TableSum]) -> tuple[str, ...]:
    return tuple(name for name in some if some[name] != others[name])


async def _together(
    work: Callable[[T], Awaitable[None]], items: Collection[T], at_once: int
) -> None:
    """Does the work for each item, so many at a time; the first failure ends them all."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(at_once, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
