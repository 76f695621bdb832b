"""CatBoost in the two forms of its own. Neither can carry code."""

from __future__ import annotations

import json
import re
from itertools import islice

from adapters.inspection.formats.boosters import only_json
from adapters.inspection.formats.flatbuffers import Buffer
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
    notes.fact("classes", [str(each) for each in classes])


# --- cbm ----------------------------------------------------------------------------------------

# catboost/libs/model/flatbuffers/model.fbs: fields are known by their place in the table.
_CORE_VERSION, _CORE_TREES, _CORE_INFO = 0, 1, 2
_TREE_SIZES, _CATEGORICAL, _FLOAT = 2, 4, 5
_INFOS = frozenset({"catboost_version_info", "class_params", "params"})
_MOST_INFO = 1_000
_LONGEST_TEXT = 4 << 20


def check_catboost_cbm(stream: Stream, notes: Notes) -> None:
    """``CBM1``, a length, a flatbuffer of that length, and for some models more behind it.

    Raises:
        Malformed: it is cut short, or the flatbuffer points outside of itself.
        LimitExceeded: it is compressed, and too large to be looked into, or has too many parts.
    """
    file = stream.sought()
    length = int.from_bytes(file.read(8)[4:], "little")
    total = file.seek(0, 2)
    if length < 16 or 8 + length > total:
        raise Malformed(f"has {total} bytes; its header promises {8 + length}")
    root = Buffer(file, 8, length).root()
    notes.fact("format_version", root.text(_CORE_VERSION))
    if trees := root.table(_CORE_TREES):
        notes.fact("trees", trees.length(_TREE_SIZES, 4))
        notes.fact("features", trees.length(_FLOAT, 4) + trees.length(_CATEGORICAL, 4))
    pairs = islice(root.tables(_CORE_INFO), _MOST_INFO)
    info = {key: each.text(1, _LONGEST_TEXT) for each in pairs if (key := each.text(0)) in _INFOS}
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
