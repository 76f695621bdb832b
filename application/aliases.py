"""Assigning, moving, rolling back and deleting aliases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from application.ports import Clock, Found, RegistryReader, UnitOfWork
from application.preconditions import IfMatch, check_match
from application.records import AliasRecord
from application.steps import delete_alias, point_alias, save_alias
from domain.errors import AliasNotFound, PreconditionFailed
from domain.model import Model
from domain.values import AliasName, ModelName, VersionNumber, check_actor


@dataclass(frozen=True, slots=True)
class SetAlias:
    """Creates or moves. ``must_be_new`` is If-None-Match: * (RFC 9110, 13.1.2)."""

    model: ModelName
    alias: AliasName
    version: VersionNumber
    actor: str
    if_match: IfMatch = None
    must_be_new: bool = False


@dataclass(frozen=True, slots=True)
class DeleteAlias:
    model: ModelName
    alias: AliasName
    actor: str
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class RollBackAlias:
    model: ModelName
    alias: AliasName
    actor: str
    if_match: IfMatch = None


@dataclass(frozen=True, slots=True)
class SetAliasHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    clock: Clock

    async def __call__(self, command: SetAlias) -> tuple[Found[AliasRecord], bool]:
        """The alias as it is now, and whether it is new.

        Raises:
            ModelNotFound, VersionNotFound
            VersionQuarantined: the version is held.
            PreconditionFailed: it has moved since, or exists though it should be new.
        """
        actor = check_actor(command.actor)
        async with self.uow() as uow:
            model = await uow.models.get(command.model)
            await self._check(uow, model, command)
            (await uow.versions.get(model, command.version)).check_usable()
            created = await point_alias(
                uow, model, command.alias, command.version, actor=actor, at=self.clock.now()
            )
            await uow.commit()
        return await self.reader.alias(command.model, command.alias), created

    async def _check(self, uow: UnitOfWork, model: Model, command: SetAlias) -> None:
        if command.if_match is None and not command.must_be_new:
            return
        try:
            alias = await uow.aliases.get(model, command.alias)
        except AliasNotFound:
            if command.if_match is not None:
                raise PreconditionFailed(f"The alias {command.alias!a} does not exist.") from None
            return
        if command.must_be_new:
            raise PreconditionFailed(
                f"The alias {command.alias!a} exists and points at version {alias.version}."
            )
        check_match(command.if_match, alias.etag)


@dataclass(frozen=True, slots=True)
class RollBackAliasHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    clock: Clock

    async def __call__(self, command: RollBackAlias) -> Found[AliasRecord]:
        """Back to the version before the last move.

        Raises:
            ModelNotFound, AliasNotFound, PreconditionFailed
            AliasHasNoPrevious: it was never moved.
            VersionNotFound: the version before has been deleted since.
            VersionQuarantined: it is held.
        """
        async with self.uow() as uow:
            model = await uow.models.get(command.model)
            alias = await uow.aliases.get(model, command.alias)
            check_match(command.if_match, alias.etag)
            move = alias.roll_back(actor=check_actor(command.actor), at=self.clock.now())
            (await uow.versions.get(model, alias.version)).check_usable()
            await save_alias(uow, model, alias, move)
            await uow.commit()
        return await self.reader.alias(command.model, command.alias)


@dataclass(frozen=True, slots=True)
class DeleteAliasHandler:
    uow: Callable[[], UnitOfWork]
    clock: Clock

    async def __call__(self, command: DeleteAlias) -> None:
        """Deletes the alias; its history stays.

        Raises:
            ModelNotFound, AliasNotFound, PreconditionFailed
        """
        async with self.uow() as uow:
            model = await uow.models.get(command.model)
            alias = await uow.aliases.get(model, command.alias)
            check_match(command.if_match, alias.etag)
            await delete_alias(
                uow, model, alias, actor=check_actor(command.actor), at=self.clock.now()
            )
            await uow.commit()
