"""CatBoost in the two forms of its own. Neither can carry code."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from adapters.inspection.formats.boosters import only_json
from adapters.inspection.formats.outlines import Outline, Scalar, json_outline
from adapters.inspection.report import Notes
from adapters.inspection.streams import Malformed, Stream

_VERSION = re.compile(r"tags/v(\d[\w.]{0,20})|release (\d[\w.]{0,20}?)[.,]?(?:\s|$)")
_INFO = "model_info"
_PARAMETERS = f"{_INFO}.params"
_TREES = ("oblivious_trees", "trees")
_FEATURES = tuple(
    f"features_info.{kind}_features" for kind in ("float", "categorical", "text", "embedding")
)
_WANTED = frozenset(
    {
        f"{_INFO}.catboost_version_info",
        f"{_INFO}.class_params.class_names",
        f"{_PARAMETERS}.loss_function.type",
        *_TREES,
        *_FEATURES,
    }
)
_KEYS = frozenset(
    {
        *("ctr_data", "features_info", "model_info", "scale_and_bias", "text_processing"),
        *("embedding_processing", "estimated_features", "text_collection", *_TREES),
    }
)


def check_catboost_json(stream: Stream, notes: Notes) -> None:
    """What CatBoost exports as JSON; other JSON with such a key is a companion.

    Raises:
        Malformed: it is cut short, or no JSON.
    """
    outline = json_outline(stream, _WANTED)
    trees = next((outline.counts[key] for key in _TREES if key in outline.counts), None)
    if not outline.keys <= _KEYS or "features_info" not in outline.keys or trees is None:
        only_json(stream, notes)
        return
    notes.fact("trees", trees)
    notes.fact("features", sum(outline.counts.get(kind, 0) for kind in _FEATURES))
    _note_names(outline, notes)


def _note_names(outline: Outline, notes: Notes) -> None:
    classes = outline.lists.get(f"{_INFO}.class_params.class_names", [])
    objective = outline.text(f"{_PARAMETERS}.loss_function.type")
    _note(notes, outline.text(f"{_INFO}.catboost_version_info"), objective, classes)


def _note(notes: Notes, version: str | None, objective: str | None, classes: list[Scalar]) -> None:
    notes.fact("framework", "catboost")
    if version and (found := _VERSION.search(version[:2000])):
        notes.fact("framework_version", found[1] or found[2])
    notes.fact("objective", objective)
    if classes:
        notes.fact("classes", [str(each) for each in classes])


# --- cbm ----------------------------------------------------------------------------------------

# catboost/libs/model/flatbuffers/model.fbs: fields are known by their place in the table.
_CORE_VERSION, _CORE_TREES, _CORE_INFO = 0, 1, 2
_TREE_SIZES, _CATEGORICAL, _FLOAT = 2, 4, 5
_MOST_INFO = 1_000
_LONGEST_TEXT = 4 << 20


def check_catboost_cbm(stream: Stream, notes: Notes) -> None:
    """``CBM1``, a length, a flatbuffer of that length, and for some models more behind it.

    Raises:
        Malformed: it is cut short, or the flatbuffer points outside of itself.
        LimitExceeded: it is compressed, and too large to be looked into.
    """
    file = stream.sought()
    length = int.from_bytes(file.read(8)[4:], "little")
    total = file.seek(0, 2)
    if length < 16 or 8 + length > total:
        raise Malformed(f"has {total} bytes; its header promises {8 + length}")
    core = _Flatbuffer(file, 8, length)
    root = core.root()
    notes.fact("format_version", core.text(root, _CORE_VERSION))
    if trees := core.table(root, _CORE_TREES):
        notes.fact("trees", core.count(trees, _TREE_SIZES))
        notes.fact("features", core.count(trees, _FLOAT) + core.count(trees, _CATEGORICAL))
    info = dict(core.pairs(root, _CORE_INFO))
    loss = _json(info.get("params")).get("loss_function")
    classes = _json(info.get("class_params")).get("class_names")
    objective = loss.get("type") if isinstance(loss, dict) else None
    _note(
        notes,
        info.get("catboost_version_info"),
        str(objective) if objective else None,
        classes[:100] if isinstance(classes, list) else [],
    )


def _json(text: str | None) -> dict[str, object]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class _Flatbuffer:
    """A flatbuffer within a file: https://flatbuffers.dev/internals. Every offset is compared with
    the length before it is followed."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length

    def root(self) -> int:
        """Where the outermost table lies."""
        return self._checked(self._number("<I", 0))

    def table(self, table: int, field: int) -> int | None:
        """Where the table of a field lies."""
        at = self._field(table, field)
        return None if at is None else self._checked(at + self._number("<I", at))

    def count(self, table: int, field: int) -> int:
        """How many entries the vector of a field has."""
        at = self.table(table, field)
        return 0 if at is None else self._counted(at, 4)

    def text(self, table: int, field: int) -> str | None:
        """The string of a field."""
        at = self.table(table, field)
        if at is None:
            return None
        length = self._counted(at, 1)
        return self._read(at + 4, min(length, _LONGEST_TEXT)).decode("utf-8", "replace")

    def pairs(self, table: int, field: int) -> Iterator[tuple[str, str]]:
        """The entries of a vector of tables, each a key and a value."""
        at = self.table(table, field)
        for index in range(min(self._counted(at, 4), _MOST_INFO) if at is not None else 0):
            entry = (at or 0) + 4 + 4 * index
            pair = self._checked(entry + self._number("<I", entry))
            key = self.text(pair, 0)
            if key in {"catboost_version_info", "class_params", "params"}:
                yield key, self.text(pair, 1) or ""

    def _field(self, table: int, field: int) -> int | None:
        fields = table - self._number("<i", table)
        size = self._number("<H", fields)
        if 4 + 2 * field + 2 > size:
            return None
        offset = self._number("<H", fields + 4 + 2 * field)
        return self._checked(table + offset) if offset else None

    def _counted(self, at: int, width: int) -> int:
        count = self._number("<I", at)
        if at + 4 + count * width > self._length:
            raise Malformed("is broken: a list in it is longer than the file")
        return count

    def _checked(self, at: int) -> int:
        if not 0 <= at <= self._length - 4:
            raise Malformed("is broken: it points outside of itself")
        return at

    def _number(self, form: str, at: int) -> int:
        value: int = struct.unpack(form, self._read(at, struct.calcsize(form)))[0]
        return value

    def _read(self, at: int, count: int) -> bytes:
        if not 0 <= at <= self._length - count:
            raise Malformed("is broken: it points outside of itself")
        self._file.seek(self._start + at)
        return self._file.read(count)
