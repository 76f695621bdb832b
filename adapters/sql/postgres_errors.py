"""What the exceptions of asyncpg mean, bare or wrapped by SQLAlchemy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from socket import gaierror
from ssl import SSLError

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

_Adapted = AsyncAdapt_asyncpg_dbapi.Error  # what SQLAlchemy makes of asyncpg's, and then wraps
Failure = (
    *(DBAPIError, _Adapted, PostgresError, InterfaceError, InternalClientError),
    *(OSError, NoneFree),
)


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code of what went wrong; empty where it was not the server that said so."""
    return getattr(_origin(error), "sqlstate", None) or ""


def _origin(error: BaseException) -> BaseException:
    """The exception of asyncpg, whatever is around it."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return (error.__cause__ or error) if isinstance(error, _Adapted) else error


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, and another one may well work."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    origin = _origin(error)
    closed = isinstance(origin, InterfaceError) and "closed" in str(origin)
    return closed or isinstance(origin, ConnectionError) or sqlstate(origin).startswith(_LOST)


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
    origin, code = _origin(error), sqlstate(error)
    if code in _CODES:
        return _CODES[code]
    if code.startswith(_CLASSES):
        return str(origin).strip().rstrip(".")
    return None if code else _cause_on_this_side(origin)


def _cause_on_this_side(error: BaseException) -> str | None:
    match error:
        case NoneFree():
            return "all connections are in use"
        case TimeoutError():
            return "it does not answer"
        case OSError():
            return f"it cannot be reached{_reason(error)}"
        case InternalClientError():
            return str(error).rstrip(".")
    return "the connection broke" if is_lost(error) else None


def _reason(error: OSError) -> str:
    """In words that have no address."""
    if isinstance(error, SSLError):
        return f" (TLS: {getattr(error, 'verify_message', None) or error.reason})"
    if isinstance(error, gaierror):
        return " (its host has no address)"
    if "SSL" in str(error):
        return " (it takes no TLS)"
    return f" ({os.strerror(error.errno)})" if error.errno else ""
