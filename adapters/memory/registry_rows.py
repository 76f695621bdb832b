"""All rows of a registry in memory at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sized
from dataclasses import fields

from adapters.memory.registry import MemoryDatabase, Rows
from application.ports.registry_rows import RegistryRows, TableSum
from domain.errors import DatabaseOfAnother

_LEFT = {"uploads", "segments"}
_OF_EVERY_REGISTRY = {*_LEFT, "fences", "turns"}


class MemoryRegistryRows(RegistryRows):
    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def same(self, other: MemoryRegistryRows) -> bool:
        return self._database is other._database

    async def check(self, target: MemoryRegistryRows) -> None:
        for database in (self._database, target._database):
            database.check()
        mine, theirs = self._database.rows, target._database.rows
        if target._database.registry == self._database.registry:
            if _was_written_to(mine, theirs):
                raise DatabaseOfAnother("The target was written to since it was copied.")
        elif any(rows for name, rows in _tables(theirs) if name not in _OF_EVERY_REGISTRY):
            raise DatabaseOfAnother("The target has rows of another registry.")

    async def copy(self, target: MemoryRegistryRows) -> dict[str, TableSum]:
        async with target._database.turn:
            await self.check(target)
            rows = self._database.rows.copy()
            for name in _LEFT:
                setattr(rows, name, {})
            target._database.rows, target._database.registry = rows, self._database.registry
        return _sums(rows)

    async def sums(self) -> dict[str, TableSum]:
        self._database.check()
        return _sums(self._database.rows)

    async def uploads(self) -> int:
        self._database.check()
        return sum(upload.sha256 is None for upload in self._database.rows.uploads.values())


def _was_written_to(source: Rows, copy: Rows) -> bool:
    mine, theirs = _by_serial(source), _by_serial(copy)
    newest = max(theirs, default=0)
    return newest > source.last_serial or (
        newest in mine and repr(mine[newest]) != repr(theirs[newest])
    )


def _by_serial(rows: Rows) -> dict[int, object]:
    """What was published, and moves of aliases; without what may change."""
    published = {rows.serials[key]: version.created_at for key, version in rows.versions.items()}
    return published | {serial: (model, move) for serial, model, move in rows.moves}


def _tables(rows: Rows) -> Iterator[tuple[str, Sized]]:
    for item in fields(rows):
        if isinstance(table := getattr(rows, item.name), Sized):
            yield item.name, table


def _sums(rows: Rows) -> dict[str, TableSum]:
    return {
        name: TableSum(len(table), hashlib.sha256(repr(table).encode()).hexdigest())
        for name, table in _tables(rows)
        if name not in _LEFT
    }
