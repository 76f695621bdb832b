"""Receipts of publishes, inside a transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select

from adapters.sql.database import Transaction
from adapters.sql.errors import refusing
from adapters.sql.mapping import receipt_values, to_receipt
from adapters.sql.tables import receipts
from application.ports.unit_of_work import Receipt, ReceiptRepository
from application.times import micros
from domain.errors import IdempotencyConflict

RECEIPT = select(receipts).where(
    receipts.c.actor == bindparam("actor"), receipts.c.key == bindparam("key")
)
RECEIPTS_DELETE = delete(receipts).where(receipts.c.at < bindparam("before"))


class SqlReceiptRepository(ReceiptRepository):
    def __init__(self, transaction: Transaction) -> None:
        self._run = transaction.run

    async def get(self, actor: str, key: str) -> Receipt | None:
        this = {"actor": actor, "key": key}
        row = await self._run(lambda db: db.execute(RECEIPT, this).first())
        return None if row is None else to_receipt(row)

    async def add(self, receipt: Receipt) -> None:
        def work(db: Connection) -> None:
            with refusing({"pk_receipts": _used}):
                db.execute(insert(receipts), receipt_values(receipt))

        await self._run(work)

    async def forget(self, *, older_than: datetime) -> int:
        values = {"before": micros(older_than)}
        return await self._run(lambda db: db.execute(RECEIPTS_DELETE, values).rowcount, bulk=True)


def _used() -> IdempotencyConflict:
    return IdempotencyConflict("Another request used this Idempotency-Key meanwhile.")
