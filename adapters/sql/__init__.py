"""The registry's rows in SQL, with SQLAlchemy Core, on SQLite and on PostgreSQL.

Statements and row mappers are written once as plain functions of a SQLAlchemy ``Connection``;
a database of :mod:`adapters.sql.database` decides where and how they run.
"""

from __future__ import annotations

from adapters.sql.database import Database
from adapters.sql.sqlite import SqliteDatabase


def open_database(url: str, *, pool_size: int = 10) -> Database:
    """The database at this URL; nothing is opened before it is used.

    Args:
        url: ``sqlite:///path/to/file.db``, or ``postgresql://user:password@host/name``.
        pool_size: connections to PostgreSQL at most, of this process.

    Raises:
        InvalidSettings: the URL asks for something that is not supported.
    """
    if url.startswith("sqlite"):
        return SqliteDatabase(url)
    from adapters.sql.postgres import PostgresDatabase  # noqa: PLC0415 - asyncpg, for whom it is

    return PostgresDatabase(url, pool_size=pool_size)


def dsn_of(url: str) -> str:
    """What asyncpg reads of a URL of PostgreSQL, with its password.

    Raises:
        InvalidSettings: as for :func:`open_database`.
    """
    from adapters.sql.postgres_url import read_url  # noqa: PLC0415 - for PostgreSQL alone

    return read_url(url).dsn
