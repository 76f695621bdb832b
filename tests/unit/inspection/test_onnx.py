"""ONNX: what a model is, what it needs from elsewhere, and where its tensors lie."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adapters.inspection.formats.onnx import check_onnx
from adapters.inspection.formats.protobuf_wire import Wire
from adapters.inspection.inspect import inspect_file
from adapters.inspection.report import Notes
from adapters.inspection.streams import Budget, Malformed, Stream
from domain.validation import FileReport, Severity
from domain.values import FilePath
from tests.support.corpus import inspect_path
from tests.support.messages import entry, number, part

OPSETS = (("", 17),)


def weights(name: str = "W", shape: Sequence[int] = (4, 2)) -> Any:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def external(location: str, **more: str) -> Any:
    tensor = weights()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(
    *nodes: Any,
    tensors: Sequence[Any] = (),
    opsets: Sequence[tuple[str, int]] = OPSETS,
    functions: Sequence[Any] = (),
) -> Any:
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        initializer=tensors or [weights()],
    )
    imports = [helper.make_opsetid(*each) for each in opsets]
    return helper.make_model(
        graph, opset_imports=imports, functions=functions, producer_name="tests"
    )


def report(made: Any, name: str = "m.onnx") -> FileReport:
    data = made if isinstance(made, bytes) else made.SerializeToString()
    return inspect_file(Stream.of_bytes(data), FilePath(name))


def codes(found: FileReport, severity: Severity) -> list[str]:
    return [each.code for each in found.findings if each.severity is severity]


def test_a_model_is_described() -> None:
    made = model()
    made.producer_version = "1.0"
    helper.set_model_props(made, {"author": "me", "license": "MIT", "x": "y"})
    found = report(made)
    assert found.format == "onnx"
    assert not found.findings
    assert found.facts == {
        "framework": "onnx",
        "format_version": made.ir_version,
        "producer": "tests 1.0",
        "name": "net",
        "license": "MIT",
        "author": "me",
        "parameters": 8,
        "tensors": 1,
        "dtypes": ["F32"],
        "inputs": ["x: float32[batch, 4]"],
        "outputs": ["y: float32[?, 2]"],
        "opset": 17,
        "opsets": ["ai.onnx 17"],
        "operators": ["MatMul"],
    }


def test_it_reads_the_same_where_bytes_come_only_once() -> None:
    data = model().SerializeToString()
    whole = report(data)
    for size in (None, len(data)):
        stream = Stream(io.BytesIO(data), size, seekable=False)
        assert inspect_file(stream, FilePath("m.onnx")) == whole


def test_the_models_that_the_library_tests_itself_with_are_accepted() -> None:
    paths = sorted(Path(onnx.__file__).parent.glob("backend/test/data/**/*.onnx"))
    assert len(paths) > 100
    for path in paths:
        found = inspect_path(path)
        assert found.format == "onnx", path
        assert not found.findings, path


def test_initializers_are_no_inputs() -> None:
    made = model()
    made.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 2]))
    assert report(made).facts["inputs"] == ["x: float32[batch, 4]"]


def test_types_that_are_no_tensors_are_named() -> None:
    made = model()
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    for name, kind in {
        "s": helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, tensor)),
        "o": helper.make_optional_type_proto(tensor),
    }.items():
        made.graph.output.append(helper.make_value_info(name, kind))
    assert report(made).facts["outputs"] == [
        "y: float32[?, 2]",
        "s: sequence(map(int64, float32[2]))",
        "o: optional(float32[2])",
    ]


def _if(body: Any) -> Any:
    return helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)


def _body(node: Any, tensors: Sequence[Any] = ()) -> Any:
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    return helper.make_graph([node], "body", [], output, initializer=tensors)


def test_graphs_inside_operators_are_read() -> None:
    inner = helper.make_node("Spy", ["x"], ["y"], domain="com.example")
    found = report(model(_if(_body(_if(_body(inner, [weights()]))))))
    assert found.facts["operators"] == ["If", "Spy"]
    assert codes(found, Severity.WARNING) == ["onnx.custom_operator"]
    assert found.facts["parameters"] == 4 * 8 + 8


def test_graphs_are_nested_within_reason() -> None:
    node = part(4, "Relu")
    for _ in range(40):
        node = part(4, "If") + part(5, part(1, "then_branch") + part(6, part(1, node)))
    found = report(number(1, 8) + part(7, part(1, node)))
    assert codes(found, Severity.CRITICAL) == ["file.malformed"]


def test_operators_that_the_model_defines_are_not_foreign() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    function = helper.make_function(
        "my", "Net", ["x"], ["y"], [relu], [helper.make_opsetid("", 17)]
    )
    node = helper.make_node("Net", ["x"], ["y"], domain="my")
    found = report(model(node, functions=[function], opsets=[("", 17), ("my", 1)]))
    assert not found.findings
    assert found.facts["operators"] == ["Net", "Relu"]


def test_functions_hide_nothing() -> None:
    spy = helper.make_node("Spy", ["x"], ["y"], domain="com.example")
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.append(helper.make_attribute("value", external("../w")))
    function = helper.make_function("my", "Net", ["x"], ["y"], [spy, constant], [])
    found = report(model(functions=[function]))
    assert codes(found, Severity.WARNING) == ["onnx.custom_operator"]
    assert codes(found, Severity.CRITICAL) == ["onnx.external_data_outside"]


@pytest.mark.parametrize(
    ("domain", "name", "code"),
    [
        ("com.example", "Op", "onnx.custom_operator"),
        ("ai.onnx.contrib", "PyCustomOpDef", "onnx.python_operator"),
        ("com.microsoft", "PythonOp", "onnx.python_operator"),
        ("anything", "PyOp", "onnx.python_operator"),
        ("com.microsoft", "EPContext", "onnx.compiled_part"),
    ],
)
def test_operators_that_need_code_from_elsewhere_are_held(
    domain: str, name: str, code: str
) -> None:
    found = report(model(helper.make_node(name, ["x"], ["y"], domain=domain)))
    assert [(each.code, each.severity, each.subject) for each in found.findings] == [
        (code, Severity.WARNING, f"{domain}::{name}")
    ]


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
def test_operators_of_the_runtime_are_not_foreign(domain: str) -> None:
    assert not report(model(helper.make_node("Gelu", ["x"], ["y"], domain=domain))).findings


def test_files_beside_the_model_are_named() -> None:
    found = report(model(tensors=[external("data/w.bin", offset="4096", length="32")]))
    assert codes(found, Severity.INFO) == ["onnx.external_data"]
    assert not codes(found, Severity.CRITICAL)
    assert found.facts["external_data"] == ["data/w.bin"]
    assert found.facts["parameters"] == 8


def test_real_external_data_is_accepted(tmp_path: Path) -> None:
    made = model(tensors=[weights(shape=(400, 2))])
    onnx.save_model(made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin")
    found = inspect_path(tmp_path / "m.onnx")
    assert found.facts["external_data"] == ["w.bin"]
    assert found.facts["parameters"] == 800
    assert not codes(found, Severity.CRITICAL)


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../w", "a/../../w", "C:\\w", "..\\w", "https://x/w", "*/_ORT_MEM_ADDR_/*"],
)
def test_files_outside_are_refused(location: str) -> None:
    tensor = external(location)
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    sparse = helper.make_sparse_tensor(external(location), weights("i", [1]), [9, 9])
    in_sparse = model()
    in_sparse.graph.sparse_initializer.append(sparse)
    training = model()
    training.training_info.add().initialization.initializer.append(tensor)
    for made in (model(tensors=[tensor]), model(constant), in_sparse, training):
        found = report(made)
        assert codes(found, Severity.CRITICAL) == ["onnx.external_data_outside"]
        assert "external_data" not in found.facts


def test_where_a_tensor_lies_is_believed_whatever_its_flag_says() -> None:
    tensor = external("../w")
    tensor.data_location = TensorProto.DEFAULT
    assert codes(report(model(tensors=[tensor])), Severity.CRITICAL)


@pytest.mark.parametrize(
    "more", [{"offset": "-1"}, {"length": "x"}, {"offset": "1" * 30}, {"length": "31"}]
)
def test_ranges_in_other_files_make_sense(more: dict[str, str]) -> None:
    found = report(model(tensors=[external("w.bin", **more)]))
    assert codes(found, Severity.CRITICAL) == ["file.malformed"]


def broken(tensor: bytes) -> bytes:
    node = part(1, part(4, "Relu"))
    return number(1, 8) + part(7, node + part(5, tensor))


@pytest.mark.parametrize(
    ("tensor", "what"),
    [
        (number(1, 4) + number(2, 1) + part(9, b"x" * 15), "15 bytes whose shape needs 16"),
        (number(1, 3) + number(2, 22) + part(9, b"xxx"), "3 bytes whose shape needs 2"),
        (number(1, 1 << 40) + number(2, 1) + part(4, b"x" * 8), "elements in"),
        (number(1, -4) + number(2, 1), "negative dimension"),
        (number(1, 1 << 40) * 2 + number(2, 1), "larger than anything"),
        (number(1, 1) * 65, "more than 64 dimensions"),
        (number(2, 1) + number(14, 1), "does not tell in which"),
        (part(13, entry("location", "a")) + part(13, entry("location", "b")), "in two files"),
        (part(13, entry("location", "a" * 5000)), "reference to a file of 5000 bytes"),
        (part(1, b"\x80"), "cut short"),
        (part(2, b""), ""),
    ],
)
def test_tensors_that_are_not_what_they_claim(tensor: bytes, what: str) -> None:
    found = report(broken(tensor))
    if what:
        assert codes(found, Severity.CRITICAL) == ["file.malformed"]
        assert what in found.findings[0].message
    else:
        assert not codes(found, Severity.CRITICAL)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        number(1, 8),
        number(1, 8) + part(7, b""),
        number(1, 8) + part(7, part(2, "only a name")),
        part(7, part(1, part(4, "Relu"))),
        number(1, 8) + part(7, part(1, part(7, "com.example"))),
    ],
)
def test_what_has_no_graph_is_no_model(data: bytes) -> None:
    found = report(data)
    assert found.format is None or codes(found, Severity.CRITICAL)


def test_every_cut_is_noticed() -> None:
    data = model().SerializeToString()
    graph = data.index(b"MatMul")
    for length in range(graph, len(data) - 8):
        assert codes(report(data[:length]), Severity.CRITICAL), length


def test_forests_of_millions_of_numbers_are_passed() -> None:
    values = part(5, part(1, "nodes_values") + b"\x3d\0\0\x80\x3f" * 1_000_000)
    modes = part(5, part(1, "nodes_modes") + part(9, "BRANCH_LEQ") * 100_000)
    node = part(4, "TreeEnsembleClassifier") + part(7, "ai.onnx.ml") + values + modes
    found = report(number(1, 8) + part(7, part(1, node)))
    assert not found.findings
    assert found.facts["operators"] == ["TreeEnsembleClassifier"]


def test_what_was_not_all_read_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "MOST_FIELDS", 500)
    found = report(number(1, 8) + part(7, part(1, part(4, "Relu")) * 1000))
    assert codes(found, Severity.WARNING) == ["file.not_all_checked"]
    assert found.facts["operators"] == ["Relu"]


def test_two_gigabytes_are_skipped() -> None:
    class Claimed(io.RawIOBase):
        """A head, then zeros that nobody may read much of."""

        def __init__(self, head: bytes, size: int) -> None:
            super().__init__()
            self.head, self.size, self.at, self.given = head, size, 0, 0

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = (0, self.at, self.size)[whence] + offset
            return self.at

        def readinto(self, buffer: Any) -> int:
            view = memoryview(buffer).cast("B")
            count = max(min(len(view), self.size - self.at), 0)
            piece = self.head[self.at : self.at + count]
            view[:count] = piece + bytes(count - len(piece))
            self.at += count
            self.given += count
            return count

    raw = 2 << 30
    plain = part(1, part(4, "Relu"))
    tensor = number(1, raw // 4) + number(2, 1)
    tensor += part(9, b"")[:1] + number(0, raw)[1:]
    outer = number(0, len(tensor) + raw)[1:]
    graph = plain + b"\x2a" + outer + tensor
    head = number(1, 8) + b"\x3a" + number(0, len(graph) + raw)[1:] + graph
    file = Claimed(head, len(head) + raw)
    stream = Stream(file, file.size, seekable=True)  # type: ignore[arg-type]
    found = inspect_file(stream, FilePath("m.onnx"))
    assert found.facts["parameters"] == raw // 4
    assert not codes(found, Severity.CRITICAL)
    assert file.given < 2 << 20


def test_another_message_is_refused_if_it_is_called_a_model() -> None:
    notes = Notes(FilePath("m.onnx"), Budget(9), lambda *_: None)
    with pytest.raises(Malformed, match="no graph"):
        check_onnx(Stream.of_bytes(number(1, 8)), notes)


def _told(message: Any, operators: set[str], files: set[str]) -> None:
    """All operators and files that the library of ONNX finds in a message."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        for inner in value if field.is_repeated else [value]:
            if isinstance(inner, onnx.NodeProto):
                operators.add(str(inner.op_type))
            if isinstance(inner, onnx.TensorProto):
                files.update(str(e.value) for e in inner.external_data if e.key == "location")
            _told(inner, operators, files)


