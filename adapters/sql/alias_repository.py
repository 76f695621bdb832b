"""Aliases with their history, inside a transaction."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from adapters.sql.database import Transaction
from adapters.sql.mapping import (
    alias_values,
    move_values,
    to_alias,
)
from adapters.sql.tables import alias_moves, aliases, versions
from application.ports.unit_of_work import AliasRepository
from domain.alias import Alias, AliasMove
from domain.errors import AliasNotFound, VersionNotFound
from domain.model import Model
from domain.values import AliasName, VersionNumber

_THIS_ALIAS = (aliases.c.model_id == bindparam("model")) & (aliases.c.name == bindparam("alias"))
ALIAS = select(aliases).where(_THIS_ALIAS).with_for_update()
ALIAS_UPDATE = update(aliases).where(_THIS_ALIAS)
ALIAS_DELETE = delete(aliases).where(_THIS_ALIAS)
ALIASES_OF_MODEL = (
    select(aliases).where(aliases.c.model_id == bindparam("model")).order_by(aliases.c.name)
)
ALIASES_OF_VERSION = ALIASES_OF_MODEL.where(aliases.c.version == bindparam("version"))
MOVES = select(func.count()).where(
    alias_moves.c.model_id == bindparam("model"), alias_moves.c.alias == bindparam("alias")
)
TARGET = select(versions.c.id).where(
    versions.c.model_id == bindparam("model"), versions.c.number == bindparam("version")
)


class SqlAliasRepository(AliasRepository):
    def __init__(self, transaction: Transaction) -> None:
        self._run = transaction.run

    async def get(self, model: Model, name: AliasName) -> Alias:
        this = {"model": model.id, "alias": name}
        row = await self._run(lambda db: db.execute(ALIAS, this).first())
        if row is None:
            raise AliasNotFound.named(name, model.name)
        return to_alias(row)

    async def moves(self, model: Model, name: AliasName) -> int:
        this = {"model": model.id, "alias": name}
        return await self._run(lambda db: db.execute(MOVES, this).scalar_one())

    async def pointing_at(self, model: Model, number: VersionNumber | None = None) -> list[Alias]:
        statement = ALIASES_OF_MODEL if number is None else ALIASES_OF_VERSION
        this = {"model": model.id, "version": number}
        rows = await self._run(lambda db: db.execute(statement, this).all())
        return [to_alias(row) for row in rows]

    async def put(self, alias: Alias, move: AliasMove) -> None:
        this = {"model": alias.model_id, "alias": alias.name}
        values = alias_values(alias)

        def work(db: Connection) -> None:
            target = {"model": alias.model_id, "version": alias.version}
            if db.execute(TARGET, target).first() is None:
                raise VersionNotFound.numbered(alias.version)
            if db.execute(ALIAS_UPDATE, {**this, **values}).rowcount == 0:
                db.execute(insert(aliases), values)
            db.execute(insert(alias_moves), move_values(alias.model_id, move))

        await self._run(work)

    async def remove(self, alias: Alias, move: AliasMove) -> None:
        def work(db: Connection) -> None:
            db.execute(ALIAS_DELETE, {"model": alias.model_id, "alias": alias.name})
            db.execute(insert(alias_moves), move_values(alias.model_id, move))

        await self._run(work)
