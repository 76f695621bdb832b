"""The adapters that the contracts of the registry's rows are tested on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.sql.postgres import PostgresDatabase
from tests.support.registry import (
    Registry,
    memory_registry,
    postgres_registry,
    sqlite_database,
    sqlite_registry,
)


@pytest.fixture
def in_sqlite(tmp_path: Path) -> Iterator[Registry]:
    with sqlite_database(tmp_path / "rows.db") as database:
        yield sqlite_registry(database)


@pytest.fixture
async def in_postgres(migrated_postgres_url: str) -> AsyncIterator[Registry]:
    database = PostgresDatabase(migrated_postgres_url)
    yield postgres_registry(migrated_postgres_url, database)
    await database.close()


@pytest.fixture
def in_memory() -> Registry:
    return memory_registry()
