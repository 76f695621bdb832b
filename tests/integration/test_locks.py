"""Locks whose server goes away, forgets, or stands still, and holders who oversleep."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

import adapters.postgres_lock
import adapters.redis_lock
from adapters.memory.locks import MemoryLockManager
from adapters.postgres_lock import PostgresLockManager
from adapters.redis_lock import RedisLockManager
from application.ports import Fence, LockManager
from domain.errors import DatabaseUnavailable, InvalidSettings, LockTimeout, LockUnavailable
from tests.support.locking import PATIENCE, Locking, others
from tests.support.registry import sqlite_database
from tests.support.services import launchers
from tests.support.services.processes import ServerProcess

pytestmark = pytest.mark.anyio

SECRET = "correct-horse"


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "rows.db"
    with sqlite_database(path):
        yield f"sqlite:///{path}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[ServerProcess]:
    with launchers.postgres_server() as server:
        yield server


@pytest.fixture(params=["postgres", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """One of the test's own, or one that it leaves running."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    with launchers.redis_server() as redis:
        yield redis


@pytest.fixture
def locking(server: ServerProcess, rows: str) -> Locking:
    parts = urlsplit(server.url)
    address = f"{parts.hostname}:{parts.port}"
    user = parts.username or ""
    place = parts._replace(netloc=f"{user}:{SECRET}@{address}").geturl()
    if parts.scheme == "redis":
        place = server.url
    return Locking(parts.scheme.removesuffix("ql"), place, rows=rows)


@pytest.fixture
async def locks(locking: Locking) -> AsyncIterator[LockManager]:
    async with locking.open() as locks:
        yield locks


@pytest.fixture
async def elsewhere(locking: Locking) -> AsyncIterator[LockManager]:
    async with locking.open() as locks:
        yield locks


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters.postgres_lock, "_ANSWER", 0.5)
    monkeypatch.setattr(adapters.redis_lock, "_ANSWER", 0.5)


async def take(locks: LockManager) -> Fence | None:
    async with locks.hold("model", timeout=PATIENCE) as fence:
        return fence


async def assert_unavailable(locks: LockManager) -> None:
    with pytest.raises(LockUnavailable) as of_hold:
        await take(locks)
    with pytest.raises(LockUnavailable) as of_check:
        await locks.check()
    for caught in (of_hold, of_check):
        assert SECRET not in f"{caught.value.detail} {caught.value.__cause__}"
        assert "127.0.0.1" not in caught.value.detail


async def test_a_server_that_is_away_is_unavailable_until_it_is_back(
    server: ServerProcess, locks: LockManager
) -> None:
    await take(locks)
    server.kill()
    try:
        await assert_unavailable(locks)
    finally:
        server.start()
    await locks.check()
    await take(locks)


async def test_a_server_that_never_was_there_is_unavailable(
    server: ServerProcess, locks: LockManager
) -> None:
    server.stop()
    try:
        await assert_unavailable(locks)
    finally:
        server.start()
    await take(locks)


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_does_not_answer_is_unavailable(
    server: ServerProcess, locking: Locking
) -> None:
    async with locking.open() as known, locking.open() as new:
        await take(known)
        server.freeze()
        try:
            await assert_unavailable(known)
            await assert_unavailable(new)
        finally:
            server.thaw()


@pytest.mark.usefixtures("impatient")
async def test_those_in_line_are_told_together_that_redis_does_not_answer(rows: str) -> None:
    """One after another, most would wait in line for longer than they may."""
    with launchers.redis_server() as server:
        async with Locking("redis", server.url, rows=rows).open() as locks:
            server.freeze()
            results = await asyncio.gather(
                *(take(locks) for _ in range(500)), return_exceptions=True
            )
            assert {type(result) for result in results} == {LockUnavailable}
            server.thaw()


async def test_a_restarted_server_is_found_again(server: ServerProcess, locks: LockManager) -> None:
    await take(locks)
    server.restart()
    await take(locks)


async def test_the_block_goes_on_when_its_server_is_lost(
    server: ServerProcess, locks: LockManager, elsewhere: LockManager
) -> None:
    """Also when the lock is another's since: both leave in peace."""
    async with locks.hold("model", timeout=PATIENCE) as first:
        server.restart()
        async with elsewhere.hold("model", timeout=PATIENCE) as second:
            assert first is second or (first and second and first.number < second.number)
    await take(locks)


