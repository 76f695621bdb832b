"""Queries, answered from rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    bindparam,
    func,
    literal_column,
    select,
)

from adapters.sql.database import Database
from adapters.sql.filters import MODELS, VERSIONS
from adapters.sql.lists import MODEL_KEY, SORT_LIMIT, Scan, find
from adapters.sql.mapping import (
    SEPARATOR,
    AnyRow,
    Values,
    to_alias_record,
    to_model_record,
    to_move_record,
    to_version_record,
)
from adapters.sql.paging import check_key
from adapters.sql.tables import alias_moves, aliases, models, version_blobs, versions
from application.page_tokens import Key, read_token, write_token
from application.ports.registry_reader import (
    MAX_PAGE_BYTES,
    Found,
    Page,
    PageRequest,
    RegistryReader,
)
from application.records import (
    AliasMoveRecord,
    AliasRecord,
    ModelRecord,
    RegistryStats,
    VersionRecord,
)
from domain.errors import AliasNotFound, ModelNotFound, VersionNotFound
from domain.values import AliasName, Latest, ModelName, Reference

T = TypeVar("T")

_NAMED = models.c.name == bindparam("name")
# A bound separator would be rendered into the statement anew with every execution.
_SEPARATOR: Any = literal_column(f"'{SEPARATOR}'", String)
_MODEL_ALIASES = (
    select(
        func.aggregate_strings(
            aliases.c.name.concat("=").concat(aliases.c.version.cast(String)), _SEPARATOR
        )
    )
    .where(aliases.c.model_id == models.c.id)
    .correlate(models)
    .scalar_subquery()
)
_VERSION_ALIASES = (
    select(func.aggregate_strings(aliases.c.name, _SEPARATOR))
    .where(aliases.c.model_id == versions.c.model_id, aliases.c.version == versions.c.number)
    .correlate(versions)
    .scalar_subquery()
)
_LATEST = (
    select(func.max(versions.c.number))
    .where(versions.c.model_id == models.c.id)
    .correlate(models)
    .scalar_subquery()
)
_MODEL_RECORD = select(models, _LATEST.label("latest"), _MODEL_ALIASES.label("aliases"))
_VERSION_RECORD = select(
    versions, models.c.name.label("model"), _VERSION_ALIASES.label("aliases")
).join_from(versions, models, versions.c.model_id == models.c.id)

MODEL = _MODEL_RECORD.where(_NAMED)
MODELS_BY_ID = _MODEL_RECORD.where(models.c.id.in_(bindparam("ids", expanding=True)))
VERSION_BY_NUMBER = _VERSION_RECORD.where(_NAMED, versions.c.number == bindparam("number"))
VERSION_LATEST = _VERSION_RECORD.where(_NAMED, versions.c.number == _LATEST)
VERSION_BY_ALIAS = _VERSION_RECORD.where(
    _NAMED,
    versions.c.number
    == select(aliases.c.version)
    .where(aliases.c.model_id == models.c.id, aliases.c.name == bindparam("alias"))
    .correlate(models)
    .scalar_subquery(),
)
VERSIONS_BY_ID = _VERSION_RECORD.where(versions.c.id.in_(bindparam("ids", expanding=True)))
_ALIAS_RECORD = select(aliases, models.c.name.label("model")).join_from(
    aliases, models, aliases.c.model_id == models.c.id
)
ALIAS = _ALIAS_RECORD.where(_NAMED, aliases.c.name == bindparam("alias"))
ALIASES = (
    _ALIAS_RECORD.where(
        aliases.c.model_id == bindparam("model"), aliases.c.name > bindparam("after")
    )
    .order_by(aliases.c.name)
    .limit(bindparam("size"))
)
_MOVES = select(alias_moves).where(
    alias_moves.c.model_id == bindparam("model"), alias_moves.c.alias == bindparam("alias")
)
ANY_MOVE = _MOVES.limit(1)
MOVES = (
    _MOVES.where(alias_moves.c.id < bindparam("before"))
    .order_by(alias_moves.c.id.desc())
    .limit(bindparam("size"))
)
_BLOBS = select(version_blobs.c.sha256, version_blobs.c.size).distinct().subquery()
COUNT_MODELS = select(func.count(), func.coalesce(func.sum(models.c.version_count), 0)).select_from(
    models
)
COUNT_ALIASES = select(func.count()).select_from(aliases)
COUNT_FILES = select(
    func.coalesce(func.sum(versions.c.file_count), 0), func.coalesce(func.sum(versions.c.size), 0)
)
COUNT_BLOBS = select(func.count(), func.coalesce(func.sum(_BLOBS.c.size), 0)).select_from(_BLOBS)


class SqlRegistryReader(RegistryReader):
    """Point reads where the caller runs, lists and counts in a thread.

    Args:
        sort_limit: see :func:`adapters.sql.lists.find`.
    """

    def __init__(self, database: Database, *, sort_limit: int = SORT_LIMIT) -> None:
        self._database = database
        self._sort_limit = sort_limit

    async def model(self, name: ModelName) -> Found[ModelRecord]:
        row = await self._database.first(MODEL, {"name": name})
        return to_model_record(row or _no_model(name))

    async def models(self, page: PageRequest) -> Page[ModelRecord]:
        def work(db: Connection) -> Page[ModelRecord]:
            scan = Scan(MODELS, page.filter, page.order, sort_limit=self._sort_limit)
            return _page(db, scan, page, MODELS_BY_ID, lambda row: to_model_record(row).record)

        return await self._database.search(work)

    async def version(self, model: ModelName, reference: Reference) -> Found[VersionRecord]:
        values: Values = {"name": model}
        match reference:
            case Latest():
                statement = VERSION_LATEST
            case AliasName():
                statement, values["alias"] = VERSION_BY_ALIAS, reference
            case _:
                statement, values["number"] = VERSION_BY_NUMBER, int(reference)
        row = await self._database.first(statement, values)
        if row is None:
            await self._database.point(lambda db: _no_version(db, model, reference))
        return to_version_record(row)

    async def versions(
        self, page: PageRequest, *, model: ModelName | None = None
    ) -> Page[VersionRecord]:
        def work(db: Connection) -> Page[VersionRecord]:
            scan = Scan(VERSIONS, page.filter, page.order, sort_limit=self._sort_limit)
            if model is not None:
                known = _one(db, MODEL_KEY, {"name": model}) or _no_model(model)
                most = known.version_count
                scan = replace(scan, model_id=known.id, all_models=False, most=most)
            return _page(db, scan, page, VERSIONS_BY_ID, lambda row: to_version_record(row).record)

        return await self._database.search(work)

    async def alias(self, model: ModelName, alias: AliasName) -> Found[AliasRecord]:
        row = await self._database.first(ALIAS, {"name": model, "alias": alias})
        if row is None:
            await self._database.point(lambda db: _no_version(db, model, alias))
        return to_alias_record(row)

    async def aliases(self, model: ModelName, page: PageRequest) -> Page[AliasRecord]:
        def work(db: Connection) -> Page[AliasRecord]:
            this = (_one(db, MODEL_KEY, {"name": model}) or _no_model(model)).id
            scope = ("aliases", this)
            after = _begin(scope, page, aliases.c.name, "")
            values = {"model": this, "after": after, "size": page.size + 1}
            rows = db.execute(ALIASES, values).all()
            return _cut(
                scope, rows, page, lambda row: to_alias_record(row).record, lambda row: [row.name]
            )

        return await self._database.search(work)

    async def alias_history(
        self, model: ModelName, alias: AliasName, page: PageRequest
    ) -> Page[AliasMoveRecord]:
        def work(db: Connection) -> Page[AliasMoveRecord]:
            this = (_one(db, MODEL_KEY, {"name": model}) or _no_model(model)).id
            scope = ("moves", this, str(alias))
            before = _begin(scope, page, alias_moves.c.id, _AFTER_ALL)
            values = {"model": this, "alias": alias, "before": before, "size": page.size + 1}
            rows = db.execute(MOVES, values).all()
            if not rows and db.execute(ANY_MOVE, {"model": this, "alias": alias}).first() is None:
                raise AliasNotFound(f"{model!a} never had an alias {alias!a}.")
            return _cut(scope, rows, page, to_move_record, lambda row: [row.id])

        return await self._database.search(work)

    async def stats(self) -> RegistryStats:
        def work(db: Connection) -> RegistryStats:
            counted, versions_in_all = db.execute(COUNT_MODELS).one()
            aliased = db.execute(COUNT_ALIASES).scalar_one()
            files, size = db.execute(COUNT_FILES).one()
            blobs, distinct = db.execute(COUNT_BLOBS).one()
            return RegistryStats(
                counted, int(versions_in_all), aliased, int(files), blobs, int(size), int(distinct)
            )

        return await self._database.search(work, limited=False)


_AFTER_ALL = 2**63 - 1


def _begin(scope: object, page: PageRequest, column: ColumnElement[T], first: T) -> T:
    """Where the page begins: after the key in its token, or at first."""
    if page.token is None:
        return first
    return cast("T", check_key(column, read_token(scope, page.token)[0]))


def _one(db: Connection, statement: Select[Any], values: dict[str, Any]) -> AnyRow | None:
    return db.execute(statement, values).first()


def _no_model(name: ModelName) -> NoReturn:
    raise ModelNotFound.named(name)


def _no_version(db: Connection, model: ModelName, reference: Reference) -> NoReturn:
    this = _one(db, MODEL_KEY, {"name": model}) or _no_model(model)
    match reference:
        case AliasName():
            others = db.execute(ALIASES, {"model": this.id, "after": "", "size": 5})
            raise AliasNotFound.named(reference, model, [other.name for other in others])
        case Latest():
            raise VersionNotFound(f"{model!a} has no version.")
        case _:
            raise VersionNotFound.numbered(reference, model)


def _page(
    db: Connection,
    scan: Scan,
    page: PageRequest,
    by_id: Select[Any],
    record: Callable[[AnyRow], T],
) -> Page[T]:
    """Selects the ids of the page first, and then reads only those rows whole."""
    scope = (scan.listed.table.name, scan.model_id, scan.filter, scan.order)
    count = len(scan.order) + 1
    values = None if page.token is None else read_token(scope, page.token, count)
    found = find(db, scan, page.size + 1, values)
    shown = dict(found[: page.size])
    items: list[T] = []
    size = 0
    last: tuple[Any, ...] = ()
    for row in _rows(db, by_id, list(shown)):
        size += _size(row)
        if items and size > MAX_PAGE_BYTES:
            return Page(items, write_token(scope, last))
        items.append(record(row))
        last = shown[row.id]
    more = len(found) > page.size
    return Page(items, write_token(scope, found[page.size - 1][1]) if more else None)


def _rows(db: Connection, by_id: Select[Any], ids: Sequence[Any]) -> Iterator[AnyRow]:
    """The rows with these ids, in this order: all at once, unless they are too much to hold."""
    rows: dict[Any, AnyRow] = {}
    size = 0
    with db.execute(by_id, {"ids": ids}) as result:
        for row in result:
            rows[row.id] = row
            size += _size(row)
            if size > MAX_PAGE_BYTES and len(ids) > 1:
                break
        else:
            yield from (rows[this] for this in ids if this in rows)
            return
    rows.clear()
    half = len(ids) // 2
    for some in (ids[:half], ids[half:]):
        yield from _rows(db, by_id, some)


def _size(row: AnyRow) -> int:
    """Roughly its bytes: the characters of its texts."""
    return sum(len(value) for value in row if isinstance(value, str))


def _cut(
    scope: object,
    rows: Sequence[AnyRow],
    page: PageRequest,
    record: Callable[[AnyRow], T],
    keys: Callable[[AnyRow], list[Key]],
) -> Page[T]:
    shown = rows[: page.size]
    more = len(rows) > page.size
    return Page(
        [record(row) for row in shown], write_token(scope, keys(shown[-1])) if more else None
    )
