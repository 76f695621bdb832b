"""Connections to PostgreSQL, of one event loop."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]
from anyio import CancelScope
from sqlalchemy import Select, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from adapters.sql.mapping import AnyRow, Values
from adapters.sql.postgres_errors import Failure, is_lost, translate_failures
from domain.errors import DatabaseUnavailable

T = TypeVar("T")

_RECYCLED = 1800
"""Seconds after which a connection is replaced: things between may forget an idle one."""
_CLOSING = 2
"""Seconds for saying goodbye to the server."""


@dataclass(frozen=True, slots=True)
class PointRead:
    """A statement as asyncpg takes it.

    Attributes:
        text: with ``$1``, ``$2`` ... for the values.
        names: of the values, in that order.
        constants: values that are part of the statement.
        row: what makes a row with named fields.
    """

    text: str
    names: Sequence[str]
    constants: Values
    row: Callable[[asyncpg.Record], AnyRow]

    def arguments(self, values: Values) -> list[Any]:
        """The values in the order of the text."""
        return [values[n] if n in values else self.constants[n] for n in self.names]


class Pool:
    """SQLAlchemy's pool, in autocommit and without a reset when a connection comes back.

    Asyncpg notices the end of an idle connection by itself, so each is looked at when it is taken;
    with one that is closed all older ones are dropped: after a restart of the server none is left.

    Args:
        connect: opens a connection.
        size: connections at most.
        timeout: seconds to wait for one.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], size: int, timeout: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(max(2, size - max(1, size // 4)))
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._open,
            isolation_level="AUTOCOMMIT",
            pool_size=size,
            max_overflow=0,
            pool_timeout=timeout,
            pool_recycle=_RECYCLED,
            pool_use_lifo=True,
            pool_reset_on_return=None,
        )
        event.listen(self.engine.sync_engine, "checkout", self._look_at)
        self._timeout = timeout
        self._connect = connect
        self._opened: WeakSet[asyncpg.Connection] = WeakSet()
        self._suspect = False
        self._closed = False
        self._point_reads: dict[Select[Any], PointRead] = {}

    @property
    def in_use(self) -> int:
        """Connections that somebody works with."""
        pool: Any = self.engine.pool
        return int(pool.checkedout())

    async def _open(self) -> asyncpg.Connection:
        opened = await self._connect()
        self._opened.add(opened)
        return opened

    def _look_at(self, connection: Any, _record: object, _proxy: object) -> None:
        if self._suspect or connection.driver_connection.is_closed():
            self._suspect = False
            raise InvalidatePoolError

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One among those who may keep a connection for long, so that point reads find one free.

        Raises:
            DatabaseUnavailable: none became free in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._places.acquire()
        except TimeoutError:
            raise DatabaseUnavailable(
                f"All connections to the database were in use for {self._timeout:g} seconds."
            ) from None
        try:
            yield
        finally:
            self._places.release()

    async def twice(self, action: Callable[[], Awaitable[T]]) -> T:
        """Once more where the connection was lost; only for what has changed nothing yet.

        Raises:
            DatabaseUnavailable
        """
        with translate_failures():
            try:
                return await action()
            except Failure as error:
                if self._closed or not is_lost(error):
                    raise
            return await action()

    async def begin(self, opening: str, patience: float | None) -> AsyncConnection:
        """A connection on which these statements have begun a transaction."""
        connection = await self.engine.connect()
        try:
            await send(connection, opening, patience)
        except BaseException as error:
            self._suspect = is_lost(error)
            with CancelScope(shield=True):
                await connection.invalidate()
                await connection.close()
            raise
        return connection

    async def first(self, statement: Select[Any], values: Values, patience: float) -> AnyRow | None:
        """The first row, past SQLAlchemy's connection and cursor."""
        read = self._point_reads.get(statement) or self._prepared(statement)
        proxy = await self.engine.raw_connection()
        try:
            driver: Any = proxy.driver_connection
            row = await driver.fetchrow(read.text, *read.arguments(values), timeout=patience)
        except BaseException as error:
            self._suspect = is_lost(error)
            proxy.invalidate()
            raise
        proxy.close()
        return None if row is None else read.row(row)

    def _prepared(self, statement: Select[Any]) -> PointRead:
        compiled: Any = statement.compile(dialect=self.engine.dialect)
        named_tuple: Any = namedtuple  # noqa: PYI024 - the fields are known only now
        kind = named_tuple("Row", statement.selected_columns.keys())
        read = PointRead(str(compiled), compiled.positiontup, compiled.params, kind._make)
        self._point_reads[statement] = read
        return read

    async def close(self) -> None:
        """Closes idle connections, and breaks those in use off."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self.engine.dispose()
        self.abandon()

    def abandon(self) -> None:
        """Breaks every connection off."""
        self._closed = True
        for connection in tuple(self._opened):
            with suppress(RuntimeError):  # its loop is closed
                connection.terminate()


async def send(connection: AsyncConnection, statements: str, patience: float | None) -> str:
    """Runs statements without parameters in one round trip; returns the tag of the last."""
    proxy = await connection.get_raw_connection()
    driver: Any = proxy.driver_connection
    return str(await driver.execute(statements, timeout=patience))
