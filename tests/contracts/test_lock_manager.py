"""The lock managers, each against the contract and then in what only it can get wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.file_lock import FileLockManager
from adapters.memory.locks import MemoryLockManager
from adapters.no_lock import NoLockManager
from application.ports import LockManager
from domain.errors import LockUnavailable
from tests.contracts.lock_manager import (
    PATIENT,
    LockManagerContract,
    SharedLockManagerContract,
    held,
    is_free,
    is_free_in_time,
)
from tests.support.locking import Locking
from tests.support.registry import end_connections, run_apart, sqlite_database
from tests.support.services.databases import Databases

pytestmark = pytest.mark.anyio


class TestMemoryLockManager(LockManagerContract):
    @pytest.fixture
    def locks(self) -> MemoryLockManager:
        return MemoryLockManager()

    async def test_locks_that_nobody_wants_are_forgotten(self, locks: MemoryLockManager) -> None:
        for number in range(100):
            async with locks.hold(str(number), timeout=PATIENT):
                pass
        assert not any(locks._loops[asyncio.get_running_loop()])


class TestNoLockManager(LockManagerContract):
    excludes = False

    @pytest.fixture
    def locks(self) -> NoLockManager:
        return NoLockManager()

    async def test_everybody_is_let_in_at_once(self, locks: LockManager) -> None:
        barrier = asyncio.Barrier(8)

        async def enter() -> None:
            async with locks.hold("model", timeout=0):
                await barrier.wait()

        await asyncio.gather(*(enter() for _ in range(8)))


def stripe(name: str) -> int:
    """By which names of a kind share lock files."""
    return hashlib.sha256(name.encode()).digest()[0]


class TestFileLockManager(SharedLockManagerContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "state" / "locks"

    @pytest.fixture
    def locking(self, folder: Path) -> Locking:
        return Locking("file", str(folder))

    async def test_names_seldom_wait_for_each_other(self, locks: LockManager) -> None:
        names = [f"publish:{number}" for number in range(3_000)]
        other = next(name for name in names if stripe(name) != stripe("publish:one"))
        same = next(name for name in names if stripe(name) == stripe("publish:one"))
        async with held(locks, "publish:one"):
            assert await is_free(locks, other)
            assert not await is_free(locks, same)

    async def test_a_collection_keeps_no_model_waiting(self, locks: LockManager) -> None:
        names = {stripe(name): name for name in (f"publish:{number}" for number in range(5_000))}
        async with held(locks, "gc"):
            assert await is_free(locks, names[stripe("gc")])
            assert not await is_free(locks, "gc")

    async def test_lock_files_are_few_and_stay_in_their_folder(
        self, locks: LockManager, folder: Path
    ) -> None:
        for number in range(2_000):
            kind = ("publish:", "../", f"{number}:", "x" * 300, "\ud800:", "")[number % 6]
            async with locks.hold(f"{kind}{number}", timeout=PATIENT):
                pass
        assert os.listdir(folder.parent) == ["locks"]
        assert len(os.listdir(folder)) <= 512

    async def test_a_folder_that_has_gone_is_not_made_again(
        self, locks: LockManager, folder: Path, tmp_path: Path
    ) -> None:
        await locks.check()
        os.rename(folder.parent, tmp_path / "unmounted")
        with pytest.raises(LockUnavailable):
            await locks.check()
        with pytest.raises(LockUnavailable):
            async with locks.hold("model", timeout=PATIENT):
                pytest.fail("it is held nowhere")
        assert os.listdir(tmp_path) == ["unmounted"]
        os.rename(tmp_path / "unmounted", folder.parent)
        assert await is_free(locks, "model")

    async def test_a_forked_child_does_not_keep_a_lock_that_was_released(
        self, folder: Path
    ) -> None:
        locks = FileLockManager(folder)
        read, write = os.pipe()
        async with locks.hold("model", timeout=PATIENT):
            child = os.fork()
            if child == 0:
                os.read(read, 1)
                os._exit(0)
        try:
            assert await is_free(locks, "model")
        finally:
            os.write(write, b"x")
            os.waitpid(child, 0)  # noqa: ASYNC222
            os.close(read)
            os.close(write)

    async def test_event_loops_in_threads_exclude_each_other(self, locks: LockManager) -> None:
        barrier = threading.Barrier(4)
        counter = 0

        async def count() -> None:
            nonlocal counter
            for _ in range(25):
                async with locks.hold("model", timeout=PATIENT):
                    before = counter
                    await asyncio.sleep(0)
                    counter = before + 1

        def in_own_loop() -> None:
            barrier.wait()
            asyncio.run(count())

        threads = [threading.Thread(target=in_own_loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counter == 100

    async def test_it_holds_no_descriptor_that_it_does_not_need(
        self, locks: LockManager, folder: Path
    ) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(50):
            async with locks.hold(str(number), timeout=PATIENT):
                pass
        async with held(locks, "model"):
            assert not await is_free(locks, "model")
        assert len(os.listdir("/proc/self/fd")) == before

    async def test_a_folder_that_cannot_be_made_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        locks = FileLockManager(tmp_path / "file" / "locks")
        with pytest.raises(LockUnavailable) as caught:
            await locks.check()
        assert str(tmp_path) not in caught.value.detail
        with pytest.raises(LockUnavailable):
            async with locks.hold("model", timeout=PATIENT):
                pytest.fail("it is held nowhere")


WAITING = "wait_event_type = 'Lock'"


async def until_there_are(count: int, url: str, condition: str = "true") -> None:
    """Returns when so many connections for locks are in that state; those of earlier tests go."""
    statement = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND "
        f"application_name = 'modelyard-locks' AND {condition}"
    )
    while len(run_apart(url, statement)) != count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def database(databases: Databases) -> Iterator[str]:
    with databases.new() as url:
        yield url


class TestPostgresLockManager(SharedLockManagerContract):
    @pytest.fixture
    def locking(self, database: str) -> Locking:
        return Locking("postgres", database)

    async def test_many_locks_need_one_connection(self, locks: LockManager, database: str) -> None:
        leave, taken = asyncio.Event(), asyncio.Barrier(201)

        async def hold(name: str) -> None:
            async with locks.hold(name, timeout=PATIENT):
                await taken.wait()
                await leave.wait()

        holders = [asyncio.create_task(hold(str(number))) for number in range(200)]
        await taken.wait()
        await until_there_are(1, database)
        leave.set()
        await asyncio.gather(*holders)

    async def test_many_who_wait_need_few_connections(
        self, locks: LockManager, elsewhere: LockManager, database: str
    ) -> None:
        leave, taken = asyncio.Event(), asyncio.Barrier(21)

        async def hold(name: str) -> None:
            async with elsewhere.hold(name, timeout=PATIENT):
                await taken.wait()
                await leave.wait()

        names = [str(number) for number in range(20)]
        holders = [asyncio.create_task(hold(name)) for name in names]
        await taken.wait()
        waiting = [
            asyncio.create_task(is_free_in_time(locks, name)) for name in names for _ in range(10)
        ]
        await until_there_are(4, database, WAITING)
        await until_there_are(1 + 1 + 4, database)
        assert await is_free(locks, "another")
        leave.set()
        assert all(await asyncio.gather(*waiting))
        await asyncio.gather(*holders)
        await until_there_are(0, database, WAITING)

    async def test_nobody_stands_in_line_who_has_left(
        self, locks: LockManager, elsewhere: LockManager, database: str
    ) -> None:
        async with held(elsewhere, "model"):
            waiting = asyncio.create_task(is_free_in_time(locks))
            await until_there_are(1, database, WAITING)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await until_there_are(0, database, WAITING)

    async def test_the_block_goes_on_when_the_connection_is_lost(
        self, locks: LockManager, elsewhere: LockManager, database: str
    ) -> None:
        async with locks.hold("model", timeout=PATIENT):
            end_connections(database)
            assert await is_free_in_time(elsewhere)
        assert await is_free(locks, "model")

    async def test_who_waits_is_told_that_the_connection_is_lost(
        self, locks: LockManager, elsewhere: LockManager, database: str
    ) -> None:
        async with held(elsewhere, "model"):
            waiting = asyncio.create_task(is_free_in_time(locks))
            await until_there_are(1, database, WAITING)
            run_apart(
                database,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = current_database() AND {WAITING}",
            )
            with pytest.raises(LockUnavailable):
                await waiting
            assert not await is_free(locks, "model")
        assert await is_free_in_time(locks)


class TestRedisLockManager(SharedLockManagerContract):
    @pytest.fixture
    def locking(self, redis_url: str, tmp_path: Path) -> Iterator[Locking]:
        path = tmp_path / "numbers.db"
        with sqlite_database(path):
            yield Locking("redis", redis_url, rows=f"sqlite:///{path}", lease=3)
