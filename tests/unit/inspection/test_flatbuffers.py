"""TensorFlow Lite and ONNX Runtime: tables that lie where they say, and what they need."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from adapters.inspection.formats import flatbuffers as format_of_tables
from adapters.inspection.formats.flatbuffers import Buffer
from adapters.inspection.formats.tensor_shapes import elements
from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Malformed, Stream
from domain.validation import FileReport, Severity
from domain.values import FilePath
from tests.support.corpus import CORPUS

Value = Any
"""A number as (kind, value), a text, bytes, a list of numbers as (kind, list), of texts or of
tables, or a table as a dictionary by the numbers of its fields."""


def built(root: dict[int, Value], identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), identifier)
    return bytes(builder.Output())


def _table(builder: Any, fields: dict[int, Value]) -> int:
    placed = {
        number: value if _is_number(value) else _offset(builder, value)
        for number, value in fields.items()
    }
    builder.StartObject(max(placed, default=-1) + 1)
    for number, value in placed.items():
        if isinstance(value, tuple):
            width, add = _KINDS[value[0]]
            builder.Prep(width, 0)
            getattr(builder, add)(value[1])
            builder.Slot(number)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return int(builder.EndObject())


_KINDS = {
    "b": (1, "PrependInt8"),
    "B": (1, "PrependUint8"),
    "i": (4, "PrependInt32"),
    "I": (4, "PrependUint32"),
    "q": (8, "PrependInt64"),
    "Q": (8, "PrependUint64"),
}


def _is_number(value: Value) -> bool:
    return isinstance(value, tuple) and not isinstance(value[1], list)


def _offset(builder: Any, value: Value) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, bytes):
        return int(builder.CreateByteVector(value))
    if isinstance(value, dict):
        return _table(builder, value)
    if isinstance(value, tuple):
        width, add = _KINDS[value[0]]
        builder.StartVector(width, len(value[1]), width)
        for each in reversed(value[1]):
            getattr(builder, add)(each)
        return int(builder.EndVector())
    offsets = [_offset(builder, each) for each in value]
    builder.StartVector(4, len(offsets), 4)
    for each in reversed(offsets):
        builder.PrependUOffsetTRelative(each)
    return int(builder.EndVector())


def report(data: bytes, name: str) -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath(name))


def codes(found: FileReport, severity: Severity) -> list[str]:
    return [each.code for each in found.findings if each.severity is severity]


def tensor(name: str, shape: Sequence[int], kind: int = 0, buffer: int = 0) -> dict[int, Value]:
    return {0: ("i", list(shape)), 1: ("b", kind), 2: ("I", buffer), 3: name}


def tflite(
    *,
    operators: Sequence[dict[int, Value]] = ({0: ("b", 9), 3: ("i", 9)},),
    tensors: Sequence[dict[int, Value]] = (tensor("x", [1, 4]), tensor("w", [2, 4], 9, 1)),
    buffers: Sequence[dict[int, Value]] = ({}, {0: b"x" * 8}),
    used: Sequence[int] = (0, 1),
    kind: int = 0,
) -> bytes:
    operator = {0: ("I", kind), 1: ("i", list(used)), 2: ("i", [0])}
    graph = {0: list(tensors), 1: ("i", [0]), 2: ("i", [0]), 3: [operator], 4: "main"}
    root = {0: ("I", 3), 1: list(operators), 2: [graph], 3: "made by hand", 4: list(buffers)}
    return built(root, b"TFL3")


def test_a_tflite_model_is_described() -> None:
    found = report((CORPUS / "models/model.tflite").read_bytes(), "m.tflite")
    assert found.format == "tflite"
    assert not found.findings
    assert found.facts == {
        "framework": "tflite",
        "format_version": 3,
        "framework_version": "1.5.0",
        "description": "MLIR Converted.",
        "inputs": ["serving_default_x:0: float32[?, 4]"],
        "outputs": ["StatefulPartitionedCall:0: float32[?, 2]"],
        "tensors": 3,
        "parameters": 8,
        "dtypes": ["F32"],
        "operators": ["FULLY_CONNECTED"],
    }


def test_quantised_weights_are_counted_by_their_shape() -> None:
    found = report(tflite(), "m.tflite")
    assert not found.findings
    assert found.facts["parameters"] == 8
    assert found.facts["dtypes"] == ["I8"]


def custom(name: str) -> dict[int, Value]:
    return {0: ("b", 32), 1: name, 3: ("i", 32)}


def test_operators_from_elsewhere_are_held() -> None:
    found = report(tflite(operators=[custom("Mine")]), "m.tflite")
    assert [(each.code, each.severity, each.subject) for each in found.findings] == [
        ("tflite.custom_operator", Severity.WARNING, "tflite::Mine")
    ]
    assert found.facts["custom_operators"] == ["Mine"]


def test_operators_of_tensorflow_are_judged_as_there() -> None:
    plain = report(tflite(operators=[custom("FlexErf")]), "m.tflite")
    assert codes(plain, Severity.INFO) == ["tflite.flex_operator"]
    assert not codes(plain, Severity.WARNING)
    reading = report(tflite(operators=[custom("FlexReadFile")]), "m.tflite")
    assert codes(reading, Severity.WARNING) == ["graph.file_access"]


def test_custom_operators_that_the_library_has_are_fine() -> None:
    found = report(tflite(operators=[custom("TFLite_Detection_PostProcess")]), "m.tflite")
    assert not found.findings


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (tflite(used=[2]), "a tensor that there is not"),
        (tflite(used=[-2]), "a tensor that there is not"),
        (tflite(kind=1), "a kind that it does not name"),
        (tflite(tensors=[tensor("w", [9], 0, 2)], used=[0]), "a buffer that there is not"),
        (tflite(tensors=[tensor("w", [9], 0, 1)], used=[0]), "8 bytes whose shape needs 36"),
        (tflite(tensors=[tensor("w", [-9], 0, 1)], used=[0]), "negative dimension"),
        (tflite(buffers=[{}, {1: ("Q", 9), 2: ("Q", 1 << 40)}]), "cut short"),
        (built({0: ("I", 3)}, b"TFL3"), "no tensors"),
        (built({}, b"TFL3"), "no tensors"),
    ],
)
def test_models_that_refer_to_what_is_not_there_are_refused(data: bytes, what: str) -> None:
    found = report(data, "m.tflite")
    assert codes(found, Severity.CRITICAL) == ["file.malformed"]
    assert what in found.findings[0].message


@pytest.mark.parametrize("name", ["models/model.tflite", "models/mlp.ort"])
def test_every_cut_is_noticed(name: str) -> None:
    data = (CORPUS / name).read_bytes()
    reached = 0
    for length in range(8, len(data), 7):
        found = report(data[:length], name)
        reached = reached if codes(found, Severity.CRITICAL) else max(reached, length)
    # Padding and what nobody reads may end a file.
    assert reached == 0 or reached > len(data) - 200


@pytest.mark.parametrize("name", ["models/model.tflite", "models/mlp.ort"])
def test_damage_anywhere_is_survived(name: str) -> None:
    rng = random.Random(1)
    whole = (CORPUS / name).read_bytes()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(8, len(data) - 4)
            data[at : at + 4] = struct.pack("<I", rng.choice([0, 1, 4, 1 << 31, 0xFFFFFFFF, at]))
        found = report(bytes(data), name)
        assert not any("cannot be read" in each.message for each in found.findings), found.findings


def test_more_tables_than_are_looked_at_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_of_tables, "_MOST_STEPS", 300)
    found = report(tflite(used=[0, 1] * 10, operators=[custom("Mine")] * 50), "m.tflite")
    assert codes(found, Severity.WARNING) == ["file.not_all_checked"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x00\x00TFL3",
        b"\xff\xff\xff\xffTFL3",
        b"\x08\x00\x00\x00TFL3\x00\x00\x00\x80",
        b"\x08\x00\x00\x00TFL3\xf8\xff\xff\xff\x00\x00\x00\x00\xff\xff\x04\x00",
        b"\x08\x00\x00\x00TFL3\xfc\xff\xff\xff\x06\x00\x04\x00\x09\x00",
    ],
)
def test_roots_that_lead_nowhere_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Buffer(io.BytesIO(data)).root()


def test_shapes_have_a_size() -> None:
    assert elements((2, 3)) == 6
    assert elements(()) == 1
    for shape in ((-1,), (1 << 31,) * 3, (1,) * 65):
        with pytest.raises(Malformed):
            elements(shape)


def _session(tmp_path: Any, model: Any) -> bytes:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return bytes((tmp_path / "m.ort").read_bytes())


def _model(*nodes: Any) -> Any:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        initializer=[numpy_helper.from_array(np.ones((4, 2), np.float32), "W")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def test_a_model_that_onnx_runtime_wrote_is_described(tmp_path: Any) -> None:
    found = report(
        _session(tmp_path, _model(helper.make_node("MatMul", ["x", "W"], ["y"]))), "m.ort"
    )
    assert found.format == "onnxruntime-ort"
    assert not found.findings
    facts = found.facts
    assert facts["inputs"] == ["x: float32[batch, 4]"]
    assert facts["operators"] == ["MatMul"]
    assert (facts["parameters"], facts["tensors"], facts["opset"]) == (8, 1, 17)


def ort(graph: dict[int, Value]) -> bytes:
    return built({0: "6", 1: {0: ("q", 8), 7: graph}}, b"ORTM")


def node(domain: str, name: str, *attributes: dict[int, Value]) -> dict[int, Value]:
    return {2: domain, 5: name, 10: list(attributes)}


def test_operators_of_graphs_in_operators_are_judged() -> None:
    inner = {2: [node("com.example", "Spy")]}
    for attribute in ({7: inner}, {12: [inner]}):
        found = report(ort({2: [node("", "If", attribute)]}), "m.ort")
        assert codes(found, Severity.WARNING) == ["onnx.custom_operator"]


def test_graphs_nest_within_reason() -> None:
    graph: dict[int, Value] = {2: [node("", "Relu")]}
    for _ in range(40):
        graph = {2: [node("", "If", {7: graph})]}
    assert codes(report(ort(graph), "m.ort"), Severity.CRITICAL) == ["file.malformed"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (built({0: "6"}, b"ORTM"), "no graph"),
        (ort({}), "neither operators nor tensors"),
        (ort({0: [{2: ("q", [3]), 3: ("i", 1), 4: b"x" * 8}]}), "8 bytes whose shape needs 12"),
    ],
)
def test_what_is_no_model_is_refused(data: bytes, what: str) -> None:
    found = report(data, "m.ort")
    assert codes(found, Severity.CRITICAL) == ["file.malformed"]
    assert what in found.findings[0].message


def test_compressed_models_are_read_too() -> None:
    data = (CORPUS / "models/model.tflite").read_bytes()
    stream = Stream(io.BytesIO(data), None, seekable=False)
    assert inspect_file(stream, FilePath("m.tflite")) == report(data, "m.tflite")


def _with_attached(data: bytes, name: str) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, "cat\ndog\n")
    return file.getvalue()


def test_labels_may_be_attached_and_nothing_else() -> None:
    found = report(_with_attached(tflite(), "labels.txt"), "m.tflite")
    assert codes(found, Severity.INFO) == ["tflite.attached_files"]
    assert not codes(found, Severity.CRITICAL)
    for name in ("archive/data.pkl", "__main__.py", "../labels.txt", "a.npy"):
        found = report(_with_attached(tflite(), name), "m.tflite")
        assert codes(found, Severity.CRITICAL) == ["file.polyglot"]
