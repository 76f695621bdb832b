"""Queries over a registry in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cmp_to_key
from itertools import accumulate
from typing import Any, Generic, TypeVar

import orjson

from adapters.memory.filtering import holds
from adapters.memory.registry import MemoryDatabase, Rows
from application.filters import Field, Scope
from application.page_tokens import Key, read_token, write_token
from application.ports.blob_references import NAMED_AT_MOST, BlobReferences, FileOfVersion
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
from application.times import micros
from domain.alias import Alias
from domain.errors import AliasNotFound, VersionNotFound
from domain.model import Model
from domain.validation import as_searched
from domain.values import AliasName, Digest, Latest, ModelName, Reference
from domain.version import Manifest, Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    """One row of a list: its record, its place in the default order, and its other fields."""

    record: T
    place: Key
    fields: dict[Field, list[Any]] = field(default_factory=dict)

    def lookup(self, field: Field) -> Sequence[Any]:
        if field.scope is Scope.ALIAS:
            return list(self.record.aliases)  # type: ignore[attr-defined]
        if field.scope is Scope.ATTRIBUTE:
            values = self.fields.get(field) or [getattr(self.record, field.key)]
        else:
            values = [as_searched(getattr(self.record, field.scope.value).get(field.key))]
        return [value for value in values if value is not None]


class MemoryRegistryReader(RegistryReader):
    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def _rows(self) -> Rows:
        self._database.check()
        return self._database.rows

    async def model(self, name: ModelName) -> Found[ModelRecord]:
        rows = self._rows
        model = rows.named(name)
        return Found(_model_record(rows, model), model.etag)

    async def models(self, page: PageRequest) -> Page[ModelRecord]:
        rows = self._rows
        records = (_model_record(rows, model) for model in rows.models.values())
        return _page("models", (_Item(r, r.name) for r in records), page, descending=False)

    async def version(self, model: ModelName, reference: Reference) -> Found[VersionRecord]:
        rows = self._rows
        bearer = rows.named(model)
        if isinstance(reference, Latest):
            number = _latest(rows, bearer) or 0
        elif isinstance(reference, AliasName):
            number = _alias(rows, bearer, reference).version
        else:
            number = reference
        if (bearer.id, number) not in rows.versions:
            raise VersionNotFound(f"{model!a} has no such version.")
        version = rows.versions[bearer.id, number]
        return Found(_version_record(rows, version), version.etag)

    async def versions(
        self, page: PageRequest, *, model: ModelName | None = None
    ) -> Page[VersionRecord]:
        rows = self._rows
        only = None if model is None else rows.named(model).id
        items = (
            _Item(
                _version_record(rows, version),
                rows.serials[key] if only is None else version.number,
                {Field(Scope.ATTRIBUTE, "format"): _formats(version.manifest)},
            )
            for key, version in rows.versions.items()
            if only in {None, version.model_id}
        )
        return _page(("versions", only), items, page, descending=True)

    async def alias(self, model: ModelName, alias: AliasName) -> Found[AliasRecord]:
        rows = self._rows
        found = _alias(rows, rows.named(model), alias)
        return Found(_alias_record(rows, found), found.etag)

    async def aliases(self, model: ModelName, page: PageRequest) -> Page[AliasRecord]:
        rows = self._rows
        this = rows.named(model).id
        records = (_alias_record(rows, a) for a in rows.aliases.values() if a.model_id == this)
        items = (_Item(record, record.alias) for record in records)
        return _page(("aliases", this), items, _plain(page), descending=False)

    async def alias_history(
        self, model: ModelName, alias: AliasName, page: PageRequest
    ) -> Page[AliasMoveRecord]:
        rows = self._rows
        this = rows.named(model).id
        items = [
            _Item(AliasMoveRecord(move.version, move.previous_version, move.actor, move.at), serial)
            for serial, of, move in rows.moves
            if of == this and move.alias == alias
        ]
        if not items:
            raise AliasNotFound(f"{model!a} never had an alias {alias!a}.")
        return _page(("moves", this, str(alias)), items, _plain(page), descending=True)

    async def stats(self) -> RegistryStats:
        rows = self._rows
        files = [file for version in rows.versions.values() for file in version.manifest.files]
        sizes = {file.sha256: file.size for file in files}
        return RegistryStats(
            models=len(rows.models),
            versions=len(rows.versions),
            aliases=len(rows.aliases),
            files=len(files),
            blobs=len(sizes),
            size=sum(file.size for file in files),
            distinct_size=sum(sizes.values()),
        )


class MemoryBlobReferences(BlobReferences):
    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def registry(self) -> str:
        self._database.check()
        return self._database.registry

    def _sizes(self) -> dict[Digest, int]:
        self._database.check()
        versions = self._database.rows.versions.values()
        return {file.sha256: file.size for v in versions for file in v.manifest.files}

    async def referenced(self, digests: Collection[Digest]) -> set[Digest]:
        return self._sizes().keys() & set(digests)

    async def naming(self, digest: Digest) -> list[FileOfVersion]:
        self._database.check()
        rows = self._database.rows
        found = [
            FileOfVersion(rows.models[key[0]].name, rows.versions[key].number, file.path)
            for key in sorted(rows.versions, key=rows.serials.__getitem__)
            for file in rows.versions[key].manifest.files
            if file.sha256 == digest
        ]
        return found[:NAMED_AT_MOST]

    async def page(self, after: Digest | None, limit: int) -> list[tuple[Digest, int]]:
        named = sorted(self._sizes().items())
        return [(digest, size) for digest, size in named if digest > (after or "")][:limit]


# --- records ------------------------------------------------------------------------------------


def _formats(manifest: Manifest) -> list[str | None]:
    """The one to order by, and those of all files."""
    return [manifest.format, *(file.format for file in manifest.files)]


def _latest(rows: Rows, model: Model) -> int | None:
    return max((number for of, number in rows.versions if of == model.id), default=None)


def _alias(rows: Rows, model: Model, name: AliasName) -> Alias:
    if (model.id, name) not in rows.aliases:
        others = sorted(other for of, other in rows.aliases if of == model.id)
        raise AliasNotFound.named(name, model.name, others)
    return rows.aliases[model.id, name]


def _model_record(rows: Rows, model: Model) -> ModelRecord:
    aliases = sorted(a for a in rows.aliases.items() if a[0][0] == model.id)
    return ModelRecord(
        name=model.name,
        description=model.description,
        tags=dict(model.tags),
        creator=model.creator,
        created_at=model.created_at,
        updated_at=model.updated_at,
        latest_version=_latest(rows, model),
        version_count=sum(of == model.id for of, _ in rows.versions),
        aliases={name: int(alias.version) for (_, name), alias in aliases},
    )


def _version_record(rows: Rows, version: Version) -> VersionRecord:
    this = version.model_id, version.number
    named = (a.name for a in rows.aliases.values() if (a.model_id, a.version) == this)
    return VersionRecord.of(version, rows.models[version.model_id].name, named)


def _alias_record(rows: Rows, alias: Alias) -> AliasRecord:
    model = rows.models[alias.model_id].name
    return AliasRecord(model, alias.name, alias.version, alias.updated_at, alias.updated_by)


# --- pages --------------------------------------------------------------------------------------


def _plain(page: PageRequest) -> PageRequest:
    return PageRequest(size=page.size, token=page.token)


def _page(
    scope: object, items: Iterable[_Item[T]], page: PageRequest, *, descending: bool
) -> Page[T]:
    """Sorts the items and cuts out the page that begins after the token's keys."""
    scope = (scope, page.filter, page.order)
    directions = [*(term.descending for term in page.order), descending]

    def compare(left: list[Key], right: list[Key]) -> int:
        return _compare(left, right, directions)

    order = cmp_to_key(compare)

    def keys(item: _Item[T]) -> list[Key]:
        return [*(_key(item.lookup(term.field)) for term in page.order), item.place]

    found = [i for i in items if page.filter is None or holds(page.filter, i.lookup)]
    found.sort(key=lambda item: order(keys(item)))
    if page.token is not None:
        last = order(read_token(scope, page.token, len(directions)))
        found = [item for item in found if order(keys(item)) > last]
    shown = found[: _fitting(found[: page.size])]
    more = len(found) > len(shown)
    return Page(
        [item.record for item in shown], write_token(scope, keys(shown[-1])) if more else None
    )


def _fitting(items: list[_Item[T]]) -> int:
    """How many of the first items fit into a page; one does in any case."""
    option = orjson.OPT_NON_STR_KEYS  # for kinds of str
    sizes = accumulate(len(orjson.dumps(item.record, option=option)) for item in items)
    return max(1, sum(size <= MAX_PAGE_BYTES for size in sizes))


def _key(values: Sequence[Any]) -> Key:
    """The sort key of a value; times as microseconds."""
    value = values[0] if values else None
    return micros(value) if isinstance(value, datetime) else value


def _compare(left: list[Key], right: list[Key], directions: list[bool]) -> int:
    """Compares two rows by their keys; missing keys come last in either direction."""
    for one, other, descending in zip(left, right, directions, strict=True):
        if one == other:
            continue
        if one is None or other is None:
            return 1 if one is None else -1
        return 1 if (one > other) != descending else -1  # type: ignore[operator]
    return 0
