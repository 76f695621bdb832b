"""SQLite as several processes, tasks and threads share it."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, text

from adapters.sql import migrate
from adapters.sql.sqlite import SqliteDatabase
from application.ports.registry_reader import PageRequest
from domain.errors import DatabaseUnavailable, SearchTooCostly
from domain.values import Latest, ModelName
from tests.support.racing_publisher import race
from tests.support.registry import (
    Registry,
    a_model,
    publish,
    register,
    sqlite_database,
    sqlite_registry,
)

CHURN = ModelName("churn")
pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    with sqlite_database(tmp_path / "rows.db", timeout=0.2) as opened:
        yield opened


@pytest.fixture
def registry(database: SqliteDatabase) -> Registry:
    return sqlite_registry(database)


@pytest.fixture
def outsider(database: SqliteDatabase) -> Iterator[sqlite3.Connection]:
    """Another process's connection, as good as."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
        yield connection


def _ask(db: Connection) -> int:
    return int(db.execute(text("SELECT 42")).scalar_one())


async def test_building_one_touches_nothing(tmp_path: Path) -> None:
    database = SqliteDatabase(f"sqlite:///{tmp_path / 'no' / 'such.db'}")
    assert migrate.current(database) is None
    for question in (database.point(_ask), database.search(_ask), database.begin()):
        with pytest.raises(DatabaseUnavailable):
            await question
    assert not database.path.parent.exists()
    await database.close()


async def test_settings_that_durability_and_the_size_of_the_log_rest_on(
    database: SqliteDatabase,
) -> None:
    def settings(db: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "journal_size_limit")
        return {name: db.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    expected: dict[str, object] = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    expected["journal_size_limit"] = 64 << 20
    assert await database.point(settings) == expected
    assert await database.search(settings) == expected
    transaction = await database.begin()
    assert await transaction.run(settings) == expected
    await transaction.close()


async def test_a_writer_elsewhere_is_waited_for_and_then_told_of(
    registry: Registry, outsider: sqlite3.Connection
) -> None:
    outsider.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        await register(registry)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(register, registry)
        await anyio.sleep(0.05)
        outsider.execute("ROLLBACK")
    assert (await registry.reader.model(CHURN)).record.name == "churn"


async def test_one_who_waits_in_line_too_long_is_told_so(registry: Registry) -> None:
    async with registry.uow() as uow:
        with pytest.raises(DatabaseUnavailable):
            await register(registry)
        await uow.models.add(a_model())
        await uow.commit()


async def test_a_writer_is_in_no_reader_s_way(
    registry: Registry, outsider: sqlite3.Connection
) -> None:
    await register(registry)
    outsider.execute("BEGIN IMMEDIATE")
    assert (await registry.reader.model(CHURN)).record.name == "churn"
    assert len((await registry.reader.models(PageRequest())).items) == 1


async def test_a_read_that_meets_a_lock_waits_for_it_in_a_thread(
    registry: Registry, database: SqliteDatabase, outsider: sqlite3.Connection
) -> None:
    await register(registry)
    await database.close()
    outsider.execute("PRAGMA locking_mode = EXCLUSIVE")
    outsider.execute("BEGIN IMMEDIATE")
    outsider.execute("COMMIT")
    with pytest.raises(DatabaseUnavailable):
        await registry.reader.model(CHURN)


async def test_a_file_that_is_no_database_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    database = SqliteDatabase(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailable):
        await database.point(lambda db: db.execute(text("SELECT * FROM models")).all())
    with pytest.raises(DatabaseUnavailable):
        migrate.upgrade(database)
    await database.close()


def _count_endlessly(db: Connection) -> int:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    return int(db.execute(text(f"{endless} SELECT count(*) FROM n")).scalar_one())


@pytest.fixture
def patient(database: SqliteDatabase) -> Iterator[SqliteDatabase]:
    """The same database, whose searches may take for ever."""
    opened = SqliteDatabase(f"sqlite:///{database.path}", search_limit=math.inf)
    yield opened
    opened.dispose()


async def test_a_search_that_takes_too_long_is_given_up(database: SqliteDatabase) -> None:
    hasty = SqliteDatabase(f"sqlite:///{database.path}", search_limit=0.05)
    for _ in range(6):
        with pytest.raises(SearchTooCostly):
            await hasty.search(_count_endlessly)
    assert await hasty.search(_ask) == 42
    await hasty.close()


async def test_a_cancelled_search_ends_and_leaves_its_connection_usable(
    patient: SqliteDatabase,
) -> None:
    tasks = [asyncio.ensure_future(patient.search(_count_endlessly)) for _ in range(8)]
    await anyio.sleep(0.05)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
    with anyio.move_on_after(0.05) as scope:
        await patient.search(_count_endlessly)
    assert scope.cancelled_caught
    assert await patient.search(_ask) == 42


async def test_closing_interrupts_the_searches_that_run(patient: SqliteDatabase) -> None:
    tasks = [asyncio.ensure_future(patient.search(_count_endlessly)) for _ in range(8)]
    await anyio.sleep(0.05)
    await patient.close()
    for task in tasks:
        with pytest.raises(DatabaseUnavailable):
            await task
    assert await patient.search(_ask) == 42


async def test_readers_searches_and_writers_share_one_process(patient: SqliteDatabase) -> None:
    registry = sqlite_registry(patient)
    model = await register(registry)
    await publish(registry, model)

    async def read() -> None:
        for _ in range(30):
            await registry.reader.version(CHURN, Latest())
            page = await registry.reader.versions(PageRequest(size=5))
            numbers = [item.version for item in page.items]
            assert numbers == sorted(numbers, reverse=True)

    async def write() -> None:
        for _ in range(10):
            await publish(registry, model, tags={"a": "b"})

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(read)
            tasks.start_soon(write)
    assert (await registry.reader.version(CHURN, Latest())).record.version == 41


async def test_a_closed_database_opens_again(registry: Registry, database: SqliteDatabase) -> None:
    await register(registry)
    await database.close()
    await database.close()
    assert (await registry.reader.model(CHURN)).record.name == "churn"


def test_one_database_serves_one_event_loop_after_another(registry: Registry) -> None:
    async def contend() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(publish, registry, model)

    model = asyncio.run(register(registry))
    asyncio.run(contend())
    asyncio.run(contend())
    assert asyncio.run(registry.reader.model(CHURN)).record.version_count == 6


def test_numbers_are_dense_among_processes(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    with sqlite_database(path) as database:
        asyncio.run(register(sqlite_registry(database)))
    numbers = race(f"sqlite:///{path}", racers=4, publishes=25)
    assert sorted(numbers) == list(range(1, 101))
