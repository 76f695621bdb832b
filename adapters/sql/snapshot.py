"""A consistent snapshot of all rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from sqlalchemy import select

from adapters.sql.database import Database, Snapshot
from adapters.sql.mapping import to_alias, to_model, to_move, to_retired_name, to_version
from adapters.sql.tables import alias_moves, aliases, models, retired_names, versions
from application.ports.registry_snapshot import RegistrySnapshot
from domain.alias import Alias, AliasMove
from domain.errors import ModelNotFound
from domain.model import Model, RetiredName
from domain.values import ModelName
from domain.version import Version


class SqlRegistrySnapshot(RegistrySnapshot):
    """One read transaction on a connection of its own; it blocks nobody."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stack = AsyncExitStack()
        self._opened: Snapshot | None = None

    @property
    def _rows(self) -> Snapshot:
        assert self._opened is not None, "enter the snapshot first"
        return self._opened

    async def __aenter__(self) -> Self:
        self._opened = await self._stack.enter_async_context(self._database.snapshot())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._stack.aclose()

    async def models(self, only: ModelName | None = None) -> AsyncIterator[Model]:
        statement = select(models).order_by(models.c.name)
        if only is not None:
            statement = statement.where(models.c.name == only)
        found = False
        async for model in self._rows.stream(statement, to_model):
            found = True
            yield model
        if only is not None and not found:
            raise ModelNotFound.named(only)

    def versions(self, model: Model) -> AsyncIterator[Version]:
        statement = select(versions).where(versions.c.model_id == model.id)
        return self._rows.stream(statement.order_by(versions.c.number), to_version)

    async def aliases(self, model: Model) -> list[Alias]:
        statement = select(aliases).where(aliases.c.model_id == model.id)
        ordered = self._rows.stream(statement.order_by(aliases.c.name), to_alias)
        return [alias async for alias in ordered]

    def moves(self, model: Model) -> AsyncIterator[AliasMove]:
        statement = select(alias_moves).where(alias_moves.c.model_id == model.id)
        return self._rows.stream(statement.order_by(alias_moves.c.id), to_move)

    def retired_names(self) -> AsyncIterator[RetiredName]:
        return self._rows.stream(
            select(retired_names).order_by(retired_names.c.name), to_retired_name
        )
