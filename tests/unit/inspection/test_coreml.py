"""Core ML: what a model is, and which code and files it asks its app for."""

from __future__ import annotations

import pytest

from adapters.inspection.formats.coreml import check_coreml
from adapters.inspection.inspect import inspect_file
from adapters.inspection.report import Notes
from adapters.inspection.streams import Budget, Malformed, Stream
from domain.validation import FileReport, Severity
from domain.values import FilePath
from tests.support.corpus import CORPUS
from tests.support.messages import entry, number, part, varint


def feature(name: str, kind: int, content: bytes = b"") -> bytes:
    return part(1, name) + part(3, part(kind, content))


ARRAY = part(1, varint(1) + varint(3)) + number(2, 65568)
DESCRIPTION = part(1, feature("x", 5, ARRAY)) + part(10, feature("y", 3))


def model(kind: int, content: bytes = b"", description: bytes = DESCRIPTION) -> bytes:
    return number(1, 5) + part(2, description) + part(kind, content)


def report(data: bytes, name: str = "m.mlmodel") -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath(name))


def found_in(data: bytes) -> list[tuple[str, Severity, str | None]]:
    return [(each.code, each.severity, each.subject) for each in report(data).findings]


def test_a_model_is_described() -> None:
    producer = entry("com.github.apple.coremltools.version", "7.2")
    metadata = part(1, "Finds cats") + part(3, "me") + part(4, "MIT") + part(100, producer)
    layers = part(1, part(1, "fc")) * 2
    labels = part(100, part(1, "cat") + part(1, "dog"))
    found = report(model(403, layers + labels, DESCRIPTION + part(100, metadata)))
    assert found.format == "coreml"
    assert not found.findings
    assert found.facts == {
        "framework": "coreml",
        "format_version": 5,
        "architecture": "neural network classifier",
        "inputs": ["x: float32[1, 3]"],
        "outputs": ["y: string"],
        "description": "Finds cats",
        "author": "me",
        "license": "MIT",
        "producer": "coremltools 7.2",
        "classes": ["cat", "dog"],
        "layers": 2,
    }


@pytest.mark.parametrize("name", ["nn.mlmodel", "catboost.mlmodel"])
def test_models_of_other_writers_are_accepted(name: str) -> None:
    found = report((CORPUS / "models" / name).read_bytes(), name)
    assert found.format == "coreml"
    assert not found.findings


def layer(content: bytes) -> bytes:
    return part(1, part(1, "a layer") + content)


CUSTOM = part(500, part(10, "MyLayer"))


@pytest.mark.parametrize(
    "data",
    [
        model(500, layer(CUSTOM)),
        model(303, layer(CUSTOM)),
        model(403, layer(CUSTOM)),
        model(500, layer(part(605, part(2, layer(CUSTOM))))),
        model(500, layer(part(615, part(4, layer(CUSTOM))))),
        model(202, part(1, model(500, layer(CUSTOM)))),
        model(200, part(1, part(1, model(500, layer(CUSTOM))))),
        model(555, part(1, "MyLayer")),
    ],
)
def test_code_that_the_app_has_to_bring_is_held(data: bytes) -> None:
    assert found_in(data) == [("coreml.custom_code", Severity.WARNING, "MyLayer")]


def test_facts_of_a_pipeline_are_its_own() -> None:
    inner = model(500, description=part(1, feature("inner", 3)))
    found = report(model(202, part(1, inner) * 2))
    assert found.facts["architecture"] == "pipeline"
    assert found.facts["inputs"] == ["x: float32[1, 3]"]


def program(operation: bytes) -> bytes:
    block = part(3, part(1, "const") + operation)
    function = part(3, entry("CoreML7", block))
    return model(502, number(1, 1) + part(2, entry("main", function)))


def blob(name: str) -> bytes:
    return part(5, part(1, name) + number(2, 64))


def places(value: bytes) -> list[bytes]:
    """Programs with a value wherever one can be."""
    attribute = part(5, entry("val", value))
    wrapped = [part(3, part(kind, part(1, value))) for kind in (2, 3)]
    dictionary = part(3, part(4, part(1, part(1, value) + part(2, value))))
    function = part(4, entry("a", value))
    return [
        program(attribute),
        program(part(2, entry("x", part(1, part(2, value))))),
        program(part(4, part(3, part(1, "add") + attribute))),
        program(part(4, part(4, entry("a", value)))),
        *(program(part(5, entry("val", each))) for each in (*wrapped, dictionary)),
        model(502, part(4, entry("a", value))),
        model(502, part(2, entry("main", function))),
    ]


def test_weights_beside_the_program_are_named() -> None:
    for data in places(blob("@model_path/weights/weight.bin")):
        found = report(data)
        assert found.facts["external_data"] == ["weights/weight.bin"]
        assert not found.findings


@pytest.mark.parametrize("name", ["@model_path/../../secret", "/etc/passwd", "..\\w", "file:/x"])
def test_weights_elsewhere_are_refused(name: str) -> None:
    for data in places(blob(name)):
        assert found_in(data) == [("coreml.file_outside", Severity.CRITICAL, name)]


def test_operators_of_a_program_are_noted() -> None:
    assert report(program(part(3, b""))).facts["operators"] == ["const"]
    assert found_in(program(part(1, "custom_op"))) == [
        ("coreml.custom_code", Severity.WARNING, "custom_op")
    ]


def test_links_to_other_models_are_held_or_refused() -> None:
    for name, severity in (("Other", Severity.WARNING), ("../Other", Severity.CRITICAL)):
        data = model(556, part(1, part(1, part(1, name))))
        assert found_in(data) == [("coreml.linked_model", severity, name)]


def test_private_forms_cannot_be_judged() -> None:
    assert found_in(model(3000, part(2, b"opaque"))) == [("coreml.opaque", Severity.WARNING, None)]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (number(1, 5) + part(2, DESCRIPTION), "which kind"),
        (model(500, b"\x0a\x05ab"), "longer than what it is in|cut short"),
        (number(1, 5) + number(500, 1), "wrong kind"),
        (model(500, layer(CUSTOM))[:-3], "cut short"),
        (program(part(5, entry("v", blob("x" * 5000)))), "name of a file of 5000 bytes"),
    ],
)
def test_broken_models_are_refused(data: bytes, what: str) -> None:
    notes = Notes(FilePath("m.mlmodel"), Budget(9), lambda *_: None)
    with pytest.raises(Malformed, match=what):
        check_coreml(Stream.of_bytes(data), notes)


def test_pipelines_nest_within_reason() -> None:
    data = model(500)
    for _ in range(60):
        data = model(202, part(1, data))
    found = report(data)
    assert [each.code for each in found.findings] == ["file.malformed"]
