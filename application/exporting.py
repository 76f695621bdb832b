"""Writing the registry, or one model, to a folder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from application.exchange_format import (
    FORMAT,
    FORMAT_VERSION,
    RETIRED_NAMES,
    SUMMARY,
    UNFINISHED,
    UNFINISHED_TEXT,
    Line,
    blob_file,
    dumps,
    is_ours,
    is_summary,
    model_file,
    note_blobs,
    whole,
    write_line,
)
from application.ports import ArtifactStore, Folder, RegistrySnapshot
from application.ports.folder import PARTIAL
from application.streams import Tell, checked, open_blob, tell_nobody
from domain.errors import InvalidExport
from domain.model import Model, RetiredName
from domain.values import Digest, ModelName

_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Export:
    """Writes to ``folder``, which is empty or holds an earlier export; ``model`` None is all."""

    folder: Folder
    model: ModelName | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """``size``: bytes of all ``blobs``, of which ``kept`` were in the folder already."""

    models: int
    versions: int
    blobs: int
    size: int
    kept: int


@dataclass(slots=True)
class _Written:
    """What has been written so far."""

    files: dict[str, dict[str, object]] = field(default_factory=dict)
    blobs: dict[Digest, int] = field(default_factory=dict)
    models: int = 0
    versions: int = 0


@dataclass(frozen=True, slots=True)
class ExportHandler:
    snapshot: Callable[[], RegistrySnapshot]
    store: ArtifactStore

    async def __call__(self, command: Export, tell: Tell = tell_nobody) -> Exported:
        """Writes the rows as they are at one moment, then the blobs they name.

        The same content gives the same bytes. What is in the folder from an earlier export, whole
        or broken off, is brought up to date; blobs that are there are not written again.

        Raises:
            ModelNotFound
            InvalidExport: the folder holds something that is no export; it is left alone.
            BlobCorrupt: the store lost a blob, or a version was deleted and collected meanwhile.
            StoreUnavailable, DatabaseUnavailable, OSError: exporting again goes on from here.
        """
        folder = command.folder
        await _claim(folder)
        written = _Written()
        async with self.snapshot() as snapshot:
            await self._write_rows(snapshot, command, written)
        blobs, size, kept = await self._write_blobs(folder, written.blobs, tell)
        await _prune(folder, written)
        summary = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": command.model,
            "models": written.models,
            "versions": written.versions,
            "blobs": blobs,
            "size": size,
            "files": written.files,
        }
        await folder.write(SUMMARY, _once(dumps(summary)))
        await folder.remove(UNFINISHED)
        return Exported(written.models, written.versions, blobs, size, kept)

    async def _write_rows(
        self, snapshot: RegistrySnapshot, command: Export, written: _Written
    ) -> None:
        ids = set()
        async for model in snapshot.models(command.model):
            ids.add(model.id)
            written.models += 1
            lines = _lines(snapshot, model, written)
            await _write(command.folder, model_file(model.id), lines, written)
        names = (
            name
            async for name in snapshot.retired_names()
            if command.model is None or name.model_id in ids
        )
        await _write(command.folder, RETIRED_NAMES, names, written)

    async def _write_blobs(
        self, folder: Folder, blobs: dict[Digest, int], tell: Tell
    ) -> tuple[int, int, int]:
        total = sum(blobs.values())
        count = done = kept = 0
        for digest, size in sorted(blobs.items()):
            if await folder.size(blob_file(digest)) == size:
                kept += 1
            else:
                blob = await open_blob(self.store, digest)
                async with aclosing(checked(blob, digest, size)) as chunks:
                    await folder.write(blob_file(digest), chunks)
            count, done = count + 1, done + size
            tell(done, total)
        return count, done, kept


async def _claim(folder: Folder) -> None:
    """Marks the folder as holding an unfinished export.

    Raises:
        InvalidExport: it holds something else.
    """
    if not await _holds_an_export(folder):
        async for name in folder.names():
            if not name.startswith(PARTIAL):
                raise InvalidExport(
                    f"The folder holds {name[:200]!a} and no export; "
                    "name an empty or a new folder, or one with an earlier export."
                )
    await folder.write(UNFINISHED, _once(UNFINISHED_TEXT))
    await folder.remove(SUMMARY)


async def _holds_an_export(folder: Folder) -> bool:
    """By what its marks say, not by their names, which others use too."""
    summary, unfinished = [await folder.size(name) for name in (SUMMARY, UNFINISHED)]
    try:
        if summary is not None and not is_summary(await whole(folder, SUMMARY)):
            return False
    except InvalidExport:
        return False
    if unfinished is None:
        return summary is not None
    return unfinished == len(UNFINISHED_TEXT) and await whole(folder, UNFINISHED) == UNFINISHED_TEXT


async def _prune(folder: Folder, written: _Written) -> None:
    """Removes what an earlier export left and this one does not name; what is not ours stays."""
    named = {UNFINISHED, *written.files, *map(blob_file, written.blobs)}
    left = [name async for name in folder.names() if name not in named and is_ours(name)]
    for name in left:
        await folder.remove(name)


async def _lines(
    snapshot: RegistrySnapshot, model: Model, written: _Written
) -> AsyncIterator[Line]:
    yield model
    async for version in snapshot.versions(model):
        written.versions += 1
        note_blobs(written.blobs, version.manifest.files)
        yield version
    for alias in await snapshot.aliases(model):
        yield alias
    async for move in snapshot.moves(model):
        yield move


async def _write(
    folder: Folder,
    name: str,
    lines: AsyncIterator[Line] | AsyncIterator[RetiredName],
    written: _Written,
) -> None:
    hasher, size = hashlib.sha256(), 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal size
        chunk = b""
        async for line in lines:
            chunk += write_line(line)
            if len(chunk) >= _CHUNK:
                hasher.update(chunk)
                size += len(chunk)
                yield chunk
                chunk = b""
        hasher.update(chunk)
        size += len(chunk)
        yield chunk

    await folder.write(name, chunks())
    written.files[name] = {"size": size, "sha256": hasher.hexdigest()}


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
