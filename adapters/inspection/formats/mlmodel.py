"""``MLmodel``: how MLflow describes the model in a folder, and what it imports to load it.

Source: MLflow documentation, "MLflow Models"; ``mlflow/models/model.py`` and
``mlflow/pyfunc/__init__.py``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import yaml  # type: ignore[import-untyped]

from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Malformed, Stream

_MOST = 128 * 1024
"""Bytes; the largest have long signatures. PyYAML takes some seconds for a megabyte."""
_MOST_DEPTH = 50
# An artifact's "uri" is where it came from; "config" is the user's own.
_PATHS = re.compile(
    r"(?:.*_)?(?:path|paths|data|code|model|env|conda|virtualenv|dir|subdir|subpath)"
)
# What is imported by name, and the names that MLflow writes itself.
_MODULES: dict[str, frozenset[str]] = {
    "loader_module": frozenset(),
    "model_loader_module": frozenset(),
    "model_module": frozenset(),
    "keras_module": frozenset({"keras", "tensorflow.keras", "tf_keras", "keras_core"}),
    "pickle_module_name": frozenset({"pickle", "cloudpickle"}),
}
_FRAMEWORKS = {"sklearn": "scikit-learn", "pytorch": "pytorch", "keras": "keras"}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads plain data; what could grow beyond the text, or recurse too deep, is an error."""

    depth = 0

    def compose_node(self, parent: object, index: object) -> object:
        """Raises:
        Malformed
        """
        if self.check_event(yaml.AliasEvent):
            raise Malformed("has aliases in its YAML, which no MLmodel needs")
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise Malformed("is nested too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def check_mlmodel(stream: Stream, notes: Notes) -> None:
    """Judges what loading the model would import and which files it would read.

    Raises:
        Malformed
    """
    text = stream.read(_MOST + 1)
    if len(text) > _MOST:
        notes.not_all_read("is larger than any honest MLmodel")
        return
    try:
        content = yaml.load(text.decode("utf-8"), _Loader)  # noqa: S506 - a kind of SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise Malformed("is no valid YAML") from error
    if not isinstance(content, dict):
        raise Malformed("is no MLmodel: it describes nothing")
    flavors = content.get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    for flavor, values in flavors.items():
        if isinstance(values, dict):
            _check_flavor(str(flavor), values, notes)
    for key, value in _values(flavors):
        if _PATHS.fullmatch(key) and _leaves(value):
            message = f"{notes.place}: its {shown(key)} is outside of the model ({shown(value)})."
            notes.refuse("mlflow.path_outside", message)
    _describe(content, flavors, notes)


def _check_flavor(flavor: str, values: dict[str, object], notes: Notes) -> None:
    for key, known in _MODULES.items():
        module = values.get(key)
        if module is None or (isinstance(module, str) and _is_mlflow(module)):
            continue
        if isinstance(module, str) and module in known:
            continue
        message = f"{notes.place}: loading it would import {shown(str(module))} ({shown(key)})."
        notes.hold("mlflow.loader_module", message, subject=str(module))
    if values.get("trust_remote_code"):
        notes.hold("mlflow.code", f"{notes.place}: it asks for trust_remote_code.")
    if values.get("code"):
        message = f"{notes.place}: loading it puts the Python code in {shown(str(values['code']))}"
        notes.hold("mlflow.code", f"{message} where imports find it.")
    if values.get("model_code_path"):
        path = shown(str(values["model_code_path"]))
        notes.hold("mlflow.code", f"{notes.place}: loading it runs {path}.")
    if flavor == "python_function" and values.get("python_model"):
        message = f"{notes.place}: it is a Python function, pickled with its code."
        notes.can_carry_code(message)


def _is_mlflow(module: str) -> bool:
    return module == "mlflow" or re.fullmatch(r"mlflow(?:\.[a-z_][a-z0-9_]*)+", module) is not None


def _values(content: object) -> Iterator[tuple[str, str]]:
    """Every text with the key that it, or the list of it, stands under. No aliases: a tree."""
    waiting: list[tuple[str, object]] = [("", content)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((str(name), each) for name, each in value.items() if name != "config")
        elif isinstance(value, list):
            waiting.extend((key, each) for each in value)
        elif isinstance(value, str):
            yield key, value


_OUTSIDE = re.compile(r"/|\\|~|[A-Za-z]:[\\/]|file:", re.IGNORECASE)


def _leaves(path: str) -> bool:
    plain = posixpath.normpath(path.replace("\\", "/"))
    return bool(_OUTSIDE.match(path)) or plain == ".." or plain.startswith("../")


def _describe(content: dict[str, object], flavors: dict[str, object], notes: Notes) -> None:
    notes.fact("flavors", [str(name) for name in flavors])
    version = content.get("mlflow_version")
    notes.fact("producer", f"mlflow {version}" if isinstance(version, str) else None)
    name = next((str(each) for each in flavors if each != "python_function"), None)
    values = flavors.get(name) if name is not None else None
    if name is not None and isinstance(values, dict):
        notes.fact("framework", _FRAMEWORKS.get(name, name))
        version = values.get(f"{name}_version")
        notes.fact("framework_version", str(version) if version is not None else None)
