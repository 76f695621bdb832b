"""Steps that several use cases take inside their own transactions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from application.ports import IdGenerator, UnitOfWork
from domain.alias import Alias, AliasMove
from domain.errors import AliasNotFound
from domain.events import AliasMoved, ModelRegistered
from domain.model import Model
from domain.values import AliasName, ModelName, VersionNumber, check_actor


async def register(
    uow: UnitOfWork,
    name: ModelName,
    *,
    actor: str,
    at: datetime,
    ids: IdGenerator,
    description: str = "",
    tags: Mapping[str, object] | None = None,
) -> Model:
    """Adds a model; numbering goes on where an earlier one of this name stopped.

    Raises:
        ModelExists: the name is taken.
        InvalidRequest: the description, a tag or the actor cannot be stored.
    """
    retired = await uow.models.retired(name)
    model = Model.register(
        id=ids.new(),
        name=name,
        creator=check_actor(actor),
        at=at,
        description=description,
        tags=tags,
        last_version=retired.last_version if retired else 0,
    )
    await uow.models.add(model)
    uow.record(ModelRegistered(model.name, model.creator, model.created_at))
    return model


async def point_alias(
    uow: UnitOfWork,
    model: Model,
    name: AliasName,
    version: VersionNumber,
    *,
    actor: str,
    at: datetime,
) -> bool:
    """Points an alias at a version that exists; True when the alias is new."""
    try:
        alias = await uow.aliases.get(model, name)
    except AliasNotFound:
        moves = await uow.aliases.moves(model, name)
        alias, move = Alias.assign(
            model_id=model.id, name=name, version=version, actor=actor, at=at, moves=moves
        )
        await save_alias(uow, model, alias, move)
        return True
    if moved := alias.move(version, actor=actor, at=at):
        await save_alias(uow, model, alias, moved)
    return False


async def save_alias(uow: UnitOfWork, model: Model, alias: Alias, move: AliasMove) -> None:
    """Saves a new or moved alias, and records the move."""
    await uow.aliases.put(alias, move)
    await _record_move(uow, model, move)


async def delete_alias(
    uow: UnitOfWork, model: Model, alias: Alias, *, actor: str, at: datetime
) -> None:
    """Deletes an alias; its history stays and gets a last entry."""
    move = alias.remove(actor=actor, at=at)
    await uow.aliases.remove(alias, move)
    await _record_move(uow, model, move)


async def _record_move(uow: UnitOfWork, model: Model, move: AliasMove) -> None:
    """Records the event, and raises the revisions of the versions and the model that show it."""
    affected = {number for number in (move.version, move.previous_version) if number is not None}
    await uow.versions.bump(model, affected)
    model.touch(move.at)
    await uow.models.save(model)
    uow.record(
        AliasMoved(model.name, move.alias, move.version, move.previous_version, move.actor, move.at)
    )
