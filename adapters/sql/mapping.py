"""Rows to aggregates and records, and aggregates to rows.

What was stored is taken as it is: a rule for names or paths that tightens later must not make
old rows unreadable, so value objects are rebuilt without being checked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import orjson
from sqlalchemy import Row

from adapters.sql.judgements import to_validation, validation_text
from adapters.sql.tables import FORMATS, HEAD
from application.filters import Scope
from application.ports.registry_reader import Found
from application.ports.unit_of_work import Receipt
from application.records import (
    AliasMoveRecord,
    AliasRecord,
    FileRecord,
    ModelRecord,
    ParentRecord,
    ValidationRecord,
    VersionRecord,
)
from application.times import micros, moment
from domain.alias import Alias, AliasMove
from domain.model import Model, RetiredName
from domain.upload import Segment, Upload, UploadMetadata
from domain.validation import Facts, as_searched
from domain.values import AliasName, Digest, FilePath, JsonScalar, ModelName, VersionNumber
from domain.version import FileEntry, Manifest, Parent, Version

AnyRow = Row[*tuple[Any, ...]]
Values = dict[str, Any]
SEPARATOR = "/"
"""Between the aliases of one version in one column; no alias can have it."""

_Text = TypeVar("_Text", bound=str)


def _trusted(kind: type[_Text], text: str) -> _Text:
    return str.__new__(kind, text)


def _number(number: int) -> VersionNumber:
    return int.__new__(VersionNumber, number)


def _optional(number: int | None) -> VersionNumber | None:
    return None if number is None else _number(number)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


# --- models -------------------------------------------------------------------------------------


def model_values(model: Model) -> Values:
    """The columns of a model's row, ``version_count`` excepted."""
    return {
        "id": model.id,
        "name": model.name,
        "creator": model.creator,
        "created_at": micros(model.created_at),
        "updated_at": micros(model.updated_at),
        "last_version": model.last_version,
        "revision": model.revision,
        "description": model.description,
        "tags": _json(model.tags),
    }


def to_model(row: AnyRow) -> Model:
    return Model(
        id=row.id,
        name=_trusted(ModelName, row.name),
        creator=row.creator,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
        description=row.description,
        tags=orjson.loads(row.tags),
        last_version=row.last_version,
        revision=row.revision,
    )


def to_retired_name(row: AnyRow) -> RetiredName:
    return RetiredName(_trusted(ModelName, row.name), row.model_id, row.last_version)


def to_model_record(row: AnyRow) -> Found[ModelRecord]:
    """From the columns of ``models``, ``latest`` and ``aliases`` (``name=number/name=number``)."""
    pairs = (pair.rsplit("=", 1) for pair in _split(row.aliases))
    record = ModelRecord(
        name=row.name,
        description=row.description,
        tags=orjson.loads(row.tags),
        creator=row.creator,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
        latest_version=row.latest,
        version_count=row.version_count,
        aliases={name: int(number) for name, number in sorted(pairs)},
    )
    return Found(record, f"{row.id[:12]}-{row.revision}")


def _split(joined: str | None) -> list[str]:
    return sorted(joined.split(SEPARATOR)) if joined else []


# --- versions -----------------------------------------------------------------------------------


def version_values(version: Version) -> Values:
    """The columns of a version's row, except ``id``."""
    manifest = version.manifest
    files = [[f.path, f.size, f.sha256, f.media_type, f.format] for f in manifest.files]
    return {
        "model_id": version.model_id,
        "number": int(version.number),
        "creator": version.creator,
        "created_at": micros(version.created_at),
        "size": manifest.size,
        "file_count": len(manifest.files),
        "digest": manifest.digest,
        "format": manifest.format,
        "source": version.source,
        "parameters": _json(version.parameters),
        "files": _json(files),
        "parents": _json([[parent.model, parent.version] for parent in version.parents]),
        **mutable_version_values(version),
    }


def mutable_version_values(version: Version) -> Values:
    """The columns that may change."""
    return {
        "updated_at": micros(version.updated_at),
        "revision": version.revision,
        "description": version.description,
        "metrics": _json(version.metrics),
        "tags": _json(version.tags),
        "validation": validation_text(version.validation),
        "facts": _json(version.facts),
        "status": version.validation.status.value,
    }


def to_version(row: AnyRow) -> Version:
    files = (
        FileEntry(_trusted(FilePath, path), size, _trusted(Digest, sha256), media_type, format_)
        for path, size, sha256, media_type, format_ in orjson.loads(row.files)
    )
    return Version(
        model_id=row.model_id,
        number=_number(row.number),
        manifest=Manifest(tuple(files)),
        creator=row.creator,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
        validation=to_validation(row.validation),
        facts=orjson.loads(row.facts),
        description=row.description,
        parameters=orjson.loads(row.parameters),
        metrics=orjson.loads(row.metrics),
        tags=orjson.loads(row.tags),
        source=row.source,
        parents=tuple(
            Parent(_trusted(ModelName, model), _number(version))
            for model, version in orjson.loads(row.parents)
        ),
        revision=row.revision,
    )


def to_version_record(row: AnyRow) -> Found[VersionRecord]:
    """From the columns of ``versions``, ``model`` (its name) and ``aliases`` (joined)."""
    record = VersionRecord(
        model=row.model,
        version=row.number,
        description=row.description,
        parameters=orjson.loads(row.parameters),
        metrics=orjson.loads(row.metrics),
        tags=orjson.loads(row.tags),
        aliases=_split(row.aliases),
        files=[FileRecord(*file) for file in orjson.loads(row.files)],
        size=row.size,
        digest=row.digest,
        creator=row.creator,
        source=row.source,
        parents=[ParentRecord(*parent) for parent in orjson.loads(row.parents)],
        status=row.status,
        facts=orjson.loads(row.facts),
        validation=ValidationRecord.of(to_validation(row.validation)),
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
    )
    return Found(record, f"{row.model_id[:12]}-{row.number}-{row.revision}")


