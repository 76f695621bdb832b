"""The registry's rows in dictionaries, with transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import uuid4

from adapters.memory.upload_repository import MemoryUploadRepository
from application.ports.lock_manager import Fence
from application.ports.unit_of_work import (
    AliasRepository,
    ModelRepository,
    Receipt,
    ReceiptRepository,
    UnitOfWork,
    VersionRepository,
)
from domain.alias import Alias, AliasMove
from domain.errors import (
    AliasNotFound,
    DatabaseUnavailable,
    IdempotencyConflict,
    LockLost,
    ModelExists,
    ModelNotFound,
    VersionConflict,
    VersionInUse,
    VersionNotFound,
)
from domain.events import Event
from domain.model import Model, RetiredName
from domain.upload import Segment, Upload
from domain.values import AliasName, ModelName, VersionNumber
from domain.version import Version


@dataclass(slots=True)
class Rows:
    """One state of the registry. What a dictionary holds is replaced, never changed.

    Attributes:
        models: by id.
        versions: by model and number; ``serials`` has their order of publishing.
        moves: serial, model and move, oldest first.
        last_serial: the highest serial given out.
    """

    models: dict[str, Model] = field(default_factory=dict)
    retired: dict[str, RetiredName] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    serials: dict[tuple[str, int], int] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    moves: list[tuple[int, str, AliasMove]] = field(default_factory=list)
    receipts: dict[tuple[str, str], Receipt] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    segments: dict[str, tuple[Segment, ...]] = field(default_factory=dict)
    last_serial: int = 0
    fences: dict[str, int] = field(default_factory=dict)
    turns: dict[str, datetime] = field(default_factory=dict)

    def copy(self) -> Rows:
        return Rows(**{item.name: copy(getattr(self, item.name)) for item in fields(self)})

    def serial(self) -> int:
        """A number above all those given out before."""
        self.last_serial += 1
        return self.last_serial

    def named(self, name: str) -> Model:
        """Raises: ModelNotFound."""
        found = next((model for model in self.models.values() if model.name == name), None)
        if found is None:
            raise ModelNotFound.named(name)
        return found

    def retire(self, name: RetiredName) -> None:
        """Records the name unless the same or a higher number is recorded for it."""
        noted = self.retired.get(name.name)
        if noted is None or name.last_version > noted.last_version:
            self.retired[name.name] = name


class MemoryDatabase:
    """What the units of work and the readers of one registry share.

    Attributes:
        registry: the id of the registry.
        available: while False, whatever needs the database fails, a commit too.
    """

    def __init__(self) -> None:
        self.rows = Rows()
        self.registry = uuid4().hex
        self.turn = asyncio.Lock()
        self.available = True

    def check(self) -> None:
        """Raises: DatabaseUnavailable."""
        if not self.available:
            raise DatabaseUnavailable("The database is switched off.")

    async def issue_fence(self, name: str) -> int:
        """A number above all those issued for this name before."""
        async with self.turn:
            number = self.rows.fences[name] = self.rows.fences.get(name, 0) + 1
            return number


class MemoryUnitOfWork(UnitOfWork):
    """Works on a copy of the rows, which replaces them on commit; one at a time.

    Args:
        publish: takes the events after a commit.
    """

    def __init__(
        self, database: MemoryDatabase, publish: Callable[[Sequence[Event]], None]
    ) -> None:
        self._database = database
        self._publish = publish
        self._rows: Rows | None = None
        self._events: list[Event] = []

    @property
    def _begun(self) -> Rows:
        assert self._rows is not None, "a unit of work is used inside its block, until it commits"
        return self._rows

    @property
    def models(self) -> ModelRepository:
        return _Models(self._begun)

    @property
    def versions(self) -> VersionRepository:
        return _Versions(self._begun)

    @property
    def aliases(self) -> AliasRepository:
        return _Aliases(self._begun)

    @property
    def receipts(self) -> ReceiptRepository:
        return _Receipts(self._begun)

    @property
    def uploads(self) -> MemoryUploadRepository:
        return MemoryUploadRepository(self._begun.uploads, self._begun.segments)

    async def __aenter__(self) -> Self:
        self._database.check()
        await self._database.turn.acquire()
        self._rows = self._database.rows.copy()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    async def exclude_writers(self) -> None:
        """There never is more than one."""

    async def check_fence(self, fence: Fence | None) -> None:
        if fence is not None and self._begun.fences.get(fence.name, 0) > fence.number:
            raise LockLost.to_later(fence.name)

    async def take_turn(self, task: str, at: datetime, every: timedelta) -> bool:
        last = self._begun.turns.get(task)
        if last is not None and last + every > at:
            return False
        self._begun.turns[task] = at
        return True

    def record(self, event: Event) -> None:
        self._events.append(event)

    async def commit(self) -> None:
        rows = self._begun
        try:
            self._database.check()
            self._database.rows = rows
        finally:
            self._end()
        self._publish(self._events)

    def _end(self) -> None:
        if self._rows is not None:
            self._rows = None
            self._database.turn.release()


@dataclass(frozen=True, slots=True)
class _Models(ModelRepository):
    rows: Rows

    async def get(self, name: ModelName) -> Model:
        return deepcopy(self.rows.named(name))

    async def name_of(self, model_id: str) -> ModelName | None:
        found = self.rows.models.get(model_id)
        return None if found is None else found.name

    async def add(self, model: Model) -> None:
        self._check_free(model)
        if model.id in self.rows.models:
            raise ModelExists.named(model.name)
        self.rows.models[model.id] = deepcopy(model)

    async def save(self, model: Model) -> None:
        before = self._current(model)
        self._check_free(model)
        if before.name != model.name:
            self.rows.retire(RetiredName(before.name, model.id, model.last_version))
        self.rows.models[model.id] = deepcopy(model)

    async def allocate(self, model: Model, at: datetime) -> VersionNumber:
        current = deepcopy(self._current(model))
        number = current.allocate(at)
        self.rows.models[model.id] = current
        model.last_version, model.revision = current.last_version, current.revision
        model.updated_at = current.updated_at
        return number

    async def remove(self, model: Model) -> None:
        self.rows.retire(RetiredName(model.name, model.id, model.last_version))
        self.rows.models.pop(model.id, None)
        for held in (self.rows.versions, self.rows.aliases):
            for key in [key for key in held if key[0] == model.id]:
                del held[key]  # type: ignore[arg-type]
        self.rows.moves[:] = [line for line in self.rows.moves if line[1] != model.id]

    async def retired(self, name: ModelName) -> RetiredName | None:
        return self.rows.retired.get(name)

    async def retire(self, name: RetiredName) -> None:
        self.rows.retire(name)

    def _current(self, model: Model) -> Model:
        if model.id not in self.rows.models:
            raise ModelNotFound.named(model.name)
        return self.rows.models[model.id]

    def _check_free(self, model: Model) -> None:
        for other in self.rows.models.values():
            if other.name == model.name and other.id != model.id:
                raise ModelExists.named(model.name)


@dataclass(frozen=True, slots=True)
class _Versions(VersionRepository):
    rows: Rows

    async def get(self, model: Model, number: VersionNumber) -> Version:
        found = self.rows.versions.get((model.id, number))
        if found is None:
            raise VersionNotFound.numbered(number, model.name)
        return deepcopy(found)

    async def exists(self, model: ModelName, number: VersionNumber) -> bool:
        return any(
            bearer.name == model and (bearer.id, number) in self.rows.versions
            for bearer in self.rows.models.values()
        )

    async def add(self, version: Version) -> None:
        key = version.model_id, version.number
        if key in self.rows.versions:
            raise VersionConflict(f"There is a version {version.number} of the model already.")
        self.rows.versions[key] = deepcopy(version)
        self.rows.serials[key] = self.rows.serial()

    async def save(self, version: Version) -> None:
        self._check_there(version)
        self.rows.versions[version.model_id, version.number] = deepcopy(version)

    async def bump(self, model: Model, numbers: Collection[VersionNumber]) -> None:
        for number in set(numbers):
            if found := self.rows.versions.get((model.id, number)):
                bumped = deepcopy(found)
                bumped.revision += 1
                self.rows.versions[model.id, number] = bumped

    async def remove(self, version: Version) -> None:
        self._check_there(version)
        for alias in self.rows.aliases.values():
            if (alias.model_id, alias.version) == (version.model_id, version.number):
                raise VersionInUse(f"An alias points at version {version.number}.")
        del self.rows.versions[version.model_id, version.number]

    def _check_there(self, version: Version) -> None:
        if (version.model_id, version.number) not in self.rows.versions:
            raise VersionNotFound.numbered(version.number)


@dataclass(frozen=True, slots=True)
class _Aliases(AliasRepository):
    rows: Rows

    async def get(self, model: Model, name: AliasName) -> Alias:
        found = self.rows.aliases.get((model.id, name))
        if found is None:
            raise AliasNotFound.named(name, model.name)
        return deepcopy(found)

    async def moves(self, model: Model, name: AliasName) -> int:
        return sum(of == model.id and move.alias == name for _, of, move in self.rows.moves)

    async def pointing_at(self, model: Model, number: VersionNumber | None = None) -> list[Alias]:
        found = (
            deepcopy(alias)
            for alias in self.rows.aliases.values()
            if alias.model_id == model.id and number in {None, alias.version}
        )
        return sorted(found, key=lambda alias: alias.name)

    async def put(self, alias: Alias, move: AliasMove) -> None:
        if (alias.model_id, alias.version) not in self.rows.versions:
            raise VersionNotFound.numbered(alias.version)
        self.rows.aliases[alias.model_id, alias.name] = deepcopy(alias)
        self.rows.moves.append((self.rows.serial(), alias.model_id, move))

    async def remove(self, alias: Alias, move: AliasMove) -> None:
        self.rows.aliases.pop((alias.model_id, alias.name), None)
        self.rows.moves.append((self.rows.serial(), alias.model_id, move))


@dataclass(frozen=True, slots=True)
class _Receipts(ReceiptRepository):
    rows: Rows

    async def get(self, actor: str, key: str) -> Receipt | None:
        return self.rows.receipts.get((actor, key))

    async def add(self, receipt: Receipt) -> None:
        if (receipt.actor, receipt.key) in self.rows.receipts:
            raise IdempotencyConflict("Another request used this Idempotency-Key meanwhile.")
        self.rows.receipts[receipt.actor, receipt.key] = receipt

    async def forget(self, *, older_than: datetime) -> int:
        old = [key for key, receipt in self.rows.receipts.items() if receipt.at < older_than]
        for key in old:
            del self.rows.receipts[key]
        return len(old)
