"""Files that are compressed as a whole: what is inside them, decompressed on the way through."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from adapters.inspection.archives.member_streams import DECOMPRESSORS, unpacked
from adapters.inspection.report import Notes
from adapters.inspection.streams import BLOCK, Budget, LimitExceeded, Malformed, Stream

_EXTENSIONS = {
    "gzip": (".gz", ".gzip", ".z"),
    "bz2": (".bz2",),
    "xz": (".xz",),
    "lzma": (".lzma",),
    "zlib": (".z", ".zlib"),
    "lz4": (".lz4",),
}
_OF_TARS = {".tgz": ".tar", ".tbz2": ".tar", ".txz": ".tar", ".tbz": ".tar"}
_TAR = {"gzip": "tar.gz", "bz2": "tar.bz2", "xz": "tar.xz"}
# Below these names, members of a tar archive were recognised as one model.
_FOLDERS = frozenset({"mlflow", "tf-savedmodel", "coreml-mlpackage"})


def check_compressed(stream: Stream, notes: Notes) -> None:
    """Inspects what is inside, and reads the rest of it, so that nothing hides behind.

    Raises:
        Malformed, LimitExceeded
    """
    method = notes.format or ""
    if method not in DECOMPRESSORS:
        raise LimitExceeded(f"is compressed by {method}, which is not read here", bomb=False)
    if notes.layers > Budget.LAYERS:
        raise Malformed("is compressed within too many archives")
    opened: list[Stream] = [stream]

    def source() -> BinaryIO:
        """The file as it is at first, then from its start again."""
        if content is not None and (again := stream.again()) is not None:
            opened.append(again)
        return opened[-1].file

    content: Stream | None = None
    try:
        content = unpacked(source, method, notes.budget, repeatable=stream.repeatable)
        _inspect_inside(content, method, notes)
    finally:
        for again in opened[1:]:
            again.file.close()


def _inspect_inside(content: Stream, method: str, notes: Notes) -> None:
    # A compressed TAR archive is one layer, not two.
    layers = notes.layers + (content.peek(262)[257:] != b"ustar")
    inside = replace(notes, layers=layers, format=None, facts={})
    notes.inspect(content, _name_inside(notes.name, method), inside)
    notes.facts.update(inside.facts)
    notes.format = _format(inside.format, method)
    if not notes.refusals:
        while content.read(BLOCK):
            pass


def _name_inside(name: str, method: str) -> str:
    lower = name.lower()
    for ending, instead in [*_OF_TARS.items(), *((each, "") for each in _EXTENSIONS[method])]:
        if lower.endswith(ending):
            return name[: -len(ending)] + instead
    return name


def _format(inside: str | None, method: str) -> str | None:
    if inside is None or inside in _FOLDERS:
        return inside
    return _TAR.get(method, f"tar+{method}") if inside == "tar" else f"{inside}+{method}"
