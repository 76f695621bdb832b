"""Where and how statements run: what the databases have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Select

from adapters.sql.mapping import AnyRow, Values

T = TypeVar("T")
Work = Callable[[Connection], T]


class Transaction(Protocol):
    """One transaction that may write. Ends with :meth:`close`, in any case.

    Attributes:
        committed: whether it is certain that what was written stays.
    """

    committed: bool

    async def run(self, work: Work[T], *, bulk: bool = False) -> T:
        """Runs statements inside; ``bulk`` says that they touch hundreds of rows.

        Raises:
            DatabaseUnavailable
        """
        ...

    async def exclude_writers(self) -> None:
        """Waits until no other transaction writes, and keeps new ones out until this one ends.

        Raises:
            DatabaseUnavailable: others are writing for too long.
        """
        ...

    async def commit(self) -> None:
        """Raises: DatabaseUnavailable; unless the answer was lost, nothing has happened then."""
        ...

    async def close(self) -> None:
        """Rolls back what was not committed."""
        ...


class Snapshot(Protocol):
    """All rows as they were at one moment, while others go on writing."""

    def stream(self, statement: Select[Any], read: Callable[[AnyRow], T]) -> AsyncIterator[T]:
        """What ``read`` makes of each row, in bounded memory; several may be read in turns.

        Raises:
            DatabaseUnavailable
        """
        ...


class Database(Protocol):
    """Runs plain functions of a SQLAlchemy connection; they must read their results whole.

    Attributes:
        embedded: whether this service is the only one that uses it, and so migrates it.
        place: where it is, for people to read; without passwords.
    """

    @property
    def embedded(self) -> bool: ...

    @property
    def place(self) -> str: ...

    @property
    def connections(self) -> tuple[int, int]:
        """How many are in use, and how many may be; 0 and 0 where there is no limit."""
        ...

    async def point(self, work: Work[T]) -> T:
        """Runs a read of a few rows that indexes find.

        Raises:
            DatabaseUnavailable
        """
        ...

    async def first(self, statement: Select[Any], values: Values) -> AnyRow | None:
        """The first row of one of the module constants that are point reads, on the fast path.

        Raises:
            DatabaseUnavailable
        """
        ...

    async def search(self, work: Work[T], *, limited: bool = True) -> T:
        """Runs a read that may take its time, which has a limit unless told otherwise.

        Raises:
            DatabaseUnavailable
            SearchTooCostly: it took longer.
        """
        ...

    async def begin(self) -> Transaction:
        """Begins a transaction.

        What it reads for an update, or writes, nobody else writes until it ends.

        Raises:
            DatabaseUnavailable: also when others held it up for too long.
        """
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Fixes a moment.

        Raises:
            DatabaseUnavailable
        """
        ...

    def exists(self) -> bool:
        """Whether there is a database at its place, with a schema or without one. Blocks.

        Raises:
            DatabaseUnavailable
        """
        ...

    def read(self, work: Work[T]) -> T:
        """Runs a read, also where no event loop is, or another one. Blocks.

        Raises:
            DatabaseUnavailable
        """
        ...

    def migrate(self, work: Work[T]) -> T:
        """Runs what changes the schema, whole or not at all, alone among all processes. Blocks.

        Raises:
            DatabaseUnavailable
        """
        ...

    def dispose(self) -> None:
        """Closes every connection; a later use opens them again. Blocks.

        Searches that run are interrupted; nothing else may be running.
        """
        ...

    async def close(self) -> None:
        """As :meth:`dispose`."""
        ...
