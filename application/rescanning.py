"""Judging stored versions anew, after the rules or the policy changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from application.judging import judged
from application.ports import (
    ArtifactStore,
    Clock,
    FileValidator,
    PageRequest,
    RegistryReader,
    UnitOfWork,
)
from application.records import VersionRecord
from application.streams import Tell, tell_nobody
from domain.errors import ModelNotFound, StoreUnavailable, VersionNotFound
from domain.events import VersionRejudged
from domain.validation import NOT_CHECKED, Facts, FileReport, Validation, ValidationPolicy
from domain.values import Digest, FilePath, ModelName, VersionNumber, check_actor

_PAGE = 100
_REMEMBERED = 1000
"""Reports of files that are kept meanwhile: one blob may stand in many versions."""


@dataclass(frozen=True, slots=True)
class Rescan:
    """Of one model or of all; what the present rules and policy judged already is left out, unless
    ``everything`` is wanted. A dry run stores nothing."""

    actor: str
    model: ModelName | None = None
    everything: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A version whose verdict, or status, is another now.

    Attributes:
        aliases: what points at it; they stay, whatever its status.
    """

    model: str
    version: int
    verdict_before: str
    verdict: str
    status_before: str
    status: str
    aliases: list[str]
    messages: list[str]


@dataclass(slots=True)
class Rescanned:
    """How many versions were judged anew, what is different, and which could not be read."""

    versions: int = 0
    changes: list[Change] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RescanHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    store: ArtifactStore
    validator: FileValidator
    clock: Clock
    policy: ValidationPolicy

    async def __call__(self, command: Rescan, tell: Tell = tell_nobody) -> Rescanned:
        """Reads the files of versions again and stores what is found; others publish meanwhile.

        Raises:
            ModelNotFound: a model is named and absent.
            ValidationUnavailable, DatabaseUnavailable: it broke off; what was judged is stored.
        """
        check_actor(command.actor)
        result, known, done = Rescanned(), _Reports(), 0
        async for record in self._versions(command):
            done += record.size
            if not command.everything and self._is_current(record):
                continue
            try:
                reports = await self._inspect(record, known)
            except StoreUnavailable as error:
                result.unreadable.append(f"{record.model}@{record.version}: {error.detail}")
                continue
            validation, facts = judged(self.policy, self.validator, reports, self.clock.now())
            change = await self._store(command, record, validation, facts)
            result.versions += 1
            if change is not None:
                result.changes.append(change)
            tell(done, 0)
        return result

    def _is_current(self, record: VersionRecord) -> bool:
        """Whether it would be judged the same again; not if a file could not be checked, for it
        may have been a matter of load."""
        validation = record.validation
        rules = self.policy.rules(self.validator.ruleset)
        return (validation.ruleset, validation.policy) == (rules, self.policy.name) and not any(
            finding.code == NOT_CHECKED for finding in validation.findings
        )

    async def _versions(self, command: Rescan) -> AsyncIterator[VersionRecord]:
        request = PageRequest(size=_PAGE)
        while True:
            page = await self.reader.versions(request, model=command.model)
            for record in page.items:
                yield record
            if page.next_page_token is None:
                return
            request = replace(request, token=page.next_page_token)

    async def _inspect(self, record: VersionRecord, known: _Reports) -> dict[FilePath, FileReport]:
        reports = {}
        for file in record.files:
            path, key = FilePath(file.path), (file.sha256, file.path)
            if key not in known:
                source = self.store.source(Digest(file.sha256), file.size)
                known.keep(key, await self.validator.validate(source, path))
            reports[path] = known[key]
        return reports

    async def _store(
        self, command: Rescan, record: VersionRecord, validation: Validation, facts: Facts
    ) -> Change | None:
        """What has changed, stored unless nothing is to be; None where nothing has."""
        at = self.clock.now()
        try:
            async with self.uow() as uow:
                model = await uow.models.get(ModelName(record.model))
                version = await uow.versions.get(model, VersionNumber(record.version))
                before = version.validation
                version.rejudge(validation, facts, at)
                after = version.validation
                changed = (before.verdict, before.status) != (after.verdict, after.status)
                if not command.dry_run:
                    await uow.versions.save(version)
                    if changed:
                        uow.record(
                            VersionRejudged(
                                model.name, version.number, command.actor, after.verdict.value, at
                            )
                        )
                    await uow.commit()
        except (ModelNotFound, VersionNotFound):
            return None  # deleted meanwhile
        if not changed:
            return None
        return Change(
            model=record.model,
            version=record.version,
            verdict_before=before.verdict.value,
            verdict=after.verdict.value,
            status_before=before.status.value,
            status=after.status.value,
            aliases=record.aliases,
            messages=_worst(after),
        )


def _worst(validation: Validation) -> list[str]:
    findings = sorted(validation.findings, key=lambda finding: -finding.severity.rank)
    return [finding.message for finding in findings[:5]]


class _Reports(dict[tuple[str, str], FileReport]):
    """The latest reports, by digest and path."""

    def keep(self, key: tuple[str, str], report: FileReport) -> None:
        if len(self) >= _REMEMBERED:
            del self[next(iter(self))]
        self[key] = report
