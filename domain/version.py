"""Version: one immutable set of files under a model, and what is known about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.errors import (
    InvalidManifest,
    VersionInUse,
    VersionNotHeld,
    VersionQuarantined,
    invalid_field,
)
from domain.validation import Decision, Facts, Review, Status, Validation
from domain.values import (
    MAX_FILES,
    MAX_REASON,
    MAX_REVIEWS,
    AliasName,
    Digest,
    FilePath,
    JsonScalar,
    ModelName,
    VersionNumber,
    check_growth,
    check_metrics,
    check_parameters,
    check_tags,
    check_text,
)


def check_paths(paths: Iterable[FilePath]) -> None:
    """Refuses a set of paths that some file system could not store together.

    Raises:
        InvalidManifest: no file, too many, two that differ in case only, or one that is a folder
            of another.
    """
    seen: dict[str, FilePath] = {}
    for path in paths:
        if twin := seen.get(path.folded):
            raise InvalidManifest(f"{path[:100]!a} and {twin[:100]!a} are the same path.")
        seen[path.folded] = path
    if not 1 <= len(seen) <= MAX_FILES:
        raise InvalidManifest(f"A version has 1 to {MAX_FILES} files, not {len(seen)}.")
    for folded, path in seen.items():
        parent = folded
        while "/" in parent:
            parent = parent.rsplit("/", 1)[0]
            if parent in seen:
                raise InvalidManifest(
                    f"{seen[parent][:100]!a} is a file and the folder of {path[:100]!a}."
                )


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One line of a manifest.

    Attributes:
        size: in bytes.
        media_type: RFC 6838 type, as detected.
        format: model format ("safetensors", "onnx" ...), None for a companion file.
    """

    path: FilePath
    size: int
    sha256: Digest
    media_type: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a version, sorted by path."""

    files: tuple[FileEntry, ...]

    @classmethod
    def of(cls, files: Iterable[FileEntry]) -> Manifest:
        """Sorts and checks.

        Raises:
            InvalidManifest: see :func:`check_paths`.
        """
        entries = tuple(sorted(files, key=lambda entry: entry.path.encode()))
        check_paths(entry.path for entry in entries)
        return cls(entries)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    @property
    def digest(self) -> Digest:
        """sha256 over the lines ``<sha256>  <path>`` in the order of the paths' UTF-8 bytes.

        That is what ``sha256sum`` prints, so anybody can compute it without this service.
        """
        lines = "".join(f"{entry.sha256}  {entry.path}\n" for entry in self.files)
        return Digest(hashlib.sha256(lines.encode()).hexdigest())

    @property
    def format(self) -> str | None:
        """The model format of the largest file that has one."""
        models = [entry for entry in self.files if entry.format is not None]
        return max(models, key=lambda entry: entry.size).format if models else None


@dataclass(frozen=True, slots=True)
class Parent:
    """A version that this one was made from."""

    model: ModelName
    version: VersionNumber


@dataclass(slots=True)
class Version:
    """Files, parameters, source, parents and creator never change; the rest may.

    Attributes:
        number: unique within the model, never used twice.
        source: free text or URI of what produced it.
        facts: what the files tell of the model.
        revision: goes up with every change of its representation, aliases included.
    """

    model_id: str
    number: VersionNumber
    manifest: Manifest
    creator: str
    created_at: datetime
    updated_at: datetime
    validation: Validation
    facts: Facts = field(default_factory=dict)
    description: str = ""
    parameters: dict[str, JsonScalar] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    parents: tuple[Parent, ...] = ()
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes whenever what a reader sees changes; never comes back."""
        return f"{self.model_id[:12]}-{self.number}-{self.revision}"

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
        check_growth("/tags", self._maps, self.parameters, self.metrics, checked)
        self.tags = checked
        self.touch(at)

    def measure(self, metrics: Mapping[str, object], at: datetime) -> None:
        """Replaces the metrics.

        Raises:
            InvalidRequest: one is not a finite number, or they are too large.
        """
        checked = check_metrics(metrics)
        check_growth("/metrics", self._maps, self.parameters, checked, self.tags)
        self.metrics = checked
        self.touch(at)

    @property
    def _maps(self) -> list[Mapping[str, JsonScalar]]:
        return [self.parameters, self.metrics, self.tags]

    def touch(self, at: datetime) -> None:
        """Raises the revision and the time of the last change."""
        self.updated_at = max(at, self.updated_at)
        self.revision += 1

    def review(self, review: Review, aliases: Iterable[AliasName]) -> None:
        """Adds a decision; the last one counts. What was never held can be rejected, too: it is
        withdrawn.

        Raises:
            VersionNotHeld: it is to be accepted and is not held, or was decided about endlessly.
            VersionInUse: it is to be rejected, and aliases point here.
            InvalidRequest: the reason is empty, too long, or cannot be stored.
        """
        undecided = self.validation.held or self.validation.reviews
        if review.decision is Decision.ACCEPT and not undecided:
            raise VersionNotHeld(
                f"Version {self.number} is not held (its verdict is "
                f"{self.validation.verdict.value!a}), so there is nothing to accept."
            )
        if not check_text(review.reason, "/reason", most=MAX_REASON).strip():
            raise invalid_field("/reason", "say why, in a sentence")
        if len(self.validation.reviews) >= MAX_REVIEWS:
            raise VersionNotHeld(f"Version {self.number} was reviewed {MAX_REVIEWS} times.")
        if review.decision is Decision.REJECT:
            self._check_unpointed(aliases)
        self.validation = replace(self.validation, reviews=(*self.validation.reviews, review))
        self.touch(review.at)

    def rejudge(self, validation: Validation, facts: Facts, at: datetime) -> None:
        """Replaces the judgement; what people decided is kept."""
        self.validation = replace(validation, reviews=self.validation.reviews)
        self.facts = dict(facts)
        self.touch(at)

    def check_usable(self) -> None:
        """Refuses what needs the files to be served.

        Raises:
            VersionQuarantined
        """
        check_ready(self.validation.status, self.number)

    def check_deletable(self, aliases: Iterable[AliasName], *, force: bool) -> None:
        """Refuses the deletion while aliases point here, unless forced.

        Raises:
            VersionInUse: naming the aliases.
        """
        if not force:
            self._check_unpointed(aliases, ", or force the deletion")

    def _check_unpointed(self, aliases: Iterable[AliasName], otherwise: str = "") -> None:
        if names := sorted(aliases):
            raise VersionInUse(
                f"Version {self.number} is what {', '.join(f'@{name}' for name in names[:5])} "
                f"points at; move or delete the alias first{otherwise}."
            )


