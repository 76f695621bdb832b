"""All rows of a registry, copied from one database to another.

The tables and their columns are those of :mod:`adapters.sql.tables`, so that none is forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
)

from adapters.sql.blob_references import REGISTRY
from adapters.sql.database import Database, Snapshot
from adapters.sql.mapping import AnyRow, Values
from adapters.sql.tables import (
    alias_moves,
    fences,
    metadata,
    registry,
    turns,
    upload_segments,
    uploads,
    versions,
)
from application.ports.registry_rows import RegistryRows, TableSum
from domain.errors import DatabaseOfAnother

_COPIED = [
    table for table in metadata.sorted_tables if table not in {uploads, upload_segments}
]  # parents before children
_OF_EVERY_REGISTRY = {registry, fences, turns}
"""Tables that have rows before anything is registered."""
_LASTING = ("model_id", "number", "created_at", "digest", "alias", "version", "actor", "at")
_NUMBERED = {
    table: select(table.c.id, *(column for column in table.c if column.name in _LASTING))
    for table in (versions, alias_moves)
}
"""Tables that number their rows by themselves; of each row its number, and what never changes."""
_BATCH_ROWS = 500
_BATCH_BYTES = 4 << 20
_DELETED_AT_ONCE = 5000

_PLACE_IN_POSTGRES = select(
    func.current_database(), func.current_schema(), func.pg_postmaster_start_time()
)
_SEQUENCE = "pg_get_serial_sequence(:table, 'id')::regclass"
_LAST_IN_POSTGRES = text(f"SELECT coalesce(pg_sequence_last_value({_SEQUENCE}), 0)")
_GO_ON = text(f"SELECT setval({_SEQUENCE}, greatest(:last, 1), :last > 0)").bindparams(
    bindparam("last", type_=BigInteger)
)
_LAST_IN_SQLITE = text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = :table")


class _Row(NamedTuple):
    values: Values
    size: int


@dataclass(slots=True)
class _Tally:
    """Counts the rows that pass; sums up their digests, since databases differ in their order."""

    rows: int = 0
    total: int = 0

    def note(self, row: AnyRow) -> _Row:
        # SQLite keeps -0.0 as 0.0, which is why it counts as such.
        encoded = orjson.dumps([value + 0.0 if type(value) is float else value for value in row])
        digest = hashlib.sha256(encoded).digest()
        self.rows += 1
        self.total = (self.total + int.from_bytes(digest)) % (1 << 256)
        return _Row(row._asdict(), len(encoded))

    @property
    def sum(self) -> TableSum:
        return TableSum(self.rows, f"{self.total:064x}")


@dataclass(frozen=True, slots=True)
class _State:
    """What a registry is known by: its id, and the newest of its rows.

    Attributes:
        filled: whether it has anything but what every registry has.
        newest: the row with the highest number, by table; see ``_NUMBERED``.
    """

    registry: str
    filled: bool
    newest: Mapping[str, tuple[Any, ...]]


class SqlRegistryRows(RegistryRows):
    """Another database may be of another kind."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def same(self, other: SqlRegistryRows) -> bool:
        here, there = self.database, other.database
        if here.embedded and there.embedded:
            paths = Path(here.place), Path(there.place)
            return all(path.exists() for path in paths) and paths[0].samefile(paths[1])
        if here.embedded or there.embedded:
            return False
        places = [
            await each.point(lambda db: tuple(db.execute(_PLACE_IN_POSTGRES).one()))
            for each in (here, there)
        ]
        return places[0] == places[1]

    async def check(self, target: SqlRegistryRows) -> None:
        theirs = await target.database.search(_state, limited=False)
        await self.database.search(partial(_check_target, theirs=theirs), limited=False)

    async def copy(self, target: SqlRegistryRows) -> dict[str, TableSum]:
        transaction = await target.database.begin()
        try:
            await transaction.exclude_writers()
            theirs = await transaction.run(_state, bulk=True)
            await self.database.search(partial(_check_target, theirs=theirs), limited=False)
            await transaction.run(_empty, bulk=True)
            sums = {}
            async with self.database.snapshot() as snapshot:
                for table in _COPIED:
                    tally = _Tally()
                    async for batch in _batches(snapshot, table, tally):
                        await transaction.run(partial(_insert, table, batch), bulk=True)
                    sums[str(table.name)] = tally.sum
            # After the rows: what was given out meanwhile is at most left out.
            last = await self.database.search(_last_numbers)
            await transaction.run(partial(_finish, last), bulk=True)
            await transaction.commit()
        finally:
            await transaction.close()
        return sums

    async def sums(self) -> dict[str, TableSum]:
        sums = {}
        async with self.database.snapshot() as snapshot:
            for table in _COPIED:
                tally = _Tally()
                async for _ in snapshot.stream(select(table), tally.note):
                    pass
                sums[str(table.name)] = tally.sum
        return sums

    async def uploads(self) -> int:
        under_way = select(func.count()).select_from(uploads).where(uploads.c.sha256.is_(None))
        return await self.database.search(lambda db: int(db.execute(under_way).scalar_one()))


