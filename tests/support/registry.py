"""A registry's rows behind their ports, for each adapter, and things to put into them."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import delete

from adapters.memory.registry import MemoryDatabase, MemoryUnitOfWork
from adapters.memory.registry_reader import MemoryBlobReferences, MemoryRegistryReader
from adapters.memory.registry_rows import MemoryRegistryRows
from adapters.memory.registry_snapshot import MemoryRegistrySnapshot
from adapters.sql import migrate
from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.copying import SqlRegistryRows
from adapters.sql.database import Database
from adapters.sql.fences import SqlFences
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.snapshot import SqlRegistrySnapshot
from adapters.sql.sqlite import SqliteDatabase
from adapters.sql.tables import metadata, registry
from adapters.sql.unit_of_work import SqlUnitOfWork
from application.ports.blob_references import BlobReferences
from application.ports.registry_reader import RegistryReader
from application.ports.registry_rows import RegistryRows
from application.ports.registry_snapshot import RegistrySnapshot
from application.ports.unit_of_work import UnitOfWork
from domain.alias import Alias, AliasMove
from domain.errors import AliasNotFound
from domain.events import Event
from domain.model import Model, RetiredName
from domain.validation import Validation, Verdict
from domain.values import AliasName, Digest, FilePath, ModelName, VersionNumber
from domain.version import FileEntry, Manifest, Version

EPOCH = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Registry:
    """``failing`` makes what needs the storage fail while its block runs, a commit at least;
    ``fence`` draws a number for the lock of a name."""

    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    references: BlobReferences
    events: list[Event]
    failing: Callable[[], AbstractContextManager[None]]
    snapshot: Callable[[], RegistrySnapshot]
    fence: Callable[[str], Awaitable[int]]
    rows: RegistryRows


def memory_registry() -> Registry:
    database = MemoryDatabase()
    events: list[Event] = []

    @contextmanager
    def failing() -> Iterator[None]:
        database.available = False
        yield
        database.available = True

    return Registry(
        lambda: MemoryUnitOfWork(database, events.extend),
        MemoryRegistryReader(database),
        MemoryBlobReferences(database),
        events,
        failing,
        lambda: MemoryRegistrySnapshot(database),
        database.issue_fence,
        MemoryRegistryRows(database),
    )


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can take another byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def sqlite_registry(database: SqliteDatabase) -> Registry:
    return _sql_registry(database, full_disk)


def postgres_registry(url: str, database: Database) -> Registry:
    @contextmanager
    def cut_off() -> Iterator[None]:
        end_connections(url)
        yield

    return _sql_registry(database, cut_off)


def _sql_registry(
    database: Database, failing: Callable[[], AbstractContextManager[None]]
) -> Registry:
    events: list[Event] = []
    return Registry(
        lambda: SqlUnitOfWork(database, events.extend),
        SqlRegistryReader(database),
        SqlBlobReferences(database),
        events,
        failing,
        lambda: SqlRegistrySnapshot(database),
        SqlFences(database).issue,
        SqlRegistryRows(database),
    )


async def empty(database: Database) -> None:
    """Takes all rows out but the id of the registry."""
    transaction = await database.begin()
    for table in reversed(metadata.sorted_tables):
        if table is not registry:
            await transaction.run(lambda db, table=table: db.execute(delete(table)).close())  # type: ignore[misc]
    await transaction.commit()


def end_connections(url: str) -> None:
    """Ends every connection to this PostgreSQL database, as a restart of the server does."""
    run_apart(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()",
    )


def run_apart(url: str, statement: str) -> list[Any]:
    """The rows of a statement on a connection of its own, whatever event loop is running."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


@cache
def _template() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "empty.db")
        migrate.upgrade(SqliteDatabase(f"sqlite:///{path}"))
        return path.read_bytes()


@contextmanager
def sqlite_database(path: Path, *, timeout: float = 10.0) -> Iterator[SqliteDatabase]:
    """A database with its schema, closed at the end."""
    path.write_bytes(_template())
    database = SqliteDatabase(f"sqlite:///{path}", timeout=timeout)
    try:
        yield database
    finally:
        database.dispose()


# --- things -------------------------------------------------------------------------------------


def a_model(name: str = "churn", **fields: Any) -> Model:
    model = Model(uuid4().hex, ModelName(name), "ada", EPOCH, EPOCH)
    return replace(model, **fields)


def a_digest(number: int) -> Digest:
    return Digest(f"{number:064x}")


def a_manifest(*blobs: int, format: str | None = "onnx") -> Manifest:
    return Manifest.of(
        FileEntry(FilePath(f"{index}.bin"), 10 + blob, a_digest(blob), "application/x", format)
        for index, blob in enumerate(blobs or (1,))
    )


def a_version(model: Model, number: int, **fields: Any) -> Version:
    version = Version(
        model_id=model.id,
        number=VersionNumber(number),
        manifest=a_manifest(number),
        creator="ada",
        created_at=EPOCH + timedelta(seconds=number),
        updated_at=EPOCH + timedelta(seconds=number),
        validation=Validation(Verdict.ACCEPT, scanner="test 1"),
        facts={},
    )
    return replace(version, **fields)


async def register(registry: Registry, name: str = "churn", **fields: Any) -> Model:
    model = a_model(name, **fields)
    async with registry.uow() as uow:
        await uow.models.add(model)
        await uow.commit()
    return model


async def publish(registry: Registry, model: Model, **fields: Any) -> Version:
    """One version, as a publish does it."""
    async with registry.uow() as uow:
        current = await uow.models.get(model.name)
        number = await uow.models.allocate(current, EPOCH)
        version = a_version(current, number, **fields)
        await uow.versions.add(version)
        await uow.commit()
    return version


async def history(registry: Registry, model: Model) -> list[AliasMove]:
    """Every move of every alias the model ever had, oldest first."""
    async with registry.snapshot() as snapshot:
        return [move async for move in snapshot.moves(model)]


async def retired_names(registry: Registry) -> list[RetiredName]:
    """By name."""
    async with registry.snapshot() as snapshot:
        return [name async for name in snapshot.retired_names()]


async def point(registry: Registry, model: Model, name: str, version: int) -> Alias:
    """Sets or moves an alias."""
    async with registry.uow() as uow:
        alias_name, number = AliasName(name), VersionNumber(version)
        try:
            alias = await uow.aliases.get(model, alias_name)
            move = alias.move(number, actor="bob", at=EPOCH)
            assert move is not None
        except AliasNotFound:
            alias, move = Alias.assign(
                model_id=model.id,
                name=alias_name,
                version=number,
                actor="bob",
                at=EPOCH,
                moves=await uow.aliases.moves(model, alias_name),
            )
        await uow.aliases.put(alias, move)
        await uow.commit()
    return alias
