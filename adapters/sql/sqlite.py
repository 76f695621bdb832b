"""One SQLite file, for any number of processes."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from sqlalchemy import Connection, NullPool, Select, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from adapters.sql.database import Database, Snapshot, Transaction, Work
from adapters.sql.errors import is_busy, translate_outages
from adapters.sql.folding import fold
from adapters.sql.mapping import AnyRow, Values
from adapters.sql.tables import models
from adapters.sql.threads import Search, finish, new_threads
from domain.errors import DatabaseUnavailable

T = TypeVar("T")

_POLL = 0.003
_WAL_LIMIT = 64 << 20
"""Bytes to which SQLite cuts the write-ahead log back, once a large transaction is through."""
_FETCHED = 100
"""Rows of a snapshot that are held at a time."""


class SqliteDatabase(Database):
    """One SQLite file in WAL mode, for any number of processes, one event loop at a time in each.

    A read of a few cached pages takes less time than handing it to a thread, so point reads run
    on the event loop, on a connection of their own; should one meet a lock it moves to a thread.
    Searches run in a few threads. Writers queue inside the process (in order of arrival)
    and poll for SQLite's write lock among processes; once they have it nothing in the way can
    block, so their statements run on the event loop too, except bulky ones and the commit, which
    waits for the disk. All connections are in autocommit with explicit BEGIN IMMEDIATE.

    Args:
        url: ``sqlite:///path/to/file.db``. Only :meth:`migrate` creates the file.
        timeout: seconds to wait for the write lock.
        search_limit: seconds after which a search is given up.
    """

    embedded = True

    def __init__(self, url: str, *, timeout: float = 10.0, search_limit: float = 10.0) -> None:
        self.path = Path(make_url(url).database or "")
        self._timeout = timeout
        self._search_limit = search_limit
        self._searches: set[Search] = set()
        self._searchers, self._writer = new_threads()
        self._point: Connection | None = None
        self._idle: list[Connection] = []
        self._write: Connection | None = None
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._engine = create_engine(
            "sqlite://", creator=self._open, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        event.listen(self._engine, "connect", _prepare)

    @property
    def place(self) -> str:
        return str(self.path.absolute())

    @property
    def connections(self) -> tuple[int, int]:
        return 0, 0

    def exists(self) -> bool:
        return self.path.exists()

    def _open(self, mode: str = "rw") -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )

    async def point(self, work: Work[T]) -> T:
        with translate_outages():
            if self._point is None:
                self._point = self._connect_impatient()
            try:
                return work(self._point)
            except DBAPIError as error:
                if not is_busy(error):
                    raise
        return await self.search(work)

    async def first(self, statement: Select[Any], values: Values) -> AnyRow | None:
        return await self.point(lambda db: db.execute(statement, values).first())

    async def search(self, work: Work[T], *, limited: bool = True) -> T:
        search = Search(self._search_limit if limited else math.inf)
        self._searches.add(search)
        try:
            run = partial(self._search, search, work)
            return await finish(self._searchers, run, on_cancel=search.stop)
        finally:
            self._searches.discard(search)

    def _search(self, search: Search, work: Work[T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            with search.watching(connection):
                return work(connection)
        finally:
            self._idle.append(connection)

    def _connect_impatient(self) -> Connection:
        connection = self._engine.connect()
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        return connection

    async def begin(self) -> Transaction:
        deadline = time.monotonic() + self._timeout
        turn = self._line()
        try:
            async with asyncio.timeout(self._timeout):
                await turn.acquire()
        except TimeoutError:
            raise _too_busy(self._timeout) from None
        try:
            connection = await self._begin_immediate(deadline)
        except BaseException:
            turn.release()
            raise
        return _SqliteTransaction(self, self._writer, connection, turn)

    def _line(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        return self._turn[1]

    async def _begin_immediate(self, deadline: float) -> Connection:
        with translate_outages():
            while True:
                if self._write is None:
                    self._write = self._connect_impatient()
                try:
                    self._write.exec_driver_sql("BEGIN IMMEDIATE")
                except DBAPIError as error:
                    if not is_busy(error):
                        raise
                else:
                    return self._write
                if time.monotonic() >= deadline:
                    raise _too_busy(self._timeout)
                await asyncio.sleep(_POLL)

    def drop_writer(self) -> None:
        """Forgets the write connection after a failure; what it had not committed is undone."""
        if self._write is not None:
            with suppress(DBAPIError, sqlite3.Error):
                self._write.close()
            self._write = None

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        stack = ExitStack()
        try:
            yield await run_sync(self._fix_moment, stack)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(stack.close)

    def _fix_moment(self, stack: ExitStack) -> Snapshot:
        connection = stack.enter_context(self._reading())
        stack.callback(connection.exec_driver_sql, "ROLLBACK")
        connection.exec_driver_sql("BEGIN")
        # SQLite fixes the moment with the first read.
        connection.execute(select(models.c.id).limit(1)).first()
        return _SqliteSnapshot(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translate_outages(), self._engine.connect() as connection:
            yield connection

    def read(self, work: Work[T]) -> T:
        with self._reading() as connection:
            return work(connection)

    def migrate(self, work: Work[T]) -> T:
        """As everywhere; creates the file.

        Foreign keys are not enforced inside, so that tables can be rebuilt, but must hold at the
        end.
        """
        self._create()
        with self._reading() as connection:
            self._enter_wal(connection)
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                if broken:
                    raise DatabaseUnavailable(f"Rows would lose what they refer to: {broken}.")
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
        return result

    def _create(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path.parent} cannot be made: {error}.") from error
        with suppress(sqlite3.OperationalError):
            self._open("rwc").close()

    def _enter_wal(self, connection: Connection) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            except DBAPIError as error:
                # SQLite's own busy handler is not asked while the journal mode changes.
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL)
            else:
                return

    def dispose(self) -> None:
        for search in tuple(self._searches):
            search.stop()
        self._searchers.shutdown()
        self._writer.shutdown()
        self._searchers, self._writer = new_threads()
        self.drop_writer()
        for connection in (self._point, *self._idle):
            if connection is not None:
                connection.close()
        self._point = None
        self._idle.clear()

    async def close(self) -> None:
        """As :meth:`dispose`, in a thread: the last one to leave a database tidies its files."""
        await asyncio.to_thread(self.dispose)


class _SqliteTransaction(Transaction):
    def __init__(
        self,
        database: SqliteDatabase,
        thread: ThreadPoolExecutor,
        connection: Connection,
        turn: asyncio.Lock,
    ) -> None:
        self.committed = False
        self._database = database
        self._thread = thread
        self._connection = connection
        self._turn = turn
        self._open = True

    async def run(self, work: Work[T], *, bulk: bool = False) -> T:
        assert self._open, "the transaction has ended"
        if bulk:
            return await finish(self._thread, lambda: work(self._connection))
        with translate_outages():
            return work(self._connection)

    async def exclude_writers(self) -> None:
        """It does from its beginning."""

    async def commit(self) -> None:
        assert self._open, "the transaction has ended"
        try:
            await finish(self._thread, self._commit)
        finally:
            await self.close()

    def _commit(self) -> None:
        self._connection.exec_driver_sql("COMMIT")
        self.committed = True

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            driver: Any = self._connection.connection.driver_connection
            if driver.in_transaction:
                self._connection.exec_driver_sql("ROLLBACK")
        except (DBAPIError, sqlite3.Error):
            self._database.drop_writer()
        finally:
            self._turn.release()


class _SqliteSnapshot(Snapshot):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def stream(self, statement: Select[Any], read: Callable[[AnyRow], T]) -> AsyncIterator[T]:
        rows = await run_sync(self._execute, statement)
        while batch := await run_sync(_next, rows, read):
            for item in batch:
                yield item

    def _execute(self, statement: Select[Any]) -> Iterator[AnyRow]:
        with translate_outages():
            result = self._connection.execution_options(yield_per=_FETCHED).execute(statement)
            return iter(result)


def _next(rows: Iterator[AnyRow], read: Callable[[AnyRow], T]) -> list[T]:
    with translate_outages():
        return [read(row) for row in islice(rows, _FETCHED)]


def _prepare(connection: Any, _record: object) -> None:
    connection.create_function("lower", 1, lambda text: text and fold(text), deterministic=True)
    for pragma in (
        "foreign_keys = ON",
        "synchronous = FULL",
        "case_sensitive_like = ON",
        "temp_store = MEMORY",
        "cache_size = -16384",
        f"journal_size_limit = {_WAL_LIMIT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _too_busy(timeout: float) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"Others have been writing to the database for {timeout:g} seconds.")
