"""Rows in each database, for properties that need them empty many times over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from adapters.sql.database import Database
from adapters.sql.postgres import PostgresDatabase
from tests.support.aio import Loop
from tests.support.registry import (
    Registry,
    empty,
    postgres_registry,
    sqlite_database,
    sqlite_registry,
)

if TYPE_CHECKING:
    from tests.support.services.databases import Databases

Fresh = Callable[[], tuple[Database, Registry]]


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    opened = Loop()
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def fresh(
    request: pytest.FixtureRequest, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fresh]:
    """Gives a database without rows, and the registry in it; ends the one it gave before."""
    with ExitStack() as stack:
        if request.param == "postgres":
            yield _in_postgres(request, loop, stack)
        else:
            yield _in_sqlite(tmp_path_factory.mktemp("rows"), stack)


def _in_sqlite(folder: Path, stack: ExitStack) -> Fresh:
    def make() -> tuple[Database, Registry]:
        stack.close()
        database = stack.enter_context(sqlite_database(folder / f"{uuid4().hex}.db"))
        return database, sqlite_registry(database)

    return make


def _in_postgres(request: pytest.FixtureRequest, loop: Loop, stack: ExitStack) -> Fresh:
    databases: Databases = request.getfixturevalue("databases")
    url = stack.enter_context(databases.new(request.getfixturevalue("migrated_template")))
    database = PostgresDatabase(url)
    stack.callback(lambda: loop.run(database.close()))

    def make() -> tuple[Database, Registry]:
        loop.run(empty(database))
        return database, postgres_registry(url, database)

    return make
