"""What every store of segments must do. A subclass brings the fixture."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from application.ports import SegmentStore
from domain.errors import BlobNotFound
from tests.contracts.artifact_store import MIB, content_of
from tests.support.aio import collect

UPLOAD, OTHER = uuid4().hex, uuid4().hex


async def read(segments: SegmentStore, name: str) -> bytes:
    chunks = await collect(segments.read(name))
    assert all(0 < len(chunk) <= MIB for chunk in chunks)
    return b"".join(chunks)


async def names(segments: SegmentStore) -> set[str]:
    return {segment.name async for segment in segments.list()}


class SegmentStoreContract:
    @pytest.fixture
    def segments(self) -> SegmentStore:
        raise NotImplementedError

    @pytest.mark.parametrize("size", [1, 4096, MIB - 1, MIB, MIB + 1, 3 * MIB + 12_345])
    async def test_a_segment_reads_back_as_it_was_written(
        self, segments: SegmentStore, size: int
    ) -> None:
        name = await segments.write(UPLOAD, content_of(size))
        assert await read(segments, name) == content_of(size)
        assert await read(segments, name) == content_of(size)

    async def test_a_segment_of_16_mib(self, segments: SegmentStore) -> None:
        name = await segments.write(UPLOAD, content_of(16 * MIB))
        assert await read(segments, name) == content_of(16 * MIB)

    async def test_the_same_bytes_again_are_another_segment(self, segments: SegmentStore) -> None:
        written = [await segments.write(upload, b"same") for upload in (UPLOAD, UPLOAD, OTHER)]
        assert len(set(written)) == 3
        for name, upload in zip(written, (UPLOAD, UPLOAD, OTHER), strict=True):
            begin, separator, segment = name.partition("/")
            assert (begin, separator) == (upload, "/")
            assert segment
        await segments.remove([written[0]])
        assert await read(segments, written[1]) == b"same"

    async def test_a_list_has_every_segment_with_its_size_and_age(
        self, segments: SegmentStore
    ) -> None:
        begun = datetime.now(UTC)
        sizes = {await segments.write(UPLOAD, content_of(size)): size for size in (1, 5000, MIB)}
        found = await collect(segments.list())
        assert {segment.name: segment.size for segment in found} == sizes
        for segment in found:  # the clocks of a store may go wrong by little
            assert abs(segment.written_at - begun) < timedelta(minutes=10)

    async def test_many_at_once_are_all_there(self, segments: SegmentStore) -> None:
        uploads = [uuid4().hex for _ in range(8)]
        written = await asyncio.gather(
            *(segments.write(uploads[n % 8], b"bytes %d" % n) for n in range(40))
        )
        assert await names(segments) == set(written)
        read_back = await asyncio.gather(*(read(segments, name) for name in written))
        assert read_back == [b"bytes %d" % n for n in range(40)]
        await segments.remove(written)
        assert await names(segments) == set()

    async def test_removing_takes_what_is_there(self, segments: SegmentStore) -> None:
        gone, kept = [await segments.write(UPLOAD, content) for content in (b"gone", b"kept")]
        absent = f"{UPLOAD}/{uuid4().hex}"
        await segments.remove([gone, absent])
        await segments.remove([gone])
        await segments.remove([])
        assert await names(segments) == {kept}
        assert await read(segments, kept) == b"kept"

    async def test_an_absent_segment_is_not_found_on_the_first_step(
        self, segments: SegmentStore
    ) -> None:
        name = await segments.write(UPLOAD, b"x")
        await segments.remove([name])
        for absent in (name, f"{OTHER}/{uuid4().hex}"):
            with pytest.raises(BlobNotFound):
                await anext(segments.read(absent))

    async def test_an_empty_store_lists_nothing(self, segments: SegmentStore) -> None:
        assert await collect(segments.list()) == []

    async def test_a_reader_may_leave_early(self, segments: SegmentStore) -> None:
        name = await segments.write(UPLOAD, content_of(3 * MIB))
        async with aclosing(segments.read(name)) as chunks:
            assert await anext(chunks)
        async with aclosing(segments.list()) as found:
            assert (await anext(found)).name == name
        await segments.remove([name])
        assert await names(segments) == set()
