"""What every lock manager must do. A subclass brings the fixture."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from application.ports import LockManager
from domain.errors import LockTimeout
from tests.support.locking import Locking, others

PATIENT = 30.0
IMPATIENT = 0.05


@asynccontextmanager
async def held(locks: LockManager, name: str) -> AsyncIterator[None]:
    """Another task holds the lock while the block runs."""
    taken, leave = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with locks.hold(name, timeout=PATIENT):
            taken.set()
            await leave.wait()

    task = asyncio.create_task(holder())
    await taken.wait()
    try:
        yield
    finally:
        leave.set()
        await task


async def is_free(locks: LockManager, name: str) -> bool:
    try:
        async with locks.hold(name, timeout=IMPATIENT):
            return True
    except LockTimeout:
        return False


async def is_free_in_time(locks: LockManager, name: str = "model") -> bool:
    try:
        async with locks.hold(name, timeout=PATIENT):
            return True
    except LockTimeout:
        return False


class LockManagerContract:
    """A subclass that lets everybody in sets ``excludes`` to False."""

    excludes = True

    @pytest.fixture
    def locks(self) -> LockManager:
        raise NotImplementedError

    async def test_many_at_a_barrier_take_their_turns(self, locks: LockManager) -> None:
        barrier = asyncio.Barrier(40)
        inside = most = turns = 0

        async def contend() -> None:
            nonlocal inside, most, turns
            await barrier.wait()
            async with locks.hold("model", timeout=PATIENT):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                turns += 1
                inside -= 1

        await asyncio.gather(*(contend() for _ in range(40)))
        assert turns == 40
        assert most == 1 or not self.excludes

    async def test_the_lock_is_free_after_the_block(self, locks: LockManager) -> None:
        for _ in range(3):
            async with locks.hold("model", timeout=PATIENT):
                pass
        assert await is_free(locks, "model")

    async def test_the_lock_is_free_after_an_error_in_the_block(self, locks: LockManager) -> None:
        async def fail() -> None:
            async with locks.hold("model", timeout=PATIENT):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await is_free(locks, "model")

    async def test_who_waits_in_vain_is_told_how_long(self, locks: LockManager) -> None:
        async with held(locks, "model"):
            assert await is_free(locks, "model") is not self.excludes
            if not self.excludes:
                return
            for timeout in (0.05, 0.0):
                with pytest.raises(LockTimeout) as caught:
                    async with locks.hold("model", timeout=timeout):
                        pytest.fail("two hold it")
                assert f"{timeout:g} seconds" in caught.value.detail
        assert await is_free(locks, "model")

    async def test_a_free_lock_is_had_without_patience(self, locks: LockManager) -> None:
        async with locks.hold("model", timeout=0):
            pass

    async def test_a_waiter_that_is_cancelled_leaves_no_trace(self, locks: LockManager) -> None:
        async def wait() -> None:
            async with locks.hold("model", timeout=PATIENT):
                await asyncio.sleep(PATIENT)

        for pause in (0, 0.001, 0.01, 0.03):
            async with held(locks, "model"):
                waiters = [asyncio.create_task(wait()) for _ in range(3)]
                await asyncio.sleep(pause)
                for waiter in waiters:
                    waiter.cancel()
                await asyncio.gather(*waiters, return_exceptions=True)
            assert await is_free(locks, "model")

    async def test_a_holder_that_is_cancelled_frees_it(self, locks: LockManager) -> None:
        taken = asyncio.Event()

        async def hold() -> None:
            async with locks.hold("model", timeout=PATIENT):
                taken.set()
                await asyncio.sleep(PATIENT)

        task = asyncio.create_task(hold())
        await taken.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await is_free(locks, "model")

    @pytest.mark.parametrize(
        "name",
        ["", " ", "../../etc/passwd", "a/b", "nul\0", "Ärger 日本 🐈", "\ud800", "x" * 5_000],
    )
    async def test_any_text_is_a_name(self, locks: LockManager, name: str) -> None:
        async with locks.hold(name, timeout=PATIENT):
            assert await is_free(locks, name) is not self.excludes
        assert await is_free(locks, name)

    async def test_names_do_not_wait_for_each_other(self, locks: LockManager) -> None:
        async with held(locks, "publish:one"):
            assert await is_free(locks, "publish:two")
            assert await is_free(locks, "gc")

    async def test_a_fence_has_a_higher_number_than_those_before(self, locks: LockManager) -> None:
        fences = []
        for _ in range(3):
            async with locks.hold("model", timeout=PATIENT) as fence:
                fences.append(fence)
        if any(fences):
            assert {fence.name for fence in fences if fence} == {"model"}
            numbers = [fence.number for fence in fences if fence]
            assert numbers == sorted(set(numbers))
            assert len(numbers) == 3

    async def test_locks_in_order_pass_their_check(self, locks: LockManager) -> None:
        await locks.check()
        async with locks.hold("model", timeout=PATIENT):
            await locks.check()


class SharedLockManagerContract(LockManagerContract):
    """Of those that exclude across processes. A subclass says how others open the same locks."""

    @pytest.fixture
    def locking(self) -> Locking:
        raise NotImplementedError

    @pytest.fixture
    async def locks(self, locking: Locking) -> AsyncIterator[LockManager]:
        async with locking.open() as locks:
            yield locks

    @pytest.fixture
    async def elsewhere(self, locking: Locking) -> AsyncIterator[LockManager]:
        async with locking.open() as locks:
            yield locks

    async def test_two_managers_exclude_each_other(
        self, locks: LockManager, elsewhere: LockManager
    ) -> None:
        async with held(elsewhere, "model"):
            assert not await is_free(locks, "model")
            assert await is_free(locks, "other")
        assert await is_free(locks, "model")

    async def test_who_waits_gets_it_when_the_other_lets_go(
        self, locks: LockManager, elsewhere: LockManager
    ) -> None:
        async with held(elsewhere, "model"):
            waiting = [asyncio.create_task(is_free_in_time(locks)) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert not any(waiter.done() for waiter in waiting)
        assert all(await asyncio.gather(*waiting))

    async def test_who_stops_waiting_for_another_leaves_no_trace(
        self, locks: LockManager, elsewhere: LockManager
    ) -> None:
        for pause in (0, 0.001, 0.005, 0.02, 0.05):
            async with held(elsewhere, "model"):
                waiters = [asyncio.create_task(is_free_in_time(locks)) for _ in range(2)]
                await asyncio.sleep(pause)
                for waiter in waiters:
                    waiter.cancel()
                await asyncio.gather(*waiters, return_exceptions=True)
                assert not await is_free(locks, "model")
            assert await is_free_in_time(locks)
            assert await is_free_in_time(elsewhere)

    async def test_two_that_take_turns_lose_no_count(
        self, locks: LockManager, elsewhere: LockManager
    ) -> None:
        count = 0

        async def add(manager: LockManager) -> None:
            nonlocal count
            for _ in range(10):
                async with manager.hold("model", timeout=PATIENT):
                    before = count
                    await asyncio.sleep(0.0005)
                    count = before + 1

        await asyncio.gather(*(add(manager) for manager in (locks, elsewhere) for _ in range(3)))
        assert count == 60

    async def test_who_waits_elsewhere_gets_its_turn(
        self, locks: LockManager, elsewhere: LockManager
    ) -> None:
        """Also while there is always somebody who wants it here."""
        enough = asyncio.Event()

        async def want() -> None:
            while not enough.is_set():
                async with locks.hold("model", timeout=PATIENT):
                    await asyncio.sleep(0)

        wanting = [asyncio.create_task(want()) for _ in range(3)]
        for _ in range(3):
            assert await is_free_in_time(elsewhere)
        enough.set()
        await asyncio.gather(*wanting)

    def test_processes_do_not_lose_each_others_counts(
        self, locking: Locking, tmp_path: Path
    ) -> None:
        counter = tmp_path / "counter"
        counter.write_text("0")
        with others(locking, "count", str(counter), count=4) as processes:
            for process in processes:
                process.tell()
            assert [process.ends() for process in processes] == [0] * 4
        assert counter.read_text() == str(4 * 5 * 5)

    async def test_a_killed_process_frees_its_lock(
        self, locking: Locking, locks: LockManager
    ) -> None:
        """Also one with a child that lives on: programs it starts do not inherit the lock."""
        with others(locking, "hold") as (process,):
            process.tell()
            process.says()
            assert not await is_free(locks, "model")
            process.signal(signal.SIGKILL)
            assert await is_free_in_time(locks)
