"""Changing and deleting versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from application.ports import Clock, Found, RegistryReader, UnitOfWork
from application.preconditions import (
    IfMatch,
    check_match,
    check_members,
    merged,
    text_or_empty,
)
from application.records import VersionRecord
from application.steps import delete_alias
from domain.errors import FieldError, VersionImmutable
from domain.events import VersionDeleted, VersionReviewed, VersionUpdated
from domain.validation import Decision, Review
from domain.values import ModelName, VersionNumber, check_actor

_IMMUTABLE = frozenset(
    {"model", "version", "parameters", "files", "size", "digest", "creator", "source", "parents"}
    | {"validation", "status", "facts", "created_at", "updated_at", "aliases"}
)


@dataclass(frozen=True, slots=True)
class UpdateVersion:
    """``patch`` is a JSON merge patch of description, tags and metrics."""

    model: ModelName
    version: VersionNumber
    actor: str
    patch: Mapping[str, object]
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class ReviewVersion:
    """What a person decides about a version that is held, and why."""

    model: ModelName
    version: VersionNumber
    actor: str
    decision: Decision
    reason: str
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    model: ModelName
    version: VersionNumber
    actor: str
    force: bool = False
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class UpdateVersionHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    clock: Clock

    async def __call__(self, command: UpdateVersion) -> Found[VersionRecord]:
        """Changes what the patch names.

        Raises:
            ModelNotFound, VersionNotFound, PreconditionFailed, InvalidRequest
            VersionImmutable: the patch names files, parameters or another fixed part.
        """
        patch = command.patch
        if fixed := sorted(patch.keys() & _IMMUTABLE):
            raise VersionImmutable(
                f"{', '.join(fixed)} of a version cannot change; publish a new version instead.",
                errors=[FieldError(f"/{member}", "cannot change") for member in fixed],
            )
        check_members(patch, frozenset({"description", "tags", "metrics"}))
        actor, at = check_actor(command.actor), self.clock.now()
        async with self.uow() as uow:
            model = await uow.models.get(command.model)
            version = await uow.versions.get(model, command.version)
            check_match(command.if_match, version.etag)
            if "description" in patch:
                version.describe(text_or_empty(patch["description"], "/description"), at)
            if "tags" in patch:
                version.tag(merged(version.tags, patch["tags"], "/tags"), at)
            if "metrics" in patch:
                version.measure(merged(version.metrics, patch["metrics"], "/metrics"), at)
            await uow.versions.save(version)
            if changed := tuple(sorted(patch)):
                uow.record(VersionUpdated(model.name, version.number, actor, changed, at))
            await uow.commit()
        return await self.reader.version(command.model, command.version)


@dataclass(frozen=True, slots=True)
class ReviewVersionHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    clock: Clock

    async def __call__(self, command: ReviewVersion) -> Found[VersionRecord]:
        """Accepts or rejects; the decisions before are kept, and the last one counts.

        Raises:
            ModelNotFound, VersionNotFound, PreconditionFailed
            VersionNotHeld: there is nothing to decide.
            VersionInUse: it is to be rejected, and an alias points at it.
            InvalidRequest: the reason is empty.
        """
        actor, at = check_actor(command.actor), self.clock.now()
        async with self.uow() as uow:
            model = await uow.models.get(command.model)
            version = await uow.versions.get(model, command.version)
            check_match(command.if_match, version.etag)
            aliases = await uow.aliases.pointing_at(model, command.version)
            decision = command.decision
            review = Review(version.validation.verdict, decision, command.reason, actor, at)
            version.review(review, (alias.name for alias in aliases))
            await uow.versions.save(version)
            uow.record(VersionReviewed(model.name, version.number, actor, decision.value, at))
            await uow.commit()
        return await self.reader.version(command.model, command.version)


@dataclass(frozen=True, slots=True)
class DeleteVersionHandler:
    uow: Callable[[], UnitOfWork]
    clock: Clock

    async def __call__(self, command: DeleteVersion) -> None:
        """Deletes the version; its number stays used, its blobs go with a later collection.

        Raises:
            ModelNotFound, VersionNotFound, PreconditionFailed
            VersionInUse: an alias points at it, and the command does not force.
        """
        actor, at = check_actor(command.actor), self.clock.now()
        async with self.uow() as uow:
            model = await uow.models.get(command.model)
            version = await uow.versions.get(model, command.version)
            check_match(command.if_match, version.etag)
            aliases = await uow.aliases.pointing_at(model, command.version)
            version.check_deletable((alias.name for alias in aliases), force=command.force)
            for alias in aliases:
                await delete_alias(uow, model, alias, actor=actor, at=at)
            await uow.versions.remove(version)
            model.touch(at)
            await uow.models.save(model)
            uow.record(VersionDeleted(model.name, version.number, actor, at))
            await uow.commit()
