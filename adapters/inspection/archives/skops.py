"""skops files: scikit-learn models whose ``schema.json`` names every type that is put together.

Source: ``skops/io/_general.py`` and its neighbours; CVE-2025-54412, CVE-2025-54413, CVE-2025-54886.
"""

from __future__ import annotations

import json
import re

from adapters.inspection.formats.json_parts import objects_in
from adapters.inspection.pickles import Trust, judge_import
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Malformed

_MOST_NODES = 500_000
_BUILTINS = frozenset(
    {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"}
    | {"NoneType", "object", "range", "set", "slice", "str", "tuple", "type"}
)
# Nodes that build what their type says from data; the others call or bind something by its name.
_DATA = frozenset(
    {"JsonNode", "BytesNode", "BytearrayNode", "DictNode", "DefaultDictNode", "ListNode"}
    | {"SetNode", "TupleNode", "SliceNode", "NdArrayNode", "MaskedArrayNode", "SparseMatrixNode"}
    | {"RandomStateNode", "RandomGeneratorNode", "DatetimeTimedeltaNode", "DTypeNode", "TreeNode"}
    | {"ObjectNode", "TypeNode", "FunctionNode", "CachedNode", "LossNode", "ReduceNode"}
    | {"ConstructorFromReduceNode", "_DictWithDeprecatedKeysNode", "QuantileForestNode"}
)
_BINDING = frozenset({"MethodNode", "OperatorFuncNode", "PartialNode"})
_OPERATORS = frozenset({"attrgetter", "itemgetter"})
# numpy's and scipy's ufuncs: a FunctionTransformer has one of them.
_UFUNCS = re.compile(
    r"(?:numpy|scipy\.special(?:\._ufuncs)?)\.(?:a?(?:sin|cos|tan)h?|arc(?:sin|cos|tan)h?2?|abs"
    r"|absolute|add|cbrt|ceil|clip|divide|exp2?|expm1|expit|fabs|floor|log(?:10|1p|2|it)?|maximum"
    r"|minimum|multiply|negative|power|reciprocal|rint|sign|sqrt|square|subtract|trunc|x?logy)"
)


def check_schema(schema: bytes, notes: Notes) -> None:
    """Judges every type and function that the schema names.

    Args:
        schema: the content of ``schema.json``.

    Raises:
        Malformed
    """
    try:
        root = json.loads(schema)
    except ValueError as error:
        raise Malformed("is not JSON") from error
    if not isinstance(root, dict) or "__class__" not in root:
        raise Malformed("describes no object")
    classes: dict[str | None, None] = {}
    for node in objects_in(root, _MOST_NODES):
        if "__class__" in node or "__module__" in node or "__loader__" in node:
            classes[_check_node(node, notes)] = None
        if isinstance(node.get("module_path"), str):
            _check_type(str(node["module_path"]), str(node.get("function")), notes)
        version = node.get("_sklearn_version")
        if isinstance(version, dict):
            notes.fact("framework_version", str(version.get("content")).strip('"'))
    notes.fact("framework", "scikit-learn")
    notes.fact("architecture", str(root["__class__"]))
    notes.fact("classes", [name for name in classes if name])
    version = root.get("_skops_version")
    notes.fact("producer", f"skops {version}" if isinstance(version, str) else None)


def _check_node(node: dict[str, object], notes: Notes) -> str | None:
    """The name of its class, where that is no plain type of Python's or numpy's."""
    module, name, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
    if not isinstance(name, str) or not isinstance(loader, str) or isinstance(module, dict | list):
        raise Malformed("has a node without a class or a loader")
    module = module if isinstance(module, str) else "builtins"
    if loader == "OperatorFuncNode":
        module = "operator"
    if loader in _BINDING and not (loader == "OperatorFuncNode" and name not in _OPERATORS):
        bound = node.get("content")
        method = (
            f".{bound.get('func')}" if isinstance(bound, dict) and loader == "MethodNode" else ""
        )
        full = f"{module}.{name}{method}"
        message = f"{notes.place}: it binds {shown(full)} when it is loaded ({loader})."
        notes.hold("skops.binds_function", message, subject=full)
    elif loader not in _DATA and loader not in _BINDING:
        message = f"{notes.place}: it has a node of an unknown kind, {shown(loader)}."
        notes.hold("skops.unknown_node", message, subject=f"skops.{loader}")
    _check_type(module, name, notes)
    return None if module in {"builtins", "numpy"} else name


def _check_type(module: str, name: str, notes: Notes) -> None:
    full = f"{module}.{name}"
    if (module == "builtins" and name in _BUILTINS) or _UFUNCS.fullmatch(full):
        return
    if module == "operator" and name in _OPERATORS:
        return
    trust = judge_import(module, name)
    if trust is Trust.DANGEROUS:
        message = f"{notes.place}: loading it would import {shown(full)}."
        notes.refuse("skops.dangerous_type", message)
    elif trust is Trust.UNKNOWN:
        message = f"{notes.place}: loading it would import {shown(full)}, which is not known here."
        notes.hold("skops.unknown_type", message, subject=full)
