"""PostgreSQL through asyncpg, for any number of replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.sql.database import Database, Snapshot, Transaction, Work
from adapters.sql.errors import too_costly
from adapters.sql.mapping import AnyRow, Values
from adapters.sql.postgres_errors import (
    QUERY_CANCELED,
    Failure,
    sqlstate,
    translate_failures,
)
from adapters.sql.postgres_pool import Link, Pool
from adapters.sql.postgres_url import read_url
from application.settling import settle
from domain.errors import DatabaseUnavailable

T = TypeVar("T")

_WRITERS = 0x6D6F64656C796172
_MIGRATION = _WRITERS + 1
"""Keys of advisory locks: shared by all who write; of who migrates."""
_LONGEST_WRITE = 300
"""Seconds that one statement of a transaction may take."""
_IDLE = 30
"""Seconds between two statements after which PostgreSQL gives a transaction up: whoever holds it
is frozen or cut off, and others wait for its locks."""
_LOOKING = 2
"""Seconds between two looks of a statement that runs whether its client is there still."""
_PLANNING = {
    **dict.fromkeys(("enable_seqscan", "enable_bitmapscan"), "off"),
    **dict.fromkeys(("enable_hashjoin", "enable_mergejoin"), "off"),
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
"""How a list is found is chosen in :mod:`adapters.sql.lists`, by counting; its statements mean what
is left to PostgreSQL here: to walk an index, and to probe others for each row. By estimates that
know nothing of how labels go together, it would rather read tables whole; and it would compile, or
call helpers, for longer than most statements run."""
_FETCHED = 100
"""Rows of a snapshot that are held at a time."""

# Several statements in one message are one round trip.
_LIMITS = f"SET LOCAL statement_timeout = '{_LONGEST_WRITE}s'"
_SHARE = f"SELECT pg_advisory_xact_lock_shared({_WRITERS})"
_EXCLUDE = f"SELECT pg_advisory_xact_lock({_WRITERS})"
_BEGIN = f"BEGIN; {_LIMITS}; {_SHARE}"
_BEGIN_ANEW = f"ROLLBACK; BEGIN; {_LIMITS}; {_EXCLUDE}"
_UNLIMITED = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
_BEGIN_SNAPSHOT = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_UNLIMITED}; SELECT 1"
_BEGIN_MIGRATION = (
    f"BEGIN; {_UNLIMITED}; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({_MIGRATION}); "
    "SET LOCAL lock_timeout = '10s'"
)


class PostgresDatabase(Database):
    """One database of a PostgreSQL server, version 14 or newer, in UTF-8.

    Reads run in autocommit, without a round trip before or after the statement. Transactions are
    READ COMMITTED: what must not change meanwhile is read FOR UPDATE. A read whose connection was
    lost is repeated once, on a fresh one; so is the beginning of a transaction.

    It is closed on the event loop that used it; then another loop may use it.

    Args:
        url: see :func:`adapters.sql.postgres_url.read_url`.
        pool_size: connections at most, 3 or more; some are kept free for point reads.
        timeout: seconds to wait for a connection, or for a lock.
        search_limit: seconds after which a statement of a search is given up.

    Raises:
        InvalidSettings: the URL asks for something that is not supported.
    """

    embedded = False

    def __init__(
        self, url: str, *, pool_size: int = 10, timeout: float = 10.0, search_limit: float = 10.0
    ) -> None:
        self._address = read_url(url)
        self._size = pool_size
        self._timeout = timeout
        self._search_limit = search_limit
        self._patience = search_limit + timeout
        self._pool: Pool | None = None

    @property
    def place(self) -> str:
        return self._address.place

    @property
    def connections(self) -> tuple[int, int]:
        return 0 if self._pool is None else self._pool.in_use, self._size

    def exists(self) -> bool:
        return True

    # --- connections ----------------------------------------------------------------------------

    def _here(self) -> Pool:
        """The pool of the event loop that is running."""
        if self._pool is None or self._pool.loop is not asyncio.get_running_loop():
            self.dispose()
            self._pool = self._new_pool()
        return self._pool

    def _new_pool(self) -> Pool:
        return Pool(self._connect, self._size, self._timeout)

    async def _connect(self) -> asyncpg.Connection:
        seconds = {
            "statement_timeout": self._search_limit,
            "lock_timeout": self._timeout,
            "idle_in_transaction_session_timeout": _IDLE,
            "client_connection_check_interval": _LOOKING,
        }
        settings = {name: f"{value * 1000:.0f}" for name, value in seconds.items()}
        settings |= _PLANNING
        if "application_name=" not in self._address.dsn:
            settings["application_name"] = "modelyard"
        try:
            return await asyncpg.connect(
                self._address.dsn,
                timeout=self._address.connect_timeout or self._timeout,
                server_settings=settings,
            )
        except asyncpg.UndefinedObjectError as error:
            raise DatabaseUnavailable(f"PostgreSQL 14 or newer is needed: {error}.") from error
        except ValueError as error:
            raise DatabaseUnavailable(f"DATABASE_URL is wrong: {error}.") from None

    # --- reading --------------------------------------------------------------------------------

    async def first(self, statement: Select[Any], values: Values) -> AnyRow | None:
        pool = self._here()
        return await pool.twice(lambda: pool.first(statement, values, self._patience))

    async def point(self, work: Work[T]) -> T:
        pool = self._here()
        return await pool.twice(lambda: self._read(pool, work))

    async def search(self, work: Work[T], *, limited: bool = True) -> T:
        pool = self._here()
        if not limited:
            return await self._whole(pool, _BEGIN_SNAPSHOT, work)
        async with pool.searching():
            return await pool.twice(lambda: self._search(pool, work))

    async def _search(self, pool: Pool, work: Work[T]) -> T:
        try:
            return await self._read(pool, work)
        except Failure as error:
            if sqlstate(error) == QUERY_CANCELED:
                raise too_costly(self._search_limit) from error
            raise

    async def _read(self, pool: Pool, work: Work[T]) -> T:
        async def read() -> T:
            async with asyncio.timeout(self._patience), pool.link() as link:
                return await link.connection.run_sync(work)

        return await _cancelled_once(read())

    # --- transactions ---------------------------------------------------------------------------

    async def begin(self) -> Transaction:
        return await self._begin(self._here(), _BEGIN)

    async def _begin(
        self, pool: Pool, opening: str, *, patient: bool = False
    ) -> _PostgresTransaction:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pool.place())
            patience = None if patient else self._patience
            link = await pool.twice(partial(pool.begin, opening, patience))
            stack.callback(pool.give, link)
            return _PostgresTransaction(link, stack.pop_all(), self._patience)

    async def _whole(self, pool: Pool, opening: str, work: Work[T], *, patient: bool = False) -> T:
        """A transaction from its beginning, which ``patient`` ones wait for, to its end."""
        transaction = await self._begin(pool, opening, patient=patient)
        try:
            result = await transaction.run(work)
            await transaction.commit()
        finally:
            await transaction.close()
        return result

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        transaction = await self._begin(self._here(), _BEGIN_SNAPSHOT)
        try:
            yield _PostgresSnapshot(transaction.link.connection)
        finally:
            await transaction.close()

    # --- where no event loop is -----------------------------------------------------------------

    def read(self, work: Work[T]) -> T:
        return self._apart(_BEGIN_SNAPSHOT, work)

    def migrate(self, work: Work[T]) -> T:
        def checked(connection: Connection) -> T:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
            if encoding != "UTF8":
                raise DatabaseUnavailable(f"The database is in {encoding}; create one in UTF8.")
            return work(connection)

        return self._apart(_BEGIN_MIGRATION, checked, patient=True)

    def _apart(self, opening: str, work: Work[T], *, patient: bool = False) -> T:
        """In a thread, with a loop of its own: that of the caller may be running."""

        async def whole() -> T:
            pool = self._new_pool()
            try:
                return await self._whole(pool, opening, work, patient=patient)
            finally:
                await pool.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, whole()).result()

    # --- the end --------------------------------------------------------------------------------

    def dispose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.abandon()

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


async def _cancelled_once(work: Coroutine[Any, Any, T]) -> T:
    """Lets the work end by itself when it is cancelled, for which asyncpg tells the server.

    A scope of anyio would cancel it again and again, and the statement would go on.
    """
    task = asyncio.ensure_future(work)
    return await settle(task, on_cancel=task.cancel)


class _PostgresTransaction(Transaction):
    def __init__(self, link: Link, stack: AsyncExitStack, patience: float) -> None:
        self.committed = False
        self.link = link
        self._stack = stack
        self._patience = patience
        self._open = True
        self._untouched = True

    async def run(self, work: Work[T], *, bulk: bool = False) -> T:  # noqa: ARG002
        assert self._open, "the transaction has ended"
        self._untouched = False
        with translate_failures():
            return await _cancelled_once(self.link.connection.run_sync(work))

    async def exclude_writers(self) -> None:
        assert self._open, "the transaction has ended"
        # Anew while it may: of two that share the lock and want it alone, neither would get it.
        statements = _BEGIN_ANEW if self._untouched else _EXCLUDE
        self._untouched = False
        with translate_failures():
            await self.link.send(statements, self._patience)

    async def commit(self) -> None:
        assert self._open, "the transaction has ended"
        try:
            await settle(asyncio.ensure_future(self._commit()))
        finally:
            await self.close()

    async def _commit(self) -> None:
        try:
            outcome = await self.link.send("COMMIT", self._patience)
        except Failure as error:
            self.link.break_off()
            raise DatabaseUnavailable(
                "The database was lost during the commit, which may have happened or not; "
                "look, or repeat the request with the same Idempotency-Key."
            ) from error
        if outcome != "COMMIT":
            raise DatabaseUnavailable("The transaction was rolled back: a statement had failed.")
        self.committed = True

    async def close(self) -> None:
        if self._open:
            self._open = False
            await settle(asyncio.ensure_future(self._leave()))

    async def _leave(self) -> None:
        async with self._stack:
            try:
                if not self.committed and self.link.open:
                    await self.link.send("ROLLBACK", self._patience)
            except Failure:
                self.link.break_off()


class _PostgresSnapshot(Snapshot):
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def stream(self, statement: Select[Any], read: Callable[[AnyRow], T]) -> AsyncIterator[T]:
        options = {"yield_per": _FETCHED}
        with translate_failures():
            result = await self._connection.stream(statement, execution_options=options)
        while True:
            with translate_failures():
                rows = await result.fetchmany(_FETCHED)
            if not rows:
                return
            for row in rows:
                yield read(row)
