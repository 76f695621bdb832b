"""Garbage collection and verification."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.file_lock import FileLockManager
from adapters.local_disk import LocalDiskArtifactStore
from adapters.memory.registry import MemoryDatabase
from adapters.memory.registry_reader import MemoryBlobReferences
from application.maintenance import Collected, Verified, VerifyHandler
from application.publishing import PublishVersion, UploadedFile
from application.streams import Tell, tell_nobody
from domain.errors import (
    CollectionRefused,
    DatabaseUnavailable,
    LockTimeout,
    LockUnavailable,
    ModelyardError,
    StoreOfAnother,
    StoreUnavailable,
)
from domain.values import Digest, FilePath, ModelName
from tests.unit.in_memory import GRACE, Part, Registry, a_file, digest_of

pytestmark = pytest.mark.anyio

LONG = GRACE + timedelta(seconds=1)


@pytest.fixture
async def registry() -> Registry:
    """With one version, and one blob that no version names."""
    registry = Registry()
    await registry.register()
    await registry.publish(a_file("a", b"named"))
    await registry.upload(b"orphan")
    return registry


NAMED, ORPHAN = digest_of(b"named"), digest_of(b"orphan")


# --- collecting ---------------------------------------------------------------------------------


async def test_an_old_blob_that_no_version_names_is_collected(registry: Registry) -> None:
    registry.clock.advance(LONG)
    collected = await registry.collect()
    assert collected == Collected(1, 6, kept=1, staged=0, staged_size=0, receipts=0, uploads=0)
    assert await registry.blobs() == {NAMED}


async def test_the_store_of_another_registry_is_left_alone(registry: Registry) -> None:
    other = Registry()
    other.store = registry.store
    await registry.collect()
    with pytest.raises(StoreOfAnother, match=registry.database.registry):
        await other.collect(grace=timedelta(0), force=True)
    assert await registry.blobs() == {NAMED, ORPHAN}


async def test_nothing_is_collected_without_a_lock(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"not a folder")
    registry.locks = FileLockManager(tmp_path / "locks")
    registry.clock.advance(LONG)
    with pytest.raises(LockUnavailable):
        await registry.collect()
    assert await registry.blobs() == {NAMED, ORPHAN}


async def test_of_many_replicas_one_takes_the_turn(registry: Registry) -> None:
    collect, every = registry.handlers.collect_garbage(), timedelta(hours=1)
    turns = await asyncio.gather(*(collect.take_turn(every) for _ in range(5)))
    assert sorted(turns) == [False, False, False, False, True]
    registry.clock.advance(every - timedelta(seconds=1))
    assert not await collect.take_turn(every)
    registry.clock.advance(timedelta(seconds=1))
    assert await collect.take_turn(every)


async def test_a_blob_within_its_grace_is_kept(registry: Registry) -> None:
    registry.clock.advance(GRACE)
    assert (await registry.collect()).kept == 2
    assert await registry.blobs() == {NAMED, ORPHAN}


async def test_a_dry_run_says_what_would_go_and_leaves_it(registry: Registry) -> None:
    registry.clock.advance(LONG)
    would = await registry.collect(dry_run=True)
    assert (would.blobs, would.size, would.kept) == (1, 6, 1)
    assert await registry.blobs() == {NAMED, ORPHAN}
    assert await registry.collect() == would


async def test_what_only_deleted_versions_named_is_collected(registry: Registry) -> None:
    await registry.publish(a_file("b", b"named"), a_file("c", b"both go"))
    await registry.delete_version(2)
    registry.clock.advance(LONG)
    await registry.collect()
    assert await registry.blobs() == {NAMED}
    await registry.delete_model()
    await registry.collect(force=True)
    registry.check_nothing_is_held()


async def test_a_database_that_names_nothing_is_not_believed_unless_forced(
    registry: Registry,
) -> None:
    registry.database = MemoryDatabase()  # another, empty one
    registry.references = MemoryBlobReferences(registry.database)
    assert (await registry.collect()).kept == 2  # all are young
    registry.clock.advance(LONG)
    for dry_run in (True, False):
        with pytest.raises(CollectionRefused):
            await registry.collect(dry_run=dry_run)
    assert await registry.blobs() == {NAMED, ORPHAN}
    assert (await registry.collect(force=True)).blobs == 2


async def test_an_empty_store_has_nothing_to_collect() -> None:
    assert await Registry().collect() == Collected(0, 0, 0, 0, 0, 0, 0)


async def test_more_blobs_than_one_batch_are_collected() -> None:
    registry = Registry()
    await registry.register()
    for index in range(3):
        await registry.publish(*(a_file(f"{index}-{file}") for file in range(400)))
    await registry.delete_version(1)
    await registry.delete_version(3)
    registry.clock.advance(LONG)
    collected = await registry.collect()
    assert (collected.blobs, collected.kept) == (800, 400)
    assert await registry.blobs() == {digest_of(f"1-{file}".encode()) for file in range(400)}


async def test_while_the_database_is_away_nothing_is_collected(registry: Registry) -> None:
    registry.clock.advance(LONG)
    registry.database.available = False
    with pytest.raises(DatabaseUnavailable):
        await registry.collect()
    assert await registry.blobs() == {NAMED, ORPHAN}


async def test_of_two_collections_at_once_one_waits(registry: Registry) -> None:
    async with registry.locks.hold("gc", timeout=1):
        with pytest.raises(LockTimeout):
            await registry.collect(lock_timeout=0.01)
    assert (await registry.collect()).kept == 2


# --- collecting while others publish ------------------------------------------------------------


async def publish_and_meanwhile(
    registry: Registry, file: Part, meanwhile: Callable[[], Awaitable[object]]
) -> None:
    """Publishes one file; between its arrival and the rows something else happens."""

    async def parts() -> AsyncIterator[Part]:
        yield file
        await meanwhile()

    await registry.publisher()(PublishVersion(ModelName("churn"), "ada", parts()))


async def test_a_blob_that_a_publish_is_about_to_name_is_not_collected(registry: Registry) -> None:
    registry.clock.advance(LONG)  # nobody has named the orphan for long
    reused = UploadedFile(FilePath("b"), ORPHAN)
    await publish_and_meanwhile(registry, reused, registry.collect)
    assert ORPHAN in await registry.blobs()
    assert (await registry.verify()).clean


async def test_bytes_that_arrive_again_make_their_blob_young(registry: Registry) -> None:
    registry.clock.advance(LONG)
    await registry.publish(a_file("b", b"orphan"))
    await registry.delete_version(2)
    await registry.collect()
    assert ORPHAN in await registry.blobs()


async def test_a_publish_slower_than_the_grace_fails_rather_than_name_lost_bytes(
    registry: Registry,
) -> None:
    async def a_long_time_passes() -> None:
        registry.clock.advance(LONG)
        await registry.collect()

    reused = UploadedFile(FilePath("b"), ORPHAN)
    with pytest.raises(StoreUnavailable, match=ORPHAN):
        await publish_and_meanwhile(registry, reused, a_long_time_passes)
    assert await registry.numbers() == [1]
    assert (await registry.verify()).clean
    assert (await registry.publish()).version.record.version == 2


class ReferencesOfAMomentAgo(MemoryBlobReferences):
    """Somebody publishes right after the first answer."""

    def __init__(self, registry: Registry, publish: Callable[[], Awaitable[object]]) -> None:
        super().__init__(registry.database)
        self._publish = [publish]

    async def referenced(self, digests: Collection[Digest]) -> set[Digest]:
        answer = await super().referenced(digests)
        while self._publish:
            await self._publish.pop()()
        return answer


@pytest.mark.parametrize(
    "file", [lambda: a_file("b", b"orphan"), lambda: UploadedFile(FilePath("b"), ORPHAN)]
)
async def test_a_blob_named_while_the_sweep_was_deciding_survives_it(
    registry: Registry, file: Callable[[], Part]
) -> None:
    registry.clock.advance(LONG)
    registry.references = ReferencesOfAMomentAgo(registry, lambda: registry.publish(file()))
    collected = await registry.collect()
    assert (collected.blobs, collected.kept) == (0, 2)
    assert await registry.numbers() == [2, 1]
    assert (await registry.verify()).clean


async def test_a_blob_uploaded_again_while_the_sweep_was_deciding_survives_it(
    registry: Registry,
) -> None:
    async def upload_again() -> None:
        await registry.upload(b"orphan")
        registry.clock.advance(timedelta(seconds=1))

    registry.clock.advance(LONG)
    registry.references = ReferencesOfAMomentAgo(registry, upload_again)
    assert (await registry.collect()).blobs == 0
    assert ORPHAN in await registry.blobs()


async def test_a_publish_slower_than_the_grace_that_ends_while_the_sweep_decides_keeps_its_bytes(
    registry: Registry,
) -> None:
    renewed, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        renewed.set()
        await go_on.wait()

    async def finish() -> None:
        go_on.set()
        await publishing

    reused = UploadedFile(FilePath("b"), ORPHAN)
    registry.clock.advance(LONG)
    publishing = asyncio.create_task(publish_and_meanwhile(registry, reused, wait))
    await renewed.wait()
    registry.clock.advance(LONG)
    registry.references = ReferencesOfAMomentAgo(registry, finish)
    assert (await registry.collect()).blobs == 0
    assert await registry.numbers() == [2, 1]
    assert (await registry.verify()).clean


# --- verifying ----------------------------------------------------------------------------------


async def test_a_sound_store_is_clean(registry: Registry) -> None:
    verified = await registry.verify()
    assert verified == Verified(blobs=2, size=11, missing=(), corrupt=(), unreferenced=1)
    assert verified.clean


async def test_a_changed_blob_is_found_whether_a_version_names_it_or_not(
    registry: Registry,
) -> None:
    registry.store.keep(NAMED, b"mamed")
    registry.store.keep(ORPHAN, b"orphaN")
    verified = await registry.verify()
    assert set(verified.corrupt) == {NAMED, ORPHAN}
    assert verified.missing == ()
    assert not verified.clean


async def test_a_blob_that_was_cut_short_is_told_of_once(registry: Registry) -> None:
    registry.store.keep(NAMED, b"nam")
    verified = await registry.verify()
    assert (verified.corrupt, verified.missing) == ((NAMED,), ())


async def test_a_blob_that_is_gone_is_found(registry: Registry) -> None:
    registry.clock.advance(LONG)
    await registry.store.discard(NAMED, unless_renewed_since=registry.clock.now())
    verified = await registry.verify()
    assert (verified.blobs, verified.missing, verified.corrupt) == (1, (NAMED,), ())
    assert not verified.clean


async def test_all_missing_blobs_are_found_however_many() -> None:
    registry = Registry()
    await registry.register()
    paths = [str(number) for number in range(800)]
    await registry.publish(*(a_file(path) for path in paths))
    registry.clock.advance(LONG)
    lost = sorted(digest_of(path.encode()) for path in paths[::2])
    for digest in lost:
        await registry.store.discard(digest, unless_renewed_since=registry.clock.now())
    assert list((await registry.verify()).missing) == lost


class Disk:
    """A store on a disk with three blobs, one of which versions name, and its verification."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = Registry()
        self.store = LocalDiskArtifactStore(root)
        self.digests = [digest_of(b"bytes %d" % number) for number in range(3)]

    async def fill(self) -> None:
        await self.registry.register()
        self.registry.store = self.store  # type: ignore[assignment]
        await self.registry.publish(a_file("a", b"bytes 0"))
        for number in (1, 2):
            await self.registry.upload(b"bytes %d" % number)

    def path(self, number: int) -> Path:
        return self.root / "blobs" / self.digests[number][:2] / self.digests[number]

    async def verify(self, tell: Tell = tell_nobody) -> Verified:
        return await VerifyHandler(self.store, self.registry.references)(tell)


