"""Model: a name under which versions are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from domain.errors import ModelInUse, ModelNameRetired
from domain.values import ModelName, VersionNumber, check_growth, check_tags, check_text


@dataclass(slots=True)
class Model:
    """Identity, description, tags and the allocation state; it never loads its versions.

    Attributes:
        id: opaque and stable, also across a rename.
        last_version: highest number ever handed out, 0 for none; never goes down.
        revision: goes up with every change of the model's representation.
    """

    id: str
    name: ModelName
    creator: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    last_version: int = 0
    revision: int = 1

    @classmethod
    def register(
        cls,
        *,
        id: str,
        name: ModelName,
        creator: str,
        at: datetime,
        description: str = "",
        tags: Mapping[str, object] | None = None,
        last_version: int = 0,
    ) -> Model:
        """A new model. ``last_version`` is where an earlier model of this name stopped.

        Raises:
            InvalidRequest: the description or a tag cannot be stored.
        """
        return cls(
            id=id,
            name=name,
            creator=creator,
            created_at=at,
            updated_at=at,
            description=check_text(description, "/description"),
            tags=check_tags(tags or {}),
            last_version=last_version,
        )

    @property
    def etag(self) -> str:
        """Changes whenever what a reader sees changes; never comes back."""
        return f"{self.id[:12]}-{self.revision}"

    def describe(self, description: str, at: datetime) -> None:
        """Replaces the description.

        Raises:
            InvalidRequest: it cannot be stored.
        """
        self.description = check_text(description, "/description")
        self.touch(at)

    def tag(self, tags: Mapping[str, object], at: datetime) -> None:
        """Replaces the tags.

        Raises:
            InvalidRequest: one cannot be stored, or they are too large.
        """
        checked = check_tags(tags)
        check_growth("/tags", [self.tags], checked)
        self.tags = checked
        self.touch(at)

    def rename(self, name: ModelName, at: datetime, *, retired: RetiredName | None) -> None:
        """Renames the model; ``retired`` says which model used the new name before, if one did.

        Raises:
            ModelNameRetired: another model published versions under that name, so that
                ``name@1`` would come to mean something else.
        """
        if retired is not None and retired.last_version > 0 and retired.model_id != self.id:
            raise ModelNameRetired(
                f"Versions up to {retired.last_version} were published as {name!a} by another "
                "model; renaming onto that name would give those numbers a second meaning."
            )
        self.name = name
        self.touch(at)

    def allocate(self, at: datetime) -> VersionNumber:
        """Hands out the next number; see :meth:`VersionNumber.after`."""
        number = VersionNumber.after(self.last_version)
        self.last_version = number
        self.touch(at)
        return number

    def touch(self, at: datetime) -> None:
        """Raises the revision and the time of the last change."""
        self.updated_at = max(at, self.updated_at)
        self.revision += 1

    def check_deletable(self, aliases: int, *, force: bool) -> None:
        """Refuses the deletion while aliases exist, unless forced.

        Raises:
            ModelInUse: there are aliases and ``force`` is not set.
        """
        if aliases and not force:
            raise ModelInUse(
                f"{self.name!a} has {aliases} alias(es) that others may rely on; delete them "
                "first, or force the deletion."
            )


@dataclass(frozen=True, slots=True)
class RetiredName:
    """A name that a model used before it was renamed or deleted.

    A new model of this name numbers its versions from ``last_version`` + 1.
    """

    name: ModelName
    model_id: str
    last_version: int
