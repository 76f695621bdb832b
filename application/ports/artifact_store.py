"""Content-addressed storage of immutable bytes.

A blob is named by the sha256 of its bytes and is visible only once all of them are durable.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from application.ports.file_validator import FileSource
from application.ports.store_upkeep import BlobInfo, StoreUpkeep
from domain.values import Digest


class StagedBlob(Protocol):
    """An incoming blob: invisible until committed, discarded with its block if it is not."""

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes; may return before they are on disk, with bounded memory.

        Raises:
            StoreFull: there is no room.
            StoreUnavailable: writing failed otherwise.
        """
        ...

    async def finish(self) -> tuple[Digest, int]:
        """After the last byte: the digest and the size of all that was written.

        Raises:
            StoreFull, StoreUnavailable: as for write.
        """
        ...

    @property
    def source(self) -> FileSource:
        """The finished bytes, for a validator to read."""
        ...

    async def commit(self) -> BlobInfo:
        """Makes the finished bytes durable and then visible under their digest.

        Where the blob exists already its age is renewed instead, and these bytes are dropped.

        Raises:
            StoreFull, StoreUnavailable: as for write; nothing is visible then.
        """
        ...


class ArtifactStore(StoreUpkeep, Protocol):
    """What publishing and fetching need; :class:`StoreUpkeep` is the rest of it."""

    def stage(self) -> AbstractAsyncContextManager[StagedBlob]:
        """Starts an incoming blob.

        Raises:
            StoreFull, StoreUnavailable: on entering.
        """
        ...

    async def put(
        self, digest: Digest, chunks: AsyncIterator[bytes], *, size: int | None = None
    ) -> BlobInfo:
        """Stores a stream whose digest is known beforehand; it replaces what is there.

        Where this store can, without a second copy of the bytes; what ``chunks`` raises goes
        through, and nothing is visible then.

        Args:
            size: in bytes, where it is known: a hint.

        Raises:
            DigestMismatch: the bytes have another digest.
            StoreFull, StoreUnavailable: as for :meth:`StagedBlob.write`.
        """
        ...

    async def renew(self, digest: Digest) -> BlobInfo | None:
        """Resets the blob's age, so that a garbage collection spares it; None if absent.

        Atomic with respect to :meth:`discard`: either the blob survives or None is returned.
        """
        ...

    async def stat(self, digest: Digest) -> BlobInfo | None:
        """Size and age of a blob; None if absent."""
        ...

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        """Those of them under which nothing is stored.

        Quick also for a thousand and beside any number of downloads: a publish asks while it
        holds a transaction that others wait for.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        ...

    def read(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` (inclusive) to ``stop`` (exclusive), in chunks of at most 1 MiB.

        Raises:
            BlobNotFound: on the first step, when the blob is absent.
            StoreUnavailable: reading failed.
        """
        ...

    async def link(
        self, digest: Digest, *, filename: str, media_type: str, lifetime: float
    ) -> str | None:
        """A URL from which anybody may fetch the blob for ``lifetime`` seconds, by GET, whole or in
        ranges; None where this store gives none. Whether the blob is there is not looked at.

        Raises:
            StoreUnavailable: no URL can be made now.
        """
        ...

    def source(self, digest: Digest, size: int) -> FileSource:
        """A stored blob, for a validator to read."""
        ...
