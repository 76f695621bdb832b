"""ZIP archives: model formats that are one, and folders of models packed into one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from adapters.inspection.archives import torch_zip
from adapters.inspection.archives.folders import Folder, check_depth
from adapters.inspection.archives.member_streams import stored, unpacked
from adapters.inspection.archives.skops import check_schema
from adapters.inspection.archives.zip_directory import (
    Directory,
    Entry,
    check_layout,
    entry_fault,
    find_directory,
    read_entries,
)
from adapters.inspection.archives.zip_kinds import folder_kind, model_kind, something_else
from adapters.inspection.formats.keras import check_keras_files
from adapters.inspection.pickles import recognise_pickle
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Budget, LimitExceeded, Malformed, Stream
from domain.validation import NOT_A_MODEL

_METHODS = {8: "deflate", 12: "bz2"}
_KNOWN_METHODS = {9: "Deflate64", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_MOST_CONFIG = 16 << 20
_HEAD = 64 * 1024
# A text or an array of bytes, whatever they are.
_SKOPS_BYTES = re.compile(r"[^/]+\.bin")


@dataclass(frozen=True, slots=True)
class _Archive:
    """An archive whose members are known to lie where its directory says."""

    file: BinaryIO
    entries: list[Entry]
    starts: dict[str, int]
    budget: Budget

    def open(self, entry: Entry, *, checked: bool = True) -> Stream:
        """The bytes of a member.

        Args:
            checked: whether their checksum must be that of the directory.

        Raises:
            LimitExceeded, Malformed
        """
        start = self.starts[entry.name]
        crc = entry.crc if checked else None
        if entry.method == 0:
            return stored(self.file, start, entry.size, crc)
        method = _METHODS.get(entry.method)
        if method is None:
            name = _KNOWN_METHODS.get(entry.method, f"method {entry.method}")
            raise LimitExceeded(f"is compressed by {name}, which is not read here", bomb=False)

        def packed() -> BinaryIO:
            return stored(self.file, start, entry.packed).file

        return unpacked(packed, method, self.budget, size=entry.size, crc=crc)

    def read(self, name: str) -> bytes | None:
        """A small member; None if there is no such one.

        Raises:
            LimitExceeded, Malformed
        """
        entry = next((each for each in self.entries if each.name == name), None)
        if entry is None:
            return None
        if entry.size > _MOST_CONFIG:
            raise LimitExceeded(f"has a {shown(name)} of {entry.size} bytes", bomb=False)
        return self.open(entry).read(_MOST_CONFIG)


def check_zip(stream: Stream, notes: Notes) -> None:
    """Reads the directory, compares it with what is there, and inspects the members.

    Raises:
        Malformed, LimitExceeded
    """
    file = stream.sought()
    directory = find_directory(file, file.seek(0, io.SEEK_END))
    notes.budget.spend_members(directory.count)
    entries = read_entries(file, directory)
    files = [entry.name for entry in entries if not entry.is_folder]
    kind = model_kind(files, notes.name)
    # Within another archive it is told of only, so what is in it matters.
    what = something_else(files) if kind is None and not notes.layers else None
    if not files or what:
        notes.format = None
        notes.refuse(
            NOT_A_MODEL, f"{notes.place} is {what or 'an empty ZIP archive'}, not a model."
        )
        return
    check_depth(notes, model=kind is not None)
    folder = Folder(notes, "ZIP")
    if not _check_entries(entries, folder, notes):
        return
    archive = _located(file, entries, directory, notes)
    notes.format = kind or folder_kind(files) or "zip"
    for entry in entries:
        if folder.hopeless:
            break
        _check_member(entry, kind, archive, folder)
    _finish(kind, archive, folder)


def _check_entries(entries: list[Entry], folder: Folder, notes: Notes) -> bool:
    """Whether the members may be looked into; names alone do not forbid that."""
    sound = True
    for entry in entries:
        folder.enter(entry.name, folder=entry.is_folder)
        if fault := entry_fault(entry):
            sound = False
            notes.refuse(
                "archive.unsafe_member", f"{notes.place}: its member {shown(entry.name)} {fault}."
            )
    return sound


def _located(file: BinaryIO, entries: list[Entry], directory: Directory, notes: Notes) -> _Archive:
    starts = check_layout(file, entries, directory.start)
    notes.budget.promise_output(sum(entry.size for entry in entries if entry.method))
    return _Archive(file, entries, starts, notes.budget)


def _check_member(entry: Entry, kind: str | None, archive: _Archive, folder: Folder) -> None:
    if entry.is_folder:
        return
    inside = folder.member(entry.name)
    if kind in torch_zip.KINDS and torch_zip.is_storage(entry.name):
        # Each look costs a read where the file is far away; a payload needs few bytes.
        if entry.method == 0 and entry.size <= _HEAD:
            torch_zip.look_into_storage(archive.open(entry, checked=False), inside)
        return

    def opened() -> Stream:
        """Readers that ignore checksums load the member all the same (CVE-2025-10156)."""
        try:
            return archive.open(entry)
        except Malformed as error:
            inside.refuse("file.malformed", f"{inside.place} {error}.")
            return archive.open(entry, checked=False)

    try:
        _inspect_member(entry, kind, opened, folder)
    except Malformed as error:
        inside.refuse("file.malformed", f"{inside.place} {error}.")
    except LimitExceeded as error:
        if error.bomb:
            raise
        inside.not_all_read(str(error))


def _inspect_member(
    entry: Entry, kind: str | None, opened: Callable[[], Stream], folder: Folder
) -> None:
    name = entry.name
    if entry.is_link:
        folder.link(name, opened().read(_MOST_CONFIG).decode("utf-8", "replace"))
    elif kind in torch_zip.KINDS and torch_zip.is_pickle(name):
        inside = folder.member(name)
        torch_zip.check(opened(), inside)
        folder.keep(name, inside)
    elif kind == "skops" and _SKOPS_BYTES.fullmatch(name):
        if recognise_pickle(opened().peek(_HEAD)):
            folder.inspect(name, opened)
    else:
        folder.inspect(name, opened)


def _finish(kind: str | None, archive: _Archive, folder: Folder) -> None:
    notes = folder.notes
    if kind in torch_zip.KINDS:
        torch_zip.describe(kind, folder)
    elif kind == "keras-v3":
        config, metadata = archive.read("config.json"), archive.read("metadata.json")
        inside = folder.member("config.json")
        check_keras_files(config or b"", metadata or b"", inside)
        notes.facts.update(inside.facts)
        inside.format = "keras-v3"
        folder.keep("config.json", inside)
    elif kind == "skops":
        inside = folder.member("schema.json")
        check_schema(archive.read("schema.json") or b"", inside)
        notes.facts.update(inside.facts)
        inside.format = "skops"
        folder.keep("schema.json", inside)
    folder.finish()
