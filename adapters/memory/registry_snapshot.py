"""A consistent snapshot of a registry in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from types import TracebackType
from typing import Self

from adapters.memory.registry import MemoryDatabase, Rows
from application.ports.registry_snapshot import RegistrySnapshot
from domain.alias import Alias, AliasMove
from domain.model import Model, RetiredName
from domain.values import ModelName
from domain.version import Version


class MemoryRegistrySnapshot(RegistrySnapshot):
    """Keeps the rows that were current: a commit replaces them and changes none."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._rows = Rows()

    async def __aenter__(self) -> Self:
        self._database.check()
        self._rows = self._database.rows
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def models(self, only: ModelName | None = None) -> AsyncIterator[Model]:
        every = sorted(self._rows.models.values(), key=lambda model: model.name)
        for model in every if only is None else [self._rows.named(only)]:
            yield deepcopy(model)

    async def versions(self, model: Model) -> AsyncIterator[Version]:
        for of, number in sorted(self._rows.versions):
            if of == model.id:
                yield deepcopy(self._rows.versions[of, number])

    async def aliases(self, model: Model) -> list[Alias]:
        keys = sorted(key for key in self._rows.aliases if key[0] == model.id)
        return [deepcopy(self._rows.aliases[key]) for key in keys]

    async def moves(self, model: Model) -> AsyncIterator[AliasMove]:
        for _, of, move in self._rows.moves:
            if of == model.id:
                yield move

    async def retired_names(self) -> AsyncIterator[RetiredName]:
        for name in sorted(self._rows.retired):
            yield self._rows.retired[name]