def blob_values(version_id: int, manifest: Manifest) -> list[Values]:
    """One row for each distinct blob of the version."""
    sizes = {file.sha256: file.size for file in manifest.files}
    return [
        {"version_id": version_id, "sha256": sha256, "size": size} for sha256, size in sizes.items()
    ]


# --- labels -------------------------------------------------------------------------------------


def tag_labels(tags: dict[str, str]) -> Iterable[Values]:
    """The searchable form of tags."""
    return (_label(Scope.TAGS.value, key, value, None) for key, value in tags.items())


def metric_labels(metrics: dict[str, float]) -> Iterable[Values]:
    """The searchable form of metrics."""
    return (_label(Scope.METRICS.value, key, None, number) for key, number in metrics.items())


def format_labels(manifest: Manifest) -> Iterable[Values]:
    """The searchable form of the formats of the files."""
    formats = {file.format for file in manifest.files if file.format is not None}
    return (_label(FORMATS, each, each, None) for each in sorted(formats))


def parameter_labels(parameters: dict[str, JsonScalar]) -> Iterable[Values]:
    """The searchable form of parameters."""
    return _mixed(Scope.PARAMETERS, parameters)


def fact_labels(facts: Facts) -> Iterable[Values]:
    """The searchable form of facts."""
    return _mixed(Scope.FACTS, {key: as_searched(fact) for key, fact in facts.items()})


def _mixed(scope: Scope, entries: Mapping[str, JsonScalar]) -> Iterable[Values]:
    for key, value in entries.items():
        if isinstance(value, str):
            yield _label(scope.value, key, value, None)
        elif isinstance(value, bool):
            yield _label(scope.value, key, _json(value), None)
        elif value is not None:
            yield _label(scope.value, key, _json(value), float(value))


def _label(scope: str, key: str, text: str | None, number: float | None) -> Values:
    head, rest = (None, "") if text is None else (text[:HEAD], text[HEAD:])
    return {"scope": scope, "key": key, "value": head, "rest": rest, "number": number}


# --- aliases and receipts -----------------------------------------------------------------------


def alias_values(alias: Alias) -> Values:
    """The columns of an alias's row."""
    return {
        "model_id": alias.model_id,
        "name": alias.name,
        "version": int(alias.version),
        "previous_version": alias.previous_version and int(alias.previous_version),
        "updated_at": micros(alias.updated_at),
        "updated_by": alias.updated_by,
        "revision": alias.revision,
    }


def to_alias(row: AnyRow) -> Alias:
    return Alias(
        model_id=row.model_id,
        name=_trusted(AliasName, row.name),
        version=_number(row.version),
        previous_version=_optional(row.previous_version),
        updated_at=moment(row.updated_at),
        updated_by=row.updated_by,
        revision=row.revision,
    )


def to_alias_record(row: AnyRow) -> Found[AliasRecord]:
    """From the columns of ``aliases`` and ``model`` (its name)."""
    record = AliasRecord(row.model, row.name, row.version, moment(row.updated_at), row.updated_by)
    return Found(record, f"{row.model_id[:12]}-{row.revision}")


def move_values(model_id: str, move: AliasMove) -> Values:
    """The columns of a line of an alias's history, except ``id``."""
    return {
        "model_id": model_id,
        "alias": move.alias,
        "version": move.version and int(move.version),
        "previous_version": move.previous_version and int(move.previous_version),
        "actor": move.actor,
        "at": micros(move.at),
    }


def to_move(row: AnyRow) -> AliasMove:
    return AliasMove(
        alias=_trusted(AliasName, row.alias),
        version=_optional(row.version),
        previous_version=_optional(row.previous_version),
        actor=row.actor,
        at=moment(row.at),
    )


def to_move_record(row: AnyRow) -> AliasMoveRecord:
    return AliasMoveRecord(row.version, row.previous_version, row.actor, moment(row.at))


def receipt_values(receipt: Receipt) -> Values:
    """The columns of a receipt's row."""
    return {
        "actor": receipt.actor,
        "key": receipt.key,
        "fingerprint": receipt.fingerprint,
        "model_id": receipt.model_id,
        "version": int(receipt.version),
        "at": micros(receipt.at),
    }


def to_receipt(row: AnyRow) -> Receipt:
    return Receipt(
        row.actor, row.key, row.fingerprint, row.model_id, _number(row.version), moment(row.at)
    )


# --- uploads ------------------------------------------------------------------------------------


def upload_values(upload: Upload) -> Values:
    """The columns of an upload's row."""
    return {
        "id": upload.id,
        "creator": upload.creator,
        "created_at": micros(upload.created_at),
        "expires_at": micros(upload.expires_at),
        "length": upload.length,
        "received": upload.received,
        "concat": upload.concat,
        "metadata": upload.metadata,
        "sha256": upload.sha256,
    }


def to_upload(row: AnyRow) -> Upload:
    return Upload(
        id=row.id,
        creator=row.creator,
        created_at=moment(row.created_at),
        expires_at=moment(row.expires_at),
        length=row.length,
        metadata=_trusted(UploadMetadata, row.metadata),
        concat=row.concat,
        received=row.received,
        sha256=None if row.sha256 is None else _trusted(Digest, row.sha256),
    )


def segment_values(upload: str, segment: Segment) -> Values:
    """The columns of a segment's row."""
    return {
        "upload_id": upload,
        "start": segment.start,
        "size": segment.size,
        "name": segment.name,
    }


def to_segment(row: AnyRow) -> Segment:
    return Segment(row.start, row.size, row.name)
