"""What a driver's exceptions mean to the registry."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.exc import DBAPIError, IntegrityError

from adapters.sql.tables import metadata
from domain.errors import DatabaseUnavailable, ModelyardError, SearchTooCostly

_UNIQUE = re.compile(r"UNIQUE constraint failed: (.+)")
_OUTSIDE_CAUSES = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


def _by_columns() -> dict[frozenset[str], str]:
    return {
        frozenset(f"{table.name}.{column.name}" for column in constraint.columns): str(
            constraint.name
        )
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint | PrimaryKeyConstraint)
    }


_NAMES = _by_columns()


def violated(error: IntegrityError) -> str | None:
    """The name of the constraint that refused a row.

    PostgreSQL names it; SQLite names the columns of a unique one, and nothing of a foreign key.
    """
    named = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    if isinstance(named, str):
        return named
    match = _UNIQUE.search(str(error.orig))
    return _NAMES.get(frozenset(match[1].split(", "))) if match else None


@contextmanager
def refusing(errors: Mapping[str, Callable[[], ModelyardError]]) -> Iterator[None]:
    """Raises the domain's error where one of these constraints, by name, refuses a row."""
    try:
        yield
    except IntegrityError as error:
        refused = errors.get(violated(error) or "")
        if refused is None:
            raise
        raise refused() from error


def too_costly(seconds: float) -> SearchTooCostly:
    """The error for a search that has had its time."""
    return SearchTooCostly(
        f"The search was given up after {seconds:g} seconds; narrow it by a model, a time, or "
        "=, <, > or IN on a tag, a metric or a parameter, or take out LIKE and ILIKE."
    )


def is_busy(error: DBAPIError) -> bool:
    """Whether another connection of SQLite holds what this one needs, for now."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_interrupted(error: DBAPIError) -> bool:
    """Whether SQLite was told to give the statement up."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_INTERRUPT


@contextmanager
def translate_outages() -> Iterator[None]:
    """Raises DatabaseUnavailable for failures outside the statement: locks, disks, files."""
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in _OUTSIDE_CAUSES:
            raise DatabaseUnavailable(f"The database says: {error.orig}.") from error
        raise
