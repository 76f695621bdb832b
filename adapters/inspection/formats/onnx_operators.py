"""Operators of ONNX: which of them a runtime has, and which need code from elsewhere."""

from __future__ import annotations

import re

from adapters.inspection.report import Notes, shown

# TensorProto.DataType: name and bits of an element; texts have no fixed size.
DATA_TYPES = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16),
    6: ("int32", 32), 7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16),
    11: ("float64", 64), 12: ("uint32", 32), 13: ("uint64", 64), 14: ("complex64", 64),
    15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8), 20: ("float8e5m2fnuz", 8), 21: ("uint4", 4),
    22: ("int4", 4), 23: ("float4e2m1", 4), 24: ("float8e8m0", 8), 25: ("uint2", 2),
    26: ("int2", 2), 27: ("float6e2m3", 6), 28: ("float6e3m2", 6),
}  # fmt: skip

_RUNTIMES = frozenset(
    {
        "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview",
        "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc",
        "com.microsoft.experimental", "com.microsoft.dml", "com.ms.internal.nhwc",
    }
)  # fmt: skip
"""The domains of operators that ONNX itself and ONNX Runtime define."""
# PyOp and PyCustomOpDef import a module and call it, PythonOp applies a torch.autograd.Function.
_PYTHON = re.compile(r"Py(?:thon)?(?:Op|Func|CustomOp|Call)", re.IGNORECASE)
_COMPILED = "EPContext"


def note_operators(used: set[tuple[str, str]], own: set[tuple[str, str]], notes: Notes) -> None:
    """Notes the operators of a graph, as domain and name; ``own`` ones it defines by itself."""
    foreign = {each for each in used - own if each[0] not in _RUNTIMES}
    notes.fact("operators", [name for _, name in used])
    notes.fact("custom_operators", [f"{domain}::{name}" for domain, name in foreign])
    for domain, name in sorted(used):
        subject = f"{domain or 'ai.onnx'}::{name}"
        if _PYTHON.match(name):
            notes.hold(
                "onnx.python_operator",
                f"{notes.place} has an operator that calls Python code which is not in the file: "
                f"{shown(subject)}.",
                subject=subject,
            )
        elif name == _COMPILED:
            notes.hold(
                "onnx.compiled_part",
                f"{notes.place} has a part that was compiled for one kind of device "
                f"({shown(subject)}), which cannot be looked into.",
                subject=subject,
            )
        elif (domain, name) in foreign:
            notes.hold(
                "onnx.custom_operator",
                f"{notes.place} needs the operator {shown(subject)}, which no runtime has of "
                "itself: it comes from a native library, to be loaded beside the model.",
                subject=subject,
            )


def note_opsets(opsets: dict[str, int], notes: Notes) -> None:
    """Notes the versions of the sets of operators, by domain."""
    default = max((opsets[each] for each in ("", "ai.onnx") if each in opsets), default=None)
    notes.fact("opset", default)
    notes.fact("opsets", [f"{each or 'ai.onnx'} {opsets[each]}" for each in opsets])
