"""Files beside a model that programs act on: configurations of Hugging Face and MLflow, templates.

They are text and never make a version a model, but some of them name Python code that is imported
when the model is loaded, or files outside of its folder.

Source: ``transformers/dynamic_module_utils.py``, ``diffusers/pipelines/pipeline_loading_utils.py``,
``sentence_transformers/util``, and MLflow's "MLmodel file" documentation.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator

from adapters.inspection.formats.json_parts import objects_in, parts_of
from adapters.inspection.formats.mlmodel import check_mlmodel
from adapters.inspection.formats.templates import MOST, check_template
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Stream

_CUSTOM_CODE = "huggingface.custom_code"
# Programs act on the values in these; other JSON is data to them.
_READ_WHOLE = re.compile(
    r"(?:.*_)?config\.json|model_index\.json|modules\.json|chat_template\.json|.*_config\.json"
)
_TEMPLATES = re.compile(r".*\.(?:jinja2?|j2)")
_KNOWN_LIBRARIES = frozenset(
    {"diffusers", "transformers", "onnxruntime", "onnxruntime.training", "k_diffusion", "peft"}
    | {"flax", "stable_diffusion", "optimum", "sentence_transformers", "pylate", "torch", "timm"}
)
_CUSTOM_CODE_MARKS = re.compile(r'"(?:auto_map|trust_remote_code|custom_pipelines?)"\s*:')


def is_acted_on(name: str) -> bool:
    """Whether programs act on a file of this name, whatever else its content may be."""
    name = posixpath.basename(name)
    return name == "MLmodel" or bool(_READ_WHOLE.fullmatch(name) or _TEMPLATES.fullmatch(name))


def check_companion(stream: Stream, notes: Notes) -> None:
    """Looks into those that are acted on; reads 1 MiB at most."""
    name = posixpath.basename(notes.name)
    if name == "MLmodel":
        check_mlmodel(stream, notes)
    elif name == "saved_model.pbtxt":
        notes.hold("graph.as_text", f"{notes.place} is a graph as text, which is not read here.")
    elif name.endswith(".json"):
        _check_json(stream, name, notes)
    elif _TEMPLATES.fullmatch(name):
        check_template(_text(stream), notes, "the template")


def _text(stream: Stream) -> str:
    return stream.read(MOST + 1).decode("utf-8", "replace").removeprefix("\ufeff")


def _check_json(stream: Stream, name: str, notes: Notes) -> None:
    text = _text(stream)
    if len(text.encode()) > MOST:
        if _READ_WHOLE.fullmatch(name):
            notes.not_all_read("is larger than any honest configuration")
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # Some readers are lenient where this one is not.
        if _CUSTOM_CODE_MARKS.search(text):
            _hold_code(notes, "it is no valid JSON, but names code of its own", None)
        return
    if isinstance(content, dict):
        _check_object(content, notes)
        _describe(content, notes)
    elif isinstance(content, list) and name == "modules.json":
        _check_modules(content, notes)


def _hold_code(notes: Notes, what: str, subject: str | None) -> None:
    notes.hold(_CUSTOM_CODE, f"{notes.place}: {what}.", subject=subject)


def _check_object(content: dict[str, object], notes: Notes) -> None:
    for reference in _references(content):
        what = f"loading the model runs Python code that comes with it ({shown(reference)})"
        _hold_code(notes, what, reference)
    for part in objects_in(content, MOST):
        if part.get("trust_remote_code"):
            _hold_code(notes, "it asks for trust_remote_code", None)
        library = part.get("parent_library")
        if isinstance(library, str) and library.split(".", 1)[0] not in _KNOWN_LIBRARIES:
            full = f"{library}.{part.get('base_model_class')}"
            _hold_code(notes, f"it is made by {shown(full)}, which is not known here", full)
    if isinstance(content.get("_class_name"), str | list):
        _check_pipeline(content, notes)
    for text in _templates(content):
        check_template(text, notes, "the chat template")


def _references(content: dict[str, object]) -> Iterator[str]:
    """The classes that ``auto_map`` and ``custom_pipelines`` name, at whatever depth there are."""
    for part in objects_in(content, MOST):
        for key in ("auto_map", "custom_pipelines"):
            yield from _texts(part.get(key))


def _texts(value: object) -> Iterator[str]:
    """All texts in a value, and one for a value that has none though there should be."""
    texts = [part for part in parts_of(value, MOST) if isinstance(part, str)]
    if value and not texts:
        texts = ["code of its own"]
    yield from texts


def _check_pipeline(content: dict[str, object], notes: Notes) -> None:
    """diffusers: each part names its library and class; the pipeline itself may be a file."""
    parts = {name: part for name, part in content.items() if isinstance(part, list)}
    for name, part in parts.items():
        library = part[0] if len(part) == 2 else None
        if name == "_class_name":
            _hold_code(notes, f"its pipeline is code of its own ({shown(str(part[:1]))})", None)
        elif isinstance(library, str) and library.split(".", 1)[0] not in _KNOWN_LIBRARIES:
            full = f"{library}.{part[1]}"
            what = f"its {shown(name)} is made by {shown(full)}, which is not known here"
            if any(isinstance(each, str) for each in part[1:]):
                _hold_code(notes, what, full)


def _check_modules(content: list[object], notes: Notes) -> None:
    """sentence-transformers: the classes of its modules, in order."""
    types = [each.get("type") for each in content if isinstance(each, dict)]
    for name in types:
        if isinstance(name, str) and name.split(".", 1)[0] not in _KNOWN_LIBRARIES:
            _hold_code(notes, f"it is made by {shown(name)}, which is not known here", name)


def _templates(content: dict[str, object]) -> Iterator[str]:
    for key in ("chat_template", "chat_templates"):
        value = content.get(key)
        for each in value if isinstance(value, list) else [value]:
            template = each.get("template") if isinstance(each, dict) else each
            if isinstance(template, str):
                yield template


_FACTS: tuple[tuple[str, str, Callable[[object], bool]], ...] = (
    ("model_type", "model_type", lambda value: isinstance(value, str)),
    ("transformers_version", "framework_version", lambda value: isinstance(value, str)),
    ("_diffusers_version", "framework_version", lambda value: isinstance(value, str)),
    ("max_position_embeddings", "context_length", lambda value: type(value) is int),
    ("num_hidden_layers", "layers", lambda value: type(value) is int),
    ("_class_name", "architecture", lambda value: isinstance(value, str)),
)


def _describe(content: dict[str, object], notes: Notes) -> None:
    for key, fact, fits in _FACTS:
        value = content.get(key)
        if fits(value) and isinstance(value, str | int):
            notes.fact(fact, value)
    architectures = content.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        notes.fact("architecture", architectures[0])
    if "transformers_version" in content and "framework_version" in notes.facts:
        notes.fact("framework", "transformers")
    quantization = content.get("quantization_config")
    if isinstance(quantization, dict) and isinstance(quantization.get("quant_method"), str):
        notes.fact("quantization", quantization["quant_method"])
    labels = content.get("id2label")
    if isinstance(labels, dict) and 0 < len(labels) <= 1000:
        notes.fact("classes", [label for label in labels.values() if isinstance(label, str)])
    if any(True for _ in _templates(content)):
        notes.fact("chat_template", True)
