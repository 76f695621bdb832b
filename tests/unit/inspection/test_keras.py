"""Keras: every class and function that a configuration names is judged, and the archive with it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from domain.validation import Severity
from tests.support.containers import PAYLOAD, STATE_DICT, zipped
from tests.support.corpus import CORPUS
from tests.support.inspecting import codes, inspected, messages, verdict

WEIGHTS = (CORPUS / "models/model.weights.h5").read_bytes()
METADATA = b'{"keras_version": "3.15.1", "date_saved": "2026-11-23@15:37:56"}'


def layer(class_name: str, config: Any, module: str | None = "keras.layers", **more: Any) -> Any:
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
        **more,
    }


def archive(*layers: Any, **more: Any) -> bytes:
    model = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": list(layers)},
        "registered_name": None,
        **more,
    }
    return raw_archive(json.dumps(model).encode())


def raw_archive(config: bytes, *more: tuple[str, bytes]) -> bytes:
    members = [("metadata.json", METADATA), ("config.json", config), ("model.weights.h5", WEIGHTS)]
    return zipped([*members, *more])


def function(module: str, name: str) -> Any:
    value = {"module": module, "class_name": "function", "config": name}
    return layer("Dense", {"units": 1, "activation": {**value, "registered_name": name}})


def test_an_archive_is_described_by_its_configuration_and_its_weights() -> None:
    report = inspected(archive(layer("Dense", {"units": 3}), layer("ReLU", {})), "model.keras")

    assert report.findings == ()
    assert report.format == "keras-v3"
    assert report.facts["architecture"] == "Sequential"
    assert report.facts["classes"] == ["Dense", "ReLU"]
    assert report.facts["layers"] == 2
    assert report.facts["framework"] == "keras"
    assert report.facts["framework_version"] == "3.15.1"
    assert report.facts["parameters"] == 68


@pytest.mark.parametrize(
    ("module", "name", "right"),
    [
        ("os", "system", "reject"),
        ("builtins", "eval", "reject"),
        ("builtins", "exec", "reject"),
        ("subprocess", "run", "reject"),
        ("builtins", "relu", "accept"),
        ("keras.activations", "gelu", "accept"),
        ("keras.src.activations.activations", "gelu", "accept"),
        ("keras.ops", "mean", "accept"),
        ("keras.utils", "get_file", "reject"),
        ("keras.src.utils.file_utils", "get_file", "reject"),
        ("keras.config", "enable_unsafe_deserialization", "reject"),
        ("keras.models", "load_model", "reject"),
        ("keras.utils", "something", "review"),
        ("mycompany.activations", "swish", "review"),
    ],
)
def test_functions_are_judged_by_their_module(module: str, name: str, right: str) -> None:
    assert verdict(archive(function(module, name)), "model.keras") == right


@pytest.mark.parametrize(
    ("part", "right"),
    [
        (layer("Popen", {}, "subprocess"), "reject"),
        (layer("Net", {}, "mycompany.models"), "review"),
        (layer("Net", {}, None, registered_name="mycompany>Net"), "review"),
        (layer("mycompany>Net", {}, None), "review"),
        (layer("GPT2Backbone", {}, "keras_hub.models"), "accept"),
        (layer("Functional", {}, "keras.src.models.functional"), "accept"),
        (layer("Dense", {}, "tensorflow.keras.layers"), "accept"),
        (layer("Lambda", {"function": "x"}), "review"),
        (layer("StringLookup", {"vocabulary": ["a", "b"]}), "accept"),
        (layer("StringLookup", {"vocabulary": "/etc/passwd"}), "reject"),
        (layer("StringLookup", {"vocabulary": "https://evil.example/x"}), "reject"),
        (layer("TextVectorization", {"vocabulary": "../../x"}), "reject"),
        (layer("StringLookup", {"vocabulary": "words.txt"}), "review"),
        (layer("TFSMLayer", {"filepath": "model"}), "review"),
        (layer("TFOpLambda", {"function": "math.multiply"}), "accept"),
        (layer("TFOpLambda", {"function": "io.write_file"}), "review"),
        (
            layer("Dense", {"x": {"class_name": "__typespec__", "module": "os", "config": {}}}),
            "reject",
        ),
        (layer("Dense", {"x": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}), "review"),
    ],
)
def test_layers_are_judged(part: Any, right: str) -> None:
    assert verdict(archive(part), "model.keras") == right
    assert verdict(archive(compile_config={"loss": part}), "model.keras") == right


def test_findings_say_what_would_be_called_and_what_can_be_allowed() -> None:
    bad = archive(function("os", "system"))
    unknown = inspected(archive(layer("Net", {}, "mycompany.models")), "model.keras")

    expected = "config.json in model.keras: loading it would call os.system."
    assert messages(bad, "model.keras") == expected
    assert [each.subject for each in unknown.findings] == ["mycompany.models.Net"]


def test_unsafe_deserialization_is_refused_wherever_it_is_named() -> None:
    data = archive(layer("Dense", {"units": ["enable_unsafe_deserialization"]}))

    assert verdict(data, "model.keras") == "reject"


def test_a_wrapped_torch_module_is_inspected_as_the_pickle_it_is() -> None:
    def wrapped(module: bytes) -> bytes:
        return archive(layer("TorchModuleWrapper", {"module": module.decode("latin-1")}))

    assert verdict(wrapped(STATE_DICT), "model.keras") == "review"
    assert verdict(wrapped(PAYLOAD), "model.keras") == "reject"
    assert "posix.system" in messages(wrapped(PAYLOAD), "model.keras")


def test_other_members_of_the_archive_are_inspected_too() -> None:
    config = (
        b'{"class_name": "Sequential", "module": "keras", "config": {}, "registered_name": null}'
    )

    assert verdict(raw_archive(config, ("assets/vocab.txt", b"a\nb\n")), "m.keras") == "accept"
    assert verdict(raw_archive(config, ("assets/vocab.txt", PAYLOAD)), "m.keras") == "reject"


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b'{"class_name": 1}',
        b"{" * 10_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        base64.b85encode(PAYLOAD),
    ],
)
def test_broken_configurations_are_refused(config: bytes) -> None:
    assert verdict(raw_archive(config), "model.keras") == "reject"


def test_deep_configurations_are_walked_without_recursion() -> None:
    part: Any = {"module": "os", "class_name": "function", "config": "system"}
    for _ in range(200):
        part = [{"a": part}]

    assert verdict(archive(layer("Dense", {"deep": part})), "model.keras") == "reject"


def test_an_hdf5_file_is_judged_by_the_same_rules() -> None:
    report = inspected((CORPUS / "attacks/lambda.h5").read_bytes(), "lambda.h5")

    assert [each.code for each in report.findings if each.severity is Severity.WARNING] == [
        "keras.lambda"
    ]


def test_a_word_document_is_no_keras_model() -> None:
    data = (CORPUS / "notmodels/letter.keras").read_bytes()

    assert messages(data, "a.keras") == "a.keras is a Microsoft Word document, not a model."
    assert codes(data, "a.keras") == {"file.not_a_model"}
