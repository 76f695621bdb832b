"""What every artifact store must do. A subclass brings the fixtures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import pytest

from application.ports import ArtifactStore, BlobInfo, StagedBlob
from domain.errors import (
    BlobNotFound,
    DigestMismatch,
    StoreFull,
    StoreUnavailable,
    UploadInterrupted,
)
from domain.values import Digest
from tests.support.aio import collect

MIB = 1 << 20
ABSENT = Digest("0" * 64)
SIZES = (0, 1, 4096, 16 * 1024, 16 * 1024 + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 12_345)


def content_of(size: int, seed: int = 0) -> bytes:
    """Bytes without a pattern that a mistake in offsets could hide behind."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def chunked(content: bytes, *sizes: int) -> Iterator[bytes]:
    """Cuts into chunks of these sizes, over and over."""
    at = turn = 0
    while at < len(content):
        size = sizes[turn % len(sizes)]
        yield content[at : at + size]
        at, turn = at + size, turn + 1


async def write(blob: StagedBlob, content: bytes, *sizes: int) -> None:
    for chunk in chunked(content, *(sizes or (64 * 1024,))):
        await blob.write(chunk)


async def upload(store: ArtifactStore, content: bytes, *sizes: int) -> BlobInfo:
    async with store.stage() as blob:
        await write(blob, content, *sizes)
        await blob.finish()
        return await blob.commit()


async def stream(content: bytes, *sizes: int) -> AsyncIterator[bytes]:
    for chunk in chunked(content, *(sizes or (64 * 1024,))):
        yield chunk


async def put(store: ArtifactStore, content: bytes, digest: Digest | None = None) -> BlobInfo:
    return await store.put(digest or digest_of(content), stream(content), size=len(content))


async def download(
    store: ArtifactStore, digest: Digest, start: int = 0, stop: int | None = None
) -> bytes:
    chunks = await collect(store.read(digest, start=start, stop=stop))
    assert all(0 < len(chunk) <= MIB for chunk in chunks)
    return b"".join(chunks)


async def after(moment: datetime) -> datetime:
    """A time that is later, to the microsecond."""
    while (now := datetime.now(UTC)) <= moment:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return now


