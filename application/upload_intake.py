"""Taking the bytes of an upload: cut into segments, each durable before it is acknowledged.

With its last bytes an upload becomes a blob: its segments are read back, in order, into the
artifact store, and one transaction says so. What dies on the way is done again when the client
sends its last bytes again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from application.ports import ArtifactStore, Clock, LockManager, SegmentStore, UnitOfWork
from application.streams import ByteStream
from domain.errors import (
    BlobNotFound,
    ChecksumMismatch,
    DigestMismatch,
    LockUnavailable,
    RequestTooLarge,
    StoreUnavailable,
    UploadConflict,
    UploadExpired,
    UploadInterrupted,
)
from domain.upload import Segment, Upload
from domain.values import Digest

SEGMENT = 16 << 20
"""Bytes that one segment has at most; a killed replica loses two of them of an upload at most."""
CHECKSUMS = ("sha1", "md5", "sha256", "sha512")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request promise to be; ``algorithm`` is one of :data:`CHECKSUMS`."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class UploadIntake:
    """The way of bytes from requests into an upload, and from there into the artifact store.

    Attributes:
        expiry: after which an upload that stands still is given up.
        segment_size: bytes that one segment has at most; a request holds three in memory.
    """

    uow: Callable[[], UnitOfWork]
    segments: SegmentStore
    store: ArtifactStore
    locks: LockManager
    clock: Clock
    max_size: int
    expiry: timedelta
    lock_timeout: float
    segment_size: int = SEGMENT

    async def receive(
        self, upload: Upload, chunks: AsyncIterator[bytes], checksum: Checksum | None = None
    ) -> Upload:
        """Takes what follows the bytes that the upload has; returns it as it is then.

        If the client goes away in between, what has come is kept; with a checksum nothing is. The
        length of the upload may be one that is not stored yet.

        Raises:
            UploadInterrupted
            RequestTooLarge: the bytes lead beyond the upload's length, or ``max_size``.
            ChecksumMismatch: nothing was kept.
            UploadConflict: another request has moved the upload meanwhile.
            DigestMismatch: the whole is not what the client promised; the upload is gone.
            UploadExpired: some of its bytes were collected; it is gone.
            StoreFull, StoreUnavailable, DatabaseUnavailable, LockTimeout: go on later, from where
                the upload stands then.
        """
        arrival = _Arrival(self, upload, checksum)
        try:
            try:
                async for chunk in chunks:
                    await arrival.take(chunk)
            except UploadInterrupted:
                if checksum is None:
                    await arrival.conclude()
                raise
            return await arrival.conclude()
        finally:
            await arrival.leave()

    def check_length(self, length: int) -> None:
        """Raises: RequestTooLarge."""
        if length > self.max_size:
            raise RequestTooLarge(f"An upload has at most {self.max_size} bytes.")

    async def acknowledge(self, upload: Upload, segments: Sequence[Segment]) -> Upload:
        """Moves the upload beyond these segments, which it gains.

        Raises:
            UploadConflict: it is not where they begin; they are gone then.
        """
        size = sum(segment.size for segment in segments)
        further = upload.advanced(size, at=self.clock.now(), expiry=self.expiry)
        try:
            async with self.uow() as uow:
                await uow.uploads.move(further, segments, before=upload.received)
                await uow.commit()
        except UploadConflict:
            await self.drop(segments)
            raise
        return further

    async def finish(self, upload: Upload, rest: bytes) -> Upload:
        """Makes a blob of the upload and ``rest``, its last bytes; see :meth:`receive`."""
        async with self._in_line(upload):
            async with self.uow() as uow:
                segments = await uow.uploads.segments(upload.id)
            if sum(segment.size for segment in segments) != upload.received:
                raise UploadConflict(f"The upload {upload.id} was finished by another request.")
            try:
                digest = await self.assemble(upload, segments, rest)
            except (DigestMismatch, UploadExpired):
                await self.discard(upload.id, unless_complete=True)
                raise
            at, size = self.clock.now(), len(rest)
            finished = upload.finished(digest, size, at=at, expiry=self.expiry)
            async with self.uow() as uow:
                await uow.uploads.move(finished, before=upload.received)
                await uow.commit()
        await self.drop(segments)
        return finished

    async def assemble(self, upload: Upload, segments: Sequence[Segment], rest: bytes) -> Digest:
        """Puts these bytes into the artifact store, under the digest that the client promised.

        Raises:
            DigestMismatch, StoreFull, StoreUnavailable
            UploadExpired: a segment is lost.
        """
        size = sum(segment.size for segment in segments) + len(rest)
        async with aclosing(self._bytes(upload, segments, rest)) as chunks:
            promised = upload.metadata.sha256
            if promised is not None:
                present = await self.store.renew(promised)
                if present is None or present.size != size:
                    await self.store.put(promised, chunks, size=size)
                return promised
            async with self.store.stage() as blob:
                async for chunk in chunks:
                    await blob.write(chunk)
                digest, _ = await blob.finish()
                await blob.commit()
            return digest

    async def _bytes(self, upload: Upload, segments: Sequence[Segment], rest: bytes) -> ByteStream:
        for segment in segments:
            left = segment.size
            with suppress(BlobNotFound):
                async with aclosing(self.segments.read(segment.name)) as chunks:
                    async for chunk in chunks:
                        left -= len(chunk)
                        yield chunk
            if left:
                raise UploadExpired(f"Bytes of the upload {upload.id} are lost; begin a new one.")
        for start in range(0, len(rest), _CHUNK):
            yield rest[start : start + _CHUNK]

    async def discard(self, upload: str, *, unless_complete: bool = False) -> None:
        """Removes an upload with all its bytes; a blob that it has become stays.

        Raises:
            UploadConflict: there is none, or it must not be complete and is.
        """
        async with self.uow() as uow:
            segments = await uow.uploads.segments(upload)
            if not await uow.uploads.remove(upload, unless_complete=unless_complete):
                raise UploadConflict(f"Another request has ended the upload {upload}.")
            await uow.commit()
        await self.drop(segments)

    async def drop(self, segments: Sequence[Segment]) -> None:
        """Deletes segments that no row names; where it fails, gc does later."""
        with suppress(StoreUnavailable):
            await self.segments.remove([segment.name for segment in segments])

    @asynccontextmanager
    async def _in_line(self, upload: Upload) -> AsyncIterator[None]:
        """Behind another request that finishes this upload: to do it twice is only a waste."""
        async with AsyncExitStack() as stack:
            with suppress(LockUnavailable):
                lock = self.locks.hold(f"upload:{upload.id}", timeout=self.lock_timeout)
                await stack.enter_async_context(lock)
            yield


class _Arrival:
    """The bytes of one request: a segment is being stored while the next one is received.

    Each is acknowledged as soon as it is stored; with a checksum none is before the last byte.
    """

    def __init__(self, intake: UploadIntake, upload: Upload, checksum: Checksum | None) -> None:
        self._intake = intake
        self._upload = upload
        self._checksum = checksum
        self._hash: Any = None
        if checksum is not None:
            self._hash = hashlib.new(checksum.algorithm, usedforsecurity=False)
        most = intake.max_size if upload.length is None else upload.length
        self._left = most - upload.received
        self._end = upload.received
        self._buffer = bytearray()
        self._storing: asyncio.Task[None] | None = None
        self._unchecked: list[Segment] = []

    async def take(self, chunk: bytes) -> None:
        """Keeps the last bytes back, up to a segment of them: they may be the end."""
        self._left -= len(chunk)
        if self._left < 0:
            raise RequestTooLarge(f"These are more bytes than the upload {self._upload.id} takes.")
        self._buffer += chunk
        while len(self._buffer) > self._intake.segment_size:
            await self._stored()
            self._store(self._cut(self._intake.segment_size))

    async def conclude(self) -> Upload:
        """Keeps what is left too, and finishes the upload if that was its end."""
        await self._stored()
        rest = self._cut(len(self._buffer))
        if self._checksum is not None:
            await self._check(self._checksum, rest)
        if self._end + len(rest) == self._upload.length and not self._upload.partial:
            return await self._intake.finish(self._upload, rest)
        if rest:
            self._store(rest)
            await self._stored()
        return self._upload

    async def leave(self) -> None:
        """Leaves no segment behind whose bytes were not checked, and nothing running."""
        if self._storing is not None:
            await asyncio.wait([self._storing])
            self._storing.exception()  # whoever waited for it has been told
        await self._intake.drop(self._unchecked)

    def _cut(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            content = bytes(view[:size])
        del self._buffer[:size]
        return content

    def _store(self, content: bytes) -> None:
        start, self._end = self._end, self._end + len(content)
        self._storing = asyncio.create_task(self._keep(start, content))

    async def _keep(self, start: int, content: bytes) -> None:
        if self._hash is not None:
            await asyncio.to_thread(self._hash.update, content)
        name = await self._intake.segments.write(self._upload.id, content)
        segment = Segment(start, len(content), name)
        if self._hash is None:
            self._upload = await self._intake.acknowledge(self._upload, [segment])
        else:
            self._unchecked.append(segment)

    async def _stored(self) -> None:
        """Waits for the segment that is being stored; it goes on also where this is cancelled."""
        if self._storing is not None:
            await asyncio.shield(self._storing)

    async def _check(self, checksum: Checksum, rest: bytes) -> None:
        """Acknowledges what was stored, if the bytes are as promised."""
        await asyncio.to_thread(self._hash.update, rest)
        if self._hash.digest() != checksum.digest:
            raise ChecksumMismatch(
                f"The {checksum.algorithm} of the bytes is not the one in Upload-Checksum; none of "
                "them were kept."
            )
        self._hash = None
        stored, self._unchecked = self._unchecked, []
        if stored:
            self._upload = await self._intake.acknowledge(self._upload, stored)
