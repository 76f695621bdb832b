"""Brings a database's schema to the revision of this release, with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select

from adapters.sql.database import Database
from adapters.sql.tables import registry
from domain.errors import DatabaseBehind, DatabaseMissing

SERVES_FROM = select(registry.c.serves_from)
_SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, for work on this connection."""
    made = Config()
    made.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def head() -> str:
    """The revision that this release needs."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    assert revision is not None, "there is at least one migration"
    return revision


def current(database: Database) -> str | None:
    """The revision the database is at; None when it has no schema, or does not exist. Blocks.

    Raises:
        DatabaseUnavailable
    """
    return database.read(_revision) if database.exists() else None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def check(database: Database) -> None:
    """Returns when this release can work on the database. Blocks.

    It also can on a newer schema that says so: replicas of two releases run side by side while the
    one replaces the other, and any may restart.

    Raises:
        DatabaseBehind: its schema is older, or too new.
        DatabaseUnavailable
    """
    found = current(database)
    if not _fits(database, found):
        raise DatabaseBehind(
            f"The database is at {found or 'no revision'} and this release needs {head()}; "
            "run 'modelyard-server migrate' of the newer release."
        )


def upgrade(database: Database, revision: str = "head") -> bool:
    """Creates the schema or brings it forward, whole or not at all. Blocks.

    Leaves a newer one alone that this release can work on: a replica may migrate before it starts.
    Of several processes that do so at once, one works and the others find it done.

    Returns:
        whether it has created the schema.

    Raises:
        DatabaseBehind: the database has a revision that this release does not know.
        DatabaseUnavailable
    """
    if revision == "head" and _fits(database, current(database)):
        return False

    def work(connection: Connection) -> bool:
        found = _revision(connection)
        if found not in _known():
            raise DatabaseBehind(f"The database is at {found}, which this release does not know.")
        command.upgrade(config(connection), revision)
        return found is None

    return database.migrate(work)


def prepare(database: Database, *, create: bool = True) -> bool:
    """Migrates an embedded database; checks one that others may be using. Blocks.

    Returns:
        whether it has created the registry.

    Raises:
        DatabaseMissing: there is none, and it should not be created.
        DatabaseBehind: naming the command to run.
        DatabaseUnavailable
    """
    if not create and current(database) is None:
        raise DatabaseMissing(
            f"There is no registry at {database.place}; correct DATABASE_URL, "
            "or begin a new one with 'modelyard-server migrate'."
        )
    if database.embedded:
        return upgrade(database)
    check(database)
    return False


def _known() -> set[str | None]:
    """The revisions that this release has heard of; None is a database without a schema."""
    return {None, *(script.revision for script in _scripts().walk_revisions())}


def _fits(database: Database, found: str | None) -> bool:
    return found == head() or (found not in _known() and _served(database))


def _served(database: Database) -> bool:
    """Whether a schema that is newer than this release says that it can work on it."""

    def work(db: Connection) -> bool:
        found = db.execute(SERVES_FROM).scalar() if inspect(db).has_table(registry.name) else None
        return found is not None and found in _known()

    return database.read(work)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())