class ArtifactStoreContract:
    """``rounds``, ``commits`` and ``many``: how often it races, and how many blobs it lists."""

    rounds = 150
    commits = 60
    many = 520

    @pytest.fixture
    def store(self) -> ArtifactStore:
        raise NotImplementedError

    @pytest.fixture
    def small_store(self) -> tuple[ArtifactStore, type[Exception]]:
        """A store with room for about 1 MiB, and what it raises when there is no more."""
        raise NotImplementedError

    @pytest.fixture
    def leftovers(self) -> Callable[[], int]:
        """How many staged blobs there are, whoever left them."""
        raise NotImplementedError

    # --- bytes go in and come out ---

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_blob_reads_back_as_it_was_written(
        self, store: ArtifactStore, size: int
    ) -> None:
        content = content_of(size)
        async with store.stage() as blob:
            await write(blob, content, 65_536, 1, 1_000_000, 4_095)
            assert await blob.finish() == (digest_of(content), size)
            info = await blob.commit()
        assert (info.digest, info.size) == (digest_of(content), size)
        assert await store.stat(info.digest) == info
        assert await download(store, info.digest) == content

    async def test_a_blob_may_come_in_crumbs(self, store: ArtifactStore) -> None:
        content = content_of(20_000)
        info = await upload(store, content, 1, 3, 2)
        assert await download(store, info.digest) == content

    async def test_empty_chunks_change_nothing(self, store: ArtifactStore) -> None:
        info = await upload(store, b"")
        async with store.stage() as blob:
            await blob.write(b"")
            await blob.write(b"")
            assert await blob.finish() == (info.digest, 0)

    @pytest.mark.parametrize("size", [100, 2 * MIB + 100])
    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, 0), (0, 1), (99, 100), (7, 50), (50, None), (100, None), (0, 10**12), (10**12, None)],
    )
    async def test_a_range_is_read_without_the_rest(
        self, store: ArtifactStore, size: int, start: int, stop: int | None
    ) -> None:
        content = content_of(size)
        info = await upload(store, content)
        assert await download(store, info.digest, start, stop) == content[start:stop]

    async def test_a_range_may_cross_chunks(self, store: ArtifactStore) -> None:
        content = content_of(3 * MIB)
        info = await upload(store, content)
        start, stop = MIB - 3, 2 * MIB + 5
        assert await download(store, info.digest, start, stop) == content[start:stop]

    async def test_an_absent_blob_is_not_found_on_the_first_step(
        self, store: ArtifactStore
    ) -> None:
        chunks = store.read(ABSENT)
        with pytest.raises(BlobNotFound):
            await anext(chunks)
        assert await store.stat(ABSENT) is None
        assert await store.renew(ABSENT) is None

    @pytest.mark.parametrize("size", [5_000, MIB + 5_000])
    async def test_a_validator_reads_anywhere_before_the_commit_and_after(
        self, store: ArtifactStore, size: int
    ) -> None:
        content = content_of(size)
        async with store.stage() as blob:
            await blob.write(content)
            digest, _ = await blob.finish()
            for source in (blob.source, store.source(digest, size)):
                assert source.size == size
                assert await source.read_at(0, 64) == content[:64]
                assert await source.read_at(size - 7, 64) == content[-7:]
                assert await source.read_at(size, 1) == b""
                if source.size == size and await store.stat(digest) is None:
                    await blob.commit()

    async def test_a_source_whose_blob_is_gone_is_unavailable(self, store: ArtifactStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.source(ABSENT, 10).read_at(0, 10)

    async def test_absent_blobs_are_told_from_present_ones(self, store: ArtifactStore) -> None:
        assert await store.absent([]) == set()
        assert await store.absent([ABSENT]) == {ABSENT}
        present = [(await upload(store, b"blob %d" % number)).digest for number in range(5)]
        assert await store.absent(present) == set()
        absent = {digest_of(b"absent %d" % number) for number in range(700)}
        assert await store.absent({*present, *absent}) == absent

    # --- nothing is visible before the commit, and nothing stays without one ---

    @pytest.mark.parametrize("size", [4096, 2 * MIB])
    async def test_a_blob_is_invisible_until_it_is_committed(
        self, store: ArtifactStore, size: int
    ) -> None:
        content = content_of(size)
        async with store.stage() as blob:
            await blob.write(content)
            digest, _ = await blob.finish()
            assert await store.stat(digest) is None
            assert await store.renew(digest) is None
            assert await collect(store.list()) == []
            await blob.commit()
            assert await download(store, digest) == content

    @pytest.mark.parametrize("size", [0, 4096, 100_000, 3 * MIB])
    @pytest.mark.parametrize("finish", [True, False])
    async def test_leaving_without_a_commit_leaves_nothing(
        self, store: ArtifactStore, leftovers: Callable[[], int], size: int, finish: bool
    ) -> None:
        async def break_off() -> None:
            async with store.stage() as blob:
                await write(blob, content_of(size))
                if finish:
                    await blob.finish()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await break_off()
        assert leftovers() == 0
        assert await collect(store.list()) == []

    @pytest.mark.parametrize("how", ["task", "scope"])
    async def test_a_client_that_vanishes_leaves_nothing(
        self, store: ArtifactStore, leftovers: Callable[[], int], how: str
    ) -> None:
        """Cancelled again and again at the most awkward moments: while a batch is written."""
        chunk = content_of(256 * 1024)
        for steps in range(12):
            written = asyncio.Event()

            async def endless(steps: int = steps, written: asyncio.Event = written) -> None:
                async with store.stage() as blob:
                    count = 0
                    while True:
                        await blob.write(chunk)
                        count += 1
                        if count > steps:
                            written.set()

            if how == "task":
                task = asyncio.create_task(endless())
                await written.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(endless)
                    await written.wait()
                    group.cancel_scope.cancel()
            assert leftovers() == 0
        assert await collect(store.list()) == []

    async def test_a_commit_that_is_cancelled_is_whole_or_nothing(
        self, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        for number in range(12):
            content = content_of(300_000, number)

            async def publish(content: bytes = content) -> None:
                await upload(store, content)

            task = asyncio.create_task(publish())
            for _ in range(number):
                await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert leftovers() == 0
            if await store.stat(digest_of(content)) is not None:
                assert await download(store, digest_of(content)) == content

    # --- bytes whose digest is known beforehand ---

    @pytest.mark.parametrize("size", [0, 4096, 3 * MIB + 12_345])
    @pytest.mark.parametrize("told", [True, False])
    async def test_a_known_digest_is_stored_straight_away(
        self, store: ArtifactStore, leftovers: Callable[[], int], size: int, told: bool
    ) -> None:
        content = content_of(size)
        digest = digest_of(content)
        info = await store.put(digest, stream(content, 100_000), size=size if told else None)
        assert (info.digest, info.size) == (digest, size)
        assert await store.stat(digest) == info
        assert await download(store, digest) == content
        again = await put(store, content)
        assert await collect(store.list()) == [again]
        assert leftovers() == 0

    @pytest.mark.parametrize("size", [0, 4096, 3 * MIB])
    async def test_bytes_with_another_digest_are_not_kept(
        self, store: ArtifactStore, leftovers: Callable[[], int], size: int
    ) -> None:
        with pytest.raises(DigestMismatch, match=digest_of(content_of(size))):
            await put(store, content_of(size), ABSENT)
        assert await collect(store.list()) == []
        assert leftovers() == 0

    @pytest.mark.parametrize("size", [4096, 2 * MIB])
    async def test_a_wrong_upload_leaves_the_right_blob_alone(
        self, store: ArtifactStore, size: int
    ) -> None:
        info = await put(store, content_of(size))
        with pytest.raises(DigestMismatch):
            await put(store, content_of(size, 1), info.digest)
        assert await download(store, info.digest) == content_of(size)

    @pytest.mark.parametrize("size", [0, 4096, 3 * MIB])
    async def test_what_breaks_the_stream_goes_through_and_nothing_is_kept(
        self, store: ArtifactStore, leftovers: Callable[[], int], size: int
    ) -> None:
        async def broken() -> AsyncIterator[bytes]:
            async for chunk in stream(content_of(size)):
                yield chunk
            raise UploadInterrupted("cut")

        with pytest.raises(UploadInterrupted):
            await store.put(digest_of(content_of(size)), broken())
        assert await collect(store.list()) == []
        assert leftovers() == 0

    async def test_a_cancelled_upload_of_a_known_digest_is_whole_or_nothing(
        self, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        for number in range(8):
            content = content_of(2 * MIB, number)
            task = asyncio.create_task(put(store, content))
            for _ in range(number):
                await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert leftovers() == 0
            if await store.stat(digest_of(content)) is not None:
                assert await download(store, digest_of(content)) == content

    # --- one blob for equal bytes ---

    @pytest.mark.parametrize("size", [4096, 2 * MIB])
    async def test_equal_bytes_are_stored_once_and_renewed(
        self, store: ArtifactStore, leftovers: Callable[[], int], size: int
    ) -> None:
        content = content_of(size)
        first = await upload(store, content)
        await after(first.renewed_at)
        second = await upload(store, content)
        assert second.renewed_at > first.renewed_at
        assert await collect(store.list()) == [second]
        assert leftovers() == 0

    async def test_equal_bytes_from_many_at_once_are_one_blob(
        self, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        content = content_of(MIB + 1)
        barrier = asyncio.Barrier(8)

        async def race() -> BlobInfo:
            async with store.stage() as blob:
                await blob.write(content)
                await blob.finish()
                await barrier.wait()
                return await blob.commit()

        infos = await asyncio.gather(*(race() for _ in range(8)))
        assert {info.digest for info in infos} == {digest_of(content)}
        assert [info.digest for info in await collect(store.list())] == [digest_of(content)]
        assert await download(store, digest_of(content)) == content
        assert leftovers() == 0

    async def test_uploads_and_downloads_do_not_disturb_each_other(
        self, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        old = content_of(2 * MIB, 999)
        await upload(store, old)

        async def there_and_back(number: int) -> None:
            content = content_of(number * 40_000, number)
            info = await upload(store, content, 50_000)
            assert await download(store, info.digest) == content
            assert await download(store, digest_of(old)) == old

        await asyncio.gather(*(there_and_back(number) for number in range(40)))
        assert len(await collect(store.list())) == 41
        assert leftovers() == 0

    async def test_all_blobs_are_listed(self, store: ArtifactStore) -> None:
        limit = asyncio.Semaphore(16)

        async def put(number: int) -> BlobInfo:
            async with limit:
                return await upload(store, b"blob %d" % number)

        infos = await asyncio.gather(*(put(number) for number in range(self.many)))
        listed = await collect(store.list())
        assert sorted(listed, key=lambda info: info.digest) == sorted(
            infos, key=lambda info: info.digest
        )

    async def test_a_list_may_be_left_early(self, store: ArtifactStore) -> None:
        for number in range(3):
            await upload(store, b"blob %d" % number)
        async with aclosing(store.list()) as infos:
            await anext(infos)

    # --- age, and who may delete ---

    async def test_renewing_makes_a_blob_young(self, store: ArtifactStore) -> None:
        info = await upload(store, b"x")
        moment = await after(info.renewed_at)
        renewed = await store.renew(info.digest)
        assert renewed is not None
        assert renewed.renewed_at >= moment
        assert await store.stat(info.digest) == renewed

    async def test_a_young_blob_is_not_discarded(self, store: ArtifactStore) -> None:
        info = await upload(store, b"x")
        assert not await store.discard(info.digest, unless_renewed_since=info.renewed_at)
        assert await download(store, info.digest) == b"x"

    async def test_an_old_blob_is_discarded_once(self, store: ArtifactStore) -> None:
        info = await upload(store, b"x")
        later = info.renewed_at + timedelta(microseconds=1)
        assert await store.discard(info.digest, unless_renewed_since=later)
        assert not await store.discard(info.digest, unless_renewed_since=later)
        assert await store.stat(info.digest) is None
        assert await collect(store.list()) == []

    async def test_a_blob_survives_a_sweep_or_the_renewer_is_told(
        self, store: ArtifactStore
    ) -> None:
        """What a publish relies on: never 'renewed' and gone."""
        for number in range(self.rounds):
            info = await upload(store, b"contended %d" % (number % 3))
            cutoff = await after(info.renewed_at)
            barrier = asyncio.Barrier(3)

            async def renew(info: BlobInfo = info, barrier: asyncio.Barrier = barrier) -> bool:
                await barrier.wait()
                return await store.renew(info.digest) is not None

            async def sweep(
                info: BlobInfo = info,
                barrier: asyncio.Barrier = barrier,
                cutoff: datetime = cutoff,
            ) -> bool:
                await barrier.wait()
                return await store.discard(info.digest, unless_renewed_since=cutoff)

            work = [renew(), sweep(), sweep()] if number % 2 else [sweep(), renew(), sweep()]
            results = await asyncio.gather(*work)
            renewed = results.pop(0 if number % 2 else 1)
            assert renewed == (await store.stat(info.digest) is not None)
            assert results.count(True) == (0 if renewed else 1)

    async def test_a_blob_that_was_just_committed_is_not_swept(self, store: ArtifactStore) -> None:
        content = content_of(100_000)
        for _ in range(self.commits):
            info = await upload(store, content)
            cutoff = await after(info.renewed_at)
            await asyncio.gather(
                upload(store, content),
                store.discard(info.digest, unless_renewed_since=cutoff),
                store.discard(info.digest, unless_renewed_since=cutoff),
            )
            assert await download(store, info.digest) == content

    # --- whose it is ---

    async def test_of_several_registries_one_gets_the_store(self, store: ArtifactStore) -> None:
        names = [uuid4().hex for _ in range(4)]
        owners = set(await asyncio.gather(*(store.claim(name) for name in names)))
        assert len(owners) == 1
        assert owners <= set(names)
        assert {await store.claim(name) for name in names} == owners

    # --- when it cannot ---

    @pytest.mark.parametrize("size", [MIB + 300_000, 4 * MIB])
    async def test_a_full_store_says_so_and_keeps_nothing(
        self, small_store: tuple[ArtifactStore, type[Exception]], size: int
    ) -> None:
        store, error = small_store
        await upload(store, b"before")
        with pytest.raises(error):
            await upload(store, content_of(size))
        assert await store.stat(digest_of(content_of(size))) is None
        content = content_of(400_000, 1)
        await upload(store, content)
        assert await download(store, digest_of(content)) == content
        assert len(await collect(store.list())) == 2

    async def test_a_failed_upload_takes_nothing_more(
        self, small_store: tuple[ArtifactStore, type[Exception]]
    ) -> None:
        store, _ = small_store
        async with store.stage() as blob:
            for _ in range(2):
                with pytest.raises((StoreFull, StoreUnavailable)):
                    await write(blob, content_of(16 * MIB))
        assert await collect(store.list()) == []

    async def test_a_store_in_order_passes_its_check(self, store: ArtifactStore) -> None:
        await store.check()
        await store.check()
        assert await collect(store.list()) == []

    async def test_a_sweep_of_staging_leaves_running_uploads(self, store: ArtifactStore) -> None:
        async with store.stage() as blob:
            await blob.write(content_of(2 * MIB))
            past = datetime.now(UTC) - timedelta(hours=1)
            assert await store.sweep_staging(older_than=past, dry_run=False) == (0, 0)
            await blob.finish()
            info = await blob.commit()
        assert await store.stat(info.digest) == info
