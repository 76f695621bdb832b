"""How PostgreSQL finds rows among 100,000 versions: by which index, not in what time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Connection, event

from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.postgres import PostgresDatabase
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.unit_of_work import SqlUnitOfWork
from application.filters import MODELS, VERSIONS, parse_filter, parse_order
from application.ports.registry_reader import PageRequest
from domain.values import AliasName, Latest, ModelName, VersionNumber
from tests.support.registry import EPOCH, a_digest
from tests.support.services.databases import Databases

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("plans")]

BIG = ModelName("big")
Read = Callable[[SqlRegistryReader], Awaitable[Any]]

# ``big`` has every other version, 1,000 small models have the rest. Every version has a team and a
# metric; one in a hundred has a commit, a depth, facts and files in a format; one in 500 is held.
SEED = """
SET synchronous_commit = off;
INSERT INTO models SELECT lpad(to_hex(m), 32, '0'), CASE m WHEN 0 THEN 'big' ELSE 'small' || m END,
    'ada', {epoch}, {epoch}, n, n, 1, '', '{{}}'
FROM generate_series(0, 1000) m, LATERAL (SELECT CASE m WHEN 0 THEN 50000 ELSE 50 END) c (n);
INSERT INTO versions SELECT i,
    lpad(to_hex(CASE i % 2 WHEN 1 THEN 0 ELSE i / 2 % 1000 + 1 END), 32, '0'),
    CASE i % 2 WHEN 1 THEN i / 2 + 1 ELSE (i - 2) / 2000 + 1 END,
    CASE i % 1000 WHEN 0 THEN 'eve' ELSE 'ada' END, {epoch} + i * 1000000, {epoch} + i * 1000000,
    1, 10 + i, 1, lpad(to_hex(i), 64, '0'), CASE i % 100 WHEN 1 THEN 'onnx' END, NULL, '',
    '{{}}', '{{}}', '{{}}', '[]', '[]', '["accept","test 1",[]]', '{{}}',
    CASE WHEN i % 1000 < 2 THEN 'quarantined' ELSE 'ready' END
FROM generate_series(1, 100000::bigint) i;
INSERT INTO version_labels SELECT i, 'tags', 'team', substr('abc', (i % 3)::int + 1, 1), '', NULL
FROM generate_series(1, 100000) i;
INSERT INTO version_labels SELECT i, 'metrics', 'auc', NULL, '', i / 100000.0
FROM generate_series(1, 100000) i;
INSERT INTO version_labels SELECT id, l.* FROM versions, LATERAL (VALUES
    ('tags', 'commit', digest, '', NULL::float8), ('format', 'onnx', 'onnx', '', NULL),
    ('facts', 'parameters', (id * 1000)::text, '', id * 1000.0),
    ('facts', 'dtypes', 'F32', '', NULL),
    ('parameters', 'depth', (id % 7)::text, '', id % 7)) l WHERE format = 'onnx';
