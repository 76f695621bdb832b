"""Registering, changing and deleting models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from application.ports import Clock, Found, IdGenerator, RegistryReader, UnitOfWork
from application.preconditions import (
    IfMatch,
    check_match,
    check_members,
    merged,
    text_or_empty,
)
from application.records import ModelRecord
from application.steps import register
from domain.errors import invalid_field
from domain.events import ModelDeleted, ModelRenamed, ModelUpdated
from domain.model import Model
from domain.values import ModelName, check_actor


@dataclass(frozen=True, slots=True)
class RegisterModel:
    name: ModelName
    actor: str
    description: str = ""
    tags: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateModel:
    """``patch`` is a JSON merge patch of name, description and tags."""

    name: ModelName
    actor: str
    patch: Mapping[str, object]
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class DeleteModel:
    name: ModelName
    actor: str
    force: bool = False
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class RegisterModelHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    clock: Clock
    ids: IdGenerator

    async def __call__(self, command: RegisterModel) -> Found[ModelRecord]:
        """Raises: ModelExists, InvalidRequest."""
        async with self.uow() as uow:
            model = await register(
                uow,
                command.name,
                actor=command.actor,
                at=self.clock.now(),
                ids=self.ids,
                description=command.description,
                tags=command.tags,
            )
            await uow.commit()
        return await self.reader.model(model.name)


@dataclass(frozen=True, slots=True)
class UpdateModelHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    clock: Clock

    async def __call__(self, command: UpdateModel) -> Found[ModelRecord]:
        """Changes what the patch names.

        Raises:
            ModelNotFound, PreconditionFailed, InvalidRequest
            ModelExists, ModelNameRetired: the new name cannot be taken.
        """
        patch = command.patch
        check_members(patch, frozenset({"name", "description", "tags"}))
        actor, at = check_actor(command.actor), self.clock.now()
        async with self.uow() as uow:
            model = await uow.models.get(command.name)
            check_match(command.if_match, model.etag)
            if "description" in patch:
                model.describe(text_or_empty(patch["description"], "/description"), at)
            if "tags" in patch:
                model.tag(merged(model.tags, patch["tags"], "/tags"), at)
            if "name" in patch:
                await self._rename(uow, model, patch["name"], actor, at)
            await uow.models.save(model)
            if changed := tuple(sorted(patch.keys() - {"name"})):
                uow.record(ModelUpdated(model.name, actor, changed, at))
            await uow.commit()
        return await self.reader.model(model.name)

    async def _rename(
        self, uow: UnitOfWork, model: Model, name: object, actor: str, at: datetime
    ) -> None:
        if not isinstance(name, str):
            raise invalid_field("/name", "a string is expected")
        new_name = ModelName(name)
        if new_name == model.name:
            return
        previous = model.name
        model.rename(new_name, at, retired=await uow.models.retired(new_name))
        uow.record(ModelRenamed(new_name, previous, actor, at))


@dataclass(frozen=True, slots=True)
class DeleteModelHandler:
    uow: Callable[[], UnitOfWork]
    clock: Clock

    async def __call__(self, command: DeleteModel) -> None:
        """Deletes the model with its versions and aliases; blobs go with a later collection.

        Raises:
            ModelNotFound, PreconditionFailed
            ModelInUse: it has aliases, and the command does not force.
        """
        async with self.uow() as uow:
            model = await uow.models.get(command.name)
            check_match(command.if_match, model.etag)
            aliases = await uow.aliases.pointing_at(model)
            model.check_deletable(len(aliases), force=command.force)
            await uow.models.remove(model)
            uow.record(ModelDeleted(model.name, check_actor(command.actor), self.clock.now()))
            await uow.commit()
