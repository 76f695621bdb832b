"""TensorFlow: which operators do more than to compute, and what a SavedModel says of itself."""

from __future__ import annotations

import pytest

from adapters.inspection.formats.tensorflow import check_graph_def
from adapters.inspection.inspect import inspect_file
from adapters.inspection.report import Notes
from adapters.inspection.streams import Budget, Malformed, Stream
from domain.validation import (
    CAN_CARRY_CODE,
    FileReport,
    PolicyName,
    Severity,
    ValidationPolicy,
    Verdict,
)
from domain.values import FilePath
from tests.support.corpus import CORPUS
from tests.support.messages import entry, number, part


def node(operator: str, *attributes: bytes) -> bytes:
    head = part(1, "name") + part(2, operator)
    return part(1, head + b"".join(part(5, each) for each in attributes))


def shape(*sides: int) -> bytes:
    return b"".join(part(2, number(1, side)) for side in sides)


def constant(data_type: int, sides: tuple[int, ...], content: bytes) -> bytes:
    tensor = number(1, data_type) + part(2, shape(*sides))
    return node("Const", entry("value", part(8, tensor + (part(4, content) if content else b""))))


def saved_model(graph: bytes, *more: bytes) -> bytes:
    info = part(4, "serve") + part(5, "2.16.1")
    return number(1, 1) + part(2, part(1, info) + part(2, graph) + b"".join(more))


def report(data: bytes, name: str = "saved_model.pb") -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath(name))


def codes(found: FileReport, severity: Severity) -> list[str]:
    return [each.code for each in found.findings if each.severity is severity]


def test_a_saved_model_is_described() -> None:
    found = report((CORPUS / "models/saved_model.pb").read_bytes())
    facts = found.facts
    assert found.format == "tf-savedmodel-pb"
    assert [each.code for each in found.findings] == [CAN_CARRY_CODE]
    assert facts["framework_version"] == "2.21.0"
    assert facts["format_version"] == 1
    assert facts["inputs"] == ["x: float32[?, 4]"]
    assert facts["outputs"] == ["output_0: float32[?, 2]"]
    assert facts["parameters"] == 8
    assert "MergeV2Checkpoints" in facts["operators"]  # type: ignore[operator]


def test_graphs_are_programs_to_a_strict_policy() -> None:
    for data in (saved_model(node("Relu")), node("Relu")):
        found = report(data)
        for name, verdict in ((PolicyName.STRICT, Verdict.REJECT), ("standard", Verdict.ACCEPT)):
            policy = ValidationPolicy(PolicyName(name))
            assert policy.judge({FilePath("m.pb"): found}).verdict is verdict


def test_a_frozen_graph_has_its_weights_inside() -> None:
    graph = constant(1, (3, 2), b"x" * 24) + constant(3, (2,), b"x" * 8) + node("MatMul")
    found = report(graph, "frozen.pb")
    assert found.format == "tf-graphdef"
    assert found.facts["parameters"] == 6
    assert found.facts["dtypes"] == ["F32"]
    assert found.facts["operators"] == ["Const", "MatMul"]


@pytest.mark.parametrize(
    ("operator", "code"),
    [
        ("ReadFile", "graph.file_access"),
        ("WriteFile", "graph.file_access"),
        ("MatchingFiles", "graph.file_access"),
        ("WholeFileReaderV2", "graph.file_access"),
        ("TFRecordDatasetV2", "graph.file_access"),
        ("ExperimentalSqlDataset", "graph.file_access"),
        ("SaveDatasetV2", "graph.file_access"),
        ("PyFunc", "graph.python_function"),
        ("PyFuncStateless", "graph.python_function"),
        ("EagerPyFunc", "graph.python_function"),
        ("RpcCall", "graph.network_access"),
        ("DebugIdentityV2", "graph.network_access"),
        ("CacheDatasetV2", "graph.file_access"),
        ("LoadAndRemapMatrix", "graph.file_access"),
        ("XlaCustomCallV2", "graph.compiled_part"),
        ("TRTEngineOp", "graph.compiled_part"),
        ("MyCompany>Op", "graph.custom_operator"),
    ],
)
def test_operators_that_do_more_than_to_compute_are_held_wherever_they_are(
    operator: str, code: str
) -> None:
    function = part(2, part(1, part(1, part(1, "f")) + part(3, node(operator)[2:])))
    for data in (
        node("Relu") + node(operator),
        node("Relu") + function,
        saved_model(node("Relu") + node(operator)),
        saved_model(node("Relu") + function),
    ):
        held = [each for each in report(data).findings if each.severity is Severity.WARNING]
        assert [(each.code, each.subject) for each in held] == [(code, f"tensorflow::{operator}")]


