"""How Alembic reaches the database: on the connection of adapters.sql.migrate, or by itself.

For the ``alembic`` command the database is ``-x url=...``, else ``DATABASE_URL``, else the default.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from adapters.sql import open_database
from adapters.sql.tables import metadata

_DEFAULT = "sqlite:///data/modelyard.db"


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _url() -> str:
    arguments = context.get_x_argument(as_dictionary=True)
    return str(arguments.get("url") or os.environ.get("DATABASE_URL") or _DEFAULT)


def _write_script(url: str) -> None:
    dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
    context.configure(dialect_name=dialect, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _write_script(_url())
elif (given := context.config.attributes.get("connection")) is not None:
    _migrate(given)
else:
    open_database(_url()).migrate(_migrate)