@pytest.mark.parametrize("damage", ["a folder", "a loop"])
@pytest.mark.parametrize("number", [0, 1])
async def test_a_blob_that_cannot_be_read_is_corrupt_and_the_others_are_looked_at(
    tmp_path: Path, damage: str, number: int
) -> None:
    disk = Disk(tmp_path)
    await disk.fill()
    path = disk.path(number)
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    verified = await disk.verify()
    assert (verified.blobs, verified.corrupt) == (3, (disk.digests[number],))
    assert verified.missing == ()


async def test_a_store_that_goes_away_is_not_taken_for_a_corrupt_one(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "store")
    await disk.fill()

    def unmount(_done: int, _total: int) -> None:
        disk.root.rename(tmp_path / "unmounted")

    with pytest.raises(StoreUnavailable):
        await disk.verify(unmount)


async def test_progress_goes_up_to_the_whole(registry: Registry) -> None:
    told: list[tuple[int, int]] = []
    await VerifyHandler(registry.store, registry.references)(
        lambda done, total: told.append((done, total))
    )
    done = [done for done, _ in told]
    assert done == sorted(done)
    assert told[-1] == (11, 11)


async def test_verification_without_a_database_is_no_verification(registry: Registry) -> None:
    registry.database.available = False
    with pytest.raises(ModelyardError):
        await registry.verify()
