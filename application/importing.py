"""Reading what an export wrote into the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from application.exchange_fields import Fields
from application.exchange_format import (
    FORMAT,
    FORMAT_VERSION,
    MODEL_FILE,
    RETIRED_NAMES,
    SUMMARY,
    Line,
    blob_file,
    is_summary,
    model_file,
    note_blobs,
    parse,
    read_line,
    whole,
)
from application.ports import ArtifactStore, Folder, UnitOfWork
from application.streams import Tell, checked, tell_nobody
from domain.alias import Alias, AliasMove
from domain.errors import (
    BlobCorrupt,
    DigestMismatch,
    InvalidExport,
    ModelExists,
    ModelNameRetired,
    ModelNotFound,
    StoreUnavailable,
)
from domain.model import Model, RetiredName
from domain.validation import Coverage, Validation, Verdict
from domain.values import AliasName, Digest, VersionNumber
from domain.version import Version

_HELD = Validation(Verdict.REVIEW, coverage=Coverage.PARTIAL)
"""Of a version that nobody here has looked at: no rules judged it, so a rescan will."""


@dataclass(frozen=True, slots=True)
class Import:
    """``skip_existing`` leaves out models whose name is taken, instead of refusing the whole.
    ``distrust`` believes no verdict and no review: all is held until it is judged here."""

    folder: Folder
    skip_existing: bool = False
    distrust: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """``present``: models that existed already, identical to the export (an import resumed, say).
    ``skipped``: exported models whose name is taken here, or that have another name here.
    ``blobs`` and ``size`` (bytes): what was copied."""

    models: int
    versions: int
    blobs: int
    size: int
    present: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ListedFile:
    """A file as the summary lists it."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _CheckedModel:
    """A model, the file that its lines are in, and the blobs that its versions name."""

    model: Model
    file: _ListedFile
    blobs: dict[Digest, int]


