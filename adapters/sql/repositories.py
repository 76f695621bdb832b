"""Models and versions inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import chain

from sqlalchemy import Connection, Table, bindparam, case, delete, insert, select, text, update

from adapters.sql.database import Transaction
from adapters.sql.errors import refusing
from adapters.sql.mapping import (
    AnyRow,
    Values,
    blob_values,
    fact_labels,
    format_labels,
    metric_labels,
    model_values,
    mutable_version_values,
    parameter_labels,
    tag_labels,
    to_model,
    to_retired_name,
    to_version,
    version_values,
)
from adapters.sql.tables import (
    aliases,
    model_labels,
    models,
    retired_names,
    version_blobs,
    version_labels,
    versions,
)
from application.filters import Scope
from application.ports.unit_of_work import ModelRepository, VersionRepository
from application.times import micros, moment
from domain.errors import ModelExists, ModelNotFound, VersionConflict, VersionInUse, VersionNotFound
from domain.model import Model, RetiredName
from domain.values import ModelName, VersionNumber
from domain.version import Version

_BULK = 100
"""Rows above which writing them is left to a thread."""

_THIS_MODEL = models.c.id == bindparam("this")
MODEL_BY_NAME = select(models).where(models.c.name == bindparam("name")).with_for_update()
NAME_BY_ID = select(models.c.name).where(_THIS_MODEL)
MODEL_UPDATE = update(models).where(_THIS_MODEL)
MODEL_DELETE = delete(models).where(_THIS_MODEL)
MODEL_ALIASES_DELETE = delete(aliases).where(aliases.c.model_id == bindparam("this"))
ALLOCATE = (
    update(models)
    .where(_THIS_MODEL)
    .values(
        last_version=models.c.last_version + 1,
        revision=models.c.revision + 1,
        updated_at=case(
            (models.c.updated_at < bindparam("now"), bindparam("now")), else_=models.c.updated_at
        ),
    )
    .returning(models.c.last_version, models.c.revision, models.c.updated_at)
)
COUNT_VERSIONS = (
    update(models)
    .where(_THIS_MODEL)
    .values(version_count=models.c.version_count + bindparam("change"))
)
# A name that nobody bears has no row that could be locked. Few keys: each takes shared memory.
CLAIM_NAME = text("SELECT pg_advisory_xact_lock(1852797293, hashtext(:name) & 255)")
RETIRED = select(retired_names).where(retired_names.c.name == bindparam("name"))
# The same in SQLite and PostgreSQL; SQLAlchemy has it per dialect only.
RETIRE = text(
    "INSERT INTO retired_names (name, model_id, last_version) "
    "VALUES (:name, :model_id, :last_version) ON CONFLICT (name) DO UPDATE "
    "SET model_id = excluded.model_id, last_version = excluded.last_version "
    "WHERE excluded.last_version > retired_names.last_version"
)
MODEL_BEFORE = select(models.c.name, models.c.tags).where(_THIS_MODEL).with_for_update()

_THIS_VERSION = (versions.c.model_id == bindparam("model")) & (
    versions.c.number == bindparam("this")
)
VERSION = select(versions).where(_THIS_VERSION).with_for_update()
VERSION_BEFORE = select(versions.c.id, versions.c.tags, versions.c.metrics, versions.c.facts).where(
    _THIS_VERSION
)
VERSION_EXISTS = (
    select(versions.c.id)
    .join_from(models, versions, versions.c.model_id == models.c.id)
    .where(models.c.name == bindparam("name"), versions.c.number == bindparam("number"))
)
VERSION_UPDATE = update(versions).where(versions.c.id == bindparam("this"))
VERSION_DELETE = delete(versions).where(versions.c.id == bindparam("this"))
VERSION_BUMP = (
    update(versions)
    .where(
        versions.c.model_id == bindparam("model"),
        versions.c.number.in_(bindparam("numbers", expanding=True)),
    )
    .values(revision=versions.c.revision + 1)
)


MODEL_LABELS_DELETE = delete(model_labels).where(model_labels.c.model_id == bindparam("this"))
VERSION_LABELS_DELETE = delete(version_labels).where(
    version_labels.c.version_id == bindparam("this"),
    version_labels.c.scope == bindparam("which"),
)
POINTING = (
    select(aliases.c.name)
    .where(aliases.c.model_id == bindparam("model"), aliases.c.version == bindparam("this"))
    .limit(1)
)


class SqlModelRepository(ModelRepository):
    def __init__(self, transaction: Transaction) -> None:
        self._run = transaction.run

    async def get(self, name: ModelName) -> Model:
        def work(db: Connection) -> AnyRow | None:
            this = {"name": name}
            row: AnyRow | None = db.execute(MODEL_BY_NAME, this).first()
            if row is None and _claim(db, name):
                row = db.execute(MODEL_BY_NAME, this).first()
            return row

        row = await self._run(work)
        if row is None:
            raise ModelNotFound.named(name)
        return to_model(row)

    async def name_of(self, model_id: str) -> ModelName | None:
        row = await self._run(lambda db: db.execute(NAME_BY_ID, {"this": model_id}).first())
        return None if row is None else ModelName(row.name)

    async def add(self, model: Model) -> None:
        def taken() -> ModelExists:
            return ModelExists.named(model.name)

        def work(db: Connection) -> None:
            with refusing({"uq_models_name": taken, "pk_models": taken}):
                db.execute(insert(models), {**model_values(model), "version_count": 0})
            _insert_labels(db, model_labels, "model_id", model.id, tag_labels(model.tags))

        await self._run(work, bulk=len(model.tags) > _BULK)

    async def save(self, model: Model) -> None:
        def work(db: Connection) -> None:
            before = db.execute(MODEL_BEFORE, {"this": model.id}).first()
            if before is None:
                raise ModelNotFound.named(model.name)
            after = model_values(model)
            with refusing({"uq_models_name": lambda: ModelExists.named(model.name)}):
                db.execute(MODEL_UPDATE, {"this": model.id, **after})
            if before.name != model.name:
                _retire(db, RetiredName(before.name, model.id, model.last_version))
            if before.tags != after["tags"]:
                db.execute(MODEL_LABELS_DELETE, {"this": model.id})
                _insert_labels(db, model_labels, "model_id", model.id, tag_labels(model.tags))

        await self._run(work, bulk=len(model.tags) > _BULK)

    async def allocate(self, model: Model, at: datetime) -> VersionNumber:
        values = {"this": model.id, "now": micros(at)}
        row = await self._run(lambda db: db.execute(ALLOCATE, values).first())
        if row is None:
            raise ModelNotFound.named(model.name)
        number = VersionNumber(row.last_version)
        model.last_version, model.revision = number, row.revision
        model.updated_at = moment(row.updated_at)
        return number

    async def remove(self, model: Model) -> None:
        def work(db: Connection) -> None:
            _retire(db, RetiredName(model.name, model.id, model.last_version))
            db.execute(MODEL_ALIASES_DELETE, {"this": model.id})
            db.execute(MODEL_DELETE, {"this": model.id})

        await self._run(work, bulk=True)

    async def retired(self, name: ModelName) -> RetiredName | None:
        def work(db: Connection) -> AnyRow | None:
            _claim(db, name)
            return db.execute(RETIRED, {"name": name}).first()

        row = await self._run(work)
        return None if row is None else to_retired_name(row)

    async def retire(self, name: RetiredName) -> None:
        await self._run(lambda db: _retire(db, name))


class SqlVersionRepository(VersionRepository):
    def __init__(self, transaction: Transaction) -> None:
        self._run = transaction.run

    async def get(self, model: Model, number: VersionNumber) -> Version:
        this = {"model": model.id, "this": int(number)}
        row = await self._run(lambda db: db.execute(VERSION, this).first())
        if row is None:
            raise VersionNotFound.numbered(number, model.name)
        return to_version(row)

    async def exists(self, model: ModelName, number: VersionNumber) -> bool:
        this = {"name": model, "number": int(number)}
        return await self._run(lambda db: db.execute(VERSION_EXISTS, this).first()) is not None

    async def add(self, version: Version) -> None:
        def work(db: Connection) -> None:
            with refusing({"uq_versions_model_id_number": lambda: _used(version)}):
                inserted = db.execute(insert(versions), version_values(version))
            key: AnyRow | None = inserted.inserted_primary_key
            assert key is not None
            labels = chain(
                tag_labels(version.tags),
                metric_labels(version.metrics),
                parameter_labels(version.parameters),
                format_labels(version.manifest),
                fact_labels(version.facts),
            )
            _insert_labels(db, version_labels, "version_id", key.id, labels)
            if blobs := blob_values(key.id, version.manifest):
                db.execute(insert(version_blobs), blobs)
            db.execute(COUNT_VERSIONS, {"this": version.model_id, "change": 1})

        await self._run(work, bulk=_rows(version) > _BULK)

    async def save(self, version: Version) -> None:
        def work(db: Connection) -> None:
            before = _before(db, version)
            after = mutable_version_values(version)
            db.execute(VERSION_UPDATE, {"this": before.id, **after})
            for scope, was, labels in (
                (Scope.TAGS, before.tags, tag_labels(version.tags)),
                (Scope.METRICS, before.metrics, metric_labels(version.metrics)),
                (Scope.FACTS, before.facts, fact_labels(version.facts)),
            ):
                if was != after[scope.value]:
                    db.execute(VERSION_LABELS_DELETE, {"this": before.id, "which": scope.value})
                    _insert_labels(db, version_labels, "version_id", before.id, labels)

        await self._run(work, bulk=_rows(version) > _BULK)

    async def bump(self, model: Model, numbers: Collection[VersionNumber]) -> None:
        if numbers:
            values = {"model": model.id, "numbers": [int(number) for number in numbers]}
            await self._run(lambda db: db.execute(VERSION_BUMP, values).close())

    async def remove(self, version: Version) -> None:
        def work(db: Connection) -> None:
            this = _before(db, version).id
            pointing = {"model": version.model_id, "this": int(version.number)}
            if db.execute(POINTING, pointing).first() is not None:
                raise VersionInUse(f"An alias points at version {version.number}.")
            db.execute(VERSION_DELETE, {"this": this})
            db.execute(COUNT_VERSIONS, {"this": version.model_id, "change": -1})

        await self._run(work, bulk=_rows(version) > _BULK)


def _used(version: Version) -> VersionConflict:
    return VersionConflict(f"There is a version {version.number} of the model already.")


def _rows(version: Version) -> int:
    return (
        len(version.tags)
        + len(version.metrics)
        + len(version.parameters)
        + len(version.manifest.files)
    )


def _before(db: Connection, version: Version) -> AnyRow:
    this = {"model": version.model_id, "this": int(version.number)}
    before: AnyRow | None = db.execute(VERSION_BEFORE, this).first()
    if before is None:
        raise VersionNotFound.numbered(version.number)
    return before


def _insert_labels(
    db: Connection, table: Table, owner: str, this: int | str, labels: Iterable[Values]
) -> None:
    if rows := [{owner: this, **label} for label in labels]:
        db.execute(insert(table), rows)


def _claim(db: Connection, name: ModelName) -> bool:
    """Keeps others from taking the name, or giving it up, until the transaction ends.

    Returns:
        whether they could have; in SQLite there are no others.
    """
    if db.dialect.name == "sqlite":
        return False
    db.execute(CLAIM_NAME, {"name": name})
    return True


def _retire(db: Connection, retired: RetiredName) -> None:
    _claim(db, retired.name)
    values = {"model_id": retired.model_id, "last_version": retired.last_version}
    db.execute(RETIRE, {"name": retired.name, **values})
