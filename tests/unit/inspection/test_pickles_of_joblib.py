"""joblib's pickles have raw arrays between their opcodes: nothing hides in or behind those."""

from __future__ import annotations

import io
import struct
from typing import Any

import joblib
import numpy as np
import pytest

from adapters.inspection.pickles import check_joblib
from adapters.inspection.pickles.arrays import element_size, elements
from adapters.inspection.pickles.imports import Trust
from adapters.inspection.pickles.values import Import, Mapping, Result
from adapters.inspection.streams import Malformed
from domain.validation import FileReport, Severity, ValidationPolicy, Verdict
from domain.values import FilePath
from tests.support.inspecting import checked

PATH = FilePath("model.joblib")
PAYLOAD = b"cos\nsystem\n(S'true'\ntR"


def inspected(data: bytes) -> FileReport:
    return checked(check_joblib, data, PATH, "joblib")


def verdict(data: bytes) -> Verdict:
    return ValidationPolicy().judge({PATH: inspected(data)}).verdict


def says_what_runs(data: bytes) -> bool:
    critical = [each.message for each in inspected(data).findings]
    return "model.joblib: loading it would run os.system('true')." in critical


def dumped(value: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


ARRAYS = {
    "float": np.arange(6.0),
    "two dimensions": np.zeros((3, 4), dtype="i2"),
    "columns first": np.asfortranarray(np.eye(3)),
    "no dimension": np.array(1.5),
    "empty": np.zeros((3, 0)),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "texts": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "records": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "aligned records": np.array([(1, 2.0)], dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "records of arrays": np.zeros(2, dtype=[("a", "f4", (2, 2))]),
    "nested records": np.zeros(2, dtype=[("a", [("b", "f4"), ("c", "u1")])]),
    "objects": np.array([{"a": 1}, None], dtype=object),
    "records with objects": np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]),
    "big endian": np.arange(3, dtype=">f4"),
    "texts of any length": np.array(["a", "b"], dtype=np.dtypes.StringDType()),
    "large": np.zeros(100_000),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_what_joblib_writes_is_accepted(name: str) -> None:
    data = dumped([ARRAYS[name], ARRAYS[name], "end"])
    report = inspected(data)
    assert [each.severity for each in report.findings] == [Severity.INFO]
    assert report.facts["framework"] == "numpy"


@pytest.mark.parametrize("name", ARRAYS)
def test_a_payload_behind_an_array_is_found(name: str) -> None:
    data = dumped([ARRAYS[name]])
    assert data.endswith((b"e.", b"a."))
    assert says_what_runs(data[:-2] + PAYLOAD + data[-2:])


def test_a_payload_inside_an_array_of_objects_is_found() -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("1",)

    data = dumped({"a": np.array([Payload()], dtype=object)})
    messages = [each.message for each in inspected(data).findings]
    assert "model.joblib: loading it would run builtins.exec('1')." in messages


def test_an_array_that_is_cut_short_is_refused() -> None:
    assert verdict(dumped(np.arange(1000.0))[:4000]) is Verdict.REJECT


def test_facts_count_the_elements_of_plain_arrays() -> None:
    facts = inspected(dumped({"a": np.zeros((3, 4), "f4"), "b": np.zeros(5, "f4")})).facts
    assert (facts["tensors"], facts["parameters"], facts["dtypes"]) == (2, 17, ["F32"])


# --- two readers of one file --------------------------------------------------------------------

WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
SHAPE = b"U\x05shape"
DTYPE = b"U\x05dtypecnumpy\ndtype\n(U\x02%sI00\nI01\ntR(K\x03U\x01|NNN%s%stb"
ALIGNMENT = b"U\x1bnumpy_array_alignment_bytesK\x10"


def forged(
    dtype: bytes = DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0"),
    shape: bytes = b"K\x04\x85",
    array: bytes = b"abcd",
) -> bytes:
    return b"\x80\x02" + WRAPPER + SHAPE + shape + dtype + b"ub" + array + b"."


def test_the_forger_can_write_what_is_accepted() -> None:
    assert verdict(forged()) is Verdict.ACCEPT


def test_code_in_an_array_runs_where_the_file_is_not_loaded_by_joblib() -> None:
    code = b"0" + PAYLOAD + b"0N"
    assert says_what_runs(forged(shape=b"K%c\x85" % len(code), array=code))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        (DTYPE % (b"V4", b"K\x64K\x01", b"K\0"), b"K\x01\x85"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\x3f"), b"K\x04\x85"),
        (DTYPE % (b"O8", b"J\xff\xff\xff\xff" * 2, b"K\0"), b"K\x04\x85"),
        (DTYPE % (b"x1", b"J\xff\xff\xff\xff" * 2, b"K\0"), b"K\x04\x85"),
        (DTYPE % (b"V0", b"K\0K\1", b"K\0"), b"K\x04\x85"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"N"), b"K\x04\x85"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0") + b"(K\x03tb", b"K\x04\x85"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0"), b"J\xff\xff\xff\xff\x85"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0"), b"](K\x04e"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0"), b"\x88\x85"),
        (DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0"), b"\x8a\x09" + b"\xff" * 8 + b"\0\x85"),
        (
            DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0"),
            b"\x8a\x05\0\0\0\0\x01\x8a\x05\0\0\0\0\x01\x86",
        ),
    ],
)
def test_arrays_that_would_be_read_differently_elsewhere_are_refused(
    dtype: bytes, shape: bytes
) -> None:
    assert verdict(forged(dtype, shape)) is Verdict.REJECT


