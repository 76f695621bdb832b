"""Connections to PostgreSQL, of one event loop."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import NullPool, Select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from adapters.sql.mapping import AnyRow, Values
from adapters.sql.postgres_errors import Failure, is_lost, translate_failures
from domain.errors import DatabaseUnavailable

T = TypeVar("T")

_LONGEST_USE = 1800
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


@dataclass(eq=False, slots=True)
class Link:
    """A connection: SQLAlchemy's, in autocommit, and asyncpg's in it."""

    connection: AsyncConnection
    driver: asyncpg.Connection
    opened: float

    @property
    def open(self) -> bool:
        """Whether both think that it is; asyncpg notices by itself when an idle one ends."""
        return not (self.connection.invalidated or self.driver.is_closed())

    def break_off(self) -> None:
        """Closes it without a word."""
        inner: Any = self.connection.sync_connection
        with suppress(RuntimeError):  # its event loop may be closed
            inner.invalidate()

    async def send(self, statements: str, patience: float | None) -> str:
        """Runs statements without parameters in one round trip; returns the tag of the last."""
        return str(await self.driver.execute(statements, timeout=patience))


class Pool:
    """Connections that wait to be used again, the last one used first.

    SQLAlchemy's own pool would do, but takes as long as the point read that it is asked for. With
    one that is found closed all others that wait are dropped: after a restart of the server none
    is left.

    Args:
        connect: opens a connection.
        size: connections at most.
        timeout: seconds to wait for one.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], size: int, timeout: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.in_use = 0
        self._free = asyncio.Semaphore(size)
        self._places = asyncio.Semaphore(max(2, size - max(1, size // 4)))
        self._searches = asyncio.Semaphore(max(1, size // 2))
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )
        self._timeout = timeout
        self._idle: list[Link] = []
        self._used: set[Link] = set()
        self._closed = False
        self._point_reads: dict[Select[Any], PointRead] = {}

    # --- taking and giving back -----------------------------------------------------------------

    async def take(self) -> Link:
        """One for the caller alone, to be given back.

        Raises:
            DatabaseUnavailable: none became free in time.
        """
        await self._acquire(self._free)
        try:
            link = self._next() or await self._open()
        except BaseException:
            self._free.release()
            raise
        self._used.add(link)
        self.in_use = len(self._used)
        return link

    def give(self, link: Link, error: BaseException | None = None) -> None:
        """Takes it back after its use, which an error may have ended."""
        self._used.discard(link)
        self.in_use = len(self._used)
        self._free.release()
        # A statement may be running still after a timeout, and when the task was cancelled.
        over = error is None or not isinstance(error, TimeoutError | asyncio.CancelledError)
        if over and link.open and not (self._closed or link.driver.is_in_transaction()):
            self._idle.append(link)
            return
        link.break_off()
        if error is not None and is_lost(error):
            self._drop_idle()

    def _next(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if not link.open:
                link.break_off()
                self._drop_idle()
            elif self.loop.time() - link.opened > _LONGEST_USE:
                link.break_off()
            else:
                return link
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().break_off()

    async def _open(self) -> Link:
        connection = await self._engine.connect()
        inner: Any = connection.sync_connection
        return Link(connection, inner.connection.driver_connection, self.loop.time())

    async def _acquire(self, semaphore: asyncio.Semaphore) -> None:
        try:
            if semaphore.locked():
                async with asyncio.timeout(self._timeout):
                    await semaphore.acquire()
            else:
                await semaphore.acquire()
        except TimeoutError:
            raise DatabaseUnavailable(
                f"All connections to the database were in use for {self._timeout:g} seconds."
            ) from None

    # --- what they are used for -----------------------------------------------------------------

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One among those who may keep a connection for long, so that point reads find one free.

        Raises:
            DatabaseUnavailable: none became free in time.
        """
        await self._acquire(self._places)
        try:
            yield
        finally:
            self._places.release()

    @asynccontextmanager
    async def searching(self) -> AsyncIterator[None]:
        """A place for a search: however many there are, transactions find one too.

        Raises:
            DatabaseUnavailable: none became free in time.
        """
        await self._acquire(self._searches)
        try:
            async with self.place():
                yield
        finally:
            self._searches.release()

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """One for the block."""
        link = await self.take()
        try:
            yield link
        except BaseException as error:
            self.give(link, error)
            raise
        self.give(link)

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

    async def begin(self, opening: str, patience: float | None) -> Link:
        """A connection on which these statements have begun a transaction."""
        link = await self.take()
        try:
            await link.send(opening, patience)
        except BaseException as error:
            self.give(link, error)
            raise
        return link

    async def first(self, statement: Select[Any], values: Values, patience: float) -> AnyRow | None:
        """The first row, past SQLAlchemy's connection and cursor."""
        read = self._point_reads.get(statement) or self._prepared(statement)
        link = await self.take()
        try:
            row = await link.driver.fetchrow(read.text, *read.arguments(values), timeout=patience)
        except BaseException as error:
            self.give(link, error)
            raise
        self.give(link)
        return None if row is None else read.row(row)

    def _prepared(self, statement: Select[Any]) -> PointRead:
        compiled: Any = statement.compile(dialect=self._engine.dialect)
        named_tuple: Any = namedtuple  # noqa: PYI024 - the fields are known only now
        kind = named_tuple("Row", statement.selected_columns.keys())
        read = PointRead(str(compiled), compiled.positiontup, compiled.params, kind._make)
        self._point_reads[statement] = read
        return read

    # --- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """Closes those that wait, and breaks off those in use."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                while self._idle:
                    await self._idle.pop().connection.close()
        self.abandon()

    def abandon(self) -> None:
        """Breaks every connection off."""
        self._closed = True
        for link in (*self._idle, *self._used):
            link.break_off()
