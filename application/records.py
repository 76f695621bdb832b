"""Read models: flat, immutable records in the shape that the REST API returns.

Storage builds these straight from rows; the entrypoints write them out as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from domain.validation import Facts, Validation
from domain.values import JsonScalar
from domain.version import Version


@dataclass(frozen=True, slots=True)
class ModelRecord:
    name: str
    description: str
    tags: dict[str, str]
    creator: str
    created_at: datetime
    updated_at: datetime
    latest_version: int | None
    version_count: int
    aliases: dict[str, int]


@dataclass(frozen=True, slots=True)
class FileRecord:
    path: str
    size: int
    sha256: str
    media_type: str
    format: str | None


@dataclass(frozen=True, slots=True)
class ParentRecord:
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class FindingRecord:
    code: str
    severity: str
    message: str
    path: str
    location: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    verdict: str
    decision: str
    reason: str
    reviewer: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    verdict: str
    policy: str | None
    scanner: str | None
    ruleset: str | None
    coverage: str
    findings: list[FindingRecord]
    checked_at: datetime | None
    reviews: list[ReviewRecord]

    @classmethod
    def of(cls, validation: Validation) -> ValidationRecord:
        """The judgement as readers see it."""
        return cls(
            validation.verdict,
            validation.policy,
            validation.scanner,
            validation.ruleset,
            validation.coverage,
            [
                FindingRecord(f.code, f.severity, f.message, f.path, f.location, f.subject)
                for f in validation.findings
            ],
            validation.checked_at,
            [
                ReviewRecord(r.verdict, r.decision, r.reason, r.reviewer, r.at)
                for r in validation.reviews
            ],
        )


@dataclass(frozen=True, slots=True)
class VersionRecord:
    model: str
    version: int
    description: str
    parameters: dict[str, JsonScalar]
    metrics: dict[str, float]
    tags: dict[str, str]
    aliases: list[str]
    files: list[FileRecord]
    size: int
    digest: str
    creator: str
    source: str | None
    parents: list[ParentRecord]
    status: str
    facts: Facts
    validation: ValidationRecord
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, version: Version, model: str, aliases: Iterable[str]) -> VersionRecord:
        """What a reader gives of this version, of the model of this name."""
        manifest, validation = version.manifest, version.validation
        return cls(
            model=model,
            version=version.number,
            description=version.description,
            parameters=dict(version.parameters),
            metrics=dict(version.metrics),
            tags=dict(version.tags),
            aliases=sorted(aliases),
            files=[
                FileRecord(f.path, f.size, f.sha256, f.media_type, f.format) for f in manifest.files
            ],
            size=manifest.size,
            digest=manifest.digest,
            creator=version.creator,
            source=version.source,
            parents=[ParentRecord(parent.model, parent.version) for parent in version.parents],
            status=validation.status.value,
            facts=dict(version.facts),
            validation=ValidationRecord.of(validation),
            created_at=version.created_at,
            updated_at=version.updated_at,
        )


@dataclass(frozen=True, slots=True)
class AliasRecord:
    model: str
    alias: str
    version: int
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class AliasMoveRecord:
    """``version`` is None where the alias was deleted, ``previous_version`` where it was new."""

    version: int | None
    previous_version: int | None
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RegistryStats:
    """``size`` is the bytes the versions name together, ``distinct_size`` with each blob once."""

    models: int
    versions: int
    aliases: int
    files: int
    blobs: int
    size: int
    distinct_size: int
