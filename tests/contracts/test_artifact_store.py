"""The artifact stores, each against the contract and then in what only it can get wrong."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.local_disk import LocalDiskArtifactStore
from adapters.memory.artifact_store import MemoryArtifactStore
from adapters.memory.clock import FixedClock
from application.ports import ArtifactStore
from domain.errors import BlobNotFound, StoreFull, StoreUnavailable
from domain.values import Digest
from tests.contracts.artifact_store import (
    ABSENT,
    MIB,
    ArtifactStoreContract,
    after,
    content_of,
    digest_of,
    download,
    upload,
)
from tests.support.aio import collect

pytestmark = pytest.mark.anyio

Small = tuple[ArtifactStore, type[Exception]]


class TestMemoryArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def store(self) -> MemoryArtifactStore:
        return MemoryArtifactStore()

    @pytest.fixture
    def small_store(self) -> Small:
        return MemoryArtifactStore(capacity=MIB), StoreFull

    @pytest.fixture
    def leftovers(self, store: MemoryArtifactStore) -> Callable[[], int]:
        return lambda: len(store._staged)

    async def test_its_ages_come_from_the_clock_it_is_given(self) -> None:
        clock = FixedClock()
        store = MemoryArtifactStore(clock=clock)
        info = await upload(store, b"x")
        assert info.renewed_at == clock.now()
        clock.advance(timedelta(hours=1))
        assert await store.discard(info.digest, unless_renewed_since=clock.now())


def staged(root: Path) -> list[Path]:
    folder = root / "staging"
    return list(folder.iterdir()) if folder.exists() else []


def blob_path(root: Path, digest: Digest) -> Path:
    return root / "blobs" / digest[:2] / digest


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[bool]:
    """Mounts a file system in memory, if this user may."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Covers the folder by one that nobody may write to, not even root."""
    with tmpfs(folder, "ro") as mounted:
        if not mounted:
            (folder / "staging").chmod(0o555)
        yield
    if not mounted:
        (folder / "staging").chmod(0o755)


def open_files(root: Path) -> list[str]:
    links = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{entry}"))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(root))]


async def closed(root: Path) -> None:
    """Waits until the threads have closed what nobody reads any more."""
    for _ in range(200):
        if not open_files(root):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(open_files(root))


