"""What files are and what loading them would do: inspect, review, rescan."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from anyio.to_thread import run_sync

from application.judging import judged
from application.ports import FileSource, Found
from application.records import ValidationRecord, VersionRecord
from application.rescanning import Rescan, Rescanned
from application.versions import ReviewVersion
from domain.errors import InvalidReference
from domain.validation import Decision, PolicyName, ValidationPolicy, Verdict
from domain.values import FilePath, ModelName, VersionNumber
from entrypoints.cli import exits
from entrypoints.cli.files import find_files
from entrypoints.cli.options import EVERYDAY, UPKEEP, Json, User, actor, add, model_and_reference
from entrypoints.cli.output import emit, fact, plural, print_fields, progress, say
from entrypoints.cli.runtime import Container, build, run_with, with_registry

_EXITS = {Verdict.ACCEPT: 0, Verdict.REVIEW: exits.HELD, Verdict.REJECT: exits.REFUSED}
_WORST = (Verdict.REJECT, Verdict.REVIEW, Verdict.ACCEPT)


class _LocalFile(FileSource):
    """A file of this machine, read where the validator asks for it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._descriptor).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        os.close(self._descriptor)

    @property
    def size(self) -> int:
        return self._size

    async def read_at(self, offset: int, length: int) -> bytes:
        return await run_sync(os.pread, self._descriptor, length, offset)


def inspect(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Model files, each by itself; a folder is one version."
        ),
    ],
    together: Annotated[
        bool, typer.Option("--together", help="All of them as the files of one version.")
    ] = False,
    policy: Annotated[
        PolicyName | None, typer.Option(help="Instead of VALIDATION_POLICY.", show_default=False)
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Trust this besides VALIDATION_ALLOW: mycompany.*"),
    ] = None,
    json: Json = False,
) -> None:
    """Tell what model files are, and whether the registry would take them.

    Nothing is published, and no registry is needed. The files are only read, never loaded.

    Exit code 0: all would be accepted; 9: one would be held for a review; 5: one would be refused.
    Under the report policy it is 0.
    """
    container = build()
    rules = container.settings().policy
    rules = replace(rules, name=policy or rules.name, allowed=(*rules.allowed, *(allow or ())))
    groups = [files] if together else [[file] for file in files]
    # All of them are looked for before the first is read: a wrong name should not take an hour.
    versions = [(_title(group), dict(find_files(group))) for group in groups]

    async def work(container: Container) -> list[dict[str, Any]]:
        return [await _inspect(container, rules, *version) for version in versions]

    inspected = run_with(container, work)
    worst = next((each for each in _WORST if any(i["verdict"] == each for i in inspected)), None)
    emit({"verdict": worst, "items": inspected}, partial(_tell_all, inspected), json=json)
    if worst is not None and rules.enforced and _EXITS[worst]:
        raise typer.Exit(_EXITS[worst])


def _title(group: Sequence[Path]) -> str:
    return str(group[0]) if len(group) == 1 else f"{group[0]} and {len(group) - 1} more"


async def _inspect(
    container: Container, rules: ValidationPolicy, title: str, files: Mapping[FilePath, Path]
) -> dict[str, Any]:
    validator, reports, kinds = container.validator(), {}, []
    for path, file in files.items():
        with _LocalFile(file) as source:
            report = reports[path] = await validator.validate(source, path)
        told = {"path": path, "size": source.size}
        kinds.append({**told, "format": report.format, "media_type": report.media_type})
    validation, facts = judged(rules, validator, reports, container.clock().now())
    record = asdict(ValidationRecord.of(validation))
    del record["reviews"]
    named = [kind["format"] for kind in kinds if kind["format"]]
    return {
        "file": title,
        "format": named[0] if len(named) == 1 else None,
        **record,
        "facts": facts,
        "files": kinds,
    }


def _tell_all(inspected: Sequence[Mapping[str, Any]]) -> None:
    for item in inspected:
        kinds = ", ".join(sorted({f["format"] or f["media_type"] for f in item["files"]}))
        say(f"{item['verdict']:<7} {item['file']} ({kinds})")
        for finding in item["findings"]:
            say(f"        {finding['severity']}: {finding['message']}")
        print_fields((f"        {key}", fact(value)) for key, value in item["facts"].items())


def review(
    name: Annotated[str, typer.Argument(metavar="NAME@NUMBER", help="The version that is held.")],
    decision: Annotated[Decision, typer.Argument(help="What is decided.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever asks later.")],
    user: User = "",
    json: Json = False,
) -> None:
    """Accept or reject a version that is held.

    An accepted one is served like any other. The decision, who took it and why are kept.
    """
    model, number = model_and_reference(name)
    if not isinstance(number, VersionNumber):
        raise InvalidReference(f"Name the version to review by its number, as in {model}@3.")
    command = ReviewVersion(model, number, actor(user), decision, reason)

    async def work(container: Container) -> Found[VersionRecord]:
        return await container.review_version()(command)

    record = with_registry(work).record
    emit(record, f"{record.model}@{record.version} is {record.status}.", json=json)


def rescan(
    model: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this model.", show_default="all")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what the present rules judged already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be different.")
    ] = False,
    user: User = "",
    json: Json = False,
) -> None:
    """Read the files of stored versions again, by the present rules, and tell what is different.

    For after an upgrade, or another VALIDATION_POLICY. A version that is accepted no more is held
    until it is reviewed; aliases that point at it stay, and are told. Exit code 9: one is held.
    """
    command = Rescan(actor(user), None if model is None else ModelName(model), everything, dry_run)

    async def work(container: Container) -> Rescanned:
        with progress("Reading") as tell:
            return await container.rescan()(command, tell)

    result = with_registry(work)
    lines = [f"unreadable  {each}" for each in result.unreadable]
    for change in result.changes:
        pointing = "".join(f" @{alias}" for alias in change.aliases)
        lines.append(
            f"{change.model}@{change.version}{pointing}: {change.verdict_before} -> "
            f"{change.verdict}, {change.status_before} -> {change.status}"
        )
        lines += [f"        {message}" for message in change.messages]
    lines.append(
        f"{'Would judge' if dry_run else 'Judged'} {plural(result.versions, 'version')} anew: "
        f"{len(result.changes)} different, {len(result.unreadable)} unreadable."
    )
    emit({**asdict(result), "dry_run": dry_run}, "\n".join(lines), json=json)
    if result.unreadable:
        raise typer.Exit(exits.CORRUPT)
    if any(change.status != "ready" for change in result.changes):
        raise typer.Exit(exits.HELD)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    add(app, EVERYDAY, {"inspect": inspect, "review": review})
    add(app, UPKEEP, {"rescan": rescan})
