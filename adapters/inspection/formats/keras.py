"""Keras configurations: models described in JSON, in .keras archives and in HDF5 files.

A configuration names classes and functions by module, and loading it imports them. Which names may
enter is decided as for pickles; names within Keras by what has turned out to be abused.

Source: ``keras.saving.serialization_lib``; CVE-2025-1550, -8747, -9905, -9906, -12058.
"""

from __future__ import annotations

import builtins
import json
import re
from base64 import b64decode
from contextlib import suppress

from adapters.inspection.formats.json_parts import parts_of
from adapters.inspection.pickles import Trust, judge_import
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Malformed, Stream

_MOST_PARTS = 500_000
_PACKAGES = frozenset(
    {"keras", "keras_core", "keras_cv", "keras_hub", "keras_nlp", "keras_rs", "keras_tuner"}
    | {"tf_keras"}
)
_FUNCTIONS_FROM = frozenset(
    {"activations", "constraints", "initializers", "layers", "losses", "metrics", "ops", "random"}
    | {"optimizers", "quantizers", "regularizers", "applications", "dtype_policies"}
)
# Keras loads these by name like any other function: they fetch, read or run what they are given.
_GADGETS = re.compile(
    r"enable_unsafe_deserialization|get_file|load_model|load_weights|save_model|model_from_\w+"
    r"|(?:de)?serialize\w*|get_registered_object|func_load|func_dump|from_config|import_module"
    r"|load_img|save_img|\w*_from_directory|set_\w+|eval|exec|open|system|popen|py_function"
    r"|numpy_function|run_functions_eagerly"
)
# Modules of Python that modules of Keras import, and could be reached through.
_REACHED = frozenset(
    {"builtins", "code", "ctypes", "importlib", "inspect", "io", "marshal", "os", "pickle"}
    | {
        "shutil",
        "socket",
        "subprocess",
        "sys",
        "tarfile",
        "tempfile",
        "types",
        "urllib",
        "zipfile",
        "runpy",
    }
)
_CLASS = re.compile(r"[A-Z][A-Za-z0-9_]*")
_FUNCTIONS = frozenset({"function", "builtin_function_or_method", "numpy_function", "method"})
# Those that Keras 2.11 to 2.15 registered without a package of its own.
_OPTIMIZERS = re.compile(
    r"Custom>(?:SGD|RMSprop|Adam|AdamW|Adadelta|Adafactor|Adagrad|Adamax|Nadam|Ftrl|Lion"
    r"|LossScaleOptimizer(?:V3)?)"
)
_VALUES = frozenset(
    {"__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__", "__str__"}
)
_TF_FUNCTION = re.compile(
    r"\b(?:io\.|raw_ops|load_|py_func|numpy_function|print|debugging|compat|saved_model|Read|Write)"
)


def check_keras_config(config: object, notes: Notes) -> None:
    """Judges all that a parsed configuration would import or run, and notes what it describes.

    Args:
        config: what ``json.loads`` made of ``config.json``, or of ``model_config`` in HDF5.

    Raises:
        Malformed: it is no object with a class, or has too many parts.
    """
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise Malformed("has a configuration that describes no Keras model")
    for part in parts_of(config, _MOST_PARTS):
        if isinstance(part, dict):
            _check_part(part, notes)
        elif isinstance(part, str) and "enable_unsafe_deserialization" in part:
            _gadget("keras.config", "enable_unsafe_deserialization", notes)
    notes.fact("framework", "keras")
    notes.fact("architecture", config["class_name"])
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    if isinstance(layers, list):
        names = [each.get("class_name") for each in layers if isinstance(each, dict)]
        notes.fact("layers", len(layers))
        notes.fact("classes", [name for name in names if isinstance(name, str)])


def check_keras_files(config: bytes, metadata: bytes, notes: Notes) -> None:
    """Judges ``config.json`` and ``metadata.json`` of a .keras archive.

    Raises:
        Malformed
    """
    try:
        described, about = json.loads(config), json.loads(metadata)
    except ValueError as error:
        raise Malformed("is not JSON") from error
    check_keras_config(described, notes)
    version = about.get("keras_version") if isinstance(about, dict) else None
    notes.fact("framework_version", version if isinstance(version, str) else None)


_LAMBDA = re.compile(rb'"class_name"\s*:\s*"(?:(?:[\w.>]+>)?Lambda|__lambda__)"')
MOST_METADATA = 32 << 20
"""Bytes of text that describe layers."""


def check_keras_metadata(stream: Stream, notes: Notes) -> None:
    """Looks into ``keras_metadata.pb``, which Keras 2 wrote beside a SavedModel and restores layers
    from; it is no model itself."""
    notes.format = None
    data = stream.read(MOST_METADATA + 1)
    if len(data) > MOST_METADATA:
        notes.not_all_read("is larger than any honest metadata of Keras")
    check_layers(data, notes)


