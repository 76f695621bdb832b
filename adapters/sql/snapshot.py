"""A consistent snapshot of all rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import Connection, Row, Select, select

from adapters.sql.database import SqliteDatabase
from adapters.sql.errors import translate_outages
from adapters.sql.mapping import to_alias, to_model, to_move, to_retired_name, to_version
from adapters.sql.tables import alias_moves, aliases, models, retired_names, versions
from application.ports.registry_snapshot import RegistrySnapshot
from domain.alias import Alias, AliasMove
from domain.errors import ModelNotFound
from domain.model import Model, RetiredName
from domain.values import ModelName
from domain.version import Version

T = TypeVar("T")

_FETCHED = 100


class SqlRegistrySnapshot(RegistrySnapshot):
    """One read transaction on a connection of its own; in WAL mode it blocks nobody."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._stack = ExitStack()
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        await run_sync(self._begin)
        return self

    def _begin(self) -> None:
        connection = self._stack.enter_context(self._database.reading())
        self._stack.callback(connection.exec_driver_sql, "ROLLBACK")
        connection.exec_driver_sql("BEGIN")
        # SQLite fixes the moment with the first read.
        connection.execute(select(models.c.id).limit(1)).first()
        self._connection = connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await run_sync(self._stack.close)

    async def models(self, only: ModelName | None = None) -> AsyncIterator[Model]:
        statement = select(models).order_by(models.c.name)
        if only is not None:
            statement = statement.where(models.c.name == only)
        found = False
        async for model in self._stream(statement, to_model):
            found = True
            yield model
        if only is not None and not found:
            raise ModelNotFound.named(only)

    def versions(self, model: Model) -> AsyncIterator[Version]:
        statement = select(versions).where(versions.c.model_id == model.id)
        return self._stream(statement.order_by(versions.c.number), to_version)

    async def aliases(self, model: Model) -> list[Alias]:
        statement = select(aliases).where(aliases.c.model_id == model.id)
        ordered = self._stream(statement.order_by(aliases.c.name), to_alias)
        return [alias async for alias in ordered]

    def moves(self, model: Model) -> AsyncIterator[AliasMove]:
        statement = select(alias_moves).where(alias_moves.c.model_id == model.id)
        return self._stream(statement.order_by(alias_moves.c.id), to_move)

    def retired_names(self) -> AsyncIterator[RetiredName]:
        return self._stream(select(retired_names).order_by(retired_names.c.name), to_retired_name)

    async def _stream(
        self, statement: Select[Any], read: Callable[[Row[Any]], T]
    ) -> AsyncIterator[T]:
        rows = await run_sync(self._execute, statement)
        while batch := await run_sync(_next, rows, read):
            for item in batch:
                yield item

    def _execute(self, statement: Select[Any]) -> Iterator[Row[Any]]:
        assert self._connection is not None, "enter the snapshot first"
        with translate_outages():
            result = self._connection.execution_options(yield_per=_FETCHED).execute(statement)
            return iter(result)


def _next(rows: Iterator[Row[Any]], read: Callable[[Row[Any]], T]) -> list[T]:
    with translate_outages():
        return [read(row) for row in islice(rows, _FETCHED)]
