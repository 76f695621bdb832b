"""Every migration, up and down and up again, and the schema they lead to, on every database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import anyio
import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from adapters.sql import migrate, open_database
from adapters.sql.database import Database
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.tables import metadata
from application.ports import PageRequest
from application.records import VersionRecord
from domain.errors import DatabaseBehind, DatabaseMissing

SCRIPTS = ScriptDirectory.from_config(migrate.config())
REVISIONS = list(reversed(list(SCRIPTS.walk_revisions())))
ROOT = Path(__file__).parents[2]
SQLITE_SCHEMA = text(
    "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL "
    "AND name NOT LIKE 'alembic%' AND name NOT LIKE 'sqlite%'"
)
POSTGRES_SCHEMA = text(
    """
    SELECT c.oid::regclass || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        a.attnotnull, a.attidentity, l.collname, pg_get_expr(d.adbin, d.adrelid))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
    UNION ALL
    SELECT conname, conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'
    """
)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rows.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(url: str) -> Database:
    return open_database(url)


@pytest.fixture
def another(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    if url.startswith("sqlite"):
        yield open_database(f"sqlite:///{tmp_path / 'another.db'}")
        return
    with request.getfixturevalue("databases").new() as other:
        yield open_database(other)


def schema(database: Database) -> dict[str, str]:
    """What the database was made of, by name, Alembic's own table left out."""
    if not database.exists():
        return {}
    statement = SQLITE_SCHEMA if database.embedded else POSTGRES_SCHEMA
    rows = database.read(lambda db: db.execute(statement).all())
    return {name: " ".join(made.split()) for name, made in rows if not name.startswith("alembic")}


def downgrade(database: Database, revision: str) -> None:
    database.migrate(lambda db: command.downgrade(migrate.config(db), revision))


def judgement(verdict: str, policy: str, findings: Sequence[object] = ()) -> str:
    document = {
        "verdict": verdict, "policy": policy, "scanner": "s", "ruleset": "r",
        "coverage": "complete", "findings": findings, "checked_at": 1, "reviews": [],
    }  # fmt: skip
    return json.dumps(document)


BEFORE = ["warn", "libmagic 5.46", [["file.not_a_model", "critical", "No model.", "cat.jpg"]]]
ODD = ["a.b", "critical", "It is odd.", "m", "there", None]
VERSIONS = {
    1: (json.dumps(BEFORE), "ready"),
    2: (judgement("reject", "report", [ODD]), "ready"),
    3: (judgement("accept", "standard"), "ready"),
    4: (judgement("review", "standard"), "quarantined"),
}


def add_versions(database: Database, numbers: Iterable[int], *, judged: bool) -> None:
    """Rows as the release of 0002 wrote them, or as that of 0003 does."""
    model = (
        "INSERT INTO models VALUES ('m', 'churn', 'ada', 0, 0, 9, 1, 1, '', '{}') "
        "ON CONFLICT DO NOTHING"
    )
    columns, values = ", facts, status", ", '{}', :status"
    version = (
        "INSERT INTO versions (model_id, number, creator, created_at, updated_at, revision, size, "
        "file_count, digest, description, tags, metrics, parameters, files, parents, validation"
        f"{columns if judged else ''}) VALUES ('m', :number, 'ada', 0, 0, 1, 1, 1, :digest, '', "
        f"'{{}}', '{{}}', '{{}}', '[]', '[]', :validation{values if judged else ''})"
    )

    def work(db: Connection) -> None:
        db.execute(text(model))
        for number in numbers:
            validation, status = VERSIONS[number]
            row = {"number": number, "digest": "0" * 64, "validation": validation}
            db.execute(text(version), {**row, "status": status} if judged else row)

    database.migrate(work)


def validations(database: Database) -> list[str]:
    statement = text("SELECT validation FROM versions ORDER BY number")
    return list(database.read(lambda db: db.execute(statement).scalars().all()))


def records(database: Database) -> list[VersionRecord]:
    """What readers see, oldest first."""

    async def read() -> list[VersionRecord]:
        page = await SqlRegistryReader(database).versions(PageRequest())
        await database.close()
        return page.items[::-1]

    return anyio.run(read)


def test_what_was_published_before_there_were_checks_is_unchecked_and_served(
    database: Database,
) -> None:
    migrate.upgrade(database, "0002")
    add_versions(database, [1], judged=False)
    migrate.upgrade(database)
    (record,) = records(database)
    assert (record.status, record.facts) == ("ready", {})
    assert (record.validation.verdict, record.validation.scanner) == ("unchecked", "libmagic 5.46")
    assert (record.validation.policy, record.validation.ruleset) == (None, None)
    (finding,) = record.validation.findings
    assert (finding.message, finding.path, finding.subject) == ("No model.", "cat.jpg", None)


def test_on_the_way_back_verdicts_are_what_the_release_before_can_read(
    database: Database,
) -> None:
    migrate.upgrade(database, "0002")
    add_versions(database, [1], judged=False)
    migrate.upgrade(database)
    add_versions(database, [2, 3], judged=True)
    downgrade(database, "0002")
    assert [json.loads(validation) for validation in validations(database)] == [
        BEFORE,
        ["warn", "s", [ODD[:4]]],
        ["accept", "s", []],
    ]
    migrate.upgrade(database)
    assert [record.validation.verdict for record in records(database)] == ["unchecked"] * 3


