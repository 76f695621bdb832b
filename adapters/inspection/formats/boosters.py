"""XGBoost and LightGBM in each of their forms. None of them can carry code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from adapters.inspection.formats.companions import check_companion
from adapters.inspection.formats.outlines import Outline, json_outline, ubjson_outline
from adapters.inspection.report import Notes
from adapters.inspection.streams import BLOCK, CUT_SHORT, LimitExceeded, Malformed, Stream

# --- XGBoost ------------------------------------------------------------------------------------

# https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html; dart wraps gbtree.
_BOOSTER = "learner.gradient_booster"
_TREES = (f"{_BOOSTER}.model", f"{_BOOSTER}.gbtree.model")
_XGBOOST = frozenset(
    {
        "version",
        "learner.feature_names",
        f"{_BOOSTER}.name",
        "learner.learner_model_param.num_class",
        "learner.learner_model_param.num_feature",
        "learner.objective.name",
        *(f"{model}.trees" for model in _TREES),
        *(f"{model}.gbtree_model_param.num_trees" for model in _TREES),
    }
)
_BOOSTERS = frozenset({"gbtree", "gblinear", "dart"})


def check_xgboost_json(stream: Stream, notes: Notes) -> None:
    """What XGBoost saves as JSON; other JSON with a key of this name is a companion.

    Raises:
        Malformed: it is cut short, or no JSON.
    """
    outline = json_outline(stream, _XGBOOST)
    if _is_xgboost(outline):
        _note_xgboost(outline, notes)
    else:
        only_json(stream, notes)


def check_xgboost_ubj(stream: Stream, notes: Notes) -> None:
    """The same as UBJSON.

    Raises:
        Malformed: it is cut short, no UBJSON, or no model.
    """
    outline = ubjson_outline(stream, _XGBOOST)
    if not _is_xgboost(outline):
        raise Malformed("is UBJSON, but lacks what a model of XGBoost has")
    _note_xgboost(outline, notes)


def _is_xgboost(outline: Outline) -> bool:
    return (
        outline.keys == {"learner", "version"}
        and outline.values.get(f"{_BOOSTER}.name") in _BOOSTERS
        and outline.number("learner.learner_model_param.num_feature") is not None
        and outline.text("learner.objective.name") is not None
    )


def _note_xgboost(outline: Outline, notes: Notes) -> None:
    version = outline.lists.get("version", [])
    notes.fact("framework", "xgboost")
    notes.fact("framework_version", ".".join(str(part) for part in version[:3]))
    notes.fact("model_type", outline.text(f"{_BOOSTER}.name"))
    notes.fact("objective", outline.text("learner.objective.name"))
    notes.fact("features", outline.number("learner.learner_model_param.num_feature"))
    _note_names(notes, [str(name) for name in outline.lists.get("learner.feature_names", [])])
    _note_class_count(notes, outline.number("learner.learner_model_param.num_class"))
    for model in _TREES:
        promised = outline.number(f"{model}.gbtree_model_param.num_trees")
        if promised is None:
            continue
        trees = outline.counts.get(f"{model}.trees", 0)
        if trees != promised:
            raise Malformed(f"has {trees} trees; it promises {promised}")
        notes.fact("trees", trees)


def _note_names(notes: Notes, names: list[str]) -> None:
    if any(names):
        notes.fact("feature_names", names)


def _note_class_count(notes: Notes, count: int | None) -> None:
    """XGBoost keeps 0, LightGBM 1, where there are not three classes or more."""
    if count is not None and 2 < count <= 100_000:
        notes.fact("classes", [str(number) for number in range(min(count, 100))])


def only_json(stream: Stream, notes: Notes) -> None:
    """It looked like a model at its beginning: what goes for any JSON goes for it."""
    notes.format = None
    again = stream.again()
    if again is None:
        raise LimitExceeded("cannot be read twice", bomb=False)
    with again.file:
        check_companion(again, notes)


_PARAMETERS = 136
_TREE_PARAMETERS = 148
_NODE = 36


def check_xgboost_binary(stream: Stream, notes: Notes) -> None:
    """The form before XGBoost 1.0, which 3.1 no longer reads: packed C structures.

    See LearnerModelParamLegacy, GBTreeModelParam and TreeParam of XGBoost 1.7.

    Raises:
        Malformed: it is cut short.
    """
    if stream.peek(4) == b"binf":
        stream.exactly(4)
    parameters = stream.exactly(_PARAMETERS)
    features = int.from_bytes(parameters[4:8], "little")
    classes = int.from_bytes(parameters[8:12], "little", signed=True)
    major = int.from_bytes(parameters[20:24], "little")
    minor = int.from_bytes(parameters[24:28], "little")
    objective, booster = _short_text(stream), _short_text(stream)
    if booster not in _BOOSTERS:
        raise Malformed("begins like a model of XGBoost, but names no booster")
    notes.fact("framework", "xgboost")
    notes.fact("framework_version", f"{major}.{minor}" if major else None)
    notes.fact("model_type", booster)
    notes.fact("objective", objective)
    notes.fact("features", features)
    _note_class_count(notes, classes)
    if booster == "gblinear":
        return
    trees = int.from_bytes(stream.exactly(160)[:4], "little", signed=True)
    least = trees * (_TREE_PARAMETERS + _NODE)
    if trees < 0 or (stream.size is not None and stream.size - stream.tell() < least):
        raise Malformed(f"is too short for the {trees} trees that it promises")
    notes.fact("trees", trees)


def _short_text(stream: Stream) -> str:
    length = int.from_bytes(stream.exactly(8), "little")
    return stream.exactly(length, most=256).decode("latin-1")


# --- LightGBM -----------------------------------------------------------------------------------

_LIGHTGBM = frozenset(
    {
        "feature_names",
        "max_feature_idx",
        "num_class",
        "objective",
        "tree_info",
        "version",
    }
)
_LIGHTGBM_KEYS = frozenset(
    {
        *("name", "version", "num_class", "num_tree_per_iteration", "label_index"),
        *("max_feature_idx", "objective", "average_output", "feature_names", "feature_infos"),
        *("monotone_constraints", "tree_info", "feature_importances", "pandas_categorical"),
    }
)
_LONGEST = 32 << 20
_MARKS = re.compile(
    rb"^(Tree|end of trees|parameters|end of parameters)(?:=\d+|:|)\r?$", re.MULTILINE
)


def check_lightgbm(stream: Stream, notes: Notes) -> None:
    """What LightGBM saves as text, or dumps as JSON.

    Raises:
        Malformed: it is cut short, or no such model.
    """
    if notes.format == "lightgbm-json":
        _check_lightgbm_json(stream, notes)
    else:
        _check_lightgbm_text(stream, notes)


def _check_lightgbm_json(stream: Stream, notes: Notes) -> None:
    outline = json_outline(stream, _LIGHTGBM)
    features = outline.number("max_feature_idx")
    if not outline.keys <= _LIGHTGBM_KEYS or features is None or "tree_info" not in outline.counts:
        only_json(stream, notes)
        return
    notes.fact("trees", outline.counts["tree_info"])
    names = [str(name) for name in outline.lists.get("feature_names", [])]
    version, objective = outline.text("version"), outline.text("objective")
    _note_lightgbm(notes, version, objective, features)
    _note_names(notes, names)
    _note_class_count(notes, outline.number("num_class"))


def _note_lightgbm(
    notes: Notes, version: str | None, objective: str | None, last_feature: int
) -> None:
    notes.fact("framework", "lightgbm")
    notes.fact("format_version", version)
    notes.fact("objective", objective)
    notes.fact("model_type", "gbdt")
    notes.fact("features", last_feature + 1)


def _check_lightgbm_text(stream: Stream, notes: Notes) -> None:
    header, marks = _read_lightgbm(stream)
    values = dict(line.partition("=")[::2] for line in header.splitlines())
    features, classes = (_small_number(values.get(key)) for key in ("max_feature_idx", "num_class"))
    if features is None or classes is None:
        raise Malformed("begins like a model of LightGBM, but lacks the rest of its header")
    if not marks[b"end of trees"] or marks[b"parameters"] > marks[b"end of parameters"]:
        raise Malformed(CUT_SHORT)
    trees, promised = marks[b"Tree"], len(values.get("tree_sizes", "").split())
    if "tree_sizes" in values and trees != promised:
        raise Malformed(f"has {trees} trees; it promises {promised}")
    _note_lightgbm(notes, values.get("version"), values.get("objective"), features)
    notes.fact("trees", trees)
    _note_names(notes, values.get("feature_names", "").split(" ", 100)[:100])
    _note_class_count(notes, classes)


def _read_lightgbm(stream: Stream) -> tuple[str, Counter[bytes]]:
    """What comes before the trees, and how often each of the marks stands on a line of its own."""
    header, marks = b"", Counter[bytes]()
    for lines in _whole_lines(stream):
        found = list(_MARKS.finditer(lines))
        if not marks:
            header += lines[: found[0].start()] if found else lines
            if len(header) > _LONGEST:
                raise Malformed("begins like a model of LightGBM, but has no trees")
        marks.update(mark[1] for mark in found)
    return header.decode("utf-8", "replace"), marks


def _whole_lines(stream: Stream) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(BLOCK):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = b""
        rest += block[end:]
        if len(rest) > _LONGEST:
            raise Malformed("has a line that is longer than any model's")
    if rest:
        yield rest


def _small_number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,9}", text) else None
