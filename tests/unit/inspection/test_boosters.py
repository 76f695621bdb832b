"""Boosted trees: files of the real libraries, and what is not quite one of theirs."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.values import FilePath
from tests.support.inspecting import inspected, refusals, verdict

CORPUS = Path(__file__).parents[2] / "corpus" / "models"


def booster(kind: str = "ubj", **parameters: Any) -> bytes:
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    y = np.arange(20) % parameters.get("num_class", 2)
    matrix = xgboost.DMatrix(x, y, feature_names=["width", "height"])
    model = xgboost.train({"max_depth": 2, **parameters}, matrix, 3)
    return bytes(model.save_raw(kind))


MULTI = {"objective": "multi:softprob", "num_class": 4}


@pytest.mark.parametrize("kind", ["json", "ubj"])
class TestXgboost:
    def test_a_model_is_described(self, kind: str) -> None:
        report = inspected(booster(kind, objective="binary:logistic"), f"m.{kind}")
        assert report.format == f"xgboost-{kind}"
        assert report.findings == ()
        assert report.facts == {
            "framework": "xgboost",
            "framework_version": xgboost.__version__,
            "model_type": "gbtree",
            "objective": "binary:logistic",
            "features": 2,
            "feature_names": ["width", "height"],
            "trees": 3,
        }

    def test_several_classes_have_trees_each(self, kind: str) -> None:
        facts = inspected(booster(kind, **MULTI), f"m.{kind}").facts
        assert facts["trees"] == 12
        assert facts["classes"] == ["0", "1", "2", "3"]

    @pytest.mark.parametrize(
        ("name", "types"), [("dart", {"dart", "gbtree"}), ("gblinear", {"gblinear"})]
    )  # to XGBoost since 3.4 dart is gbtree with dropout
    @pytest.mark.filterwarnings("ignore")
    def test_other_boosters_are_known(self, kind: str, name: str, types: set[str]) -> None:
        report = inspected(booster(kind, booster=name), f"m.{kind}")
        assert report.format == f"xgboost-{kind}"
        assert report.facts["model_type"] in types
        assert not refusals(report)

    @pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
    def test_one_that_was_cut_short_is_refused(self, kind: str, part: float) -> None:
        content = booster(kind)
        (message,) = refusals(inspected(content[: int(len(content) * part)], f"m.{kind}"))
        assert message == f"m.{kind} ends too early: it was cut short."

    def test_one_with_more_behind_it_is_refused(self, kind: str) -> None:
        assert refusals(inspected(booster(kind) + b"\x80\x04.", f"m.{kind}"))

    def test_a_pickle_behind_its_bytes_or_its_name_changes_nothing(self, kind: str) -> None:
        assert verdict(booster(kind), "renamed.bin") == "accept"


def test_trees_that_are_promised_must_be_there() -> None:
    model = json.loads(booster("json"))
    del model["learner"]["gradient_booster"]["model"]["trees"][0]
    (message,) = refusals(inspected(json.dumps(model).encode(), "m.json"))
    assert message == "m.json has 2 trees; it promises 3."


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_read(number: str) -> None:
    content = booster("json").replace(b'"tree_info":[0', f'"tree_info":[{number}'.encode())
    assert number.encode() in content
    assert not refusals(inspected(content, "m.json"))


def test_many_numbers_count_as_what_they_are_between() -> None:
    model = json.loads(booster("json"))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        tree["base_weights"] = [0.125] * 100_000
    for indent in (None, 0, 1):
        report = inspected(json.dumps(model, indent=indent).encode(), "m.json")
        assert report.facts["trees"] == 3
        assert not refusals(report)


@pytest.mark.parametrize(
    "content",
    [
        b'{"learner": 1}',
        b'{"learner": {}}',
        b'{"learner": {"name": "Ada"}, "version": [1, 2, 3]}',
        b'{"learner": {"gradient_booster": {"name": "gbtree"}}, "version": [1, 0, 0]}',
    ],
)
def test_json_with_a_key_like_it_is_no_model(content: bytes) -> None:
    assert inspected(content, "config.json").format is None
    assert verdict(content, "m.json") == "reject"


def test_more_keys_beside_a_models_make_it_no_model() -> None:
    model = json.loads(booster("json"))
    model["auto_map"] = {"AutoModel": "modeling.Net"}
    assert inspected(json.dumps(model).encode(), "config.json").format is None


@pytest.mark.parametrize(
    "content",
    [
        b"{L" + struct.pack(">q", 7) + b"learner" + b"[$d#L" + struct.pack(">q", 1 << 40),
        b"{L" + struct.pack(">q", 7) + b"learner" + b"[$Z#L" + struct.pack(">q", 1 << 62),
        b"{L" + struct.pack(">q", 7) + b"learner" + b"[#L" + struct.pack(">q", -5),
        b"{L" + struct.pack(">q", 7) + b"learner" + b"SL" + struct.pack(">q", 1 << 50),
        b"{L" + struct.pack(">q", 7) + b"learner" + b"[" * 50_000,
        b"{L" + struct.pack(">q", 7) + b"learner" + b"[$[#L" * 1_000,
        b"{L" + struct.pack(">q", 7) + b"learner" + b"?",
        b"{L" + struct.pack(">q", 7) + b"learner" + b"Z}",
        b"{i\x07learner{}}",
    ],
)
def test_ubjson_that_lies_is_refused(content: bytes) -> None:
    assert refusals(inspected(content, "m.ubj"))


@pytest.mark.parametrize(
    "content",
    [
        b'{"learner": {"a": ' + b"[" * 100_000,
        b'{"learner": {' + b'"a": {' * 100_000,
        b'{"learner": {"a": ' + b"1" * 100_000 + b"}}",
        b'{"learner": {"a": "' + b"x" * 20_000_000,
        b'{"learner": {"a": "\xff\xfe"}}',
        b'{"learner": {}}{}',
    ],
)
def test_json_that_is_none_or_endless_is_refused(content: bytes) -> None:
    assert verdict(content, "m.json") == "reject"


def old_xgboost(
    trees: int = 2, booster: bytes = b"gbtree", objective: bytes = b"reg:linear"
) -> bytes:
    parameters = struct.pack("<fIiiiII", 0.5, 30, 0, 0, 0, 1, 7).ljust(136, b"\0")
    named = b"".join(struct.pack("<Q", len(each)) + each for each in (objective, booster))
    return parameters + named + struct.pack("<i", trees).ljust(160, b"\0")


@pytest.mark.parametrize("magic", [b"", b"binf"])
def test_the_old_binary_form_is_described(magic: bytes) -> None:
    report = inspected(magic + old_xgboost() + bytes(2 * 184), "m.model")
    assert report.format == "xgboost-binary"
    assert not refusals(report)
    assert report.facts == {
        "framework": "xgboost",
        "framework_version": "1.7",
        "model_type": "gbtree",
        "objective": "reg:linear",
        "features": 30,
        "trees": 2,
    }


@pytest.mark.parametrize(
    "content",
    [
        b"binf" + bytes(50),
        b"binf" + old_xgboost(),
        b"binf" + old_xgboost(1_000_000) + bytes(1000),
        b"binf" + old_xgboost(booster=b"posix"),
        b"binf" + bytes(136) + b"\xff" * 8,
    ],
)
def test_an_old_binary_form_that_lies_is_refused(content: bytes) -> None:
    assert refusals(inspected(content, "m.model"))


# --- LightGBM -----------------------------------------------------------------------------------

LIGHTGBM = (CORPUS / "lgbm.txt").read_bytes()
DUMP = {
    "name": "tree",
    "version": "v4",
    "num_class": 3,
    "num_tree_per_iteration": 3,
    "label_index": 0,
    "max_feature_idx": 1,
    "objective": "multiclass num_class:3",
    "feature_names": ["a", "b"],
    "tree_info": [{"tree_index": 0, "tree_structure": {"leaf_value": 0.5}}] * 3,
}


class TestLightgbm:
    @pytest.mark.parametrize("name", ["m.txt", "m.model", "m"])
    def test_text_is_described(self, name: str) -> None:
        report = inspected(LIGHTGBM, name)
        assert report.format == "lightgbm-text"
        assert report.findings == ()
        assert report.facts["trees"] == 6
        assert report.facts["features"] == 30
        assert report.facts["objective"] == "binary sigmoid:1"
        assert report.facts["format_version"] == "v4"

    def test_lines_of_windows_are_read(self) -> None:
        assert inspected(LIGHTGBM.replace(b"\n", b"\r\n"), "m.txt").facts["trees"] == 6

    def test_marks_are_found_wherever_blocks_end(self) -> None:
        long_line = b"leaf_value=" + b"0.5 " * 200_000
        content = LIGHTGBM.replace(b"leaf_value=", long_line, 3)
        assert inspected(content, "m.txt").facts["trees"] == 6

    @pytest.mark.parametrize("part", [0.01, 0.1, 0.5, 0.7, 0.95])
    def test_text_that_was_cut_short_is_refused(self, part: float) -> None:
        assert verdict(LIGHTGBM[: int(len(LIGHTGBM) * part)], "m.txt") == "reject"
        assert refusals(inspected(LIGHTGBM[: int(len(LIGHTGBM) * part)], "m.txt"))

    def test_a_tree_that_is_missing_is_noticed(self) -> None:
        content = LIGHTGBM.replace(b"Tree=3\n", b"Ghost=3\n")
        (message,) = refusals(inspected(content, "m.txt"))
        assert message == "m.txt has 5 trees; it promises 6."

    @pytest.mark.parametrize(
        "content",
        [b"tree\nI like trees", b"tree\n" * 1000, b"trees and more\nversion=v4\n"],
    )
    def test_texts_about_trees_are_no_models(self, content: bytes) -> None:
        assert verdict(content, "m.txt") == "reject"
        assert inspected(content, "m.txt").format is None

    def test_text_that_goes_on_for_ever_is_refused(self) -> None:
        assert refusals(inspected(b"tree\nversion=v4\n" + b"x" * (40 << 20), "m.txt"))

    def test_a_dump_is_described(self) -> None:
        report = inspected(json.dumps(DUMP).encode(), "m.json")
        assert report.format == "lightgbm-json"
        assert report.facts["trees"] == 3
        assert report.facts["features"] == 2
        assert report.facts["classes"] == ["0", "1", "2"]

    @pytest.mark.parametrize("lost", ["tree_info", "max_feature_idx"])
    def test_a_dump_without_its_parts_is_no_model(self, lost: str) -> None:
        content = json.dumps({key: value for key, value in DUMP.items() if key != lost})
        assert inspected(content.encode(), "m.json").format is None


# --- CatBoost -----------------------------------------------------------------------------------

CBM = (CORPUS / "catboost.cbm").read_bytes()
CATBOOST_JSON = (CORPUS / "catboost.json").read_bytes()


@pytest.mark.parametrize(("content", "name"), [(CBM, "m.cbm"), (CATBOOST_JSON, "m.json")])
def test_catboost_is_described(content: bytes, name: str) -> None:
    report = inspected(content, name)
    assert report.format in {"catboost-cbm", "catboost-json"}
    assert report.findings == ()
    facts = {key: value for key, value in report.facts.items() if key != "format_version"}
    assert facts == {
        "framework": "catboost",
        "framework_version": "1.2.10",
        "objective": "Logloss",
        "classes": ["0", "1"],
        "features": 30,
        "trees": 6,
    }


@pytest.mark.parametrize("length", [4, 8, 12, 100, 4000, len(CBM) - 1])
def test_a_cbm_that_was_cut_short_is_refused(length: int) -> None:
    assert refusals(inspected(CBM[:length], "m.cbm")) or length < 8
    assert verdict(CBM[:length], "m.cbm") == "reject"


@pytest.mark.parametrize("length", [10, 1000, len(CATBOOST_JSON) - 2])
def test_catboost_json_that_was_cut_short_is_no_model(length: int) -> None:
    assert verdict(CATBOOST_JSON[:length], "m.json") == "reject"


@pytest.mark.parametrize("at", [8, 10, 11, 20, 32, 36, 40])
def test_a_cbm_that_points_outside_of_itself_is_refused_or_read(at: int) -> None:
    content = bytearray(CBM)
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    for finding in inspected(bytes(content), "m.cbm").findings:
        assert finding.code == "file.malformed"


def test_a_stream_that_comes_once_is_read_too() -> None:
    class Once(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self._rest = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self._rest.readinto(buffer)

    for content, name in ((booster("ubj"), "m.ubj"), (booster("json"), "m.json"), (CBM, "m.cbm")):
        stream = Stream(Once(content), None, seekable=False)  # type: ignore[arg-type]
        report = inspect_file(stream, FilePath(name))
        assert report.facts["trees"] in {3, 6}