def _rich() -> bytes:
    spy = helper.make_node("Spy", ["x"], ["y"], domain="com.example")
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.append(helper.make_attribute("value", external("c.bin", length="32")))
    function = helper.make_function("my", "Net", ["x"], ["y"], [spy], [helper.make_opsetid("", 17)])
    call = helper.make_node("Net", ["x"], ["y"], domain="my")
    nodes = (_if(_body(_if(_body(spy, [weights()])))), constant, call)
    made = model(*nodes, functions=[function], tensors=[weights(), external("v.bin")])
    sparse = helper.make_sparse_tensor(external("s.bin"), weights("i", [1]), [9, 9])
    made.graph.sparse_initializer.append(sparse)
    return bytes(made.SerializeToString())


def test_nothing_that_the_library_of_onnx_finds_escapes() -> None:
    rng = random.Random(3)
    whole, agreed = _rich(), 0
    for _ in range(1500):
        data = bytearray(whole)
        at = rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[at : at + rng.randrange(1, 6)]
        elif how == 2:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        else:
            data[at] = rng.randrange(256)
        found = report(bytes(data))
        if found.format is None or codes(found, Severity.CRITICAL):
            continue
        try:
            parsed = onnx.load_from_string(bytes(data))
        except Exception:  # noqa: BLE001 - what nobody can load does no harm
            continue
        operators: set[str] = set()
        files: set[str] = set()
        _told(parsed, operators, files)
        readable = {each for each in operators if each.isprintable() and each[:2] != "b'"}
        assert readable <= set(found.facts["operators"])  # type: ignore[arg-type]
        assert files == set(found.facts.get("external_data", []))  # type: ignore[arg-type]
        agreed += 1
    assert agreed > 100
