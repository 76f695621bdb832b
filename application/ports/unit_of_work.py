"""One transaction over the registry's rows.

``async with uow:`` ... ``await uow.commit()``. Leaving without a commit rolls back; a commit that
fails raises. A new one per command, never shared between tasks. What is read inside is locked
against other writers until the block ends, so a read-check-write is safe.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from application.ports.lock_manager import Fence
from application.ports.uploads import UploadRepository
from domain.alias import Alias, AliasMove
from domain.events import Event
from domain.model import Model, RetiredName
from domain.values import AliasName, ModelName, VersionNumber
from domain.version import Version


class ModelRepository(Protocol):
    async def get(self, name: ModelName) -> Model:
        """Raises: ModelNotFound."""
        ...

    async def name_of(self, model_id: str) -> ModelName | None:
        """The present name of the model with this id; None where there is none."""
        ...

    async def add(self, model: Model) -> None:
        """Raises: ModelExists (the name or the id is taken)."""
        ...

    async def save(self, model: Model) -> None:
        """Writes a changed model; a changed name is retired with the numbers it handed out.

        Raises:
            ModelExists: the name is taken.
        """
        ...

    async def allocate(self, model: Model, at: datetime) -> VersionNumber:
        """Moves the model's counter in storage by :meth:`Model.allocate` and returns the number.

        Two transactions never get the same one, whatever locks are held; a rollback gives it back.
        """
        ...

    async def remove(self, model: Model) -> None:
        """Deletes it with its versions, aliases and their history; its name is retired."""
        ...

    async def retired(self, name: ModelName) -> RetiredName | None:
        """The record of an earlier use of this name, by a model since renamed or deleted."""
        ...

    async def retire(self, name: RetiredName) -> None:
        """Records a retired name; of two records of one name the higher ``last_version`` stays."""
        ...


class VersionRepository(Protocol):
    async def get(self, model: Model, number: VersionNumber) -> Version:
        """Raises: VersionNotFound."""
        ...

    async def exists(self, model: ModelName, number: VersionNumber) -> bool: ...

    async def add(self, version: Version) -> None:
        """Raises: VersionConflict (the number is taken)."""
        ...

    async def save(self, version: Version) -> None:
        """Writes the parts that may change."""
        ...

    async def bump(self, model: Model, numbers: Collection[VersionNumber]) -> None:
        """Raises the revision of these versions, whose aliases changed; absent ones are ignored."""
        ...

    async def remove(self, version: Version) -> None:
        """Deletes it with its labels and references to blobs; the number stays used.

        Raises:
            VersionNotFound: it does not exist any more.
            VersionInUse: an alias points at it.
        """
        ...


class AliasRepository(Protocol):
    async def get(self, model: Model, name: AliasName) -> Alias:
        """Raises: AliasNotFound."""
        ...

    async def moves(self, model: Model, name: AliasName) -> int:
        """The number of moves in the history of this name, including those of earlier aliases."""
        ...

    async def pointing_at(self, model: Model, number: VersionNumber | None = None) -> list[Alias]:
        """The aliases of one version, or (None) of the whole model, by name."""
        ...

    async def put(self, alias: Alias, move: AliasMove) -> None:
        """Adds or replaces the alias and appends the move to its history.

        Raises:
            VersionNotFound: the version it points at does not exist.
        """
        ...

    async def remove(self, alias: Alias, move: AliasMove) -> None:
        """Deletes the alias and appends the move to its history, which stays."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record of a publish with an Idempotency-Key.

    Attributes:
        fingerprint: digest of the whole request.
        model_id, version: what it published.
    """

    actor: str
    key: str
    fingerprint: str
    model_id: str
    version: VersionNumber
    at: datetime


class ReceiptRepository(Protocol):
    async def get(self, actor: str, key: str) -> Receipt | None: ...

    async def add(self, receipt: Receipt) -> None:
        """Raises: IdempotencyConflict (another transaction used the key meanwhile)."""
        ...

    async def forget(self, *, older_than: datetime) -> int:
        """Deletes receipts older than this; returns how many."""
        ...


class UnitOfWork(Protocol):
    @property
    def models(self) -> ModelRepository: ...

    @property
    def versions(self) -> VersionRepository: ...

    @property
    def aliases(self) -> AliasRepository: ...

    @property
    def receipts(self) -> ReceiptRepository: ...

    @property
    def uploads(self) -> UploadRepository: ...

    async def __aenter__(self) -> Self:
        """Raises: DatabaseUnavailable (also when others kept it busy too long)."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def exclude_writers(self) -> None:
        """Waits until no other transaction writes, and keeps new ones out until this one ends.

        Raises:
            DatabaseUnavailable: others are writing for too long.
        """
        ...

    async def check_fence(self, fence: Fence | None) -> None:
        """Makes sure that nobody has drawn a higher number, and will until this one ends.

        Raises:
            LockLost: somebody has: whoever shows this fence holds the lock no more.
        """
        ...

    async def take_turn(self, task: str, at: datetime, every: timedelta) -> bool:
        """Whether the task is due, its last turn being so long ago; it is taken with the commit.

        Of several that ask at once, one is told so.
        """
        ...

    def record(self, event: Event) -> None:
        """Keeps an event, to be published once the commit has succeeded."""
        ...

    async def commit(self) -> None:
        """Raises: DatabaseUnavailable; nothing has happened then."""
        ...