@dataclass(slots=True)
class _Checked:
    """The content of a complete and undamaged export; ``blobs`` with their sizes."""

    models: list[_CheckedModel] = field(default_factory=list)
    retired: dict[str, RetiredName] = field(default_factory=dict)
    blobs: dict[Digest, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(self.blobs.values())


@dataclass(frozen=True, slots=True)
class ImportHandler:
    uow: Callable[[], UnitOfWork]
    store: ArtifactStore

    async def __call__(self, command: Import, tell: Tell = tell_nobody) -> Imported:
        """Checks the whole folder first, then imports model by model, each in one transaction.

        Numbers, times, creators, histories and retired names stay what they were. Importing once
        more after it broke off goes on from there.

        Raises:
            InvalidExport: the folder is incomplete or damaged; nothing has changed.
            ModelExists: a name is taken by another model, or a model is there under another name;
                nothing has changed.
            ModelNameRetired: versions were published under a name by another model that is gone;
                nothing has changed.
            StoreFull, StoreUnavailable, DatabaseUnavailable: import again to go on.
        """
        folder = command.folder
        export = await _check(folder, lambda done, total: tell(done, 2 * total))
        new, present, skipped = await self._sort_out(export, skip=command.skip_existing)
        versions = blobs = size = 0
        done, total = export.size, 2 * export.size
        for entry in new:
            for digest, length in sorted(entry.blobs.items()):
                if await self._bring(folder, digest, length):
                    blobs, size = blobs + 1, size + length
                done += length
                tell(min(done, total), total)
            versions += await self._insert(command, entry)
        await self._retire(export.retired.values())
        return Imported(len(new), versions, blobs, size, present, tuple(skipped))

    async def _sort_out(
        self, export: _Checked, *, skip: bool
    ) -> tuple[list[_CheckedModel], int, list[str]]:
        new: list[_CheckedModel] = []
        skipped: list[str] = []
        present = 0
        for entry in export.models:
            model = entry.model
            async with self.uow() as uow:
                borne = await uow.models.name_of(model.id)
                if borne is not None and borne != model.name:
                    if not skip:
                        raise ModelExists(
                            f"The exported model {model.name!a} is here already and is called "
                            f"{borne!a} now; nothing was imported. Leave out what exists with "
                            "--skip-existing."
                        )
                    skipped.append(model.name)
                    continue
                noted = await uow.models.retired(model.name)
                if noted is not None and noted.model_id == model.id:
                    model.last_version = max(model.last_version, noted.last_version)
                try:
                    there = await uow.models.get(model.name)
                except ModelNotFound:
                    _check_numbers(model, noted, export.retired.get(model.name))
                    new.append(entry)
                    continue
            if there == model:
                present += 1
            elif skip:
                skipped.append(model.name)
            else:
                raise ModelExists(
                    f"There is a model {model.name!a} already; nothing was imported. "
                    "Leave out what exists with --skip-existing."
                )
        return new, present, skipped

    async def _bring(self, folder: Folder, digest: Digest, size: int) -> bool:
        """Copies the blob unless the store has it; returns whether it was copied."""
        there = await self.store.renew(digest)
        if there is not None and there.size == size:
            return False
        try:
            await self.store.put(digest, folder.read(blob_file(digest)), size=size)
        except DigestMismatch:
            raise InvalidExport(f"{blob_file(digest)} has changed since it was checked.") from None
        return True

    async def _insert(self, command: Import, entry: _CheckedModel) -> int:
        folder, model, versions = command.folder, entry.model, 0
        aliases: dict[AliasName, Alias] = {}
        async with self.uow() as uow:
            await uow.models.add(model)
            async for line in _lines(folder, model_file(model.id), model.id, entry.file):
                if isinstance(line, Version):
                    versions += 1
                    if command.distrust:
                        line.validation, line.facts = _HELD, {}
                    await uow.versions.add(line)
                elif isinstance(line, Alias):
                    aliases[line.name] = line
                elif isinstance(line, AliasMove):
                    await _replay(uow, model, aliases.get(line.alias), line)
            if gone := await self.store.absent(entry.blobs):
                raise StoreUnavailable(
                    f"A garbage collection removed the blob {min(gone)} before a version named it; "
                    "import again."
                )
            await uow.commit()
        return versions

    async def _retire(self, names: Iterable[RetiredName]) -> None:
        async with self.uow() as uow:
            for name in names:
                await uow.models.retire(name)
            await uow.commit()


def _check_numbers(model: Model, noted: RetiredName | None, known: RetiredName | None) -> None:
    """Numbers that another model handed out under this name must not get a second meaning."""
    last = known.last_version if known else 0
    if noted is not None and noted.model_id != model.id and noted.last_version > last:
        raise ModelNameRetired(
            f"Versions up to {noted.last_version} were published as {model.name!a} by another "
            "model that is gone; importing would give those numbers a second meaning."
        )


async def _replay(uow: UnitOfWork, model: Model, alias: Alias | None, move: AliasMove) -> None:
    """Adds a move to the history; the alias is what it has become, for older versions may be gone.

    Its moves end with it where it was deleted.
    """
    if alias is not None:
        await uow.aliases.put(alias, move)
        return
    last = move.version or move.previous_version or VersionNumber(1)
    gone = Alias(model.id, move.alias, last, None, move.at, move.actor)
    await uow.aliases.remove(gone, move)


# --- checking -----------------------------------------------------------------------------------


async def _check(folder: Folder, tell: Tell) -> _Checked:
    """Reads the whole export.

    Raises:
        InvalidExport: it is not one, not whole, or damaged.
    """
    files = await _check_summary(folder)
    export = _Checked()
    for name, file in sorted(files.items()):
        if name == RETIRED_NAMES:
            async for line in _lines(folder, name, "", file):
                if not isinstance(line, RetiredName):
                    raise InvalidExport(f"{name} holds something else than retired names.")
                export.retired[line.name] = line
        else:
            export.models.append(await _check_model(folder, name, file, export.blobs))
    if len({entry.model.name for entry in export.models}) < len(export.models):
        raise InvalidExport("Two of its models have one name.")
    export.models.sort(key=lambda entry: entry.model.name)
    await _check_blobs(folder, export, tell)
    return export


async def _check_summary(folder: Folder) -> dict[str, _ListedFile]:
    if await folder.size(SUMMARY) is None:
        raise InvalidExport(f"There is no {SUMMARY}: this is no export, or one that broke off.")
    try:
        text = await whole(folder, SUMMARY)
        if not is_summary(text):
            raise InvalidExport(f"its format is not {FORMAT}")
        summary = parse(text)
        if (version := summary.count("format_version")) != FORMAT_VERSION:
            raise InvalidExport(
                f"it has format version {version}, this release reads {FORMAT_VERSION}"
            )
        files = {}
        for name, document in summary.get("files", dict).items():
            if name != RETIRED_NAMES and not MODEL_FILE.fullmatch(name):
                raise InvalidExport(f"{name[:100]!a} is no file of an export")
            entry = Fields(document)
            files[name] = _ListedFile(entry.count("size"), entry.get("sha256", str))
        if RETIRED_NAMES not in files or len(files) - 1 != summary.count("models"):
            raise InvalidExport("it does not name every file")
    except InvalidExport as error:
        raise InvalidExport(f"{SUMMARY} is damaged: {error.detail}.") from None
    return files


async def _check_model(
    folder: Folder, name: str, file: _ListedFile, blobs: dict[Digest, int]
) -> _CheckedModel:
    """Adds the blobs that the model's versions name to ``blobs``."""
    model_id = name.removeprefix("models/").removesuffix(".jsonl")
    model: Model | None = None
    named: dict[Digest, int] = {}
    numbers: set[VersionNumber] = set()
    newest = 0
    aliases: dict[AliasName, Alias] = {}
    ends: dict[AliasName, tuple[int, AliasMove]] = {}
    async for line in _lines(folder, name, model_id, file):
        if isinstance(line, Model) and model is None and line.id == model_id:
            model = line
        elif isinstance(line, Version) and model and newest < line.number <= model.last_version:
            newest = line.number
            numbers.add(line.number)
            note_blobs(named, line.manifest.files)
            note_blobs(blobs, line.manifest.files)
        elif isinstance(line, Alias) and line.version in numbers and line.name not in aliases:
            aliases[line.name] = line
        elif isinstance(line, AliasMove) and model:
            ends[line.alias] = ends.get(line.alias, (0, line))[0] + 1, line
        else:
            raise InvalidExport(f"{name} has a line that does not fit what is before it.")
    if model is None:
        raise InvalidExport(f"{name} is empty.")
    live = {alias for alias, (_, move) in ends.items() if move.version is not None}
    if live != aliases.keys() or any(not _ends_as(aliases[name], *ends[name]) for name in live):
        raise InvalidExport(f"{name} has an alias that is not what its history says.")
    return _CheckedModel(model, file, named)


def _ends_as(alias: Alias, moves: int, last: AliasMove) -> bool:
    return (alias.version, alias.revision) == (last.version, moves)


async def _check_blobs(folder: Folder, export: _Checked, tell: Tell) -> None:
    done, total = 0, export.size
    for digest, size in sorted(export.blobs.items()):
        name = blob_file(digest)
        if await folder.size(name) is None:
            raise InvalidExport(f"{name} is missing.")
        try:
            async for chunk in checked(folder.read(name), digest, size):
                done += len(chunk)
                tell(done, total)
        except BlobCorrupt:
            raise InvalidExport(f"{name} is damaged: its bytes are not those named.") from None


async def _lines(
    folder: Folder, name: str, model_id: str, expected: _ListedFile
) -> AsyncIterator[Line]:
    """The lines of a file, whose size and sha256 are checked at the end.

    Raises:
        InvalidExport: the file is missing, damaged, or has a line that is wrong.
    """
    number, rest = 0, b""
    try:
        async for chunk in checked(folder.read(name), expected.sha256, expected.size):
            first, *more = chunk.split(b"\n")
            rest += first
            for text in more:
                number += 1
                line, rest = rest, text
                yield read_line(line, model_id)
    except FileNotFoundError:
        raise InvalidExport(f"{name} is missing.") from None
    except InvalidExport as error:
        raise InvalidExport(f"{name} line {number}: {error.detail}") from None
    except BlobCorrupt:
        raise InvalidExport(f"{name} is damaged: it is not what {SUMMARY} says.") from None
    if rest:
        raise InvalidExport(f"{name} is damaged: its last line has no end.")
