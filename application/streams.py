"""Streams of bytes: reading blobs, hashing what passes, reporting how far it has come."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from application.ports import ArtifactStore, BlobInfo
from domain.errors import BlobCorrupt, BlobNotFound, DigestMismatch, StoreUnavailable
from domain.values import Digest

ByteStream = AsyncGenerator[bytes, None]
Tell = Callable[[int, int], None]
"""Takes the progress of a long task: bytes done, and bytes in all."""


def tell_nobody(_done: int, _total: int) -> None:
    """For callers who do not want to know."""


async def primed(stream: ByteStream) -> ByteStream:
    """The same stream once its first chunk has arrived: what fails at the start fails here.

    Closing the result closes the stream, also when nothing was read from it.
    """
    resumed = _resumed(stream)
    await anext(resumed)
    return resumed


async def _resumed(stream: ByteStream) -> ByteStream:
    async with aclosing(stream):
        first = await anext(stream, b"")
        yield b""  # for primed: only a generator that was started cleans up when it is closed
        if first:
            yield first
        async for chunk in stream:
            yield chunk


async def open_blob(
    store: ArtifactStore, digest: Digest, start: int = 0, stop: int | None = None
) -> ByteStream:
    """Starts reading a blob that a version names.

    Raises:
        BlobCorrupt: it is not in the store.
        StoreUnavailable
    """
    try:
        return await primed(store.read(digest, start=start, stop=stop))
    except BlobNotFound:
        raise BlobCorrupt(
            f"The blob {digest} that a version names is missing from the store; "
            "run 'modelyard-server verify'."
        ) from None


async def checked(stream: ByteStream, digest: str, size: int) -> ByteStream:
    """Passes the stream on, hashes it meanwhile, and closes it.

    Raises:
        BlobCorrupt: at the end, where the bytes were not those of this digest and size.
    """
    hasher, left = hashlib.sha256(), size
    async with aclosing(stream):
        async for chunk in stream:
            hasher.update(chunk)
            left -= len(chunk)
            yield chunk
    if left or hasher.hexdigest() != digest:
        raise BlobCorrupt(f"The bytes of the blob {digest} have changed in the store.")


async def digest_of(stream: ByteStream) -> Digest:
    """The digest of all its bytes; closes it."""
    hasher = hashlib.sha256()
    async with aclosing(stream):
        async for chunk in stream:
            hasher.update(chunk)
    return Digest(hasher.hexdigest())


async def put_by_staging(
    store: ArtifactStore, digest: Digest, chunks: AsyncIterator[bytes]
) -> BlobInfo:
    """:meth:`ArtifactStore.put` for a store that can only tell the digest at the end.

    Raises:
        DigestMismatch: the bytes have another digest.
        StoreFull, StoreUnavailable: as for :meth:`StagedBlob.write`.
    """
    async with store.stage() as blob:
        async for chunk in chunks:
            await blob.write(chunk)
        found, _ = await blob.finish()
        if found != digest:
            raise DigestMismatch.of(found, digest)
        return await blob.commit()


async def is_sound(store: ArtifactStore, digest: Digest) -> bool | None:
    """Whether a blob has its bytes; None if it is absent. One that cannot be read is not sound.

    Raises:
        StoreUnavailable: it is not this blob alone.
    """
    try:
        return await digest_of(store.read(digest)) == digest
    except BlobNotFound:
        return None
    except StoreUnavailable:
        await check_listing(store)
        return False


async def check_listing(store: ArtifactStore) -> None:
    """For when a blob cannot be read. (A damaged disk may refuse writing, so that is not tried.)

    Raises:
        StoreUnavailable: the whole store cannot be.
    """
    async with aclosing(store.list()) as blobs:
        await anext(blobs, None)
