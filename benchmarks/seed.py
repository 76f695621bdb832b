"""Fills a registry with versions, fast: rows straight into the tables, cloned from a real publish.

Half of the versions belong to one model, the others to models of fifty. Each has the template's
five parameters, three metrics and three tags, of which the metric ``auc`` and the tags vary: a
``batch`` is worn by fifty versions, a ``team`` by one in a hundred, a ``stage`` by every second;
``auc`` takes every value from 0 to 1 once. Each is dealt out in a random order of its own.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Database
from sqlalchemy import Table, create_engine, func, insert, select, text, update

from adapters.sql import tables
from benchmarks.contenders import create_model, database_url
from benchmarks.payload import METADATA, publish_frame, small_file
from benchmarks.servers import Server
from benchmarks.wire import Connection

BIG_MODEL = "forecast"
MATCHES = 50
_CHUNK = 2_000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """The rows that one publish through the service left: its model, version, labels, blob."""

    model: Mapping[str, Any]
    version: Mapping[str, Any]
    labels: list[Mapping[str, Any]]
    blob: Mapping[str, Any]


def publish_template(server: Server) -> None:
    """Publish version 1 of the big model, the champion, through the service itself."""
    create_model(server, BIG_MODEL)
    data = small_file(b"template")
    before, after = publish_frame(BIG_MODEL, len(data), {**METADATA, "aliases": ["champion"]})
    with Connection(server.port) as connection:
        connection.exchange(before + data + after).expect(201)


def fill(data: Path, versions: int) -> None:
    """Add ``versions`` versions to the stopped service whose folder is ``data``."""
    engine = create_engine(database_url(data))
    with engine.connect() as database:
        database.execute(text("PRAGMA synchronous = OFF"))
        database.execute(text("PRAGMA cache_size = -400000"))
        database.commit()
        template = _template(database)
        addresses = _models(database, template, versions)
        for batch in _batches(versions):
            _insert(database, template, addresses, batch)
        _count(database)
        database.commit()
    engine.dispose()


def _template(database: Database) -> Template:
    def rows(table: Table) -> list[Mapping[str, Any]]:
        return [dict(row) for row in database.execute(select(table)).mappings()]

    return Template(
        rows(tables.models)[0],
        rows(tables.versions)[0],
        rows(tables.version_labels),
        rows(tables.version_blobs)[0],
    )


def _models(database: Database, template: Template, versions: int) -> list[tuple[str, int]]:
    """The small models' rows; returns the model and number of each version to come."""
    small = [f"{number:032x}" for number in range(max(1, versions // 2 // MATCHES))]
    rows = [
        {**template.model, "id": owner, "name": f"model-{number}"}
        for number, owner in enumerate(small)
    ]
    database.execute(insert(tables.models), rows)
    big = template.model["id"]
    last = {big: 1}
    addresses = []
    for i in range(versions):
        owner = small[i // 2 % len(small)] if i % 2 else big
        last[owner] = last.get(owner, 0) + 1
        addresses.append((owner, last[owner]))
    return addresses


def _batches(versions: int) -> Iterator[list[Row]]:
    """What varies from version to version, some thousand at a time."""
    order = random.Random(7)
    deals = {key: order.sample(range(versions), versions) for key in ("auc", "batch", "team")}
    for start in range(0, versions, _CHUNK):
        yield [
            {
                "i": i,
                "metrics": {"auc": deals["auc"][i] / versions},
                "tags": {
                    "batch": f"batch-{deals['batch'][i] // MATCHES}",
                    "team": f"team-{deals['team'][i] % 100}",
                    "stage": order.choice(("production", "staging")),
                },
            }
            for i in range(start, min(versions, start + _CHUNK))
        ]


def _insert(
    database: Database, template: Template, addresses: list[tuple[str, int]], batch: list[Row]
) -> None:
    first = template.version
    versions, labels, blobs = [], [], []
    for item in batch:
        i = item["i"]
        serial = first["id"] + 1 + i
        model, number = addresses[i]
        sha256 = hashlib.sha256(str(i).encode()).hexdigest()
        times = {name: first[name] + i for name in ("created_at", "updated_at")}
        maps = {
            name: json.dumps({**json.loads(first[name]), **item[name]})
            for name in ("metrics", "tags")
        }
        files = first["files"].replace(template.blob["sha256"], sha256)
        own = {"id": serial, "model_id": model, "number": number, "files": files}
        versions.append({**first, **own, **times, **maps})
        labels += [_label(label, serial, item) for label in template.labels]
        blobs.append({**template.blob, "version_id": serial, "sha256": sha256})
    database.execute(insert(tables.versions), versions)
    database.execute(insert(tables.version_labels), labels)
    database.execute(insert(tables.version_blobs), blobs)


def _label(label: Mapping[str, Any], version: int, item: Row) -> Row:
    """The template's label for another version, with what varies replaced."""
    key = label["key"]
    changed: Row = {"version_id": version}
    if key in item["tags"]:
        changed["value"] = item["tags"][key]
    elif key in item["metrics"]:
        changed["number"] = item["metrics"][key]
    return {**label, **changed}


def _count(database: Database) -> None:
    """Bring the models' counters in line with their versions."""
    mine = tables.versions.c.model_id == tables.models.c.id
    highest = select(func.max(tables.versions.c.number)).where(mine).scalar_subquery()
    count = select(func.count()).where(mine).scalar_subquery()
    database.execute(update(tables.models).values(last_version=highest, version_count=count))
