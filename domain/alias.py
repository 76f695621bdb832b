"""Alias: a name for one version of a model, which can be moved, with its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.errors import AliasHasNoPrevious
from domain.values import AliasName, VersionNumber


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An alias was set, moved or (``version`` is None) deleted; its history is a list of these."""

    alias: AliasName
    version: VersionNumber | None
    previous_version: VersionNumber | None
    actor: str
    at: datetime


@dataclass(slots=True)
class Alias:
    """Points at one version of the same model.

    Attributes:
        previous_version: what it pointed at before its last move; None when there was none.
        revision: number of its moves, including those of earlier aliases of this name.
    """

    model_id: str
    name: AliasName
    version: VersionNumber
    previous_version: VersionNumber | None
    updated_at: datetime
    updated_by: str
    revision: int = 1

    @classmethod
    def assign(
        cls,
        *,
        model_id: str,
        name: AliasName,
        version: VersionNumber,
        actor: str,
        at: datetime,
        moves: int = 0,
    ) -> tuple[Alias, AliasMove]:
        """Creates an alias; ``moves``: how many moves earlier aliases of this name have made."""
        alias = cls(model_id, name, version, None, at, actor, moves + 1)
        return alias, AliasMove(name, version, None, actor, at)

    @property
    def etag(self) -> str:
        """Changes with every move; never comes back, also not after a deletion."""
        return f"{self.model_id[:12]}-{self.revision}"

    def move(self, version: VersionNumber, *, actor: str, at: datetime) -> AliasMove | None:
        """Moves the alias to ``version``; returns None if it points there already."""
        if version == self.version:
            return None
        return self._moved(version, actor=actor, at=at)

    def _moved(self, version: VersionNumber, *, actor: str, at: datetime) -> AliasMove:
        self.previous_version, self.version = self.version, version
        self.updated_at, self.updated_by = max(at, self.updated_at), actor
        self.revision += 1
        return AliasMove(self.name, version, self.previous_version, actor, self.updated_at)

    def roll_back(self, *, actor: str, at: datetime) -> AliasMove:
        """Moves back to the version before the last move; doing so twice is doing nothing.

        Raises:
            AliasHasNoPrevious: it was never moved.
        """
        if self.previous_version is None:
            raise AliasHasNoPrevious(
                f"The alias {self.name!a} has pointed at version {self.version} from the start."
            )
        return self._moved(self.previous_version, actor=actor, at=at)

    def remove(self, *, actor: str, at: datetime) -> AliasMove:
        """Returns the last entry of its history; the caller deletes the alias."""
        return AliasMove(self.name, None, self.version, actor, max(at, self.updated_at))