INSERT INTO version_blobs SELECT id, digest, size FROM versions;
INSERT INTO aliases SELECT id, 'champion', 1, NULL, {epoch}, 'ada', 1 FROM models;
INSERT INTO aliases SELECT id, 'rare', 2, NULL, {epoch}, 'ada', 1 FROM models WHERE name = 'big';
INSERT INTO alias_moves (model_id, alias, version, actor, at)
SELECT id, 'champion', 1, 'ada', {epoch} FROM models, generate_series(1, 20);
INSERT INTO receipts SELECT 'ada', 'key' || id, digest, model_id, number, created_at FROM versions
WHERE id <= 20000;
ANALYZE
"""


@pytest.fixture(scope="module")
def filled(databases: Databases, migrated_template: str) -> Iterator[str]:
    async def fill(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(SEED.format(epoch=int(EPOCH.timestamp()) * 1_000_000))
        await connection.execute("VACUUM version_labels, versions, version_blobs")
        await connection.close()

    with databases.new(migrated_template) as url:
        asyncio.run(fill(url))
        yield url


@pytest.fixture
async def database(filled: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(filled)
    yield opened
    await opened.close()


async def plans(database: PostgresDatabase, read: Callable[[], Awaitable[Any]]) -> list[str]:
    """The plan of each SELECT that a read runs, as EXPLAIN tells it."""
    ran: list[tuple[str, Any]] = []
    pool = database._here()
    first = pool.first

    async def note_first(statement: Any, values: Any, patience: float) -> Any:
        query = pool._prepared(statement)
        ran.append((query.text, tuple(query.arguments(values))))
        return await first(statement, values, patience)

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran.append((statement, parameters))

    pool.first = note_first  # type: ignore[method-assign]
    event.listen(pool._engine.sync_engine, "before_cursor_execute", note)
    await read()
    event.remove(pool._engine.sync_engine, "before_cursor_execute", note)
    pool.first = first  # type: ignore[method-assign]

    def explain(db: Connection) -> list[str]:
        found = (db.exec_driver_sql(f"EXPLAIN {sql}", values).scalars() for sql, values in ran)
        return ["\n".join(lines) for lines in found]

    found = await database.point(explain)
    assert found
    return found


def request(filter: str = "", order: str = "", grammar: Any = VERSIONS) -> PageRequest:
    return PageRequest(
        parse_filter(filter, grammar) if filter else None,
        parse_order(order, grammar) if order else (),
    )


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.version(BIG, AliasName("champion")),
        lambda reader: reader.version(BIG, VersionNumber(9)),
        lambda reader: reader.version(BIG, Latest()),
        lambda reader: reader.model(BIG),
        lambda reader: reader.alias(BIG, AliasName("champion")),
    ],
)
async def test_a_point_read_is_one_statement_that_probes_indexes(
    database: PostgresDatabase, read: Read
) -> None:
    (plan,) = await plans(database, lambda: read(SqlRegistryReader(database)))
    assert "Index" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


TEXTS = "using ix_version_labels_scope_key_value_version_id on version_labels driver"
NUMBERS = "using ix_version_labels_scope_key_number_version_id on version_labels driver"
OF_MODEL = "using uq_versions_model_id_number on versions"
BY_ID = "using pk_versions on versions"
BACKWARD = f"Scan Backward {BY_ID}"
PROBE = "version_id = versions.id"
COMMIT = f"'{a_digest(501)}'"


@pytest.mark.parametrize(
    ("wanted", "model", "has", "lacks"),
    [
        # The order itself is walked.
        (request(), None, [BACKWARD], ["Sort", "models"]),
        (request(), BIG, [f"Backward {OF_MODEL}"], ["Sort"]),
        (request("", "created_at desc"), None, ["Backward using ix_versions_created_at"], ["Sort"]),
        (request("", "created_at desc"), BIG, ["Backward using ix_versions_created_at"], []),
        (request("", "metrics.auc desc"), None, ["Backward using ix_version_labels"], [" Sort "]),
        (request("", "metrics.auc desc"), BIG, ["Backward using ix_version_labels"], []),
        # One value of an index lies in default order, and the index is all that is needed.
        (request(f"tags.commit = {COMMIT}"), None, [TEXTS], ["Sort", PROBE]),
        (request("tags.team = 'a'"), None, [TEXTS], ["Sort", PROBE]),
        (request("format = 'onnx'"), None, [TEXTS], ["Sort", PROBE]),
        (request("metrics.auc = 0.5"), None, [NUMBERS], ["Sort", PROBE]),
        (request("parameters.depth = 3"), None, [NUMBERS], ["Sort", PROBE]),
        (request("tags.team = 'a' AND size > 10"), None, [TEXTS, BY_ID], ["Sort", PROBE]),
        # Few match: their range of an index is collected and sorted.
        (request(f"tags.commit = {COMMIT}"), BIG, [TEXTS, BY_ID, "Sort"], []),
        (request(f"tags.commit LIKE '{a_digest(501)[:60]}%'"), None, [TEXTS, "Sort"], []),
        (request("metrics.auc > 0.99"), None, ["number >", NUMBERS, "Sort"], [PROBE]),
        (request("metrics.auc > 0.99"), BIG, ["number >", NUMBERS, "Sort"], [PROBE]),
        (
            request("metrics.auc >= 0.5 AND metrics.auc < 0.51 AND tags.team = 'a'", "size desc"),
            None,
            ["number >= ", "number < ", NUMBERS, PROBE, "Sort"],
            [],
        ),
        (request("creator = 'eve'"), None, ["ix_versions_creator_id"], ["Sort"]),
        (request("created_at > '2026-11-25T15:45:00Z'"), None, ["ix_versions_created_at"], []),
        (request("facts.parameters > 99000000"), None, ["number >", NUMBERS, "Sort"], [PROBE]),
        (request("facts.parameters > 99000000"), BIG, ["number >", NUMBERS, "Sort"], [PROBE]),
        (request("facts.dtypes = 'F32'"), None, [TEXTS], ["Sort", PROBE]),
        (request("status = 'quarantined'"), None, ["ix_versions_status_id"], ["Sort"]),
        (request("status = 'quarantined'"), BIG, ["ix_versions_status_id"], []),
        (request("alias = 'rare'"), None, ["using ix_aliases_name on aliases", OF_MODEL], []),
        (request("alias IN ('rare', 'x')"), None, ["ix_aliases_name", OF_MODEL], []),
        (request("model = 'small1'"), None, [OF_MODEL], ["models"]),
        (request("model = 'small1' AND version = 5"), None, [OF_MODEL, "number = 5"], ["models"]),
        (request("model = 'big' AND version = 5"), None, [OF_MODEL, "number = 5"], ["models"]),
        (request("version IN (4, 5)"), BIG, [OF_MODEL, "number = ANY"], []),
        (request("version > 5"), BIG, [OF_MODEL, "number > 5"], ["Sort"]),
        (request("model IN ('small1', 'small2')"), None, ["using uq_models_name", OF_MODEL], []),
        # Many match: the order is walked.
        (request("creator = 'ada'"), None, ["Scan Backward"], ["Sort"]),
        (request("status = 'ready'"), None, ["Scan Backward"], ["Sort"]),
        (request("status = 'ready'"), BIG, [OF_MODEL], ["Sort"]),
        (request("created_at > '2026-11-24T15:45:00Z'"), None, [BACKWARD], ["Sort"]),
        (request("tags.team = 'a'"), BIG, [OF_MODEL, PROBE], ["Sort"]),
        (request("metrics.auc > 0.2"), None, ["Scan Backward"], ["Sort"]),
        (request("metrics.auc > 0.2"), BIG, [OF_MODEL, PROBE], ["Sort"]),
        (request("NOT tags.team = 'a'"), None, [BACKWARD, PROBE], ["Sort"]),
        (request("tags.commit IS NULL"), BIG, [OF_MODEL, PROBE], ["Sort"]),
    ],
)
async def test_a_list_of_versions_is_found_by_its_index(
    database: PostgresDatabase,
    wanted: PageRequest,
    model: ModelName | None,
    has: list[str],
    lacks: list[str],
) -> None:
    reader = SqlRegistryReader(database)
    found = await plans(database, lambda: reader.versions(wanted, model=model))
    ids, rows = found[-2:]
    for part in has:
        assert part in ids
    for part in lacks:
        assert part not in ids
    assert BY_ID in rows
    for plan in found:
        assert "Seq Scan" not in plan
        assert "Bitmap" not in plan


@pytest.mark.parametrize(
    "wanted",
    [
        request(),
        request("name LIKE 'small1%'", grammar=MODELS),
        request("alias = 'champion'", grammar=MODELS),
        request("name = 'big' OR name = 'small7'", grammar=MODELS),
    ],
)
async def test_a_list_of_models_is_found_by_its_index(
    database: PostgresDatabase, wanted: PageRequest
) -> None:
    reader = SqlRegistryReader(database)
    for plan in await plans(database, lambda: reader.models(wanted)):
        assert "Seq Scan" not in plan


async def test_the_next_page_begins_in_the_index(database: PostgresDatabase) -> None:
    reader = SqlRegistryReader(database)
    for model, expected in ((None, "Index Cond: (id < "), (BIG, " AND (number < ")):
        token = (await reader.versions(request(), model=model)).next_page_token
        found = await plans(
            database,
            lambda model=model, token=token: reader.versions(  # type: ignore[misc]
                PageRequest(token=token), model=model
            ),
        )
        assert expected in found[-2]


async def test_what_publishes_and_collections_ask_is_found_by_indexes(
    database: PostgresDatabase,
) -> None:
    references, reader = SqlBlobReferences(database), SqlRegistryReader(database)
    digests = [a_digest(number) for number in range(500)]

    async def publish() -> None:
        async with SqlUnitOfWork(database, lambda _: None) as uow:
            model = await uow.models.get(BIG)
            await uow.receipts.get("ada", "key7")
            await uow.versions.exists(BIG, VersionNumber(3))
            await uow.models.retired(BIG)
            await uow.models.allocate(model, EPOCH)
            await uow.aliases.get(model, AliasName("champion"))
            await uow.aliases.moves(model, AliasName("champion"))
            await uow.aliases.pointing_at(model, VersionNumber(1))
            await uow.receipts.forget(older_than=EPOCH)

    for read in (
        lambda: references.referenced(digests),
        lambda: references.page(a_digest(5), 100),
        lambda: references.naming(a_digest(5)),
        lambda: reader.aliases(BIG, PageRequest()),
        lambda: reader.alias_history(BIG, AliasName("champion"), PageRequest()),
        publish,
    ):
        for plan in await plans(database, read):
            assert "Seq Scan" not in plan
