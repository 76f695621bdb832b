"""What the exceptions of asyncpg mean, bare or wrapped by SQLAlchemy."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import (  # type: ignore[import-untyped]
    InterfaceError,
    InternalClientError,
    PostgresError,
)
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree

from domain.errors import DatabaseUnavailable

_CLASSES = ("08", "28", "3D", "40", "53", "57P", "58", "XX")
"""Connections, logins, no such database, deadlocks, resources, operators, disks, its own faults."""
_CODES = {
    "25006": "it is read-only now",
    "25P03": "the transaction did nothing for too long",
    "40001": "others changed the same rows at the same time",
    "40P01": "others changed the same rows at the same time",
    "55P03": "others have been writing for too long",
    "57014": "it took too long",
}
QUERY_CANCELED = "57014"
_LOST = ("08", "57P01", "57P02")

# What opening a connection raises for a raw one, SQLAlchemy does not wrap once more.
_Unopened = AsyncAdapt_asyncpg_dbapi.Error
Failure = (
    *(DBAPIError, PostgresError, InterfaceError, InternalClientError, OSError, NoneFree),
    _Unopened,
)


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code of what went wrong; empty where it was not the server that said so."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, and another one may well work."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_lost(error.orig or ValueError())
    closed = isinstance(error, InterfaceError) and "closed" in str(error)
    return closed or isinstance(error, ConnectionError) or sqlstate(error).startswith(_LOST)


@contextmanager
def translate_failures() -> Iterator[None]:
    """Raises DatabaseUnavailable for what lies outside the statement; with no address or password.

    Callers from afar read it.
    """
    try:
        yield
    except Failure as error:
        cause = _cause(error)
        if cause is None:
            raise
        raise DatabaseUnavailable(f"The database cannot do it now: {cause}.") from error


def _cause(error: BaseException) -> str | None:
    code = sqlstate(error)
    if code in _CODES:
        return _CODES[code]
    if code.startswith(_CLASSES):
        return str(getattr(error, "orig", error)).strip().rstrip(".")
    return None if code else _cause_on_this_side(error)


def _cause_on_this_side(error: BaseException) -> str | None:
    if isinstance(error, NoneFree):
        return "all connections are in use"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, socket.gaierror):
        return "its host has no address"
    if isinstance(error, OSError):
        reason = f" ({os.strerror(error.errno)})" if error.errno else ""
        return f"it cannot be reached{reason}"
    if isinstance(error, InternalClientError):
        return str(error)
    return "the connection broke" if is_lost(error) else None
