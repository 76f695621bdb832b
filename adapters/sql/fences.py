"""Numbers that rise with every holding of a lock, and turns at tasks that one replica does."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, select, text

from adapters.sql.database import Database
from adapters.sql.tables import fences
from application.ports.lock_manager import Fence
from application.times import micros
from domain.errors import LockLost

# The same in SQLite and PostgreSQL; SQLAlchemy has it per dialect only.
NEXT_FENCE = text(
    "INSERT INTO fences (name, number) VALUES (:name, 1) "
    "ON CONFLICT (name) DO UPDATE SET number = fences.number + 1 RETURNING number"
)
LAST_FENCE = (
    select(fences.c.number).where(fences.c.name == bindparam("name")).with_for_update(read=True)
)
TAKE_TURN = text(
    "INSERT INTO turns (task, at) VALUES (:task, :at) "
    "ON CONFLICT (task) DO UPDATE SET at = excluded.at WHERE turns.at <= :due RETURNING task"
)


class SqlFences:
    """Draws the numbers; they outlive any restart of the service that gives the locks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(self, name: str) -> int:
        """A number above all those issued for this name before.

        Raises:
            DatabaseUnavailable
        """
        transaction = await self._database.begin()
        try:
            number = await transaction.run(
                lambda db: int(db.execute(NEXT_FENCE, {"name": name}).scalar_one())
            )
            await transaction.commit()
        finally:
            await transaction.close()
        return number


def check_fence(db: Connection, fence: Fence) -> None:
    """Keeps higher numbers out until the transaction ends.

    Raises:
        LockLost: one was drawn before.
    """
    last = db.execute(LAST_FENCE, {"name": fence.name}).scalar_one_or_none()
    if last is not None and last > fence.number:
        raise LockLost.to_later(fence.name)


def take_turn(db: Connection, task: str, at: datetime, every: timedelta) -> bool:
    """Whether the last turn at this task is so long ago; it is taken then."""
    values = {"task": task, "at": micros(at), "due": micros(at - every)}
    return db.execute(TAKE_TURN, values).first() is not None
