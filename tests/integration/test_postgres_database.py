"""PostgreSQL as several processes and tasks share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, Text, column, func, select, text, values
from sqlalchemy.exc import ProgrammingError

from adapters.sql import migrate, reader
from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.folding import fold, folded
from adapters.sql.postgres import PostgresDatabase
from adapters.sql.tables import models, versions
from application.ports.registry_reader import PageRequest
from domain.errors import DatabaseUnavailable, ModelExists, ModelNotFound, SearchTooCostly
from domain.values import Digest, Latest, ModelName
from tests.support.aio import collect
from tests.support.racing_publisher import race
from tests.support.registry import (
    Registry,
    a_model,
    a_version,
    end_connections,
    point,
    postgres_registry,
    publish,
    register,
    run_apart,
)
from tests.support.services.databases import Databases

CHURN = ModelName("churn")
pytestmark = pytest.mark.anyio
Open = Callable[..., PostgresDatabase]


@pytest.fixture
async def opening(migrated_postgres_url: str) -> AsyncIterator[Open]:
    """Opens the database, with other limits if need be."""
    opened: list[PostgresDatabase] = []

    def open_it(**limits: Any) -> PostgresDatabase:
        opened.append(PostgresDatabase(migrated_postgres_url, **limits))
        return opened[-1]

    yield open_it
    for database in opened:
        await database.close()


@pytest.fixture
def database(opening: Open) -> PostgresDatabase:
    return opening()


@pytest.fixture
def registry(database: PostgresDatabase, migrated_postgres_url: str) -> Registry:
    return postgres_registry(migrated_postgres_url, database)


def _ask(db: Connection) -> int:
    return int(db.execute(text("SELECT 42")).scalar_one())


def _sleep(seconds: float) -> Callable[[Connection], None]:
    statement = text(f"SELECT 'sleeper', pg_sleep({seconds})")
    return lambda db: db.execute(statement).close()


async def _sleepers(url: str, count: int) -> None:
    """Waits until so many statements sleep in the server."""
    asleep = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state = 'active' AND query LIKE 'SELECT ''sleeper''%'"
    )
    with anyio.fail_after(30):
        while run_apart(url, asleep)[0][0] != count:  # noqa: ASYNC110 - it is in the server
            await anyio.sleep(0.01)


async def _many(database: PostgresDatabase, count: int) -> None:
    """Opens so many connections."""
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(database.point, _sleep(0.1))


# --- what goes over the wire --------------------------------------------------------------------


async def test_the_limits_hold_from_the_first_statement_on(opening: Open) -> None:
    database = opening(timeout=3, search_limit=4)

    def limits(db: Connection) -> list[str]:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        shown = [db.exec_driver_sql(f"SHOW {name}").scalar_one() for name in (*names, "jit")]
        return [*shown, db.exec_driver_sql("SHOW application_name").scalar_one()]

    expected = ["4s", "3s", "30s", "off", "modelyard"]
    assert await database.point(limits) == expected
    assert await database.search(limits) == expected
    assert await database.search(limits, limited=False) == ["0", "3s", "0", "off", "modelyard"]
    transaction = await database.begin()
    assert await transaction.run(limits) == ["5min", *expected[1:]]
    await transaction.commit()
    assert await database.point(limits) == expected


async def test_a_read_is_one_statement_and_a_transaction_two_more_than_its_own(
    registry: Registry, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(registry, await register(registry))
    sent: list[str] = []
    connect = database._connect

    async def listening() -> Any:
        connection = await connect()
        connection.add_query_logger(lambda record: sent.append(record.query))
        return connection

    await database.close()
    monkeypatch.setattr(database, "_connect", listening)
    for _ in range(2):
        sent.clear()
        await registry.reader.version(CHURN, Latest())
        await registry.reader.model(CHURN)
        await database.point(_ask)
        async with registry.uow() as uow:
            await uow.models.get(CHURN)
            await uow.commit()
        await anyio.wait_all_tasks_blocked()  # asyncpg tells of them in tasks
    # It does not tell of what SQLAlchemy has prepared, but would of a BEGIN or ROLLBACK around it.
    assert [query[:6] for query in sent] == ["SELECT", "SELECT", "BEGIN;", "COMMIT"]


async def _model_id(database: PostgresDatabase) -> str:
    return await database.point(lambda db: str(db.execute(select(models.c.id)).scalar_one()))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("MODEL", {"name": "churn"}),
        ("VERSION_BY_NUMBER", {"name": "churn", "number": 1}),
        ("VERSION_LATEST", {"name": "churn"}),
        ("VERSION_BY_ALIAS", {"name": "churn", "alias": "champion"}),
        ("ALIAS", {"name": "churn", "alias": "champion"}),
    ],
)
async def test_a_row_of_a_point_read_is_what_sqlalchemy_would_make_of_it(
    registry: Registry, database: PostgresDatabase, name: str, known: dict[str, Any]
) -> None:
    model = await register(registry)
    await publish(registry, model, tags={"é": "\U0001f600"}, metrics={"auc": 0.5})
    await point(registry, model, "champion", 1)
    statement = getattr(reader, name)
    expected = await database.point(lambda db: db.execute(statement, known).one())
    found = await database.first(statement, known)
    assert found is not None
    assert found._asdict() == expected._asdict()
    assert await database.first(statement, {**known, "name": "none"}) is None


# --- connections that are lost ------------------------------------------------------------------


async def test_reads_and_beginnings_outlive_every_connection(
    registry: Registry, database: PostgresDatabase, migrated_postgres_url: str
) -> None:
    await publish(registry, await register(registry))
    reads: list[Callable[[], Any]] = [
        lambda: registry.reader.version(CHURN, Latest()),
        lambda: registry.reader.versions(PageRequest()),
        lambda: database.point(_ask),
        registry.reader.stats,
        lambda: register(registry, "other"),
    ]
    for read in reads:
        await _many(database, 5)
        end_connections(migrated_postgres_url)
        await read()


async def test_no_connection_of_before_is_left_in_the_pool(
    database: PostgresDatabase, migrated_postgres_url: str
) -> None:
    await _many(database, 5)
    end_connections(migrated_postgres_url)
    for _ in range(8):
        assert await database.point(_ask) == 42


async def test_a_read_that_is_cut_off_is_repeated_once(
    database: PostgresDatabase, migrated_postgres_url: str
) -> None:
    async def cut_off(times: int) -> None:
        for _ in range(times):
            await _sleepers(migrated_postgres_url, 1)
            end_connections(migrated_postgres_url)
            await _sleepers(migrated_postgres_url, 0 if times == 1 else 1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_off, 1)
        runs: list[int] = []

        def work(db: Connection) -> None:
            runs.append(1)
            if len(runs) == 1:
                _sleep(60)(db)

        await database.search(work)
    assert len(runs) == 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_off, 2)
        with pytest.raises(DatabaseUnavailable):
            await database.search(_sleep(60))
        tasks.cancel_scope.cancel()


async def test_a_transaction_that_is_cut_off_has_done_nothing(
    registry: Registry, migrated_postgres_url: str
) -> None:
    async with registry.uow() as uow:
        await uow.models.add(a_model())
        end_connections(migrated_postgres_url)
        with pytest.raises(DatabaseUnavailable):
            await uow.models.get(CHURN)
        with pytest.raises(DatabaseUnavailable):
            await uow.commit()
    await register(registry)


async def test_a_connection_is_used_again_after_whatever_is_no_fault_of_its_own(
    registry: Registry, database: PostgresDatabase
) -> None:
    process = text("SELECT pg_backend_pid()")
    pids = {await database.point(lambda db: db.execute(process).scalar_one())}
    await register(registry)
    async with registry.uow() as uow:
        with pytest.raises(ModelExists):
            await uow.models.add(a_model())
    async with registry.uow() as uow:
        await uow.exclude_writers()
    with pytest.raises(ModelNotFound):
        await registry.reader.version(ModelName("none"), Latest())
    with pytest.raises(ProgrammingError):
        await database.search(lambda db: db.execute(text("SELECT nonsense")).close())
    async with registry.snapshot() as snapshot:
        await collect(snapshot.models())
    pids.add(await database.point(lambda db: db.execute(process).scalar_one()))
    assert len(pids) == 1


async def test_a_commit_without_an_answer_says_so(
    registry: Registry, migrated_postgres_url: str
) -> None:
    async with registry.uow() as uow:
        await uow.models.add(a_model())
        end_connections(migrated_postgres_url)
        with pytest.raises(DatabaseUnavailable, match="may have happened or not"):
            await uow.commit()
    assert registry.events == []


async def test_a_commit_after_a_failed_statement_is_no_commit(
    database: PostgresDatabase, registry: Registry
) -> None:
    transaction = await database.begin()
    with pytest.raises(Exception, match="no_such_table"):
        await transaction.run(lambda db: db.execute(text("SELECT * FROM no_such_table")).close())
    with pytest.raises(DatabaseUnavailable, match="rolled back"):
        await transaction.commit()
    assert not transaction.committed
    await register(registry)


# --- waiting for others -------------------------------------------------------------------------


async def test_one_who_waits_for_a_row_too_long_is_told_so(
    opening: Open, registry: Registry, migrated_postgres_url: str
) -> None:
    await register(registry)
    hasty = postgres_registry(migrated_postgres_url, opening(timeout=0.2))
    async with registry.uow() as uow:
        await uow.models.get(CHURN)
        async with hasty.uow() as other:
            with pytest.raises(DatabaseUnavailable, match="others have been writing"):
                await other.models.get(CHURN)
        await uow.exclude_writers()
        with pytest.raises(DatabaseUnavailable, match="others have been writing"):
            async with hasty.uow():
                pass
    assert (await publish(hasty, await _loaded(hasty))).number == 1


async def _loaded(registry: Registry) -> Any:
    async with registry.uow() as uow:
        return await uow.models.get(CHURN)


async def test_of_two_who_wait_for_each_other_one_is_told_to_try_again(registry: Registry) -> None:
    for name in ("a", "b"):
        await register(registry, name)
    failed: list[str] = []
    both, waiting = anyio.Event(), 0

    async def lock(first: str, second: str) -> None:
        nonlocal waiting
        try:
            async with registry.uow() as uow:
                await uow.models.get(ModelName(first))
                waiting += 1
                if waiting == 2:
                    both.set()
                await both.wait()
                await uow.models.get(ModelName(second))
                await uow.commit()
        except DatabaseUnavailable as error:
            failed.append(error.detail)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lock, "a", "b")
        tasks.start_soon(lock, "b", "a")
    assert len(failed) == 1
    assert "at the same time" in failed[0]


async def test_a_transaction_that_sleeps_is_taken_for_abandoned(
    database: PostgresDatabase, registry: Registry, migrated_postgres_url: str
) -> None:
    await register(registry)
    limit = text("SET LOCAL idle_in_transaction_session_timeout = 50")
    idle = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state LIKE 'idle in transaction%'"
    )
    async with registry.uow() as uow:
        await uow.models.get(CHURN)
        await uow._begun.run(lambda db: db.execute(limit).close())  # type: ignore[attr-defined]
        with anyio.fail_after(30):
            while run_apart(migrated_postgres_url, idle)[0][0]:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await publish(registry, a_model(id=await _model_id(database)))  # nobody is in the way
        with pytest.raises(DatabaseUnavailable):
            await uow.models.get(CHURN)


async def test_point_reads_find_a_connection_whatever_the_others_do(
    opening: Open, migrated_postgres_url: str
) -> None:
    database = opening(pool_size=3, timeout=0.3, search_limit=60)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.search, _sleep(60))
        await _sleepers(migrated_postgres_url, 1)
        with pytest.raises(DatabaseUnavailable, match="in use"):
            await database.search(_ask)
        transaction = await database.begin()  # searches have left a place
        with pytest.raises(DatabaseUnavailable, match="in use"):
            await database.begin()
        assert await database.point(_ask) == 42
        assert await database.first(reader.MODEL, {"name": "none"}) is None
        digest = Digest("0" * 64)  # asked for in a sweep, while the others wait for its end
        assert await SqlBlobReferences(database).referenced([digest]) == set()
        await transaction.close()
        tasks.cancel_scope.cancel()


# --- searches and tasks that are given up -------------------------------------------------------


async def test_a_search_that_takes_too_long_is_given_up(opening: Open) -> None:
    hasty = opening(search_limit=0.05)
    for _ in range(3):
        with pytest.raises(SearchTooCostly):
            await hasty.search(_sleep(60))
    assert await hasty.search(_ask) == 42
    await hasty.search(_sleep(0.1), limited=False)
    with pytest.raises(DatabaseUnavailable):
        await hasty.point(_sleep(60))


async def test_a_cancelled_search_ends_in_the_server_too(
    opening: Open, migrated_postgres_url: str
) -> None:
    database = opening(search_limit=60)
    tasks = [asyncio.ensure_future(database.search(_sleep(60))) for _ in range(3)]
    await _sleepers(migrated_postgres_url, 3)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
    await _sleepers(migrated_postgres_url, 0)
    assert await database.search(_ask) == 42


async def test_a_cancelled_point_read_leaves_no_answer_to_the_next_one(registry: Registry) -> None:
    for name in ("a", "b"):
        await register(registry, name)
    for _ in range(30):
        with anyio.move_on_after(0.0005):
            await registry.reader.model(ModelName("a"))
        found = await registry.reader.model(ModelName("b"))
        assert found.record.name == "b"


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_not_used_again(
    registry: Registry, database: PostgresDatabase, migrated_postgres_url: str
) -> None:
    async def stuck() -> None:
        async with registry.uow() as uow:
            await uow.models.add(a_model())
            await uow._begun.run(_sleep(60))  # type: ignore[attr-defined]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stuck)
        await _sleepers(migrated_postgres_url, 1)
        tasks.cancel_scope.cancel()
    await _sleepers(migrated_postgres_url, 0)
    await register(registry)
    assert await database.point(_ask) == 42


# --- snapshots ----------------------------------------------------------------------------------


async def test_a_snapshot_is_fetched_as_it_is_read(
    registry: Registry, database: PostgresDatabase
) -> None:
    model = await register(registry)
    async with registry.uow() as uow:
        for number in range(1, 351):
            await uow.versions.add(a_version(model, number))
        await uow.commit()
    made: list[int] = []
    async with database.snapshot() as snapshot:
        rows = snapshot.stream(select(versions), lambda row: made.append(row.number))
        await anext(rows)
        assert len(made) <= 100
        assert len(await collect(rows)) == 349
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await collect(snapshot.stream(select(func.nextval("versions_id_seq")), id))
    assert sorted(made) == list(range(1, 351))


# --- beginning and end --------------------------------------------------------------------------


async def test_a_closed_database_opens_again(
    registry: Registry, database: PostgresDatabase
) -> None:
    await register(registry)
    await database.close()
    await database.close()
    assert (await registry.reader.model(CHURN)).record.name == "churn"


async def test_closing_breaks_off_the_searches_that_run(
    opening: Open, migrated_postgres_url: str
) -> None:
    database = opening(search_limit=60)
    tasks = [asyncio.ensure_future(database.search(_sleep(60))) for _ in range(3)]
    await _sleepers(migrated_postgres_url, 3)
    await database.close()
    for task in tasks:
        with pytest.raises(DatabaseUnavailable):
            await task
    assert await database.search(_ask) == 42


async def test_the_schema_can_be_asked_for_while_an_event_loop_runs(
    database: PostgresDatabase,
) -> None:
    assert await database.point(_ask) == 42
    migrate.check(database)
    assert database.read(_ask) == 42
    assert await database.point(_ask) == 42


def test_one_database_serves_one_event_loop_after_another(migrated_postgres_url: str) -> None:
    database = PostgresDatabase(migrated_postgres_url)
    registry = postgres_registry(migrated_postgres_url, database)

    async def contend(count: int) -> int:
        model = await _loaded(registry) if count else await register(registry)
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(publish, registry, model)
        found = (await registry.reader.model(CHURN)).record.version_count
        await database.close()
        return found

    assert [asyncio.run(contend(count)) for count in (0, 3, 3)] == [0, 3, 6]


def test_numbers_are_dense_among_processes(migrated_postgres_url: str) -> None:
    async def begin() -> None:
        database = PostgresDatabase(migrated_postgres_url)
        await register(postgres_registry(migrated_postgres_url, database))
        await database.close()

    asyncio.run(begin())
    numbers = race(migrated_postgres_url, racers=4, publishes=25)
    assert sorted(numbers) == list(range(1, 101))


# --- texts --------------------------------------------------------------------------------------


async def test_lower_case_is_that_of_python_letter_by_letter(database: PostgresDatabase) -> None:
    letters = [chr(code) for code in range(1, 0x3000) if chr(code).isprintable()]
    letters += [chr(code) for code in range(0x10400, 0x10500)]
    words = ["ΟΔΟΣ", "İX ς", "ẞß ǅ", *letters]
    given = values(column("word", Text), name="given").data([(word,) for word in words])
    statement = select(given.c.word, folded(given.c.word))
    rows = await database.point(lambda db: db.execute(statement).all())
    assert len(rows) > 10_000
    assert {word: small for word, small in rows if small != fold(word)} == {}


def test_a_database_that_is_not_in_utf8_is_refused(databases: Databases) -> None:
    with databases.new() as url:
        run_apart(
            url,
            "CREATE DATABASE latin ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' "
            "TEMPLATE template0",
        )
        try:
            with pytest.raises(DatabaseUnavailable, match="SQL_ASCII"):
                migrate.upgrade(PostgresDatabase(f"{url.rpartition('/')[0]}/latin"))
        finally:
            run_apart(url, "DROP DATABASE latin WITH (FORCE)")