def test_an_array_inside_of_a_frame_is_refused() -> None:
    """joblib would read the array behind the frame, and then run what is left of the frame."""
    data = dumped([np.arange(4.0)])
    assert verdict(data) is Verdict.ACCEPT
    at = data.index(b"\x95") + 1
    (size,) = struct.unpack_from("<Q", data, at)
    data = data[:at] + struct.pack("<Q", size + 20) + data[at + 8 :]
    assert verdict(data) is Verdict.REJECT


@pytest.mark.parametrize("padding", [b"\0", b"\x11", b"c", b"\xff"])
def test_padding_that_joblib_does_not_write_is_refused(padding: bytes) -> None:
    aligned = DTYPE % (b"u1", b"J\xff\xff\xff\xff" * 2, b"K\0") + ALIGNMENT
    assert verdict(forged(aligned, array=b"\x01\xffabcd")) is Verdict.ACCEPT
    assert verdict(forged(aligned, array=padding + b"\xff" * 300)) is Verdict.REJECT


@pytest.mark.parametrize(
    "made",
    [
        b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n(NNNNI00\nK\x10tR}(",
        b"ccopy_reg\n_reconstructor\n(cjoblib.numpy_pickle\nNumpyArrayWrapper\nq\0h\0NtR}(",
        b"cnumpy\nfloat64\n(cjoblib.numpy_pickle\nNumpyArrayWrapper\ntR}(",
        b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n00" + WRAPPER,
    ],
)
def test_arrays_whose_reading_cannot_be_foreseen_are_refused(made: bytes) -> None:
    data = forged()
    assert verdict(data.replace(WRAPPER, made)) is Verdict.REJECT


def test_joblib_of_protocol_0_is_accepted() -> None:
    made = (
        b"ccopy_reg\n_reconstructor\n(cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
        b"c__builtin__\nobject\nNtR}("
    )
    assert verdict(forged().replace(WRAPPER, made)) is Verdict.ACCEPT


def test_files_of_joblib_before_0_10_are_held() -> None:
    assert verdict(b"ZF0x10              x\x9c") is Verdict.REVIEW


def test_a_second_state_of_an_array_is_refused() -> None:
    data = b"\x80\x02" + WRAPPER[:-2] + b"q\0}b0h\0}b."
    assert verdict(data) is Verdict.REJECT


def test_arrays_of_a_type_that_is_not_known_are_held() -> None:
    assert verdict(forged(b"U\x05dtypecnumpy.dtypes\nStringDType\n)R")) is Verdict.REVIEW


# --- types and shapes ---------------------------------------------------------------------------


def dtype_of(code: str, fields: Mapping | None = None, flags: int = 0) -> Result:
    result = Result(Import("numpy", "dtype", Trust.ALLOWED), (code, False, True))
    size = int(code[1:]) if code[0] == "V" else -1
    result.state = (3, "|", None, None, fields, size, 1, flags)
    return result


def test_types_that_share_their_parts_are_looked_at_once() -> None:
    dtype = dtype_of("f8")
    for _ in range(90):
        fields = Mapping()
        for name in "abcdefgh":
            fields.put(name, (dtype, 0))
        dtype = dtype_of("V8", fields)
    assert element_size(dtype) == (8, False)


def test_objects_deep_in_a_type_are_objects() -> None:
    inner, outer = Mapping(), Mapping()
    inner.put("o", (dtype_of("O8", flags=63), 0))
    outer.put("a", (dtype_of("V8", inner, flags=27), 0))
    assert element_size(dtype_of("V8", outer, flags=27)) == (8, True)


@pytest.mark.parametrize(("shape", "count"), [((), 1), ((2, 3), 6), ((0, 5), 0)])
def test_shapes(shape: tuple[int, ...], count: int) -> None:
    assert elements(shape) == count


@pytest.mark.parametrize(
    "shape", [None, [2], (-1,), (True,), (1 << 60,), (1 << 31, 1 << 31), (2,) * 65]
)
def test_impossible_shapes_are_refused(shape: Any) -> None:
    with pytest.raises(Malformed):
        elements(shape)