def check_ready(status: str, number: int) -> None:
    """Refuses to serve, or to point at, a version that is held.

    Raises:
        VersionQuarantined
    """
    if status == Status.QUARANTINED:
        raise VersionQuarantined(
            f"Version {number} is quarantined: see its 'validation' for what was found. Its files "
            "are not served, and no alias may point at it, until somebody accepts it: POST a "
            f"decision to .../versions/{number}/review."
        )
    if status == Status.REJECTED:
        raise VersionQuarantined(
            f"Version {number} was rejected by a review: see its 'validation'. Its files are not "
            "served, and no alias may point at it."
        )


@dataclass(slots=True)
class VersionDetails:
    """What a publisher says about a version, checked and normalised as it is built.

    Raises:
        InvalidRequest: pointing at the field that cannot be stored.
    """

    description: str = ""
    parameters: Mapping[str, JsonScalar] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    parents: tuple[Parent, ...] = ()

    def __post_init__(self) -> None:
        check_text(self.description, "/description")
        if self.source is not None:
            check_text(self.source, "/source")
        self.parameters = check_parameters(self.parameters)
        self.metrics = check_metrics(self.metrics)
        self.tags = check_tags(self.tags)

    def version(
        self,
        *,
        model_id: str,
        number: VersionNumber,
        manifest: Manifest,
        validation: Validation,
        facts: Facts,
        creator: str,
        at: datetime,
    ) -> Version:
        """Builds the version from these details and its files."""
        return Version(
            model_id=model_id,
            number=number,
            manifest=manifest,
            creator=creator,
            created_at=at,
            updated_at=at,
            validation=validation,
            facts=dict(facts),
            description=self.description,
            parameters=dict(self.parameters),
            metrics=dict(self.metrics),
            tags=dict(self.tags),
            source=self.source,
            parents=self.parents,
        )
