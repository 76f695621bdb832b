"""Queries, answered straight from storage without loading aggregates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from application.filters import Expression, OrderTerm
from application.records import (
    AliasMoveRecord,
    AliasRecord,
    ModelRecord,
    RegistryStats,
    VersionRecord,
)
from domain.values import AliasName, ModelName, Reference

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """One record with the entity tag of its present state (RFC 9110, 8.8.3; without quotes)."""

    record: T
    etag: str


MAX_PAGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list.

    Attributes:
        filter: only items that satisfy it; None for all.
        order: most significant first; empty for the default order of the list. Ties are broken
            by the default order, so that every order is total and stable while others insert.
        size: at most so many items.
        token: ``next_page_token`` of the page before; None for the first page.
    """

    filter: Expression | None = None
    order: tuple[OrderTerm, ...] = ()
    size: int = 50
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items, and the token of the next page; None after the last.

    A page has fewer items than asked for, but one at least, where more would take some
    :data:`MAX_PAGE_BYTES`.
    """

    items: list[T]
    next_page_token: str | None


class RegistryReader(Protocol):
    """Every method may raise DatabaseUnavailable; those with pages InvalidPageToken too, and
    SearchTooCostly where a filter or an order takes too long."""

    async def model(self, name: ModelName) -> Found[ModelRecord]:
        """Raises: ModelNotFound."""
        ...

    async def models(self, page: PageRequest) -> Page[ModelRecord]:
        """By default ordered by name."""
        ...

    async def version(self, model: ModelName, reference: Reference) -> Found[VersionRecord]:
        """Raises: ModelNotFound, VersionNotFound, AliasNotFound."""
        ...

    async def versions(
        self, page: PageRequest, *, model: ModelName | None = None
    ) -> Page[VersionRecord]:
        """Of one model or of all; by default the newest first.

        Raises:
            ModelNotFound: a model is named and absent.
        """
        ...

    async def alias(self, model: ModelName, alias: AliasName) -> Found[AliasRecord]:
        """Raises: ModelNotFound, AliasNotFound."""
        ...

    async def aliases(self, model: ModelName, page: PageRequest) -> Page[AliasRecord]:
        """By name (filter and order are ignored). Raises: ModelNotFound."""
        ...

    async def alias_history(
        self, model: ModelName, alias: AliasName, page: PageRequest
    ) -> Page[AliasMoveRecord]:
        """Newest first (filter and order are ignored), also after the alias is deleted.

        Raises:
            ModelNotFound
            AliasNotFound: the model never had an alias of this name.
        """
        ...

    async def stats(self) -> RegistryStats:
        """Counts over everything; may take seconds on a large registry."""
        ...
