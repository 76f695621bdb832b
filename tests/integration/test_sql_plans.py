"""How SQLite finds rows among 20,000 versions: by which index, not in what time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.mapping import (
    alias_values,
    blob_values,
    fact_labels,
    format_labels,
    metric_labels,
    model_values,
    parameter_labels,
    tag_labels,
    version_values,
)
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.sqlite import SqliteDatabase
from adapters.sql.tables import aliases, models, version_blobs, version_labels, versions
from application.filters import VERSIONS, parse_filter, parse_order
from application.ports.registry_reader import PageRequest
from domain.alias import Alias
from domain.errors import SearchTooCostly
from domain.validation import PolicyName, Validation, Verdict
from domain.values import AliasName, Latest, ModelName, VersionNumber
from tests.support.registry import EPOCH, a_digest, a_manifest, a_model, a_version, sqlite_database

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("plans")]

COUNT = 20_000
BIG = ModelName("big")
Read = Callable[[SqlRegistryReader], Awaitable[Any]]


def _fill(database: SqliteDatabase) -> None:
    """``big`` has every other version, 100 small models have the rest."""
    owners = [a_model("big", id=f"{0:032x}")]
    owners += [a_model(f"small{index}", id=f"{index:032x}") for index in range(1, 101)]
    counts = dict.fromkeys((owner.id for owner in owners), 0)
    rows: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    blobs: list[dict[str, Any]] = []
    for index in range(1, COUNT + 1):
        owner = owners[0] if index % 2 else owners[index // 2 % 100 + 1]
        counts[owner.id] += 1
        version = a_version(
            owner,
            counts[owner.id],
            manifest=a_manifest(index),
            tags={"team": "abc"[index % 3], "commit": f"{index:05x}{0:035x}"},
            metrics={"auc": index / COUNT},
            parameters={"depth": index % 7},
            facts={"parameters": index * 1000, "operators": [f"Op{index % 50}", "Relu"]},
            validation=Validation(
                Verdict.REVIEW if index % 1000 < 2 else Verdict.ACCEPT, PolicyName.STANDARD
            ),
        )
        rows.append(version_values(version))
        blobs += blob_values(index, version.manifest)
        entries = chain(
            tag_labels(version.tags),
            metric_labels(version.metrics),
            parameter_labels(version.parameters),
            format_labels(version.manifest),
            fact_labels(version.facts),
        )
        labels += [{"version_id": index, **entry} for entry in entries]
    champion = Alias(owners[0].id, AliasName("champion"), VersionNumber(1), None, EPOCH, "ada")

    def insert_all(connection: Connection) -> None:
        for owner in owners:
            count = counts[owner.id]
            values = model_values(owner) | {"version_count": count, "last_version": count}
            connection.execute(insert(models), values)
        connection.execute(insert(versions), rows)
        connection.execute(insert(version_labels), labels)
        connection.execute(insert(version_blobs), blobs)
        connection.execute(insert(aliases), alias_values(champion))

    database.migrate(insert_all)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    path: Path = tmp_path_factory.mktemp("plans") / "rows.db"
    with sqlite_database(path) as opened:
        _fill(opened)
        yield opened


async def plans(database: SqliteDatabase, read: Callable[[], Awaitable[Any]]) -> list[str]:
    """The steps of each statement that a read runs, as EXPLAIN QUERY PLAN tells them."""
    ran: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran.append((statement, parameters))

    event.listen(database._engine, "before_cursor_execute", note)
    try:
        await read()
    finally:
        event.remove(database._engine, "before_cursor_execute", note)
    selects = [run for run in ran if run[0].startswith("SELECT")]
    assert selects

    def explain(db: Connection) -> list[str]:
        return [
            "\n".join(
                row[3] for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            )
            for statement, values in selects
        ]

    return database.read(explain)


def request(filter: str = "", order: str = "") -> PageRequest:
    return PageRequest(
        parse_filter(filter, VERSIONS) if filter else None,
        parse_order(order, VERSIONS) if order else (),
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
async def test_a_point_read_is_one_statement_of_searches(
    database: SqliteDatabase, read: Read
) -> None:
    (plan,) = await plans(database, lambda: read(SqlRegistryReader(database)))
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


TEXT_INDEX = "driver USING COVERING INDEX ix_version_labels_scope_key_value_version_id"
NUMBER_INDEX = "driver USING COVERING INDEX ix_version_labels_scope_key_number_version_id"
OF_MODEL = "SEARCH versions USING COVERING INDEX sqlite_autoindex_versions_1 (model_id=?"
OF_NUMBER = "(model_id=? AND number=?)"
PROBE = "SEARCH version_labels_1 USING PRIMARY KEY (version_id=? AND scope=? AND key=?)"
SORT = "USE TEMP B-TREE FOR ORDER BY"


@pytest.mark.parametrize(
    ("wanted", "model", "has", "lacks"),
    [
        # The order itself is walked.
        (request(), None, ["SCAN versions"], [SORT, "models"]),
        (request(), BIG, [OF_MODEL], [SORT, "SCAN"]),
        (request("", "created_at desc"), None, ["INDEX ix_versions_created_at_id"], [SORT]),
        (request("", "created_at desc"), BIG, ["INDEX ix_versions_created_at_id"], [SORT]),
        (
            request("", "metrics.auc desc"),
            None,
            ["metric USING COVERING INDEX ix_version_labels"],
            [SORT],
        ),
        # One value of an index lies in default order, and the index is all that is needed.
        (
            request("tags.commit = '" + f"{5:05x}{0:035x}'"),
            None,
            [f"SEARCH {TEXT_INDEX}"],
            ["SCAN", SORT, "versions USING", PROBE],
        ),
        (request("tags.team = 'a'"), None, [TEXT_INDEX], ["SCAN", SORT, "versions USING", PROBE]),
        (request("format = 'onnx'"), None, [TEXT_INDEX], ["SCAN", SORT, "versions USING", PROBE]),
        (request("metrics.auc = 0.5"), None, [NUMBER_INDEX], ["SCAN", SORT, "versions USING"]),
        (
            request("tags.team = 'a' AND size > 10"),
            None,
            [TEXT_INDEX, "versions USING INTEGER PRIMARY KEY"],
            ["SCAN", SORT, PROBE],
        ),
        # Few match: their range of an index is collected and sorted.
        (
            request("tags.commit = '" + f"{5:05x}{0:035x}'"),
            BIG,
            [f"SEARCH {TEXT_INDEX}", SORT],
            ["SCAN"],
        ),
        (request("tags.commit LIKE '0001f%0'"), None, [f"SEARCH {TEXT_INDEX}"], ["SCAN"]),
        (
            request("metrics.auc > 0.99"),
            None,
            ["key=? AND number>?)", NUMBER_INDEX, SORT],
            ["SCAN", "versions USING", PROBE],
        ),
        (
            request("metrics.auc > 0.99"),
            BIG,
            ["key=? AND number>?)", NUMBER_INDEX, SORT],
            ["SCAN", PROBE],
        ),
        (
            request("metrics.auc >= 0.5 AND metrics.auc < 0.51 AND tags.team = 'a'", "size desc"),
            BIG,
            ["key=? AND number>? AND number<?)", NUMBER_INDEX, SORT],
            ["SCAN"],
        ),
        (
            request("alias = 'champion'"),
            None,
            ["aliases USING INDEX ix_aliases_name (name=?)"],
            ["SCAN"],
        ),
        (
            request("alias IN ('champion', 'none')"),
            None,
            ["aliases USING INDEX ix_aliases_name (name=?)", OF_NUMBER],
            ["SCAN versions"],
        ),
        (request("model = 'small1'"), None, ["(model_id=?"], ["SCAN", "models"]),
        (request("model = 'small1' AND version = 5"), None, [OF_NUMBER], ["SCAN", "models"]),
        (request("model = 'big' AND version = 5"), None, [OF_NUMBER], ["SCAN", "models"]),
        (request("version IN (4, 5)"), BIG, [OF_NUMBER], ["SCAN"]),
        (request("version > 5"), BIG, ["AND number>?)"], ["SCAN", SORT]),
        (
            request("model IN ('small1', 'small2')"),
            None,
            ["driver USING INDEX sqlite_autoindex_models_2 (name=?)", OF_MODEL],
            ["SCAN"],
        ),
        (
            request("model LIKE 'small1%'"),
            None,
            ["driver USING INDEX sqlite_autoindex_models_2 (name>? AND name<?)"],
            ["SCAN"],
        ),
        (
            request("status = 'quarantined'"),
            None,
            ["SEARCH versions USING", "ix_versions_status_id (status=?"],
            ["SCAN", SORT],
        ),
        (request("status = 'quarantined'"), BIG, ["ix_versions_status_id (status=?"], ["SCAN"]),
        (
            request("facts.parameters > 19900000"),
            None,
            ["key=? AND number>?)", NUMBER_INDEX, SORT],
            ["SCAN", "versions USING", PROBE],
        ),
        (
            request("facts.operators = 'Op7, Relu'"),
            None,
            [f"SEARCH {TEXT_INDEX}"],
            ["SCAN", SORT, "versions USING", PROBE],
        ),
        (request("facts.operators LIKE 'Op7,%'"), None, [f"SEARCH {TEXT_INDEX}"], ["SCAN"]),
        # Many match: the order is walked.
        (request("status = 'ready'"), None, ["ix_versions_status_id (status=?"], [SORT, "SCAN"]),
        (
            request("status = 'ready'"),
            BIG,
            ["SEARCH versions USING INDEX sqlite_autoindex_versions_1 (model_id=?)"],
            [SORT, "SCAN"],
        ),
        (request("facts.parameters > 10"), None, ["SCAN versions", PROBE], [SORT]),
        (request("creator = 'ada'"), None, ["ix_versions_creator_id (creator=?)"], [SORT, "SCAN"]),
        (request("tags.team = 'a'"), BIG, [OF_MODEL, PROBE], [SORT, "SCAN"]),
        (request("metrics.auc > 0.2"), None, ["SCAN versions", PROBE], [SORT]),
        (request("metrics.auc > 0.2"), BIG, [OF_MODEL, PROBE], [SORT, "SCAN"]),
    ],
)
async def test_a_list_is_found_by_its_index(
    database: SqliteDatabase,
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
    assert "SCAN" not in rows
    assert all("SCAN driver" not in plan for plan in found)


async def test_a_filter_that_takes_too_long_is_given_up(database: SqliteDatabase) -> None:
    hasty = SqliteDatabase(f"sqlite:///{database.path}", search_limit=0.01)
    costly = " OR ".join(f"tags.commit ILIKE '%x{index}%'" for index in range(50))
    with pytest.raises(SearchTooCostly):
        await SqlRegistryReader(hasty).versions(request(costly))
    await hasty.close()


async def test_the_next_page_begins_in_the_index(database: SqliteDatabase) -> None:
    reader = SqlRegistryReader(database)
    for model, expected in ((None, "INTEGER PRIMARY KEY (rowid<?)"), (BIG, "AND number<?)")):
        token = (await reader.versions(request(), model=model)).next_page_token
        found = await plans(
            database,
            lambda model=model, token=token: reader.versions(  # type: ignore[misc]
                PageRequest(token=token), model=model
            ),
        )
        assert expected in found[-2]


async def test_references_of_blobs_are_found_by_digest(database: SqliteDatabase) -> None:
    references = SqlBlobReferences(database)
    (plan,) = await plans(database, lambda: references.referenced([a_digest(1), a_digest(2)]))
    assert "SEARCH version_blobs USING COVERING INDEX" in plan
    (plan,) = await plans(database, lambda: references.page(a_digest(5), 100))
    assert "SEARCH version_blobs USING COVERING INDEX" in plan
    assert "TEMP B-TREE" not in plan
