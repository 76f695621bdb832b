"""The lock managers, each against the contract and then in what only it can get wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.file_lock import FileLockManager
from adapters.memory.locks import MemoryLockManager
from adapters.no_lock import NoLockManager
from application.ports import LockManager
from domain.errors import LockTimeout, LockUnavailable
from tests.contracts.lock_manager import PATIENT, LockManagerContract, held, is_free

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]

_COUNTER = """
import asyncio, pathlib, sys
from adapters.file_lock import FileLockManager

folder, counter = sys.argv[1], pathlib.Path(sys.argv[2])
locks = FileLockManager(folder)

async def count():
    for _ in range(5):
        async with locks.hold("counter", timeout=30):
            number = int(counter.read_text())
            await asyncio.sleep(0.0005)
            counter.write_text(str(number + 1))

async def main():
    await asyncio.gather(*(count() for _ in range(5)))

sys.stdin.readline()
asyncio.run(main())
"""

_HOLDER = """
import asyncio, os, sys
from adapters.file_lock import FileLockManager

async def main():
    async with FileLockManager(sys.argv[1]).hold("model", timeout=30):
        if sys.argv[2] == "fork" and os.fork() == 0:
            os.execlp("sleep", "sleep", "60")
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


class TestMemoryLockManager(LockManagerContract):
    @pytest.fixture
    def locks(self) -> MemoryLockManager:
        return MemoryLockManager()

    async def test_names_do_not_wait_for_each_other(self, locks: LockManager) -> None:
        async with held(locks, "one"):
            assert await is_free(locks, "two")

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


@contextmanager
def holder(folder: Path, how: str = "alone") -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock "model" until it is killed."""
    command = [sys.executable, "-c", _HOLDER, str(folder), how]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            yield child
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def stripe(name: str) -> int:
    """By which names of a kind share lock files."""
    return hashlib.sha256(name.encode()).digest()[0]


class TestFileLockManager(LockManagerContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "state" / "locks"

    @pytest.fixture
    def locks(self, folder: Path) -> FileLockManager:
        return FileLockManager(folder)

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

    async def test_two_managers_of_a_folder_exclude_each_other(
        self, locks: LockManager, folder: Path
    ) -> None:
        async with held(locks, "model"):
            assert not await is_free(FileLockManager(folder), "model")
            assert await is_free(FileLockManager(folder / "other"), "model")

    async def test_waiters_get_it_when_the_other_process_lets_go(
        self, locks: LockManager, folder: Path
    ) -> None:
        async with held(FileLockManager(folder), "model"):
            waiting = asyncio.create_task(is_free_in_time(locks))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting

    def test_processes_do_not_lose_each_others_counts(self, folder: Path, tmp_path: Path) -> None:
        counter = tmp_path / "counter"
        counter.write_text("0")
        command = [sys.executable, "-c", _COUNTER, str(folder), str(counter)]
        children = [subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) for _ in range(6)]
        for child in children:
            child.communicate(b"go\n", timeout=60)
        assert [child.returncode for child in children] == [0] * 6
        assert counter.read_text() == str(6 * 5 * 5)

    @pytest.mark.parametrize("how", ["alone", "fork"])
    async def test_a_killed_process_frees_its_lock(
        self, locks: LockManager, folder: Path, how: str
    ) -> None:
        """Also one with a child that lives on: programs it starts do not inherit the lock."""
        with holder(folder, how) as child:
            assert not await is_free(locks, "model")
            child.send_signal(signal.SIGKILL)
            assert await is_free_in_time(locks)

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


async def is_free_in_time(locks: LockManager) -> bool:
    try:
        async with locks.hold("model", timeout=PATIENT):
            return True
    except LockTimeout:
        return False
