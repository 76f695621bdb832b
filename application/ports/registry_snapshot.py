"""A consistent snapshot of all rows, for exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from domain.alias import Alias, AliasMove
from domain.model import Model, RetiredName
from domain.values import ModelName
from domain.version import Version


class RegistrySnapshot(Protocol):
    """``async with snapshot:`` fixes the moment; others go on writing meanwhile.

    Everything is read in bounded memory and may raise DatabaseUnavailable.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def models(self, only: ModelName | None = None) -> AsyncIterator[Model]:
        """All of them by name, or one.

        Raises:
            ModelNotFound: there is no such one.
        """
        ...

    def versions(self, model: Model) -> AsyncIterator[Version]:
        """By number."""
        ...

    async def aliases(self, model: Model) -> list[Alias]:
        """By name."""
        ...

    def moves(self, model: Model) -> AsyncIterator[AliasMove]:
        """Every move of every alias the model ever had, oldest first."""
        ...

    def retired_names(self) -> AsyncIterator[RetiredName]:
        """By name."""
        ...
