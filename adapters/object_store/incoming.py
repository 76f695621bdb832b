"""Bytes on their way in: few stay in memory, more go on to the bucket while yet more arrive."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from adapters.object_store.bucket import CHUNK, Bucket
from adapters.object_store.threads import Threads
from domain.errors import RequestTooLarge, StoreUnavailable
from domain.values import Digest

MOST_PARTS = 10_000
"""What S3 takes of one object."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """In bytes.

    Attributes:
        small: what is kept in memory instead of being sent on.
        part: what is sent on at once; S3 wants 5 MiB at least.
        held: what is kept in memory of all that is complete and not yet committed.
    """

    small: int = 8 << 20
    part: int = 8 << 20
    held: int = 64 << 20

    def part_for(self, size: int | None) -> int:
        """Of an object of this size, if it is known."""
        return max(self.part, -(-(size or 0) // MOST_PARTS))


class _Abandoned(Exception):
    """Ends a stream whose writer has gone; the bucket drops what it has of it."""


class _Feed(AsyncIterator[bytes | bytearray]):
    """What the bucket's client takes chunks from; one waits in it, so that its giver waits too."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes | bytearray | Exception | None] = asyncio.Queue(1)

    async def __anext__(self) -> bytes | bytearray:
        chunk = await self._chunks.get()
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def give(self, chunk: bytes | bytearray | None) -> None:
        """The next chunk, or the end."""
        await self._chunks.put(chunk)

    def break_off(self) -> None:
        """Lets the taker fail, whatever it has not taken yet."""
        while not self._chunks.empty():
            self._chunks.get_nowait()
        self._chunks.put_nowait(_Abandoned())


class Incoming:
    """Hashes what it is given; batches of 1 MiB, each while the next one is collected.

    Methods raise StoreFull and StoreUnavailable; after that, or once abandoned, it takes no more.

    Args:
        key: where more than a few bytes go, in parts of ``part_size``.
        small: how many bytes are a few.
    """

    def __init__(
        self, bucket: Bucket, key: str, threads: Threads, *, small: int, part_size: int
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._threads = threads
        self._small = small
        self._part_size = part_size
        self._hash = hashlib.sha256()
        self._hashing: asyncio.Future[None] | None = None
        self._batch = bytearray()
        self._kept: list[bytearray] | None = []
        self._size = 0
        self._feed = _Feed()
        self._sending: asyncio.Task[None] | None = None

    @property
    def sent_on(self) -> bool:
        """Whether there may be something at ``key``."""
        return self._sending is not None

    @property
    def content(self) -> bytes | None:
        """All bytes after :meth:`digest`, None where they have been sent on."""
        return None if self._kept is None else b"".join(self._kept)

    async def write(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            RequestTooLarge: more than the parts of one object hold.
        """
        self._size += len(chunk)
        if self._size > self._part_size * MOST_PARTS:
            most = self._part_size * MOST_PARTS >> 30
            raise RequestTooLarge(
                f"A file of unknown size has at most {most} GiB in this store; upload it as a "
                "blob, with its Content-Length, and publish that."
            )
        self._batch += chunk
        if len(self._batch) >= CHUNK:
            await self._pass_on()

    async def digest(self) -> tuple[Digest, int]:
        """After the last byte: their digest and size. Nothing is at ``key`` yet."""
        await self._pass_on()
        if self._hashing is not None:
            await self._hashing
        return Digest(self._hash.hexdigest()), self._size

    async def complete(self) -> None:
        """Returns when the bytes that were sent on are at ``key``."""
        assert self._sending is not None, "complete() is for what was sent on"
        await self._give(None)
        await asyncio.shield(self._sending)

    async def abandon(self) -> None:
        """Leaves nothing at ``key`` unless it is complete; never raises.

        Cancelling the client would leave parts behind, so it is made to fail.
        """
        if self._sending is not None and not self._sending.done():
            self._feed.break_off()
            await asyncio.wait({self._sending})

    async def _pass_on(self) -> None:
        """Hashes what was collected, and keeps it or sends it on."""
        batch, self._batch = self._batch, bytearray()
        if self._hashing is not None:
            await self._hashing
        if batch:
            self._hashing = self._threads.run(self._hash.update, batch)
        if self._kept is not None:
            self._kept.append(batch)
            if self._size <= self._small:
                return
            kept, self._kept = self._kept, None
            sending = self._bucket.put_stream(self._key, self._feed, self._part_size)
            self._sending = asyncio.create_task(sending)
            self._sending.add_done_callback(look_at)
            for earlier in kept:
                await self._give(earlier)
        elif batch:
            await self._give(batch)

    async def _give(self, batch: bytearray | None) -> None:
        """Waits for the client to take it, or to fail."""
        assert self._sending is not None
        giving = asyncio.ensure_future(self._feed.give(batch))
        try:
            await asyncio.wait({giving, self._sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            giving.cancel()
        if self._sending.done():
            self._sending.result()
            if batch is not None:
                raise StoreUnavailable("Sending these bytes on has failed before.")


def look_at(task: asyncio.Task[Any]) -> None:
    """Whoever is interested awaits the task; the loop need not complain that nobody does."""
    if not task.cancelled():
        task.exception()
