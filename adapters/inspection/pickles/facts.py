"""What a pickle tells about the model in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adapters.inspection.pickles.trace import Trace
from adapters.inspection.pickles.values import Import, Items, Mapping, Result, Value
from adapters.inspection.report import Notes
from domain.values import MAX_INTEGER

_FRAMEWORKS = {
    "_catboost": "catboost",
    "catboost": "catboost",
    "imblearn": "imbalanced-learn",
    "lightgbm": "lightgbm",
    "sklearn": "scikit-learn",
    "statsmodels": "statsmodels",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "torch": "pytorch",
    "torchvision": "pytorch",
    "timm": "pytorch",
    "transformers": "transformers",
    "xgboost": "xgboost",
    "scipy": "scipy",
    "pandas": "pandas",
    "numpy": "numpy",
}
_DATA = ("scipy", "pandas", "numpy")
_DTYPES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "QInt8Storage": "QI8",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "QUInt8Storage": "QU8",
    "QInt32Storage": "QI32",
}
_PLUMBING = (
    "builtins",
    "collections",
    "_codecs",
    "copyreg",
    "datetime",
    "functools",
    "joblib",
    "numpy",
    "pandas",
    "torch",
)


def note_facts(trace: Trace, roots: Sequence[Value], notes: Notes) -> None:
    """Writes the facts into the notes."""
    imports = list(trace.imports.values())
    notes.fact("format_version", trace.protocol)
    notes.fact("imports", (each.full_name for each in imports))
    notes.fact("classes", sorted({each.full_name for each in imports if _is_model_class(each)}))
    framework = _framework(roots, imports)
    notes.fact("framework", framework)
    if framework in {"scikit-learn", "imbalanced-learn"} and len(trace.versions) == 1:
        notes.fact("framework_version", next(iter(trace.versions)))
    if trace.tensors:
        notes.fact("tensors", len(trace.tensors))
        notes.fact("parameters", min(sum(count for _, _, count in trace.tensors), MAX_INTEGER))
        notes.fact("dtypes", {_DTYPES.get(kind, kind) for kind in trace.tensors.values()})
    elif trace.array_count and framework in {None, "numpy"}:
        # Of other frameworks' arrays only some are parameters.
        notes.fact("tensors", trace.array_count)
        notes.fact("parameters", min(sum(trace.elements.values()), MAX_INTEGER))
        notes.fact("dtypes", {_named(code) for code in trace.elements})


def _named(code: str) -> str:
    """As safetensors name the types."""
    kind, size = code[0], code[1:]
    if kind in "iufc" and size.isdigit():
        return f"{kind.upper()}{8 * int(size)}"
    return "BOOL" if code == "b1" else code


def _is_model_class(found: Import) -> bool:
    top = found.module.partition(".")[0]
    capital = found.name.lstrip("_")[:1].isupper()
    return capital and (top not in _PLUMBING or found.module.startswith("torch.nn"))


def _framework(roots: Sequence[Value], imports: Sequence[Import]) -> str | None:
    """By what is loaded, or the first thing in it; otherwise by what is imported."""
    for origin in _origins(roots, 3):
        known = _FRAMEWORKS.get(origin.module.partition(".")[0])
        if known and known not in _DATA:
            return known
    found = {_FRAMEWORKS.get(each.module.partition(".")[0]) for each in imports}
    ordered = [each for each in dict.fromkeys(_FRAMEWORKS.values()) if each in found]
    return ordered[0] if ordered else None


def _origins(values: Sequence[Value], depth: int) -> Iterator[Import]:
    for value in values[:10]:
        if isinstance(value, Result) and value.origin is not None:
            yield value.origin
        elif depth:
            yield from _origins(_parts(value), depth - 1)


def _parts(value: Value) -> Sequence[Value]:
    if isinstance(value, Mapping):
        return [each for _, each in value.entries[:10]]
    if isinstance(value, Items):
        return value.kept
    return value if isinstance(value, tuple) else ()
