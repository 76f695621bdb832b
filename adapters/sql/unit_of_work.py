"""Transactions over the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import perf_counter
from types import TracebackType
from typing import Self

from adapters.sql.alias_repository import SqlAliasRepository
from adapters.sql.database import Database, Transaction
from adapters.sql.fences import check_fence, take_turn
from adapters.sql.receipt_repository import SqlReceiptRepository
from adapters.sql.repositories import SqlModelRepository, SqlVersionRepository
from adapters.sql.upload_repository import SqlUploadRepository
from application.ports.lock_manager import Fence
from application.ports.unit_of_work import UnitOfWork
from domain.events import Event


class SqlUnitOfWork(UnitOfWork):
    """A database transaction, and the events to publish after its commit.

    Args:
        publish: takes the events after a commit.
        report: takes ``begin``, and then ``commit`` or ``rollback`` for the whole: when it began
            (as ``time.perf_counter`` tells), its seconds, and the error that ended it.
    """

    def __init__(
        self,
        database: Database,
        publish: Callable[[Sequence[Event]], None],
        report: Callable[[str, float, float, BaseException | None], None] = lambda *_: None,
    ) -> None:
        self._database = database
        self._publish = publish
        self._report = report
        self._began = 0.0
        self._transaction: Transaction | None = None
        self._events: list[Event] = []

    @property
    def _begun(self) -> Transaction:
        assert self._transaction is not None, "enter the unit of work first"
        return self._transaction

    @property
    def models(self) -> SqlModelRepository:
        return SqlModelRepository(self._begun)

    @property
    def versions(self) -> SqlVersionRepository:
        return SqlVersionRepository(self._begun)

    @property
    def aliases(self) -> SqlAliasRepository:
        return SqlAliasRepository(self._begun)

    @property
    def receipts(self) -> SqlReceiptRepository:
        return SqlReceiptRepository(self._begun)

    @property
    def uploads(self) -> SqlUploadRepository:
        return SqlUploadRepository(self._begun)

    async def __aenter__(self) -> Self:
        assert self._transaction is None, "a unit of work is used once"
        asked, failure = perf_counter(), None
        try:
            self._transaction = await self._database.begin()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._began = perf_counter()
            self._report("begin", asked, self._began - asked, failure)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._begun.close()
        finally:
            end = "commit" if self._begun.committed else "rollback"
            self._report(end, self._began, perf_counter() - self._began, None)

    async def exclude_writers(self) -> None:
        await self._begun.exclude_writers()

    async def check_fence(self, fence: Fence | None) -> None:
        if fence is not None:
            await self._begun.run(lambda db: check_fence(db, fence))

    async def take_turn(self, task: str, at: datetime, every: timedelta) -> bool:
        return await self._begun.run(lambda db: take_turn(db, task, at, every))

    def record(self, event: Event) -> None:
        self._events.append(event)

    async def commit(self) -> None:
        try:
            await self._begun.commit()
        finally:
            # Also when the task was cancelled while the disk confirmed what it had written.
            if self._begun.committed:
                self._publish(self._events)