def test_every_name_of_an_operator_counts() -> None:
    twice = part(1, part(1, "n") + part(2, "ReadFile") + part(2, "Relu"))
    assert codes(report(node("Relu") + twice), Severity.WARNING) == ["graph.file_access"]


def test_what_every_saved_model_has_is_no_file_access() -> None:
    names = ("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "ReadVariableOp")
    assert not codes(report(b"".join(map(node, names))), Severity.WARNING)


def test_printing_to_a_file_is_file_access() -> None:
    for target, held in (("stderr", []), ("file:///tmp/x", ["graph.file_access"])):
        data = node("PrintV2", entry("output_stream", part(2, target)))
        assert codes(report(data), Severity.WARNING) == held


def test_assets_stay_in_the_folder() -> None:
    for name, refused in (("vocab.txt", []), ("../../etc/passwd", ["graph.asset_outside"])):
        found = report(saved_model(node("Relu"), part(6, part(2, name))))
        assert codes(found, Severity.CRITICAL) == refused


def variable(trainable: int, *sides: int) -> bytes:
    return part(1, part(7, number(1, 1) + part(2, shape(*sides)) + number(3, trainable)))


def test_variables_are_counted_where_they_are_trained() -> None:
    objects = part(7, variable(1, 3, 4) + variable(0, 100) + variable(1, -1))
    found = report(saved_model(node("VarHandleOp"), objects))
    assert found.facts["parameters"] == 12
    assert found.facts["tensors"] == 1


LAMBDA = '{"class_name": "Lambda", "config": {}}'


def test_lambda_layers_of_keras_are_held() -> None:
    for config, held in ((LAMBDA, ["keras.lambda"]), ('{"class_name": "Dense"}', [])):
        inside = saved_model(node("Relu"), part(7, part(1, part(4, part(3, config)))))
        beside = part(1, number(2, 0) + part(4, "_tf_keras_layer") + part(5, config))
        found = report(beside, "keras_metadata.pb")
        assert found.format is None
        assert codes(found, Severity.WARNING) == held
        assert codes(report(inside), Severity.WARNING) == held


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (constant(1, (3, 2), b"x" * 20), "20 bytes whose shape needs 24"),
        (constant(1, (1 << 50,), b""), "larger than anything"),
        (constant(1, (-2,), b"x"), "negative dimension"),
        (constant(1, (1,) * 300, b"xxxx"), "more than 254 dimensions"),
        (node("Relu")[:-2], "cut short"),
        (node("PrintV2", part(2, part(2, "file://x")) + part(1, "output_stream")), "name follows"),
        (part(2, b""), "no operators"),
    ],
)
def test_broken_graphs_are_refused(data: bytes, what: str) -> None:
    notes = Notes(FilePath("g.pb"), Budget(9), lambda *_: None)
    with pytest.raises(Malformed, match=what):
        check_graph_def(Stream.of_bytes(data), notes)


def test_a_saved_model_without_a_graph_is_none() -> None:
    found = report(number(1, 1) + part(2, part(1, part(4, "serve"))))
    assert codes(found, Severity.CRITICAL) == ["file.malformed"]


def test_every_cut_is_noticed() -> None:
    data = (CORPUS / "models/saved_model.pb").read_bytes()
    for length in range(200, len(data), 97):
        assert codes(report(data[:length]), Severity.CRITICAL) == ["file.malformed"]
