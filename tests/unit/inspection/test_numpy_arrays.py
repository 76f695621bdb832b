"""npy: the size follows from the header; arrays of objects are judged as the pickles they are."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any

import numpy as np
import pytest

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import CAN_CARRY_CODE, FileReport
from domain.values import FilePath
from tests.support.inspecting import refusals


def written(array: Any, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        np.lib.format.write_array(buffer, np.asarray(array), version)
    return buffer.getvalue()


def headed(header: str, body: bytes = b"", *, claimed: int | None = None) -> bytes:
    length = len(header) if claimed is None else claimed
    return b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little") + header.encode() + body


def described(descr: str, shape: str = "(1,)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


def inspected(data: bytes) -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath("weights.npy"))


def refusal(data: bytes) -> str:
    return refusals(inspected(data))[0]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_an_array_is_described(version: tuple[int, int]) -> None:
    report = inspected(written(np.zeros((4, 5), np.float32, order="F"), version))

    assert report.findings == ()
    assert report.facts == {
        "dtypes": ["F32"],
        "format_version": version[0],
        "parameters": 20,
        "shape": "[4, 5]",
        "tensors": 1,
    }


@pytest.mark.parametrize(
    ("dtype", "names"),
    [
        ("?", ["BOOL"]),
        ("g", [f"F{8 * np.dtype('g').itemsize}"]),
        (">c8", ["C64"]),
        ("<U3", ["str"]),
        ("S5", ["bytes"]),
        ("V7", ["void"]),
        ("M8[ns]", ["datetime"]),
        ("m8[25s]", ["timedelta"]),
        ([("a", "<f4"), ("b", "<i2", (2, 3)), ("c", [("d", "u1")])], ["F32", "I16", "U8"]),
        ([(("title", "name"), "<f8")], ["F64"]),
        ({"names": ["a"], "formats": ["f4"], "offsets": [4], "itemsize": 16}, ["F32", "void"]),
    ],
)
def test_every_type_that_numpy_writes_has_its_size(dtype: Any, names: list[str]) -> None:
    report = inspected(written(np.zeros((2, 3), dtype)))

    assert report.findings == ()
    assert report.facts["dtypes"] == names


def test_scalars_and_empty_arrays_are_sound() -> None:
    assert inspected(written(np.float64(1))).findings == ()
    assert inspected(written(np.zeros((0, 7)))).findings == ()


def test_what_python_2_wrote_is_read() -> None:
    assert inspected(headed(described("'<f4'", "(2L, 1L)"), bytes(8))).findings == ()


def test_objects_can_carry_code_also_within_other_types() -> None:
    for dtype in ("O", [("a", "<f4"), ("b", [("c", "O")])]):
        report = inspected(written(np.zeros(2, dtype)))

        assert CAN_CARRY_CODE in {finding.code for finding in report.findings}
        assert report.format == "npy"
        assert report.facts["format_version"] == 1
        assert "object" in str(report.facts["dtypes"])


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


def test_objects_that_would_run_a_command_are_refused() -> None:
    array = np.empty(1, object)
    array[0] = _Payload()

    assert ".system('true')" in refusal(written(array))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (headed(described("'<f4'"), bytes(3)), "its header promises"),
        (headed(described("'<f4'"), bytes(5)), "its header promises"),
        (headed(described("'<f8'", f"({1 << 40},)"), bytes(64)), "its header promises"),
        (headed(described("'<f8'", f"({1 << 62}, 4)")), "more elements than there can be"),
        (headed(described("'<f4'", "(-1,)")), "a shape that is none"),
        (headed(described("'<f4'", "(True,)")), "a shape that is none"),
        (headed(described("'<f4'", "(1.0,)")), "a shape that is none"),
        (headed(described("'<f4'", "[1]")), "a shape that is none"),
        (headed(described("'object'"), b"cos\nsystem\n"), "does not exist (object)"),
        (headed(described("'i4,O'"), b"cos\nsystem\n"), "does not exist (i4,O)"),
        (headed(described("'float32'"), bytes(4)), "does not exist (float32)"),
        (headed(described("'<f3'"), bytes(3)), "does not exist (<f3)"),
        (headed(described("7"), bytes(4)), "a type that does not exist"),
        (headed(described("['<f4']"), bytes(4)), "a field that is none"),
        (headed(described("('|V8', 'O')"), bytes(8)), "a shape that is none"),
        (
            headed(described("('|V8', {'names': ['a'], 'formats': ['O']})"), bytes(8)),
            "a shape that is none",
        ),
        (headed(described("(" * 20 + "'<f4'" + ", 1)" * 20), bytes(4)), "deeper than any honest"),
        (headed(described("'<f4'", order="0"), bytes(4)), "in which order"),
        (headed("{'descr': '<f4'}"), "not one of npy"),
        (headed("[]"), "not one of npy"),
        (headed("__import__('os').system('true')"), "no Python literal"),
        (headed("(" * 5000), "no Python literal"),
        (headed("{", claimed=1 << 31), "claims a header of"),
        (headed("{}", claimed=100), "cut short"),
        (b"\x93NUMPY\x09\x00" + bytes(90), "does not exist (9)"),
        (b"\x93NUMPY\x01", "cut short"),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, said: str) -> None:
    assert said in refusal(data)
