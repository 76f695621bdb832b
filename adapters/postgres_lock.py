"""Locks among replicas by PostgreSQL's advisory locks, which need no other server.

They belong to sessions: PostgreSQL frees them when a connection ends, however its process did. A
session lasts from lock to lock, so not behind a proxy that lends its connections by transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress

import asyncpg  # type: ignore[import-untyped]

from application.ports.lock_manager import Fence, LockManager
from application.settling import settle
from domain.errors import LockTimeout, LockUnavailable

_ANSWER = 3.0
"""Seconds that PostgreSQL has for a connection, and for what involves no waiting."""
_SETTINGS = {
    "statement_timeout": "0",
    # A process that dies is noticed at once, by its connection; a machine within 25 seconds.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "2s",
}
_TRY = "SELECT pg_try_advisory_lock($1)"
_WAIT = "SET lock_timeout = {milliseconds}; SELECT pg_advisory_lock({key})"
_FREE = "SELECT pg_advisory_unlock($1)"
_FREE_ALL = "SELECT pg_advisory_unlock_all()"
_Failure = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class PostgresLockManager(LockManager):
    """Session-level advisory locks, on connections of its own.

    One connection has all locks that are free when they are asked for, however many. For one that
    another process holds, one of a few others waits in PostgreSQL's own line, and has it then.

    Args:
        dsn: as asyncpg reads it.
        queue: the line within this process: of those who want a name, one asks PostgreSQL.
        waiting: connections at most besides the first.
    """

    def __init__(self, dsn: str, *, queue: LockManager, waiting: int = 4) -> None:
        self._dsn = dsn
        self._queue = queue
        self._waiting = waiting
        self._sessions: _Sessions | None = None

    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[Fence | None]:  # noqa: ASYNC109
        """See the port. Where the connection is lost meanwhile, the block goes on unprotected."""
        deadline = asyncio.get_running_loop().time() + timeout
        async with self._queue.hold(name, timeout=timeout), AsyncExitStack() as stack:
            sessions, key = self._here(), _key(name)
            if not await sessions.take(key, stack):
                try:
                    await sessions.wait(key, deadline, stack)
                except TimeoutError:
                    raise LockTimeout(
                        f"Others were working on this for all of the {timeout:g} seconds waited; "
                        "try again."
                    ) from None
            yield None

    async def check(self) -> None:
        """Asks for a lock; one that others hold will do."""
        async with AsyncExitStack() as stack:
            await self._here().take(_key("check"), stack)

    def _here(self) -> _Sessions:
        """The sessions of the event loop that is running."""
        if self._sessions is None or self._sessions.loop is not asyncio.get_running_loop():
            self._sessions = _Sessions(self._dsn, self._waiting)
        return self._sessions


class _Sessions:
    """The sessions of one event loop, and no longer than that."""

    def __init__(self, dsn: str, waiting: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._dsn = dsn
        self._first: asyncio.Future[_Session] | None = None
        self._places = asyncio.Semaphore(waiting)
        self._idle: list[_Session] = []
        self._open: set[_Session] = set()
        self._lasting = asyncio.ensure_future(self._last())

    async def _last(self) -> None:
        """Until the event loop ends, which cancels what still runs."""
        try:
            await self.loop.create_future()
        finally:
            for session in self._open:
                session.end()

    async def take(self, key: int, stack: AsyncExitStack) -> bool:
        """Whether the lock was free; then it is taken, until the stack ends.

        Raises:
            LockUnavailable
        """
        return await settle(asyncio.ensure_future(self._take(key, stack)))

    async def _take(self, key: int, stack: AsyncExitStack) -> bool:
        session = await self._first_session()
        try:
            taken = await session.ask(_TRY, key)
        except LockUnavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
            session = await self._first_session()  # the other was lost while nobody used it
            taken = await session.ask(_TRY, key)
        if taken:
            stack.push_async_callback(session.leave, _FREE, key)
        return taken

    async def wait(self, key: int, deadline: float, stack: AsyncExitStack) -> None:
        """Waits for the lock and takes it, until the stack ends.

        Raises:
            TimeoutError: the deadline has come.
            LockUnavailable
        """
        async with asyncio.timeout_at(deadline):
            await stack.enter_async_context(self._places)
            session = self._idle_session() or await self._open_session()
        stack.callback(self._idle.append, session)
        stack.push_async_callback(session.leave, _FREE_ALL)
        await session.wait(key, deadline - self.loop.time())

    async def _first_session(self) -> _Session:
        """Opened by the first who asks, for all who ask meanwhile."""
        first = self._first
        if first is None or (first.done() and (first.exception() or first.result().ended)):
            first = self._first = asyncio.ensure_future(self._open_session())
        return await first

    def _idle_session(self) -> _Session | None:
        while self._idle:
            session = self._idle.pop()
            if not session.ended:
                return session
        return None

    async def _open_session(self) -> _Session:
        settings = {"application_name": "modelyard-locks", **_SETTINGS}
        with _translated_failures():
            connection = await asyncpg.connect(self._dsn, timeout=_ANSWER, server_settings=settings)
        session = _Session(connection)
        self._open = {one for one in self._open if not one.ended} | {session}
        return session


class _Session:
    """A connection that has locks; they are free when it ends."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    @property
    def ended(self) -> bool:
        return bool(self._connection.is_closed())

    async def ask(self, statement: str, *arguments: int) -> bool:
        """What the statement says, once the others have had their answers.

        Raises:
            LockUnavailable: the session has ended.
        """
        async with self._turn:
            with self._ended_by_failures():
                answer = await self._connection.fetchval(statement, *arguments, timeout=_ANSWER)
            return bool(answer)

    async def wait(self, key: int, seconds: float) -> None:
        """Waits for a lock; for as long it does nothing else.

        Raises:
            TimeoutError
            LockUnavailable: the session has ended.
        """
        statement = _WAIT.format(milliseconds=max(1, round(seconds * 1000)), key=key)
        waiting = asyncio.ensure_future(
            self._connection.execute(statement, timeout=seconds + _ANSWER)
        )
        with self._ended_by_failures():
            await settle(waiting, on_cancel=waiting.cancel)

    async def leave(self, statement: str, *arguments: int) -> None:
        """Frees locks by this statement; where that fails, they are free with the session's end."""
        with suppress(LockUnavailable):
            await settle(asyncio.ensure_future(self.ask(statement, *arguments)))

    def end(self) -> None:
        self._connection.terminate()

    @contextmanager
    def _ended_by_failures(self) -> Iterator[None]:
        try:
            with _translated_failures():
                yield
        except LockUnavailable:
            self.end()
            raise


@contextmanager
def _translated_failures() -> Iterator[None]:
    try:
        yield
    except asyncpg.LockNotAvailableError:
        raise TimeoutError from None
    except _Failure as error:
        raise LockUnavailable(f"Locks cannot be taken: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """For callers from afar: without addresses."""
    if isinstance(error, TimeoutError):
        return "PostgreSQL does not answer"
    if isinstance(error, OSError):
        reason = f" ({os.strerror(error.errno)})" if error.errno and error.errno > 0 else ""
        return f"PostgreSQL cannot be reached{reason}"
    return f"PostgreSQL says: {str(error).strip().rstrip('.')}"


def _key(name: str) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)
