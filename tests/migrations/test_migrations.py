"""Every migration, up and down and up again, and the schema they lead to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import text

from adapters.sql import migrate
from adapters.sql.sqlite import SqliteDatabase
from adapters.sql.tables import metadata
from domain.errors import DatabaseBehind

SCRIPTS = ScriptDirectory.from_config(migrate.config())
REVISIONS = list(reversed(list(SCRIPTS.walk_revisions())))


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase(f"sqlite:///{tmp_path / 'rows.db'}")


def schema(database: SqliteDatabase) -> dict[str, str]:
    """What the database was made of, by name, Alembic's own table left out."""
    made = text(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL "
        "AND name NOT LIKE 'alembic%' AND name NOT LIKE 'sqlite%'"
    )
    rows = database.read(lambda db: db.execute(made).all())
    return {row.name: " ".join(row.sql.split()) for row in rows}


def downgrade(database: SqliteDatabase, revision: str) -> None:
    database.migrate(lambda db: command.downgrade(migrate.config(db), revision))


def test_there_is_one_line_of_revisions() -> None:
    assert len(SCRIPTS.get_heads()) == 1
    assert [script.revision for script in REVISIONS] == sorted(s.revision for s in REVISIONS)


@pytest.mark.parametrize("script", REVISIONS, ids=lambda script: script.revision)
def test_each_step_up_can_be_taken_back(database: SqliteDatabase, script: Script) -> None:
    below = script.down_revision or "base"
    assert isinstance(below, str)
    if below != "base":
        migrate.upgrade(database, below)
    before = schema(database) if database.path.exists() else {}
    migrate.upgrade(database, script.revision)
    after = schema(database)
    downgrade(database, below)
    assert schema(database) == before
    migrate.upgrade(database, script.revision)
    assert schema(database) == after


def test_the_migrations_lead_to_the_tables_in_the_code(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    migrate.upgrade(database)
    created = SqliteDatabase(f"sqlite:///{tmp_path / 'created.db'}")
    created.migrate(metadata.create_all)
    assert schema(database) == schema(created)


def test_nothing_is_missing_from_the_migrations(database: SqliteDatabase) -> None:
    migrate.upgrade(database)
    database.migrate(lambda db: command.check(migrate.config(db)))


def test_upgrading_twice_changes_nothing(database: SqliteDatabase) -> None:
    migrate.upgrade(database)
    before = schema(database)
    migrate.upgrade(database)
    assert schema(database) == before
    assert migrate.current(database) == migrate.head()
    migrate.check(database)


def test_a_database_that_is_behind_is_refused(database: SqliteDatabase) -> None:
    with pytest.raises(DatabaseBehind):
        migrate.check(database)
    migrate.upgrade(database)
    downgrade(database, "base")
    with pytest.raises(DatabaseBehind):
        migrate.check(database)


def test_a_migration_that_breaks_leaves_the_schema_as_it_was(database: SqliteDatabase) -> None:
    in_the_way = text("CREATE TABLE receipts (in_the_way TEXT)")
    database.migrate(lambda db: db.execute(in_the_way).close())
    before = schema(database)
    with pytest.raises(Exception, match="receipts"):
        migrate.upgrade(database)
    assert schema(database) == before
    assert migrate.current(database) is None


def test_the_alembic_command_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    alembic = [sys.executable, "-m", "alembic", "-x", f"url={url}"]
    root = Path(__file__).parents[2]
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
        subprocess.run([*alembic, *arguments], cwd=root, check=True, capture_output=True)
    script = subprocess.run(
        [*alembic, "upgrade", "head", "--sql"], cwd=root, check=True, capture_output=True, text=True
    )
    assert "CREATE TABLE versions" in script.stdout
    assert migrate.current(SqliteDatabase(url)) is None