async def test_who_is_frozen_keeps_its_lock_in_postgres_and_others_are_told_to_wait(
    postgres_url: str,
) -> None:
    locking = Locking("postgres", postgres_url)
    with others(locking, "hold") as (frozen,):
        frozen.tell()
        frozen.says()
        frozen.signal(signal.SIGSTOP)
        async with locking.open() as locks:
            with pytest.raises(LockTimeout):
                async with locks.hold("model", timeout=0.5):
                    pytest.fail("two hold it")
            frozen.signal(signal.SIGCONT)
            frozen.tell()
            await take(locks)


@pytest.mark.parametrize("method", ["postgres", "redis"])
def test_a_manager_serves_one_event_loop_after_another(
    method: str, postgres_url: str, redis_url: str
) -> None:
    """And leaves no connection open in one that has ended, which would be a warning."""
    locks: LockManager = PostgresLockManager(postgres_url, queue=MemoryLockManager())
    if method == "redis":
        locks = RedisLockManager(redis_url, queue=MemoryLockManager(), issue=first_number)
    for _ in range(3):
        asyncio.run(take(locks))


async def first_number(_name: str) -> int:
    return 1


# --- leases -------------------------------------------------------------------------------------


@pytest.fixture
def leased(redis_url: str, rows: str) -> Locking:
    return Locking("redis", redis_url, rows=rows, lease=1.5)


async def test_a_lease_is_renewed_while_the_block_runs(leased: Locking) -> None:
    async with (
        leased.open() as locks,
        Redis.from_url(leased.place) as redis,
        locks.hold("model", timeout=PATIENCE),
    ):
        (key,) = await redis.keys("modelyard:lock:*")
        left = await redis.pttl(key)
        while (now := await redis.pttl(key)) <= left:
            left = now
        assert left > 0


async def test_who_oversleeps_its_lease_writes_nothing(leased: Locking) -> None:
    with others(leased, "hold") as (sleeper,):
        sleeper.tell()
        first = int(sleeper.says())
        sleeper.signal(signal.SIGSTOP)
        async with (
            leased.open() as locks,
            locks.hold("model", timeout=PATIENCE) as fence,
        ):
            assert fence is not None
            assert fence.number > first
            sleeper.signal(signal.SIGCONT)
            sleeper.tell()
            assert sleeper.says() == "False"
            assert sleeper.ends() == 0
            assert await leased.takes(fence)


async def test_who_lost_its_lock_to_nobody_still_writes(
    leased: Locking, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        leased.open() as locks,
        Redis.from_url(leased.place) as redis,
        locks.hold("model", timeout=PATIENCE) as fence,
    ):
        await redis.flushdb()
        while not caplog.messages:
            await redis.ping()
        assert caplog.messages == ["The lock 'model' was lost while it was held"]
        assert await leased.takes(fence)


async def test_numbers_rise_across_processes_and_restarts_of_redis(rows: str) -> None:
    numbers = []
    with launchers.redis_server() as server:
        locking = Locking("redis", server.url, rows=rows)
        for _ in range(3):
            async with locking.open() as locks:
                fence = await take(locks)
            assert fence is not None
            numbers.append(fence.number)
            server.restart()
    assert numbers == [1, 2, 3]


async def test_a_wrong_password_is_not_repeated(rows: str) -> None:
    with launchers.redis_server() as server:
        async with Redis.from_url(server.url) as redis:
            await redis.config_set("requirepass", "another")
        place = server.url.replace("redis://", f"redis://:{SECRET}@")
        async with Locking("redis", place, rows=rows).open() as locks:
            await assert_unavailable(locks)
        async with replace(Locking("redis", server.url, rows=rows)).open() as locks:
            await assert_unavailable(locks)


@pytest.mark.parametrize("rest", [f":{SECRET}@host:{SECRET}", f":{SECRET}@host/0?unknown=1"])
def test_a_url_that_is_not_understood_is_refused_and_not_repeated(rest: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        RedisLockManager(f"redis://{rest}", queue=MemoryLockManager(), issue=first_number)
    assert SECRET not in f"{caught.value.detail} {caught.value.__cause__}"


async def test_a_lock_for_which_no_number_is_had_is_given_back(redis_url: str, rows: str) -> None:
    async def fail(_name: str) -> int:
        raise DatabaseUnavailable("It is away.")

    with pytest.raises(DatabaseUnavailable):
        await take(RedisLockManager(redis_url, queue=MemoryLockManager(), issue=fail))
    async with (
        Locking("redis", redis_url, rows=rows).open() as locks,
        locks.hold("model", timeout=0),
    ):
        pass