def test_there_is_no_way_back_while_a_version_is_held(database: Database) -> None:
    migrate.upgrade(database)
    add_versions(database, [3, 4], judged=True)
    with pytest.raises(RuntimeError, match="1 versions are held"):
        downgrade(database, "0002")
    assert migrate.current(database) == migrate.head()
    assert [record.status for record in records(database)] == ["ready", "quarantined"]


def test_there_is_one_line_of_revisions() -> None:
    assert len(SCRIPTS.get_heads()) == 1
    assert [script.revision for script in REVISIONS] == sorted(s.revision for s in REVISIONS)


@pytest.mark.parametrize("script", REVISIONS, ids=lambda script: script.revision)
def test_each_step_up_can_be_taken_back(database: Database, script: Script) -> None:
    below = script.down_revision or "base"
    assert isinstance(below, str)
    if below != "base":
        migrate.upgrade(database, below)
    before = schema(database)
    migrate.upgrade(database, script.revision)
    after = schema(database)
    downgrade(database, below)
    assert schema(database) == before
    migrate.upgrade(database, script.revision)
    assert schema(database) == after


def test_the_migrations_lead_to_the_tables_in_the_code(
    database: Database, another: Database
) -> None:
    migrate.upgrade(database)
    another.migrate(metadata.create_all)
    assert schema(database) == schema(another)
    assert len(schema(another)) > 20


def test_nothing_is_missing_from_the_migrations(database: Database) -> None:
    migrate.upgrade(database)
    database.migrate(lambda db: command.check(migrate.config(db)))


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    assert migrate.upgrade(database)
    before = schema(database)
    assert not migrate.upgrade(database)
    assert schema(database) == before
    assert migrate.current(database) == migrate.head()
    migrate.check(database)


def test_a_database_that_is_behind_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseBehind):
        migrate.check(database)
    migrate.upgrade(database)
    downgrade(database, "base")
    with pytest.raises(DatabaseBehind):
        migrate.check(database)


def test_an_embedded_database_is_made_ready_and_another_only_checked(database: Database) -> None:
    with pytest.raises(DatabaseMissing, match="modelyard-server migrate"):
        migrate.prepare(database, create=False)
    if database.embedded:
        assert migrate.prepare(database)
    else:
        with pytest.raises(DatabaseBehind, match="modelyard-server migrate"):
            migrate.prepare(database)
        migrate.upgrade(database)
    assert not migrate.prepare(database)
    assert not migrate.prepare(database, create=False)


def test_a_migration_that_breaks_leaves_the_schema_as_it_was(database: Database) -> None:
    in_the_way = text("CREATE TABLE receipts (in_the_way TEXT)")
    database.migrate(lambda db: db.execute(in_the_way).close())
    before = schema(database)
    with pytest.raises(Exception, match="receipts"):
        migrate.upgrade(database)
    assert schema(database) == before
    assert migrate.current(database) is None


def test_processes_that_migrate_at_once_agree(url: str) -> None:
    program = (
        "import sys; from adapters.sql import migrate, open_database; "
        "print(migrate.upgrade(open_database(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, url]
    migrators = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [migrator.communicate(timeout=100)[0].strip() for migrator in migrators]
    assert [migrator.returncode for migrator in migrators] == [0] * 4
    assert sorted(told) == ["False"] * 3 + ["True"]
    migrate.check(open_database(url))


def become(database: Database, revision: str, *, serves_from: str) -> None:
    """What another release's migrations would make of it."""

    def work(db: Connection) -> None:
        db.execute(text("UPDATE alembic_version SET version_num = :is"), {"is": revision})
        db.execute(text("UPDATE registry SET serves_from = :is"), {"is": serves_from})

    database.migrate(work)


def test_a_database_of_a_newer_release_is_left_alone(database: Database) -> None:
    migrate.upgrade(database)
    become(database, "9999", serves_from="9999")
    for refused in (migrate.check, migrate.upgrade):
        with pytest.raises(DatabaseBehind):
            refused(database)
    assert migrate.current(database) == "9999"


def test_a_replica_goes_on_while_a_newer_release_that_only_adds_comes(database: Database) -> None:
    migrate.upgrade(database)
    become(database, "9999", serves_from=migrate.head())
    migrate.check(database)
    assert not migrate.upgrade(database)
    assert migrate.current(database) == "9999"
    become(database, "0001", serves_from=migrate.head())
    with pytest.raises(DatabaseBehind):  # what it has not got yet is another matter
        migrate.check(database)


def test_a_database_of_something_else_is_refused(database: Database) -> None:
    migrate.upgrade(database)
    become(database, "9999", serves_from=migrate.head())
    drop = text("DROP TABLE registry")
    database.migrate(lambda db: db.execute(drop).close())
    with pytest.raises(DatabaseBehind):
        migrate.check(database)


def test_the_alembic_command_works(url: str) -> None:
    alembic = [sys.executable, "-m", "alembic", "-x", f"url={url}"]
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
        subprocess.run([*alembic, *arguments], cwd=ROOT, check=True, capture_output=True)
    script = subprocess.run(
        [*alembic, "upgrade", "head", "--sql"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "CREATE TABLE versions" in script.stdout
    assert migrate.current(open_database(url)) is None
