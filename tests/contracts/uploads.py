"""What every UploadRepository must do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.errors import DatabaseUnavailable, UploadConflict, UploadNotFound
from domain.upload import Segment, Upload, UploadMetadata
from tests.support.registry import EPOCH, Registry, a_digest

DAY = timedelta(days=1)
METADATA = UploadMetadata("filename bW9kZWwub25ueA==,empty,raw gP8A/w==")


def an_upload(**fields: Any) -> Upload:
    upload = Upload(uuid4().hex, "ada", EPOCH, EPOCH + DAY, 100, METADATA)
    return replace(upload, **fields)


def segment(upload: Upload, start: int, size: int) -> Segment:
    return Segment(start, size, f"{upload.id}/{uuid4().hex}")


async def begin(registry: Registry, **fields: Any) -> Upload:
    upload = an_upload(**fields)
    async with registry.uow() as uow:
        await uow.uploads.add(upload)
        await uow.commit()
    return upload


async def move(
    registry: Registry, upload: Upload, to: int, *segments: Segment, **fields: Any
) -> Upload:
    """From where it is."""
    further = replace(upload, received=to, **fields)
    async with registry.uow() as uow:
        await uow.uploads.move(further, segments, before=upload.received)
        await uow.commit()
    return further


async def find(registry: Registry, upload: Upload) -> Upload:
    async with registry.uow() as uow:
        return await uow.uploads.get(upload.id)


async def segments_of(registry: Registry, upload: Upload) -> list[Segment]:
    async with registry.uow() as uow:
        return await uow.uploads.segments(upload.id)


async def remove(registry: Registry, upload: Upload, *, unless_complete: bool = False) -> bool:
    async with registry.uow() as uow:
        removed = await uow.uploads.remove(upload.id, unless_complete=unless_complete)
        await uow.commit()
    return removed


@pytest.mark.anyio
class UploadRepositoryContract:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"length": None},
            {"length": 2**45, "received": 2**44, "creator": "Ida Nö 🦊"},
            {"concat": "partial", "metadata": UploadMetadata("")},
            {"concat": "final;/a /b", "received": 100, "sha256": a_digest(7)},
            {"expires_at": EPOCH + timedelta(microseconds=1)},
        ],
    )
    async def test_an_upload_is_found_as_it_was_added(
        self, registry: Registry, fields: dict[str, Any]
    ) -> None:
        await begin(registry)
        upload = await begin(registry, **fields)
        found = await find(registry, upload)
        assert found == upload
        assert found.metadata.values == upload.metadata.values

    async def test_one_that_is_not_there_is_not_found(self, registry: Registry) -> None:
        with pytest.raises(UploadNotFound):
            await find(registry, an_upload())
        assert await segments_of(registry, an_upload()) == []
        assert not await remove(registry, an_upload())

    async def test_moving_keeps_the_segments_in_their_order(self, registry: Registry) -> None:
        upload, other = await begin(registry), await begin(registry)
        parts = [segment(upload, *part) for part in ((0, 10), (10, 30), (40, 5))]
        moved = await move(registry, upload, 10, parts[0], expires_at=EPOCH + 2 * DAY)
        moved = await move(registry, moved, 45, *parts[1:])
        await move(registry, other, 1, segment(other, 0, 1))
        assert await find(registry, upload) == moved
        assert await segments_of(registry, upload) == parts

    async def test_hundreds_of_segments_at_once(self, registry: Registry) -> None:
        upload = await begin(registry, length=10_000)
        parts = [segment(upload, start, 10) for start in range(0, 3000, 10)]
        await move(registry, upload, 3000, *parts)
        assert await segments_of(registry, upload) == parts

    async def test_a_blob_has_no_segments_and_moves_no_more(self, registry: Registry) -> None:
        upload, other = await begin(registry), await begin(registry)
        kept = segment(other, 0, 1)
        await move(registry, other, 1, kept)
        moved = await move(registry, upload, 60, segment(upload, 0, 60))
        done = await move(registry, moved, 100, sha256=a_digest(1))
        assert await find(registry, upload) == done
        assert await segments_of(registry, upload) == []
        with pytest.raises(UploadConflict):
            await move(registry, done, 100, sha256=a_digest(2))
        assert await find(registry, upload) == done
        assert await segments_of(registry, other) == [kept]

    async def test_an_upload_moves_only_from_where_it_is(self, registry: Registry) -> None:
        upload = await begin(registry)
        first, late = segment(upload, 0, 10), segment(upload, 0, 20)
        moved = await move(registry, upload, 10, first)
        for stale in (upload, replace(moved, received=9), replace(moved, received=11)):
            with pytest.raises(UploadConflict):
                await move(registry, stale, 30, late)
        with pytest.raises(UploadConflict):
            await move(registry, an_upload(), 10, late)
        assert await find(registry, upload) == moved
        assert await segments_of(registry, upload) == [first]

    async def test_a_length_is_declared_once(self, registry: Registry) -> None:
        upload = await begin(registry, length=None)
        moved = await move(registry, upload, 5, segment(upload, 0, 5))
        declared = await move(registry, moved, 5, length=50)
        assert (await find(registry, upload)).length == 50
        for length in (None, 51):
            with pytest.raises(UploadConflict):
                await move(registry, declared, 6, segment(upload, 5, 1), length=length)
        assert await find(registry, upload) == declared

    async def test_of_many_that_move_it_at_once_one_succeeds(self, registry: Registry) -> None:
        for _ in range(5):
            upload = await begin(registry)
            barrier = asyncio.Barrier(5)

            async def contend(
                to: int, upload: Upload = upload, barrier: asyncio.Barrier = barrier
            ) -> int | None:
                await barrier.wait()
                try:
                    await move(registry, upload, to, segment(upload, 0, to))
                except UploadConflict:
                    return None
                return to

            results = await asyncio.gather(*map(contend, range(10, 15)))
            (won,) = [to for to in results if to is not None]
            assert (await find(registry, upload)).received == won
            assert [part.size for part in await segments_of(registry, upload)] == [won]

    async def test_of_many_that_finish_it_at_once_one_succeeds(self, registry: Registry) -> None:
        upload = await begin(registry)
        moved = await move(registry, upload, 60, segment(upload, 0, 60))
        finishing = (move(registry, moved, 100, sha256=a_digest(number)) for number in range(4))
        results = await asyncio.gather(*finishing, return_exceptions=True)
        (done,) = [result for result in results if isinstance(result, Upload)]
        assert sum(isinstance(result, UploadConflict) for result in results) == 3
        assert await find(registry, upload) == done

    async def test_a_move_that_is_not_committed_has_not_happened(self, registry: Registry) -> None:
        upload = await begin(registry)
        async with registry.uow() as uow:
            further = replace(upload, received=10)
            await uow.uploads.move(further, [segment(upload, 0, 10)], before=0)
            with registry.failing(), pytest.raises(DatabaseUnavailable):
                await uow.commit()
        assert await find(registry, upload) == upload
        assert await segments_of(registry, upload) == []

    async def test_a_removed_one_is_gone_with_its_segments(self, registry: Registry) -> None:
        upload = await begin(registry)
        part = segment(upload, 0, 10)
        moved = await move(registry, upload, 10, part)
        assert await remove(registry, upload)
        with pytest.raises(UploadNotFound):
            await find(registry, upload)
        assert await segments_of(registry, upload) == []
        async with registry.uow() as uow:
            assert await uow.uploads.named([part.name]) == set()
        with pytest.raises(UploadConflict):
            await move(registry, moved, 20)
        assert not await remove(registry, upload)

    async def test_one_that_is_complete_can_be_spared(self, registry: Registry) -> None:
        unfinished, done = await begin(registry), await begin(registry, sha256=a_digest(1))
        assert not await remove(registry, done, unless_complete=True)
        assert await find(registry, done) == done
        assert await remove(registry, unfinished, unless_complete=True)
        assert await remove(registry, done)

    async def test_the_expired_are_found_page_by_page(self, registry: Registry) -> None:
        over = sorted([(await begin(registry)).id for _ in range(5)])
        blob = await begin(registry, sha256=a_digest(1))
        over = sorted([*over, blob.id])
        await begin(registry, expires_at=EPOCH + DAY + timedelta(microseconds=1))
        async with registry.uow() as uow:
            assert await uow.uploads.expired(EPOCH + DAY - timedelta(microseconds=1), limit=9) == []
            found = await uow.uploads.expired(EPOCH + DAY, limit=4)
            assert found == over[:4]
            assert await uow.uploads.expired(EPOCH + DAY, after=found[-1], limit=4) == over[4:]
            assert await uow.uploads.expired(EPOCH + DAY, after=over[-1], limit=4) == []

    async def test_an_expired_upload_is_either_removed_or_moves_on(
        self, registry: Registry
    ) -> None:
        """What a collection relies on: never removed after somebody was told that it moved."""

        async def collect(upload: Upload) -> bool:
            async with registry.uow() as uow:
                expired = await uow.uploads.expired(EPOCH + DAY, limit=100)
                removed = upload.id in expired and await uow.uploads.remove(upload.id)
                await uow.commit()
            return removed

        for _ in range(10):
            upload = await begin(registry)
            later = EPOCH + 2 * DAY
            part = segment(upload, 0, 1)
            removed, moved = await asyncio.gather(
                collect(upload),
                move(registry, upload, 1, part, expires_at=later),
                return_exceptions=True,
            )
            if removed is True:
                assert isinstance(moved, UploadConflict)
            else:
                assert await find(registry, upload) == moved
                await remove(registry, upload)

    async def test_segments_that_an_upload_has_are_named(self, registry: Registry) -> None:
        uploads = [await begin(registry) for _ in range(3)]
        parts = [segment(upload, 0, 10) for upload in uploads]
        for upload, part in zip(uploads[:2], parts[:2], strict=True):
            await move(registry, upload, 10, part)
        strangers = [segment(uploads[0], 0, 10).name, f"{uuid4().hex}/{uuid4().hex}"]
        async with registry.uow() as uow:
            named = await uow.uploads.named([*(part.name for part in parts), *strangers])
            assert named == {part.name for part in parts[:2]}
            assert await uow.uploads.named([]) == set()
