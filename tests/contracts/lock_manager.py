"""What every lock manager must do. A subclass brings the fixture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from application.ports import LockManager
from domain.errors import LockTimeout

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

    async def test_locks_in_order_pass_their_check(self, locks: LockManager) -> None:
        await locks.check()
        async with locks.hold("model", timeout=PATIENT):
            await locks.check()
