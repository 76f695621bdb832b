"""Uploads in several requests: begin one, add to it, look at it, end it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from application.ports import Clock, IdGenerator, UnitOfWork
from application.upload_intake import Checksum, UploadIntake
from domain.errors import (
    DatabaseUnavailable,
    MalformedRequest,
    ModelyardError,
    RequestTooLarge,
    UploadConflict,
)
from domain.upload import Segment, Upload, UploadMetadata
from domain.values import check_actor

_MOST_SEGMENTS = 1_000_000
"""Of all parts of an upload together: a part may be named again and again, and be of crumbs."""


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk


@dataclass(frozen=True, slots=True)
class CreateUpload:
    """``length`` in bytes, None where the client does not know it yet.

    Attributes:
        concat: ``partial``, or what the client said of the parts that follow in ``parts``.
        parts: the uploads that this one is put together from.
        chunks: its first bytes, if they come with it.
    """

    creator: str
    length: int | None
    metadata: UploadMetadata = field(default_factory=lambda: UploadMetadata(""))
    concat: str = ""
    parts: tuple[str, ...] = ()
    chunks: AsyncIterator[bytes] | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class CreateUploadHandler:
    uow: Callable[[], UnitOfWork]
    intake: UploadIntake
    clock: Clock
    ids: IdGenerator

    async def __call__(self, command: CreateUpload) -> Upload:
        """Begins an upload, and takes its first bytes if there are any.

        One that comes whole, is empty or has parts becomes a blob at once. Where this fails there
        is no upload.

        Raises:
            RequestTooLarge: more than the service takes.
            UploadNotFound, UploadExpired, UploadConflict, MalformedRequest: a part is not there,
                has expired, is incomplete, or is none.
            DatabaseUnavailable, and what :meth:`UploadIntake.receive` raises.
        """
        at = self.clock.now()
        upload = Upload(
            id=self.ids.new(),
            creator=check_actor(command.creator),
            created_at=at,
            expires_at=at + self.intake.expiry,
            length=command.length,
            metadata=command.metadata,
            concat=command.concat,
        )
        if command.parts:
            return await self._concatenate(upload, command.parts)
        self.intake.check_length(command.length or 0)
        await self._add(upload)
        if command.chunks is None and command.length != 0:
            return upload
        try:
            return await self.intake.receive(upload, command.chunks or _nothing(), command.checksum)
        except ModelyardError:
            with suppress(DatabaseUnavailable, UploadConflict):  # it expires, or is gone
                await self.intake.discard(upload.id)
            raise

    async def _concatenate(self, upload: Upload, parts: tuple[str, ...]) -> Upload:
        """The parts stay, until they expire: the client may not hear of this, and ask again."""
        size, found = 0, dict[str, list[Segment]]()
        async with self.uow() as uow:
            for each in parts:
                if each not in found:
                    found[each] = await _segments_of(uow, each, upload.created_at)
                size += sum(segment.size for segment in found[each])
                self.intake.check_length(size)
        if sum(len(found[each]) for each in parts) > _MOST_SEGMENTS:
            raise RequestTooLarge("The parts came in too many pieces; begin them with larger ones.")
        segments = [segment for each in parts for segment in found[each]]
        digest = await self.intake.assemble(upload, segments, b"")
        whole = replace(upload, length=size)
        at, expiry = self.clock.now(), self.intake.expiry
        finished = whole.finished(digest, size, at=at, expiry=expiry)
        await self._add(finished)
        return finished

    async def _add(self, upload: Upload) -> None:
        async with self.uow() as uow:
            await uow.uploads.add(upload)
            await uow.commit()


async def _segments_of(uow: UnitOfWork, part: str, at: datetime) -> list[Segment]:
    """All bytes of a part, or an error: another request may end it between the two reads."""
    upload = await uow.uploads.get(part)
    if not upload.partial:
        raise MalformedRequest(f"The upload {part} was not begun as a part of another.")
    upload.check_alive(at)
    if not upload.complete:
        raise UploadConflict(f"The part {part} is not complete; it has {upload.received} bytes.")
    segments = await uow.uploads.segments(part)
    if sum(segment.size for segment in segments) != upload.received:
        raise UploadConflict(f"The part {part} was ended by another request.")
    return segments


@dataclass(frozen=True, slots=True)
class AppendToUpload:
    """``chunks`` follow the first ``offset`` bytes.

    Attributes:
        announced: bytes that are to come; 0 where that is not said.
        length: of the whole, where the client has come to know it.
    """

    upload: str
    offset: int
    chunks: AsyncIterator[bytes]
    announced: int = 0
    length: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class AppendToUploadHandler:
    uow: Callable[[], UnitOfWork]
    intake: UploadIntake
    clock: Clock

    async def __call__(self, command: AppendToUpload) -> Upload:
        """Takes more bytes; with the last ones the upload becomes a blob.

        Raises:
            UploadNotFound, UploadExpired, UploadSealed
            UploadConflict: the upload is not at ``offset``, or its length is another.
            RequestTooLarge: more bytes than its length, or than the service takes.
            DatabaseUnavailable, and what :meth:`UploadIntake.receive` raises.
        """
        async with self.uow() as uow:
            upload = await uow.uploads.get(command.upload)
        upload.check_alive(self.clock.now())
        if command.length is not None:
            self.intake.check_length(command.length)
            upload = upload.declared(command.length)
        upload.check_takes(command.offset, command.announced)
        if upload.complete:
            return upload
        further = await self.intake.receive(upload, command.chunks, command.checksum)
        if further is upload and command.length is not None:  # only its length came
            return await self.intake.acknowledge(upload, ())
        return further


@dataclass(frozen=True, slots=True)
class FindUploadHandler:
    uow: Callable[[], UnitOfWork]
    clock: Clock

    async def __call__(self, upload: str) -> Upload:
        """The upload with this id, as it stands.

        Raises:
            UploadNotFound, UploadExpired, DatabaseUnavailable
        """
        async with self.uow() as uow:
            found = await uow.uploads.get(upload)
        found.check_alive(self.clock.now())
        return found


@dataclass(frozen=True, slots=True)
class TerminateUploadHandler:
    uow: Callable[[], UnitOfWork]
    intake: UploadIntake

    async def __call__(self, upload: str) -> None:
        """Ends an upload and frees its bytes; the blob that it has become stays until gc takes it.

        Raises:
            UploadNotFound, DatabaseUnavailable
        """
        async with self.uow() as uow:
            await uow.uploads.get(upload)
        with suppress(UploadConflict):  # another request was quicker
            await self.intake.discard(upload)