async def _batches(snapshot: Snapshot, table: Table, tally: _Tally) -> AsyncIterator[list[Values]]:
    batch: list[Values] = []
    size = 0
    async for row in snapshot.stream(select(table), tally.note):
        batch.append(row.values)
        size += row.size
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- what the target has ------------------------------------------------------------------------


def _state(db: Connection) -> _State:
    others = [table for table in metadata.sorted_tables if table not in _OF_EVERY_REGISTRY]
    newest = {}
    for table, rows in _NUMBERED.items():
        row = db.execute(rows.order_by(table.c.id.desc()).limit(1)).first()
        if row is not None:
            newest[table.name] = tuple(row)
    return _State(
        registry=str(db.execute(REGISTRY).scalar_one()),
        filled=any(db.execute(select(exists().select_from(table))).scalar() for table in others),
        newest=newest,
    )


def _check_target(db: Connection, theirs: _State) -> None:
    """Looks from the source at what the target has.

    Raises:
        DatabaseOfAnother
    """
    mine = str(db.execute(REGISTRY).scalar_one())
    if theirs.registry != mine:
        if theirs.filled:
            raise DatabaseOfAnother(
                f"The target has rows of the registry {theirs.registry}, and this one is {mine}; "
                "name an empty database."
            )
        return
    last = _last_numbers(db)
    for table, rows in _NUMBERED.items():
        newest = theirs.newest.get(table.name, (0,))
        here = db.execute(rows.where(table.c.id == newest[0])).first()
        if newest[0] > last[table.name] or (here is not None and tuple(here) != newest):
            raise DatabaseOfAnother(
                "The target has a copy of this registry that was written to since: its newest row "
                f"in {table.name} never was here, and would be lost. Name an empty database, or "
                "take that one for the source."
            )


def _last_numbers(db: Connection) -> dict[str, int]:
    """The highest number ever given out in each of the tables that number their rows."""
    last = _LAST_IN_SQLITE if db.dialect.name == "sqlite" else _LAST_IN_POSTGRES
    return {
        table.name: int(db.execute(last, {"table": table.name}).scalar_one()) for table in _NUMBERED
    }


# --- writing to it ------------------------------------------------------------------------------


def _empty(db: Connection) -> None:
    tables = metadata.sorted_tables
    if db.dialect.name == "postgresql":
        db.exec_driver_sql(f"TRUNCATE {', '.join(table.name for table in tables)}")
        return
    for table in reversed(tables):
        emptying = delete(table)
        if "id" in table.c:
            # SQLite keeps each row to which others may refer in memory, until the statement ends.
            emptying = emptying.where(table.c.id.in_(select(table.c.id).limit(_DELETED_AT_ONCE)))
        while db.execute(emptying).rowcount:
            pass


def _insert(table: Table, batch: list[Values], db: Connection) -> None:
    db.execute(insert(table), batch)


def _finish(last: Mapping[str, int], db: Connection) -> None:
    """Lets numbers go on where the source is, and tells PostgreSQL's planner what is there."""
    numbers = [{"table": table, "last": number} for table, number in last.items()]
    if db.dialect.name == "sqlite":
        db.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), numbers)
        db.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)"), numbers)
        return
    for number in numbers:
        db.execute(_GO_ON, number)
    db.exec_driver_sql(f"ANALYZE {', '.join(table.name for table in metadata.sorted_tables)}")
