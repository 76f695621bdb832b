"""Keeping a registry: gc, verify, stats, export, import."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from application.exporting import Export, Exported
from application.importing import Import, Imported
from application.maintenance import Collected, CollectGarbage, Verified
from application.ports.blob_references import FileOfVersion
from application.records import RegistryStats
from domain.values import ModelName
from entrypoints.cli import exits
from entrypoints.cli.options import UPKEEP, Json, add, duration
from entrypoints.cli.output import emit, plural, print_fields, progress, size, working
from entrypoints.cli.runtime import Container, with_registry


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be removed.")
    ] = False,
    grace: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="Spare what is younger: 90s, 30m, 24h, 7d, or a number of hours. It must be "
            "longer than the longest publish takes.",
        ),
    ] = "24h",
    force: Annotated[
        bool, typer.Option("--force", help="Also where the database names no blob at all.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove the bytes that no version names any more, and what broken uploads left."""
    command = CollectGarbage(duration(grace), dry_run, force)

    async def work(container: Container) -> Collected:
        with working("Collecting garbage"):
            return await container.collect_garbage()(command)

    collected = with_registry(work)
    told = (
        f"{'Would remove' if dry_run else 'Removed'} {plural(collected.blobs, 'blob')} "
        f"({size(collected.size)}), {plural(collected.staged, 'broken upload')} and "
        f"{plural(collected.uploads, 'expired upload')} ({size(collected.staged_size)}); "
        f"kept {plural(collected.kept, 'blob')}."
    )
    emit({**asdict(collected), "dry_run": dry_run}, told, json=json)


def verify(json: Json = False) -> None:
    """Read every stored byte again, and tell what is damaged or missing: exit code 7.

    Each such blob comes with a few of the files that need it.
    """

    async def work(container: Container) -> tuple[Verified, dict[str, list[FileOfVersion]]]:
        with progress("Verifying") as tell:
            verified = await container.verify()(tell)
        references = container.references()
        damaged = (*verified.missing, *verified.corrupt)
        return verified, {digest: await references.naming(digest) for digest in damaged}

    verified, files = with_registry(work)
    lines = [f"missing  {digest}{_names(files[digest])}" for digest in verified.missing]
    lines += [f"corrupt  {digest}{_names(files[digest])}" for digest in verified.corrupt]
    lines.append(
        f"{plural(verified.blobs, 'blob')} ({size(verified.size)}): "
        f"{len(verified.corrupt)} corrupt, {len(verified.missing)} missing, "
        f"{verified.unreferenced} that no version names."
    )
    named = {str(digest): [file._asdict() for file in few] for digest, few in files.items()}
    document = {**asdict(verified), "clean": verified.clean, "named_by": named}
    emit(document, "\n".join(lines), json=json)
    if not verified.clean:
        raise typer.Exit(exits.CORRUPT)


def _names(files: list[FileOfVersion]) -> str:
    return "".join(f"  {file.model}@{file.version}/{file.path}" for file in files)


def _store_place(container: Container) -> str:
    settings = container.settings()
    path = settings.model_storage_path
    return str(Path(path).absolute()) if settings.model_storage_method == "local" else path


def stats(json: Json = False) -> None:
    """Count what the registry holds, and say where that is."""

    async def work(container: Container) -> tuple[RegistryStats, dict[str, str]]:
        looked_at = {"database": container.database().place, "store": _store_place(container)}
        return await container.reader().stats(), looked_at

    counted, looked_at = with_registry(work)
    fields = [
        *looked_at.items(),
        ("models", counted.models),
        ("versions", counted.versions),
        ("aliases", counted.aliases),
        ("files", f"{counted.files} ({size(counted.size)})"),
        ("blobs", f"{counted.blobs} ({size(counted.distinct_size)})"),
    ]
    emit({**asdict(counted), **looked_at}, partial(print_fields, fields), json=json)


def export(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A new or empty folder, or one with an earlier export, to bring up to date.",
        ),
    ],
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    json: Json = False,
) -> None:
    """Write the registry, or one model, to a folder.

    The rows are those of one moment; the service may go on meanwhile. The same content gives the
    same files, byte for byte. Run it again after it broke off, and it goes on.
    """
    name = None if model is None else ModelName(model)

    async def work(container: Container) -> Exported:
        command = Export(container.folder(folder), name)
        with progress("Exporting") as tell:
            return await container.export_registry()(command, tell)

    exported = with_registry(work)
    told = (
        f"Exported {plural(exported.models, 'model')} with {plural(exported.versions, 'version')} "
        f"to {folder}: {plural(exported.blobs, 'blob')}, {size(exported.size)}"
        f"{f', {exported.kept} of them there before' if exported.kept else ''}."
    )
    emit({**asdict(exported), "folder": str(folder.absolute())}, told, json=json)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What export wrote.")],
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out models whose name is taken.")
    ] = False,
    distrust: Annotated[
        bool, typer.Option("--distrust", help="Hold all versions until 'rescan' has judged them.")
    ] = False,
    json: Json = False,
) -> None:
    """Read what 'export' wrote into the registry.

    The folder is checked whole before anything changes. Numbers, times, creators and histories
    stay what they were, and so do verdicts and reviews: --distrust is for an export of strangers,
    who may have written anything there. Run it again after it broke off, and it goes on.
    """

    async def work(container: Container) -> Imported:
        command = Import(container.folder(folder), skip_existing, distrust)
        with progress("Importing") as tell:
            return await container.import_registry()(command, tell)

    imported = with_registry(work, create=True)
    told = (
        f"Imported {plural(imported.models, 'model')} with {plural(imported.versions, 'version')} "
        f"and {plural(imported.blobs, 'new blob')} ({size(imported.size)})."
    )
    if imported.present:
        told += f"\n{plural(imported.present, 'model')} were there already, just as exported."
    told += "".join(f"\nskipped  {name}" for name in imported.skipped)
    emit(asdict(imported), told, json=json)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    add(
        app,
        UPKEEP,
        {"gc": gc, "verify": verify, "stats": stats, "export": export, "import": import_},
    )
