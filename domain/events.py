"""Domain events, published once the transaction that made them true has committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.values import AliasName, ModelName, VersionNumber


@dataclass(frozen=True, slots=True)
class ModelRegistered:
    model: ModelName
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ModelRenamed:
    model: ModelName
    previous_name: ModelName
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ModelUpdated:
    """``changed``: which of description and tags."""

    model: ModelName
    actor: str
    changed: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class ModelDeleted:
    model: ModelName
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionPublished:
    model: ModelName
    version: VersionNumber
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionUpdated:
    """``changed``: which of description, metrics and tags."""

    model: ModelName
    version: VersionNumber
    actor: str
    changed: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionReviewed:
    """``decision``: accept or reject."""

    model: ModelName
    version: VersionNumber
    actor: str
    decision: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionRejudged:
    """``verdict``: what the rules of today say of it; ``actor`` ran the rescan."""

    model: ModelName
    version: VersionNumber
    actor: str
    verdict: str
    at: datetime


@dataclass(frozen=True, slots=True)
class VersionDeleted:
    model: ModelName
    version: VersionNumber
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AliasMoved:
    """``version`` is None where the alias was deleted, ``previous_version`` where it was new."""

    model: ModelName
    alias: AliasName
    version: VersionNumber | None
    previous_version: VersionNumber | None
    actor: str
    at: datetime


Event = (
    ModelRegistered
    | ModelRenamed
    | ModelUpdated
    | ModelDeleted
    | VersionPublished
    | VersionUpdated
    | VersionReviewed
    | VersionRejudged
    | VersionDeleted
    | AliasMoved
)
