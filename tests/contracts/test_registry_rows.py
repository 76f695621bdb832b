"""The rows of every adapter, copied from and to every one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import update

from adapters.sql.database import Database
from adapters.sql.postgres import PostgresDatabase
from adapters.sql.sqlite import SqliteDatabase
from adapters.sql.tables import registry
from tests.contracts.registry_rows import RegistryRowsContract
from tests.support.registry import (
    Registry,
    memory_registry,
    postgres_registry,
    sqlite_database,
    sqlite_registry,
)

if TYPE_CHECKING:
    from tests.support.services.databases import Databases

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


class _FromSqlite:
    @pytest.fixture
    def source(self, in_sqlite: Registry) -> Registry:
        return in_sqlite


class _FromPostgres:
    @pytest.fixture
    def source(self, in_postgres: Registry) -> Registry:
        return in_postgres


async def _begin_anew(database: Database) -> None:
    """Gives it an id of its own: the tests copy one and the same empty database."""
    transaction = await database.begin()
    another = update(registry).values(id=uuid4().hex)
    await transaction.run(lambda db: db.execute(another).close())
    await transaction.commit()


class _ToSqlite:
    @pytest.fixture
    async def target(self, tmp_path: Path) -> AsyncIterator[Registry]:
        with sqlite_database(tmp_path / "target.db") as database:
            await _begin_anew(database)
            yield sqlite_registry(database)

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Registry:
        return sqlite_registry(SqliteDatabase(f"sqlite:///{tmp_path / 'absent.db'}"))


class _ToPostgres:
    @pytest.fixture
    def target_url(self, databases: Databases, migrated_template: str) -> Iterator[str]:
        with databases.new(migrated_template) as url:
            yield url

    @pytest.fixture
    async def target(self, target_url: str) -> AsyncIterator[Registry]:
        database = PostgresDatabase(target_url)
        await _begin_anew(database)
        yield postgres_registry(target_url, database)
        await database.close()

    @pytest.fixture
    def unreachable(self) -> Registry:
        return postgres_registry(NOWHERE, PostgresDatabase(NOWHERE))


class TestSqliteRowsToSqlite(_FromSqlite, _ToSqlite, RegistryRowsContract):
    pass


class TestSqliteRowsToPostgres(_FromSqlite, _ToPostgres, RegistryRowsContract):
    pass


class TestPostgresRowsToSqlite(_FromPostgres, _ToSqlite, RegistryRowsContract):
    pass


class TestPostgresRowsToPostgres(_FromPostgres, _ToPostgres, RegistryRowsContract):
    pass


class TestMemoryRows(RegistryRowsContract):
    @pytest.fixture
    def source(self, in_memory: Registry) -> Registry:
        return in_memory

    @pytest.fixture
    def target(self) -> Registry:
        return memory_registry()

    @pytest.fixture
    def unreachable(self) -> Registry:
        registry = memory_registry()
        registry.failing().__enter__()
        return registry
