"""Uploads in several requests: their rules, their bytes, their races and their end."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.artifact_store import MemoryArtifactStore
from adapters.memory.locks import MemoryLockManager
from adapters.memory.segments import MemorySegmentStore
from adapters.no_lock import NoLockManager
from application.ports import LockManager
from application.publishing import UploadedFile
from application.upload_intake import Checksum, UploadIntake
from application.uploads import AppendToUpload, CreateUpload
from domain.errors import (
    ChecksumMismatch,
    DatabaseUnavailable,
    DigestMismatch,
    LockTimeout,
    MalformedRequest,
    RequestTooLarge,
    StoreFull,
    UploadConflict,
    UploadExpired,
    UploadInterrupted,
    UploadNotFound,
    UploadSealed,
)
from domain.upload import Segment, Upload, UploadMetadata
from domain.values import FilePath
from tests.unit.in_memory import GRACE, UPLOAD_EXPIRY, Registry, digest_of, in_chunks

pytestmark = pytest.mark.anyio

SEGMENT = 10
TEXT = b"The quick brown fox jumps over the lazy dog"
OVER = UPLOAD_EXPIRY + timedelta(seconds=1)
LONG = GRACE + timedelta(seconds=1)


async def cut_off(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise UploadInterrupted("The connection closed before the end of the body.")


def metadata(**values: bytes) -> UploadMetadata:
    pairs = (f"{key} {b64encode(value).decode()}" for key, value in values.items())
    return UploadMetadata(",".join(pairs))


@dataclass(slots=True)
class Uploads:
    """Short ways to upload to a registry in memory, in segments of ten bytes."""

    registry: Registry = field(default_factory=Registry)

    @property
    def intake(self) -> UploadIntake:
        return self.registry.handlers.intake(segment_size=SEGMENT)

    async def create(self, length: int | None, *chunks: bytes, **fields: object) -> Upload:
        handle = self.registry.handlers.create_upload(intake=self.intake)
        body = in_chunks(*chunks) if chunks else None
        command = {"creator": "ada", "length": length, "chunks": body, **fields}
        return await handle(CreateUpload(**command))  # type: ignore[arg-type]

    async def append(self, upload: Upload, *chunks: bytes, **fields: object) -> Upload:
        """From where it is, unless told otherwise."""
        handle = self.registry.handlers.append_to_upload(intake=self.intake)
        command = {"offset": upload.received, "chunks": in_chunks(*chunks), **fields}
        return await handle(AppendToUpload(upload.id, **command))  # type: ignore[arg-type]

    async def find(self, upload: Upload) -> Upload:
        return await self.registry.handlers.find_upload()(upload.id)

    async def terminate(self, upload: Upload) -> None:
        await self.registry.handlers.terminate_upload()(upload.id)

    async def sizes(self) -> list[int]:
        """Of all segments there are."""
        return sorted([segment.size async for segment in self.registry.segments.list()])

    def content(self, upload: Upload) -> bytes:
        assert upload.sha256 is not None
        return self.registry.store.content(upload.sha256)

    async def check_complete(self, upload: Upload, content: bytes) -> None:
        assert await self.find(upload) == upload
        assert (upload.received, upload.length) == (len(content), len(content))
        assert self.content(upload) == content
        assert await self.sizes() == []


@pytest.fixture
def uploads() -> Uploads:
    return Uploads()


# --- the bytes ----------------------------------------------------------------------------------


async def test_bytes_in_several_requests_become_a_blob(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT))
    assert (upload.received, upload.complete) == (0, False)
    for stop in (4, 20, 21):
        upload = await uploads.append(upload, TEXT[upload.received : stop])
        assert await uploads.find(upload) == upload
        assert (upload.received, upload.complete) == (stop, False)
    assert await uploads.registry.blobs() == set()
    upload = await uploads.append(upload, TEXT[21:])
    assert (upload.sha256, upload.complete) == (digest_of(TEXT), True)
    await uploads.check_complete(upload, TEXT)


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 25, 43])
@pytest.mark.parametrize("chunk", [1, 3, 10, 50])
async def test_bytes_are_cut_into_segments_however_they_come(
    uploads: Uploads, size: int, chunk: int
) -> None:
    upload = await uploads.create(1000)
    chunks = (TEXT[start : min(start + chunk, size)] for start in range(0, size, chunk))
    upload = await uploads.append(upload, *chunks)
    assert upload.received == size
    whole, rest = divmod(size, SEGMENT)
    assert await uploads.sizes() == [rest] * bool(rest) + [SEGMENT] * whole
    more = bytes(1000 - size)
    await uploads.check_complete(await uploads.append(upload, more), TEXT[:size] + more)


async def test_what_fits_into_one_segment_goes_straight_into_the_store(uploads: Uploads) -> None:
    uploads.registry.segments = MemorySegmentStore(capacity=0)
    for size in (1, SEGMENT):
        await uploads.check_complete(await uploads.create(size, TEXT[:size]), TEXT[:size])
    with pytest.raises(StoreFull):
        await uploads.create(SEGMENT + 1, TEXT[: SEGMENT + 1])


async def test_an_upload_may_begin_with_its_bytes(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:13])
    assert upload.received == 13
    await uploads.check_complete(await uploads.append(upload, TEXT[13:]), TEXT)
    await uploads.check_complete(await uploads.create(len(TEXT), TEXT), TEXT)


async def test_an_empty_upload_is_complete_from_its_beginning(uploads: Uploads) -> None:
    upload = await uploads.create(0)
    await uploads.check_complete(upload, b"")
    assert await uploads.append(upload) == upload
    with pytest.raises(RequestTooLarge):
        await uploads.append(upload, b"x", announced=1)


async def test_a_client_that_goes_away_is_asked_only_for_the_rest(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT))
    with pytest.raises(UploadInterrupted):
        await uploads.append(upload, chunks=cut_off(TEXT[:12], TEXT[12:25]))
    upload = await uploads.find(upload)
    assert upload.received == 25
    assert await uploads.sizes() == [5, 10, 10]
    await uploads.check_complete(await uploads.append(upload, TEXT[25:]), TEXT)


async def test_a_client_that_goes_away_after_the_last_byte_has_done_enough(
    uploads: Uploads,
) -> None:
    upload = await uploads.create(len(TEXT))
    with pytest.raises(UploadInterrupted):
        await uploads.append(upload, chunks=cut_off(TEXT))
    await uploads.check_complete(await uploads.find(upload), TEXT)


async def test_nothing_at_all_changes_nothing(uploads: Uploads) -> None:
    upload = await uploads.create(10, b"abc")
    uploads.registry.clock.advance(timedelta(seconds=5))
    assert await uploads.append(upload) == upload
    with pytest.raises(UploadInterrupted):
        await uploads.append(upload, chunks=cut_off())
    assert await uploads.find(upload) == upload


async def test_an_upload_goes_on_only_from_where_it_is(uploads: Uploads) -> None:
    upload = await uploads.create(20, b"0123456789")
    for offset in (0, 9, 11, 20, 10**15):
        with pytest.raises(UploadConflict, match="10 bytes"):
            await uploads.append(upload, b"x", offset=offset)
    assert await uploads.find(upload) == upload
    with pytest.raises(UploadNotFound):
        await uploads.append(replace(upload, id="f" * 32), b"x")


async def test_an_upload_takes_no_more_than_its_length(uploads: Uploads) -> None:
    upload = await uploads.create(20, b"0123456789")
    with pytest.raises(RequestTooLarge):
        await uploads.append(upload, b"x", announced=11)
    with pytest.raises(RequestTooLarge):
        await uploads.append(upload, TEXT[:11])
    assert await uploads.find(upload) == upload
    with pytest.raises(RequestTooLarge):  # a whole segment came before it was noticed
        await uploads.append(upload, b"a", b"b" * 9, b"c")
    assert (await uploads.find(upload)).received < 20


async def test_an_upload_takes_no_more_than_the_service_does() -> None:
    uploads = Uploads(Registry(max_size=20))
    with pytest.raises(RequestTooLarge):
        await uploads.create(21)
    upload = await uploads.create(None)
    with pytest.raises(RequestTooLarge):
        await uploads.append(upload, b"x", length=21)
    with pytest.raises(RequestTooLarge):
        await uploads.append(upload, *[b"x"] * 21)
    upload = await uploads.find(upload)
    rest = b"y" * (20 - upload.received)
    assert (await uploads.append(upload, rest, length=20)).complete


# --- a length that comes later ------------------------------------------------------------------


@pytest.mark.parametrize("last", [b"", b"fghij", b"fghijklmnopqrstuvwxyz"])
async def test_the_length_may_come_with_the_last_bytes(uploads: Uploads, last: bytes) -> None:
    upload = await uploads.create(None, b"abcde")
    assert upload.length is None
    done = await uploads.append(upload, last, length=5 + len(last))
    await uploads.check_complete(done, b"abcde" + last)


async def test_the_length_may_come_alone_and_never_changes(uploads: Uploads) -> None:
    upload = await uploads.create(None, b"abcde")
    with pytest.raises(UploadConflict):
        await uploads.append(upload, length=4)
    upload = await uploads.append(upload, length=8)
    assert await uploads.find(upload) == upload
    assert upload.length == 8
    with pytest.raises(UploadConflict):
        await uploads.append(upload, b"fgh", length=9)
    await uploads.check_complete(await uploads.append(upload, b"fgh", length=8), b"abcdefgh")


async def test_a_finish_that_fails_does_not_look_complete(uploads: Uploads) -> None:
    upload = await uploads.create(None, b"abcde")
    uploads.registry.store = MemoryArtifactStore(clock=uploads.registry.clock, capacity=0)
    with pytest.raises(StoreFull):
        await uploads.append(upload, length=5)
    assert await uploads.find(upload) == upload  # its length is still to come


# --- checksums ----------------------------------------------------------------------------------


def sha1(content: bytes) -> Checksum:
    return Checksum("sha1", hashlib.sha1(content, usedforsecurity=False).digest())


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
async def test_bytes_that_are_as_promised_are_kept(uploads: Uploads, algorithm: str) -> None:
    def checksum(content: bytes) -> Checksum:
        return Checksum(algorithm, hashlib.new(algorithm, content).digest())

    upload = await uploads.create(len(TEXT), TEXT[:5], checksum=checksum(TEXT[:5]))
    upload = await uploads.append(upload, TEXT[5:30], checksum=checksum(TEXT[5:30]))
    assert upload.received == 30
    done = await uploads.append(upload, TEXT[30:], checksum=checksum(TEXT[30:]))
    await uploads.check_complete(done, TEXT)


@pytest.mark.parametrize("size", [1, 10, 25, 38])
async def test_bytes_that_are_not_as_promised_leave_nothing(uploads: Uploads, size: int) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:5])
    segments = await uploads.sizes()
    with pytest.raises(ChecksumMismatch, match="sha1"):
        await uploads.append(upload, TEXT[5 : 5 + size], checksum=sha1(b"other"))
    with pytest.raises(UploadInterrupted):
        await uploads.append(upload, chunks=cut_off(TEXT[5 : 5 + size]), checksum=sha1(TEXT))
    assert await uploads.find(upload) == upload
    assert await uploads.sizes() == segments
    assert await uploads.registry.blobs() == set()
    await uploads.check_complete(
        await uploads.append(upload, TEXT[5:], checksum=sha1(TEXT[5:])), TEXT
    )


# --- becoming a blob ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "promise",
    [digest_of(TEXT).encode(), digest_of(TEXT).upper().encode(), hashlib.sha256(TEXT).digest()],
)
async def test_a_digest_may_be_promised(uploads: Uploads, promise: bytes) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:30], metadata=metadata(sha256=promise))
    await uploads.check_complete(await uploads.append(upload, TEXT[30:]), TEXT)


async def test_another_digest_than_promised_ends_the_upload(uploads: Uploads) -> None:
    promised = metadata(sha256=digest_of(b"other").encode())
    upload = await uploads.create(len(TEXT), TEXT[:30], metadata=promised)
    with pytest.raises(DigestMismatch, match=digest_of(TEXT)):
        await uploads.append(upload, TEXT[30:])
    with pytest.raises(UploadNotFound):
        await uploads.find(upload)
    with pytest.raises(DigestMismatch):
        await uploads.create(len(TEXT), TEXT, metadata=promised)
    assert await uploads.sizes() == []
    assert await uploads.registry.blobs() == set()


async def test_a_promised_blob_that_is_there_is_not_stored_again(uploads: Uploads) -> None:
    await uploads.registry.upload(TEXT)
    uploads.registry.clock.advance(timedelta(hours=1))
    uploads.registry.store._capacity = 0
    promised = metadata(sha256=digest_of(TEXT).encode())
    upload = await uploads.create(len(TEXT), TEXT[:30], metadata=promised)
    await uploads.check_complete(await uploads.append(upload, TEXT[30:]), TEXT)
    info = await uploads.registry.store.stat(digest_of(TEXT))
    assert info is not None
    assert info.renewed_at == uploads.registry.clock.now()


async def test_a_finish_that_fails_is_done_again_with_the_last_bytes(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:30])
    store = uploads.registry.store
    uploads.registry.store = MemoryArtifactStore(clock=uploads.registry.clock, capacity=40)
    with pytest.raises(StoreFull):
        await uploads.append(upload, TEXT[30:])
    upload = await uploads.find(upload)
    assert (upload.received, upload.complete) == (40, False)
    assert await uploads.registry.blobs() == set()
    uploads.registry.store = store
    await uploads.check_complete(await uploads.append(upload, TEXT[40:]), TEXT)


async def test_a_finish_whose_rows_cannot_be_written_is_done_again(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:40])

    async def chunks() -> AsyncIterator[bytes]:
        yield TEXT[40:]
        uploads.registry.database.available = False

    with pytest.raises(DatabaseUnavailable):
        await uploads.append(upload, chunks=chunks())
    uploads.registry.database.available = True
    assert await uploads.find(upload) == upload
    await uploads.check_complete(await uploads.append(upload, TEXT[40:]), TEXT)


async def test_an_upload_that_lost_bytes_is_given_up(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:30])
    lost = [segment.name async for segment in uploads.registry.segments.list()][1]
    await uploads.registry.segments.remove([lost])
    with pytest.raises(UploadExpired, match="lost"):
        await uploads.append(upload, TEXT[30:])
    with pytest.raises(UploadNotFound):
        await uploads.find(upload)
    assert await uploads.sizes() == []


async def test_an_upload_that_cannot_begin_leaves_nothing(uploads: Uploads) -> None:
    uploads.registry.segments = MemorySegmentStore(capacity=15)
    with pytest.raises(StoreFull):
        await uploads.create(len(TEXT), TEXT)
    with pytest.raises(ChecksumMismatch):
        await uploads.create(len(TEXT), TEXT[:3], checksum=sha1(b""))
    with pytest.raises(UploadInterrupted):
        await uploads.create(len(TEXT), chunks=cut_off(TEXT[:3]))
    assert await uploads.sizes() == []
    async with uploads.registry.uow() as uow:
        assert await uow.uploads.expired(uploads.registry.clock.now() + LONG, limit=9) == []


# --- races --------------------------------------------------------------------------------------


async def raced(*work: Awaitable[Upload]) -> tuple[list[Upload], list[BaseException]]:
    """What succeeded, and the errors of the others."""
    results = await asyncio.gather(*work, return_exceptions=True)
    won = [result for result in results if isinstance(result, Upload)]
    return won, [result for result in results if isinstance(result, BaseException)]


async def test_of_two_that_go_on_from_one_offset_one_succeeds(uploads: Uploads) -> None:
    for sizes in ((5, 5), (12, 25), (25, 12), (33, 33)):
        upload = await uploads.create(100, b"0123456789")
        content = [bytes([letter]) * size for letter, size in zip(b"ab", sizes, strict=True)]
        won, lost = await raced(*(uploads.append(upload, *in_pieces(each)) for each in content))
        assert len(won) == 1
        assert [type(error) for error in lost] == [UploadConflict]
        upload = await uploads.find(upload)
        assert upload == won[0]
        done = await uploads.append(upload, bytes(100 - upload.received))
        whole = uploads.content(done)
        assert whole[10:].rstrip(b"\0") in content
        assert await uploads.sizes() == []


def in_pieces(content: bytes) -> list[bytes]:
    return [content[start : start + 4] for start in range(0, len(content), 4)]


@pytest.mark.parametrize("locks", [MemoryLockManager(), NoLockManager()], ids=["lock", "none"])
async def test_of_many_that_finish_an_upload_one_succeeds(locks: LockManager) -> None:
    uploads = Uploads(Registry(locks=locks))
    upload = await uploads.create(len(TEXT), TEXT[:40])
    won, lost = await raced(*(uploads.append(upload, TEXT[40:]) for _ in range(4)))
    assert len(won) == 1
    assert {type(error) for error in lost} == {UploadConflict}
    await uploads.check_complete(won[0], TEXT)


async def test_one_that_finishes_later_does_not_undo_what_another_has_finished() -> None:
    uploads = Uploads(Registry(locks=NoLockManager()))
    upload = await uploads.create(len(TEXT), TEXT[:40])
    finishing = asyncio.create_task(uploads.append(upload, TEXT[40:]))
    segments = uploads.registry.segments
    half_read = asyncio.Event()

    class ReadsWhileAnotherFinishes(MemorySegmentStore):
        async def read(self, name: str) -> AsyncGenerator[bytes, None]:
            if not half_read.is_set():
                half_read.set()
                await finishing
            async for chunk in segments.read(name):
                yield chunk

    await asyncio.sleep(0)
    slow = replace(uploads.intake, segments=ReadsWhileAnotherFinishes())
    handle = uploads.registry.handlers.append_to_upload(intake=slow)
    with pytest.raises(UploadConflict):
        await handle(AppendToUpload(upload.id, 40, in_chunks(TEXT[40:])))
    await uploads.check_complete(await finishing, TEXT)


async def test_one_waits_for_another_that_is_finishing(uploads: Uploads) -> None:
    upload = await uploads.create(len(TEXT), TEXT[:40])
    impatient = uploads.registry.handlers.append_to_upload(
        intake=replace(uploads.intake, lock_timeout=0.01)
    )
    async with uploads.registry.locks.hold(f"upload:{upload.id}", timeout=1):
        with pytest.raises(LockTimeout):
            await impatient(AppendToUpload(upload.id, 40, in_chunks(TEXT[40:])))
    await uploads.check_complete(await uploads.append(upload, TEXT[40:]), TEXT)


async def test_an_upload_that_is_terminated_takes_nothing_more(uploads: Uploads) -> None:
    upload = await uploads.create(100, b"0123456789")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 15
        await uploads.terminate(upload)
        yield b"x" * 15

    with pytest.raises(UploadConflict):
        await uploads.append(upload, chunks=chunks())
    assert await uploads.sizes() == []
    with pytest.raises(UploadNotFound):
        await uploads.terminate(upload)


async def test_segments_that_may_have_been_acknowledged_are_left_alone(uploads: Uploads) -> None:
    """The answer of the database can be lost on its way; gc knows later what became of it."""
    upload = await uploads.create(100)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 15
        uploads.registry.database.available = False
        yield b"x" * 15

    with pytest.raises(DatabaseUnavailable):
        await uploads.append(upload, chunks=chunks())
    uploads.registry.database.available = True
    assert await uploads.find(upload) == upload
    assert await uploads.sizes() == [10]
    uploads.registry.clock.advance(LONG)
    assert (await uploads.registry.collect()).staged == 1
    assert await uploads.sizes() == []


async def test_a_request_that_is_cancelled_leaves_no_segment(uploads: Uploads) -> None:
    upload = await uploads.create(1000)
    stuck = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 15
        stuck.set()
        await asyncio.sleep(60)

    appending = asyncio.create_task(uploads.append(upload, chunks=chunks()))
    await stuck.wait()
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    upload = await uploads.find(upload)
    assert sum(await uploads.sizes()) == upload.received


# --- concatenation ------------------------------------------------------------------------------


async def a_part(uploads: Uploads, content: bytes, **fields: object) -> Upload:
    upload = await uploads.create(len(content), concat="partial", **fields)
    return await uploads.append(upload, content) if content else upload


async def joined(uploads: Uploads, *parts: Upload, **fields: object) -> Upload:
    concat = "final;" + " ".join(f"/{part.id}" for part in parts)
    ids = tuple(part.id for part in parts)
    return await uploads.create(None, concat=concat, parts=ids, **fields)


async def test_parts_are_put_together_in_the_order_that_is_asked_for(uploads: Uploads) -> None:
    parts = [await a_part(uploads, content) for content in (TEXT[23:], b"", TEXT[:23])]
    assert all(part.complete and part.sha256 is None for part in parts)
    assert await uploads.registry.blobs() == set()
    whole = await joined(uploads, parts[2], parts[1], parts[0])
    assert uploads.content(whole) == TEXT
    assert (whole.length, whole.received) == (len(TEXT), len(TEXT))
    assert await uploads.find(whole) == whole


async def test_parts_can_be_used_again(uploads: Uploads) -> None:
    part = await a_part(uploads, b"tick ")
    for _ in range(2):
        assert uploads.content(await joined(uploads, part, part)) == b"tick tick "


async def test_parts_named_again_and_again_are_not_too_many_pieces(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.uploads._MOST_SEGMENTS", 3)
    part = await a_part(uploads, b"tick ")
    assert uploads.content(await joined(uploads, *[part] * 3)) == b"tick " * 3
    with pytest.raises(RequestTooLarge, match="pieces"):
        await joined(uploads, *[part] * 4)


async def test_a_part_that_ends_while_it_is_read_is_not_taken_for_empty(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = await a_part(uploads, b"tick ")
    async with uploads.registry.uow() as uow:
        repository = type(uow.uploads)
    segments = repository.segments

    async def ended(self: Any, upload: str) -> list[Segment]:
        """What READ COMMITTED shows where another transaction commits between two reads."""
        return (await segments(self, upload))[:0]

    monkeypatch.setattr(repository, "segments", ended)
    with pytest.raises(UploadConflict, match="another request"):
        await joined(uploads, part)


async def test_what_the_whole_shall_be_is_promised_with_it(uploads: Uploads) -> None:
    part = await a_part(uploads, TEXT, metadata=metadata(sha256=bytes(32)))
    await joined(uploads, part, metadata=metadata(sha256=digest_of(TEXT).encode()))
    with pytest.raises(DigestMismatch):
        await joined(uploads, part, metadata=metadata(sha256=bytes(32)))
    assert await uploads.find(part) == part


async def test_only_complete_parts_are_put_together(uploads: Uploads) -> None:
    part = await a_part(uploads, b"abc")
    unfinished = await uploads.create(5, b"1234", concat="partial")
    with pytest.raises(UploadConflict, match="4 bytes"):
        await joined(uploads, part, unfinished)
    with pytest.raises(MalformedRequest):
        await joined(uploads, part, await uploads.create(3, b"123"))
    with pytest.raises(UploadNotFound):
        await joined(uploads, replace(part, id="f" * 32))
    uploads.registry.clock.advance(OVER)
    with pytest.raises(UploadExpired):
        await joined(uploads, part)


async def test_a_whole_takes_no_bytes(uploads: Uploads) -> None:
    part = await a_part(uploads, b"abc")
    whole = await joined(uploads, part)
    for content in (b"", b"x"):
        with pytest.raises(UploadSealed):
            await uploads.append(whole, content)
    with pytest.raises(RequestTooLarge):
        await uploads.append(part, b"x", announced=1)


async def test_parts_may_not_be_larger_together_than_the_service_takes() -> None:
    uploads = Uploads(Registry(max_size=20))
    parts = [await a_part(uploads, b"x" * 11) for _ in range(2)]
    with pytest.raises(RequestTooLarge):
        await joined(uploads, *parts)


# --- their end ----------------------------------------------------------------------------------


async def test_an_upload_that_stands_still_expires(uploads: Uploads) -> None:
    clock = uploads.registry.clock
    upload = await uploads.create(20)
    assert upload.expires_at == clock.now() + UPLOAD_EXPIRY
    clock.advance(UPLOAD_EXPIRY - timedelta(seconds=1))
    upload = await uploads.append(upload, b"0123456789")
    assert upload.expires_at == clock.now() + UPLOAD_EXPIRY
    clock.advance(OVER)
    with pytest.raises(UploadExpired):
        await uploads.append(upload, b"x")
    with pytest.raises(UploadExpired):
        await uploads.find(upload)
    await uploads.terminate(upload)
    assert await uploads.sizes() == []


async def test_expired_uploads_are_collected_with_their_bytes(uploads: Uploads) -> None:
    for _ in range(25):
        await uploads.create(100, TEXT[:25])
    done = await uploads.create(len(TEXT), TEXT)
    uploads.registry.clock.advance(OVER)
    alive = await uploads.create(100, TEXT[:25])
    assert await uploads.find(done) == done  # it has not expired, but will be forgotten
    would = await uploads.registry.collect(dry_run=True)
    assert (would.uploads, would.staged, would.staged_size) == (26, 0, 625)
    assert len(await uploads.sizes()) == 78
    assert await uploads.registry.collect() == would
    assert await uploads.sizes() == [5, 10, 10]
    assert await uploads.find(alive) == alive
    with pytest.raises(UploadNotFound):
        await uploads.find(done)
    assert uploads.content(done) == TEXT  # as any blob that was uploaded ahead
    assert (await uploads.registry.collect()).uploads == 0


async def test_segments_that_no_upload_has_are_collected_when_they_are_old(
    uploads: Uploads,
) -> None:
    segments = uploads.registry.segments
    upload = await uploads.create(100, TEXT[:10])
    orphans = [await segments.write(owner, b"orphan") for owner in (upload.id, "f" * 32)]
    assert (await uploads.registry.collect()).staged == 0
    for _ in range(5):  # alive longer than the grace
        uploads.registry.clock.advance(UPLOAD_EXPIRY - timedelta(seconds=1))
        upload = await uploads.append(upload, b"x")
    would = await uploads.registry.collect(dry_run=True)
    assert (would.staged, would.staged_size, would.uploads) == (2, 12, 0)
    assert await uploads.registry.collect() == would
    assert not {each.name async for each in segments.list()} & set(orphans)
    await uploads.append(upload, bytes(100 - upload.received))


async def test_a_blob_that_came_so_is_published_by_its_digest(uploads: Uploads) -> None:
    await uploads.registry.register()
    upload = await uploads.create(len(TEXT), TEXT)
    assert upload.sha256 is not None
    await uploads.registry.publish(UploadedFile(FilePath("model.bin"), upload.sha256))
    uploads.registry.clock.advance(LONG)
    await uploads.registry.collect()
    assert await uploads.registry.blobs() == {digest_of(TEXT)}


async def test_terminating_frees_the_bytes_but_not_those_of_a_blob(uploads: Uploads) -> None:
    upload, done = await uploads.create(100, TEXT), await uploads.create(len(TEXT), TEXT)
    for each in (upload, done):
        await uploads.terminate(each)
        with pytest.raises(UploadNotFound):
            await uploads.find(each)
    assert await uploads.sizes() == []
    assert uploads.content(done) == TEXT
