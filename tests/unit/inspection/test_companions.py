"""Companions: the code that configurations of Hugging Face and MLflow would import."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.validation import Coverage
from tests.support.containers import MODEL, zipped
from tests.support.inspecting import codes, inspected, messages, verdict


def folder(name: str, content: bytes | dict[str, Any] | list[Any]) -> bytes:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return zipped([("m/model.safetensors", MODEL), (f"m/{name}", data)])


def mlflow(text: str, *more: tuple[str, bytes]) -> bytes:
    members = [("m/MLmodel", text.encode()), ("m/data/model.safetensors", MODEL)]
    return zipped([*members, *more])


def test_a_configuration_alone_is_no_model_but_says_what_the_model_is() -> None:
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "transformers_version": "4.57.1",
        "max_position_embeddings": 512,
        "id2label": {"0": "cat", "1": "dog"},
        "quantization_config": {"quant_method": "gptq"},
    }

    report = inspected(json.dumps(config).encode(), "config.json")

    assert report.format is None
    assert report.findings == ()
    assert report.facts == {
        "architecture": "BertForSequenceClassification",
        "classes": ["cat", "dog"],
        "context_length": 512,
        "framework": "transformers",
        "framework_version": "4.57.1",
        "model_type": "bert",
        "quantization": "gptq",
    }
    assert inspected(folder("config.json", config), "m.zip").facts["model_type"] == "bert"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling_x.XModel"}}),
        ("config.json", {"auto_map": {"AutoModel": "somebody/repo--modeling_x.XModel"}}),
        ("config.json", {"vision_config": {"auto_map": {"AutoConfig": "c.C"}}}),
        ("config.json", {"trust_remote_code": True}),
        ("config.json", {"a": {"b": {"trust_remote_code": "true"}}}),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "evil.code"}}),
        ("config.json", {"custom_pipelines": {"x": {"impl": "pipe.Pipe", "pt": []}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t.Slow", None]}}),
        ("preprocessor_config.json", {"auto_map": "image.Processor"}),
        ("config.json", b'{"auto_map": {"AutoModel": "x.X"},}'),
        ("modules.json", [{"idx": 0, "type": "custom_st.Transformer"}]),
        ("model_index.json", {"_class_name": "Pipe", "unet": ["my_unet", "Unet"]}),
        ("model_index.json", {"_class_name": ["pipeline", "MyPipe"]}),
    ],
)
def test_code_of_its_own_is_held(name: str, content: Any) -> None:
    data = folder(name, content)

    assert codes(data, "m.zip") == {"huggingface.custom_code"}
    assert verdict(data, "m.zip") == "review"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"auto_map": {}}),
        ("config.json", {"trust_remote_code": False}),
        ("modules.json", [{"type": "sentence_transformers.models.Pooling"}]),
        (
            "model_index.json",
            {
                "_class_name": "StableDiffusionPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "safety_checker": [None, None],
            },
        ),
        ("tokenizer.json", {"model": {"vocab": {"auto": 1, "map": 2}}}),
        ("notes.json", b"{ this is not JSON"),
        ("notes.json", b"[" * 100_000),
    ],
)
def test_other_configurations_pass(name: str, content: Any) -> None:
    assert verdict(folder(name, content), "m.zip") == "accept"


def test_large_configurations_are_held_and_large_vocabularies_are_not() -> None:
    large = json.dumps({"vocab": ["x" * 100] * 12_000}).encode()

    assert inspected(folder("config.json", large), "m.zip").coverage is Coverage.PARTIAL
    assert verdict(folder("tokenizer.json", large), "m.zip") == "accept"


# --- MLflow -------------------------------------------------------------------------------------

SKLEARN = """\
artifact_path: model
flavors:
  python_function:
    code: null
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.sklearn
    model_path: model.pkl
    python_version: 3.11.7
  sklearn:
    code: null
    pickled_model: model.pkl
    sklearn_version: 1.9.1
mlflow_version: 3.6.0
"""


def test_an_mlflow_folder_is_described() -> None:
    report = inspected(mlflow(SKLEARN), "m.zip")

    assert report.findings == ()
    assert report.format == "mlflow"
    assert report.facts["flavors"] == ["python_function", "sklearn"]
    assert report.facts["producer"] == "mlflow 3.6.0"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("loader_module: mlflow.pytorch", "accept"),
        ("loader_module: my_loader", "review"),
        ("loader_module: mlflow_evil", "review"),
        ("loader_module: mlflow..x", "review"),
        ("loader_module: [os]", "review"),
        ("code: code", "review"),
        ("keras_module: evil", "review"),
        ("keras_module: tensorflow.keras", "accept"),
        ("trust_remote_code: true", "review"),
        ("model_code_path: train.py", "review"),
        ("model_path: /etc/passwd", "reject"),
        ("data: ../../other", "reject"),
        ("model_path: C:\\models", "reject"),
        ("data: file:///etc", "reject"),
        ("artifacts: {x: {path: ../x, uri: /tmp/x}}", "reject"),
        ("artifacts: {x: {path: artifacts/x, uri: /tmp/x}}", "accept"),
    ],
)
def test_what_mlflow_would_import_or_read_is_judged(line: str, right: str) -> None:
    data = mlflow(f"flavors:\n  python_function:\n    {line}\n")

    assert verdict(data, "m.zip") == right


def test_what_an_administrator_can_allow_is_named() -> None:
    report = inspected(mlflow("flavors: {python_function: {loader_module: my.loader}}"), "m.zip")

    assert [each.subject for each in report.findings] == ["my.loader"]


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [id]",
        "flavors: !!python/name:os.system",
        "a: &a [x]\nb: [*a, *a]",
        "[" * 1000,
        "- x",
        "flavors: [",
    ],
)
def test_broken_and_hostile_yaml_is_refused(text: str) -> None:
    assert verdict(mlflow(text), "m.zip") == "reject"


def test_endless_yaml_is_held() -> None:
    data = mlflow("a: honest text\n" * 20_000)

    assert "larger than any honest MLmodel" in messages(data, "m.zip")
    assert verdict(data, "m.zip") == "review"


@pytest.mark.parametrize("mark", [b'{"learner": {}, ', b'{"features_info": {}, '])
def test_what_is_acted_on_by_its_name_is_judged_whatever_else_it_may_be(mark: bytes) -> None:
    """JSON is YAML, and either may begin like a model."""
    config = mark + b'"auto_map": {"AutoModel": "x.X"}}'
    described = mark + b'"flavors": {"python_function": {"loader_module": "evil"}}}'

    assert "huggingface.custom_code" in codes(folder("config.json", config), "m.zip")
    assert "huggingface.custom_code" in codes(config, "config.json")
    assert "mlflow.loader_module" in codes(described, "MLmodel")
