"""``publish`` and ``download``: bytes into the registry and out of it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer
from anyio import open_file

from application.blobs import OpenFile, OpenFileHandler
from application.ports import Folder, RegistryReader
from application.publishing import IncomingFile, PublishDetails, Published, PublishVersion
from application.records import FileRecord, VersionRecord
from application.streams import ByteStream, Tell, checked, digest_of
from domain.errors import ModelNotFound
from domain.validation import Status
from domain.values import AliasName, FilePath, ModelName, Reference, VersionNumber
from domain.version import Parent, VersionDetails
from entrypoints.cli import exits
from entrypoints.cli.options import (
    EVERYDAY,
    Aliases,
    CreateModel,
    Description,
    IdempotencyKey,
    Json,
    Metrics,
    Name,
    Parameters,
    Parents,
    Source,
    Tags,
    User,
    actor,
    add,
    metrics,
    pairs,
    parameters,
    version_named,
)
from entrypoints.cli.output import emit, plain, plural, progress, size
from entrypoints.cli.runtime import Container, with_registry

_CHUNK = 1 << 20


# --- publish ------------------------------------------------------------------------------------


def publish(
    name: Name,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE_OR_FOLDER",
            help="A file is stored under its name, what is in a folder under its path in there; "
            "names that begin with a dot are left out of folders.",
        ),
    ],
    *,
    param: Parameters = None,
    metric: Metrics = None,
    tag: Tags = None,
    description: Description = "",
    alias: Aliases = None,
    source: Source = None,
    parent: Parents = None,
    create_model: CreateModel = False,
    idempotency_key: IdempotencyKey = None,
    user: User = "",
    json: Json = False,
) -> None:
    """Publish files as the next version of a model.

    Exit code 9: published, but held for a review.
    """
    model, who = ModelName(name), actor(user)
    parents = [version_named(text) for text in parent or ()]
    details = VersionDetails(
        description, parameters(param), metrics(metric), pairs(tag, "--tag"), source
    )
    aliases = tuple(AliasName(text) for text in alias or ())
    found = dict(find_files(sources))

    async def work(container: Container) -> Published:
        made_from = tuple([await _parent(container.reader(), *named) for named in parents])
        with progress(f"Publishing {model}") as tell:
            upload = _Upload(found, tell)
            said = PublishDetails(replace(details, parents=made_from), aliases, create_model)
            command = PublishVersion(model, who, upload.parts(said), idempotency_key)
            try:
                return await container.publish_version()(command)
            except ModelNotFound:
                hint = "register it first, or publish with --create-model."
                raise ModelNotFound(f"There is no model {str(model)!a}; {hint}") from None

    published = with_registry(work, create=create_model)
    record = published.version.record
    for finding in record.validation.findings:
        print(plain(f"{finding.severity}: {finding.message}"), file=sys.stderr)
    held = record.status != Status.READY
    emit(record, f"Published {_told(published, aliases, held=held)}", json=json)
    if held:
        raise typer.Exit(exits.HELD)


def _told(published: Published, aliases: Sequence[AliasName], *, held: bool) -> str:
    record = published.version.record
    again = " (published before)" if published.replayed else ""
    pointing = ", ".join(f"@{name}" for name in aliases if name in record.aliases)
    at = f"{record.model}@{record.version}{f' ({pointing})' if pointing else ''}"
    what = f"{plural(len(record.files), 'file')}, {size(record.size)}{again}"
    review = f"modelyard-server review {record.model}@{record.version} accept --reason ..."
    then = f"\nIt is held until somebody reviews it, and not served: {review}" if held else ""
    return f"{at}: {what}.{then}"


def find_files(sources: Sequence[Path]) -> Iterator[tuple[FilePath, Path]]:
    """The files to publish, under the paths they get.

    Raises:
        OSError: one cannot be found, or is no plain file.
        InvalidFilePath: its path cannot be stored.
    """
    seen: dict[str, Path] = {}
    for source in sources:
        files = _walk(source) if source.is_dir() else [(source.name, source)]
        for name, file in files:
            if not file.is_file():
                missing = not file.exists()
                code = errno.ENOENT if missing else errno.EINVAL
                text = "no such file or folder" if missing else "neither a file nor a folder"
                raise OSError(code, text, str(file))
            path = FilePath(name)
            if twin := seen.get(path):
                raise typer.BadParameter(f"{twin} and {file} would both be stored as {path}")
            seen[path] = file
            yield path, file
    if not seen:
        raise typer.BadParameter("there is no file to publish in there")


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                file = Path(folder, name)
                yield file.relative_to(root).as_posix(), file
        for name in folders:
            if Path(folder, name).is_symlink():
                raise OSError(errno.EINVAL, "a link to a folder", str(Path(folder, name)))


async def _parent(reader: RegistryReader, model: ModelName, reference: Reference) -> Parent:
    if isinstance(reference, VersionNumber):
        return Parent(model, reference)
    found = await reader.version(model, reference)
    return Parent(model, VersionNumber(found.record.version))


@dataclass(slots=True)
class _Upload:
    files: dict[FilePath, Path]
    tell: Tell
    done: int = 0
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = sum(file.stat().st_size for file in self.files.values())

    async def parts(self, details: PublishDetails) -> AsyncIterator[IncomingFile | PublishDetails]:
        yield details
        for path, file in self.files.items():
            yield IncomingFile(path, self._read(file))

    async def _read(self, file: Path) -> AsyncIterator[bytes]:
        async with await open_file(file, "rb", buffering=0) as stream:
            while chunk := await stream.read(_CHUNK):
                self.done += len(chunk)
                self.tell(self.done, self.total)
                yield chunk


# --- download -----------------------------------------------------------------------------------


def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME@VERSION", help="churn@3, churn@latest, churn@champion")
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Only these files of the version."),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to.", show_default="NAME-NUMBER"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that have other content.")
    ] = False,
    held: Annotated[
        bool, typer.Option("--held", help="Also of a version that is held: to review it.")
    ] = False,
    json: Json = False,
) -> None:
    """Download the files of a version.

    Each file appears once it is whole and its sha256 is right. Files that are there already with
    the right content are not fetched again.
    """
    model, reference = version_named(name)

    async def work(container: Container) -> tuple[VersionRecord, Path, list[FileRecord]]:
        version = (await container.reader().version(model, reference)).record
        pinned = VersionNumber(version.version)
        wanted = [file.path for file in version.files] if not paths else list(dict.fromkeys(paths))
        opener: OpenFileHandler = container.open_file()
        opened = [await opener(OpenFile(model, pinned, path, held)) for path in wanted]
        into = output or Path(f"{version.model}-{version.version}")
        folder: Folder = container.folder(into)
        with progress(f"Downloading {version.model}@{version.version}") as tell:
            fetching = _Fetching(sum(one.file.size for one in opened), tell)
            for one in opened:
                if not await _is_there(folder, one.file, into, force=force):
                    chunks = checked(await one.read(), one.file.sha256, one.file.size)
                    await folder.write(one.file.path, fetching.counted(chunks))
        return version, into, [one.file for one in opened]

    version, into, files = with_registry(work)
    document = {
        "model": version.model,
        "version": version.version,
        "folder": str(into.absolute()),
        "files": files,
    }
    at = f"{version.model}@{version.version}"
    total = size(sum(file.size for file in files))
    told = f"Downloaded {at} to {into}: {plural(len(files), 'file')}, {total}."
    emit(document, told, json=json)


async def _is_there(folder: Folder, file: FileRecord, into: Path, *, force: bool) -> bool:
    there = await folder.size(file.path)
    if there is None:
        return False
    if there == file.size and await digest_of(folder.read(file.path)) == file.sha256:
        return True
    if not force:
        raise FileExistsError(f"{into / file.path} has other content; --force overwrites it")
    return False


@dataclass(slots=True)
class _Fetching:
    total: int
    tell: Tell
    done: int = 0

    async def counted(self, chunks: ByteStream) -> ByteStream:
        async with aclosing(chunks):
            async for chunk in chunks:
                self.done += len(chunk)
                self.tell(self.done, self.total)
                yield chunk


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    add(app, EVERYDAY, {"publish": publish, "download": download})