def check_layers(described: bytes, notes: Notes) -> None:
    """Looks for Lambda layers in what describes layers in JSON, whatever is around that."""
    if _LAMBDA.search(described):
        _hold_lambda(notes)


def _check_part(part: dict[str, object], notes: Notes) -> None:
    name = part.get("class_name")
    if name is None or name == "__typespec__":
        name = part.get("spec_name", name)
    if isinstance(name, str):
        config = part.get("config")
        function = config if name in _FUNCTIONS and isinstance(config, str) else None
        _check_name(part.get("module"), function or name, part.get("registered_name"), notes)
        if isinstance(config, dict):
            _check_layer(name.rsplit(">", 1)[-1], config, notes)


def _check_name(module: object, name: str, registered: object, notes: Notes) -> None:
    if name in {"Lambda", "__lambda__"}:
        _hold_lambda(notes)
        return
    if name in _VALUES:
        return
    package = registered.split(">", 1)[0] if isinstance(registered, str) else ""
    if isinstance(registered, str) and ">" in registered and package not in _PACKAGES:
        _custom(registered, notes)
    if ">" in name and name != registered and name.split(">", 1)[0] not in _PACKAGES:
        _custom(name, notes)
    if isinstance(module, str) and module:
        _check_import(module, name, notes)
    elif module is None and name == "enable_unsafe_deserialization":
        _gadget("keras.config", name, notes)


def _hold_lambda(notes: Notes) -> None:
    message = f"{notes.place}: a Lambda layer holds Python code that runs when it is loaded."
    notes.hold("keras.lambda", message)


def _custom(registered: str, notes: Notes) -> None:
    if _OPTIMIZERS.fullmatch(registered):
        return
    message = f"{notes.place}: it needs the custom class {shown(registered)} to be loaded."
    notes.hold("keras.custom_class", message, subject=registered)


def _check_import(module: str, name: str, notes: Notes) -> None:
    if module == "builtins" and not hasattr(builtins, name):
        return  # how Keras 2 spelt its own activations, losses and metrics
    parts = [each for each in module.split(".") if each != "src"]
    if parts[:2] == ["tensorflow", "keras"]:
        parts = parts[1:]
    reached = next((index for index, part in enumerate(parts) if part in _REACHED), 0)
    if parts[0] not in _PACKAGES or reached:
        trust = judge_import(".".join(parts[reached:]), name)
    elif _GADGETS.fullmatch(name):
        _gadget(module, name, notes)
        return
    elif _CLASS.fullmatch(name) or (len(parts) > 1 and parts[1] in _FUNCTIONS_FROM):
        trust = Trust.ALLOWED
    else:
        trust = Trust.UNKNOWN
    full = f"{module}.{name}"
    if trust is Trust.DANGEROUS:
        _gadget(module, name, notes)
    elif trust is Trust.UNKNOWN:
        message = f"{notes.place}: loading it would import {shown(full)}, which is not known here."
        notes.hold("keras.unknown_import", message, subject=full)


def _gadget(module: str, name: str, notes: Notes) -> None:
    full = shown(f"{module}.{name}")
    notes.refuse("keras.dangerous_import", f"{notes.place}: loading it would call {full}.")


def _check_layer(name: str, config: dict[str, object], notes: Notes) -> None:
    vocabulary = config.get("vocabulary", config.get("vocabulary_path"))
    if isinstance(vocabulary, str) and vocabulary:
        _reads(vocabulary, notes)
    if name == "TFSMLayer":
        _reads(str(config.get("filepath")), notes)
    elif name == "TorchModuleWrapper" and "module" in config:
        _check_torch_module(config["module"], notes)
    elif name in {"TFOpLambda", "SlicingOpLambda"}:
        function = str(config.get("function", ""))
        if _TF_FUNCTION.search(function):
            message = f"{notes.place}: it calls tf.{shown(function)} when it is used."
            notes.hold("keras.tensorflow_function", message)


def _reads(path: str, notes: Notes) -> None:
    """A file that is read while the model is loaded, into the model."""
    outside = re.match(r"[/\\~]|[A-Za-z]:|\w+://", path) or ".." in re.split(r"[/\\]", path)
    message = f"{notes.place}: loading it would read {shown(path)}."
    (notes.refuse if outside else notes.hold)("keras.reads_file", message)


def _check_torch_module(module: object, notes: Notes) -> None:
    """A whole torch module, pickled, as text: loading it is loading a pickle."""
    if isinstance(module, dict) and isinstance(module.get("config"), dict):
        module = module["config"].get("value")
    message = f"{notes.place}: a TorchModuleWrapper holds a pickle that is read when it is loaded."
    notes.hold("keras.torch_module", message)
    inside = notes.member("TorchModuleWrapper")
    text = module.encode("latin-1", "replace") if isinstance(module, str) else b""
    with suppress(ValueError):
        text = b64decode(text, validate=True)
    notes.inspect(Stream.of_bytes(text), "module.pt", inside)