_UPLOADER = """
import asyncio, sys
from adapters.local_disk import LocalDiskArtifactStore
from tests.contracts.artifact_store import content_of

root, size, moment = sys.argv[1:]

async def main():
    async with LocalDiskArtifactStore(root).stage() as blob:
        await blob.write(content_of(int(size)))
        if moment != "written":
            await blob.finish()
        if moment == "committed":
            await blob.commit()
        print("now", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def kill_an_upload(root: Path, size: int, moment: str) -> None:
    """Runs an upload in a process of its own and kills it at the given moment."""
    command = [sys.executable, "-c", _UPLOADER, str(root), str(size), moment]
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"now\n"
        child.send_signal(signal.SIGKILL)


class TestLocalDiskArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "store"

    @pytest.fixture
    def store(self, root: Path) -> LocalDiskArtifactStore:
        return LocalDiskArtifactStore(root)

    @pytest.fixture
    def leftovers(self, root: Path) -> Callable[[], int]:
        return lambda: len(staged(root))

    @pytest.fixture
    def small_store(self, tmp_path: Path) -> Iterator[Small]:
        """A file system of 1280 KiB where one can be mounted, else a limit on the size of files."""
        folder = tmp_path / "small"
        folder.mkdir()
        with tmpfs(folder, "size=1280k") as mounted:
            if mounted:
                yield LocalDiskArtifactStore(folder), StoreFull
                assert staged(folder) == []
                return
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
        try:
            yield LocalDiskArtifactStore(folder), StoreUnavailable
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert staged(folder) == []

    # --- the layout ---

    async def test_blobs_are_read_only_files_named_by_their_digest(
        self, store: ArtifactStore, root: Path
    ) -> None:
        for size in (100, 2 * MIB):
            info = await upload(store, content_of(size))
            path = blob_path(root, info.digest)
            assert path.read_bytes() == content_of(size)
            assert path.stat().st_mode & 0o333 == 0
            assert path.stat().st_nlink == 1

    async def test_a_store_that_was_only_asked_makes_no_folder(
        self, store: ArtifactStore, root: Path
    ) -> None:
        assert await store.stat(digest_of(b"")) is None
        assert await collect(store.list()) == []
        with pytest.raises(BlobNotFound):
            await download(store, digest_of(b""))
        assert os.listdir(root.parent) == []

    async def test_every_folder_that_is_made_would_survive_a_power_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = []
        fsync = os.fsync

        def remember(fd: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", remember)
        root = tmp_path / "a" / "b" / "store"
        await LocalDiskArtifactStore(root).check()
        assert {str(folder) for folder in (tmp_path, *root.parents[:2], root)} <= set(synced)

    async def test_files_that_are_no_blobs_are_passed_over(
        self, store: ArtifactStore, root: Path
    ) -> None:
        info = await upload(store, b"x")
        (root / "blobs" / "ab" / "README").write_text("?")
        (root / "blobs" / "stray").write_text("?")
        (root / "lost+found").mkdir()
        assert await collect(store.list()) == [info]

    async def test_a_small_file_is_not_on_disk_before_its_commit(
        self, store: ArtifactStore, root: Path
    ) -> None:
        async with store.stage() as blob:
            await blob.write(content_of(4096))
            await blob.finish()
            assert staged(root) == []

    async def test_many_finished_files_hold_no_descriptors(
        self, store: ArtifactStore, root: Path
    ) -> None:
        async with store.stage() as first, store.stage() as second:
            for blob in (first, second):
                await blob.write(content_of(2 * MIB))
                await blob.finish()
            assert len(staged(root)) == 2
            assert open_files(root) == []

    # --- damage ---

    @pytest.mark.parametrize("size", [4096, 2 * MIB])
    async def test_an_upload_heals_a_blob_that_was_cut(
        self, store: ArtifactStore, root: Path, size: int
    ) -> None:
        content = content_of(size)
        info = await upload(store, content)
        path = blob_path(root, info.digest)
        path.chmod(0o644)
        path.write_bytes(content[: size // 2])
        await upload(store, content)
        assert await download(store, info.digest) == content
        assert staged(root) == []

    async def test_a_blob_that_is_cut_while_it_is_read_ends_in_an_error(
        self, store: ArtifactStore, root: Path
    ) -> None:
        info = await upload(store, content_of(8 * MIB))
        async with aclosing(store.read(info.digest)) as chunks:
            await anext(chunks)
            blob_path(root, info.digest).chmod(0o644)
            os.truncate(blob_path(root, info.digest), 100)
            with pytest.raises(StoreUnavailable):
                await collect(chunks)
        await closed(root)

    # --- readers and writers that go away ---

    async def test_a_reader_that_leaves_early_closes_the_file(
        self, store: ArtifactStore, root: Path
    ) -> None:
        info = await upload(store, content_of(8 * MIB))
        for taken in (0, 1, 3, 8):
            async with aclosing(store.read(info.digest)) as chunks:
                for _ in range(taken):
                    await anext(chunks)
            await closed(root)

    async def test_a_reader_that_is_cancelled_closes_the_file(
        self, store: ArtifactStore, root: Path
    ) -> None:
        info = await upload(store, content_of(8 * MIB))

        async def read_forever() -> None:
            while True:
                await download(store, info.digest)

        for pause in (0, 0.001, 0.005):
            task = asyncio.create_task(read_forever())
            await asyncio.sleep(pause)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await closed(root)

    async def test_an_upload_holds_little_in_memory(self, store: ArtifactStore) -> None:
        chunk = content_of(64 * 1024)
        tracemalloc.start()
        try:
            async with store.stage() as blob:
                for _ in range(512):
                    await blob.write(b"".join((chunk[1:], chunk[:1])))
                await blob.finish()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 12 * MIB  # of 32, and other threads of this process count too

    async def test_a_hundred_slow_uploads_do_not_keep_a_reader_waiting(
        self, store: ArtifactStore
    ) -> None:
        """None of them occupies a thread while its client is silent."""
        content = content_of(3 * MIB)
        info = await upload(store, content)
        release = asyncio.Event()
        barrier = asyncio.Barrier(101)

        async def slow(number: int) -> None:
            async with store.stage() as blob:
                await blob.write(content_of(MIB, number))
                await barrier.wait()
                await release.wait()

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(slow(number))
            await barrier.wait()
            assert await download(store, info.digest) == content
            release.set()

    async def test_no_number_of_downloads_keeps_a_publish_or_a_sweep_waiting(
        self, store: ArtifactStore, root: Path
    ) -> None:
        """Pipes in the place of blobs: whoever opens one to read waits for a writer."""
        info = await upload(store, b"x")
        pipes = [blob_path(root, digest_of(b"pipe %d" % number)) for number in range(64)]
        for pipe in pipes:
            os.mkfifo(pipe)
        downloads = [
            asyncio.create_task(download(store, Digest(pipe.name)), name=pipe.name)
            for pipe in pipes
        ]
        try:
            async with asyncio.timeout(30):
                await asyncio.sleep(0.05)
                assert await store.absent([info.digest, ABSENT]) == {ABSENT}
                assert await store.stat(info.digest) == info
                assert await store.source(info.digest, 1).read_at(0, 1) == b"x"
                async with store.stage() as blob:
                    await blob.write(content_of(MIB))
                    await blob.finish()
                    assert await blob.source.read_at(0, 1) == content_of(MIB)[:1]
                renewed = await store.renew(info.digest)
                assert renewed is not None
                await store.check()
                await after(renewed.renewed_at)
                now = datetime.now(UTC)
                assert await store.discard(info.digest, unless_renewed_since=now)
        finally:
            writers = [os.open(pipe, os.O_RDWR) for pipe in pipes]
            await asyncio.gather(*downloads)
            for writer in writers:
                os.close(writer)

    # --- processes that die ---

    @pytest.mark.parametrize("size", [4096, 100_000, 3 * MIB])
    @pytest.mark.parametrize("moment", ["written", "finished", "committed"])
    async def test_a_process_killed_on_the_way_leaves_at_most_staged_bytes(
        self, store: ArtifactStore, root: Path, moment: str, size: int
    ) -> None:
        kill_an_upload(root, size, moment)
        blobs = [info.digest for info in await collect(store.list())]
        assert blobs == ([digest_of(content_of(size))] if moment == "committed" else [])
        await self._sweep(store, root)
        await upload(store, content_of(size))
        assert await download(store, digest_of(content_of(size))) == content_of(size)

    async def _sweep(self, store: ArtifactStore, root: Path) -> None:
        """Leftovers stay while they are young, are counted in a dry run, and then go."""
        now = datetime.now(UTC)
        left = staged(root)
        size = sum(path.stat().st_size for path in left)
        young, old = now - timedelta(hours=1), now + timedelta(hours=1)
        assert await store.sweep_staging(older_than=young, dry_run=False) == (0, 0)
        assert await store.sweep_staging(older_than=old, dry_run=True) == (len(left), size)
        assert staged(root) == left
        assert await store.sweep_staging(older_than=old, dry_run=False) == (len(left), size)
        assert staged(root) == []

    # --- a folder that cannot be used ---

    async def test_errors_tell_no_path_of_the_machine(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        store = LocalDiskArtifactStore(tmp_path / "file" / "store")
        for work in (
            store.check(),
            upload(store, b"x"),
            upload(store, content_of(2 * MIB)),
            store.renew(digest_of(b"x")),
            store.discard(digest_of(b"x"), unless_renewed_since=datetime.now(UTC)),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await work
            assert str(tmp_path) not in caught.value.detail
            assert caught.value.detail.endswith(".")

    async def test_a_folder_that_has_gone_is_unavailable_and_not_empty(
        self, store: ArtifactStore, root: Path
    ) -> None:
        info = await upload(store, b"x")
        unmounted = root.parent / "unmounted"
        os.rename(root, unmounted)
        for work in (
            store.stat(info.digest),
            download(store, info.digest),
            collect(store.list()),
            store.renew(info.digest),
            store.check(),
            upload(store, b"y"),
        ):
            with pytest.raises(StoreUnavailable):
                await work
        assert os.listdir(root.parent) == ["unmounted"]
        os.rename(unmounted, root)
        assert await download(store, info.digest) == b"x"

    async def test_a_folder_without_the_right_to_write_fails_its_check(
        self, tmp_path: Path
    ) -> None:
        store = LocalDiskArtifactStore(tmp_path)
        await store.check()
        with read_only(tmp_path), pytest.raises(StoreUnavailable):
            await store.check()

    async def test_a_full_disk_fails_its_check(self, small_store: Small) -> None:
        store, error = small_store
        if error is not StoreFull:
            pytest.skip("a limit on the size of files does not fill a disk")
        await store.check()

        async def fill() -> None:
            for number in range(100):
                await upload(store, content_of(64 * 1024, number))

        with pytest.raises(StoreFull):
            await fill()
        with pytest.raises(StoreFull):
            await store.check()

    async def test_two_processes_may_share_a_folder(self, root: Path) -> None:
        first, second = LocalDiskArtifactStore(root), LocalDiskArtifactStore(root)
        info = await upload(first, content_of(2 * MIB))
        assert await download(second, info.digest) == content_of(2 * MIB)
        assert await second.renew(info.digest) is not None
