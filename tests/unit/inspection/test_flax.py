"""flax: maps of arrays in MessagePack, to the last byte."""

from __future__ import annotations

import gzip
import io
import struct
from typing import Any

import numpy as np
import pytest

from adapters.inspection.formats import flax
from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import NOT_A_MODEL, Coverage, FileReport
from domain.values import FilePath
from tests.support.inspecting import refusals


def packed(value: Any) -> bytes:  # noqa: PLR0911 - one for each type
    """MessagePack, in the longer of the forms where there are two; flax's own for arrays."""
    match value:
        case None | bool():
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case int():
            return struct.pack(">BQ", 0xCF, value) if value > 127 else bytes([value])
        case float():
            return struct.pack(">Bd", 0xCB, value)
        case complex():
            return extension(2, packed([value.real, value.imag]))
        case str():
            return struct.pack(">BI", 0xDB, len(value.encode())) + value.encode()
        case bytes():
            return struct.pack(">BI", 0xC6, len(value)) + value
        case list():
            return struct.pack(">BH", 0xDC, len(value)) + b"".join(map(packed, value))
        case dict():
            entries = (short(key) + packed(each) for key, each in value.items())
            return bytes([0x80 | len(value)]) + b"".join(entries)
        case np.ndarray():
            return extension(1, array(list(value.shape), value.dtype.name, value.tobytes()))
    raise AssertionError(value)


def short(text: str) -> bytes:
    return bytes([0xA0 | len(text)]) + text.encode()


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">BIB", 0xC9, len(data), kind) + data


def array(shape: list[int], dtype: str, data: bytes) -> bytes:
    return b"\x93" + packed(shape) + short(dtype) + packed(data)


def ndarray(shape: list[int], dtype: str, data: bytes) -> bytes:
    return extension(1, array(shape, dtype, data))


def holding(value: bytes) -> bytes:
    """A model whose only parameter is this."""
    return b"\x81" + short("params") + b"\x81" + short("w") + value


def inspected(data: bytes) -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath("flax_model.msgpack"))


def refusal(data: bytes) -> str:
    return refusals(inspected(data))[0]


def test_parameters_are_counted_without_those_of_the_optimizer() -> None:
    params = {"dense": {"kernel": np.zeros((300, 2), np.float32), "bias": np.zeros(2, np.int8)}}
    other = {"step": 7, "name": "x", "rate": 0.1, "z": 1j, "on": True, "none": None, "l": [1, "a"]}
    state = {"params": params, "opt_state": {"mu": np.zeros(1000)}, **other}

    report = inspected(packed(state))

    assert report.findings == ()
    assert report.format == "flax-msgpack"
    assert report.facts == {
        "dtypes": ["F32", "I8"],
        "framework": "flax",
        "parameters": 602,
        "tensors": 2,
    }


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("bfloat16", 2), ("float8_e4m3fn", 1), ("int4", 1), ("complex64", 8), ("bool", 1)],
)
def test_every_type_has_its_size(dtype: str, size: int) -> None:
    data = holding(ndarray([3], dtype, bytes(3 * size)))

    assert inspected(data).facts["parameters"] == 3
    assert "does not fit its shape" in refusal(holding(ndarray([4], dtype, bytes(3 * size))))


def test_an_array_in_chunks_is_one() -> None:
    chunks = {"0": np.zeros(4, np.int8), "1": np.zeros(3, np.int8)}
    whole = {"__msgpack_chunked_array__": True, "shape": {"0": 7}, "chunks": chunks}

    report = inspected(packed({"params": {"w": whole}}))

    assert report.findings == ()
    assert (report.facts["tensors"], report.facts["parameters"]) == (1, 7)


def test_messagepack_without_arrays_is_no_model() -> None:
    report = inspected(packed({"params": {"name": "x"}}))

    assert report.format is None
    assert NOT_A_MODEL in {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (holding(ndarray([2], "float32", bytes(8))) + b"!", "goes on after its end"),
        (holding(ndarray([2], "float32", bytes(8)))[:-1], "cut short"),
        (holding(ndarray([1 << 62, 4], "float32", bytes(8))), "does not fit its shape"),
        (holding(ndarray([2], "object", bytes(8))), "a type that it cannot have (object)"),
        (holding(ndarray([1] * 65, "int8", b"!")), "without a shape"),
        (holding(extension(1, b"\x93" + packed("x"))), "without a shape"),
        (holding(extension(1, b"\x92" + bytes(8))), "an array that is none"),
        (holding(extension(1, array([1], "int8", b"!") + b"?")), "does not fit its place"),
        (holding(extension(99, b"!")), "an extension that flax does not write (99)"),
        (holding(b"\xc1"), "a value that MessagePack does not have"),
        (holding(b"\x81\x01\x01"), "a name that is no text"),
        (holding(b"\x91" * 200 + b"\x01"), "nested more than 100 deep"),
        (holding(b"\xdd\xff\xff\xff\xff"), "cut short"),
        (holding(b"\xc6\xff\xff\xff\xff"), "cut short"),
        (holding(b"\x81\xdb\xff\xff\xff\xff"), "at most 4096 are expected"),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, said: str) -> None:
    assert said in refusal(data)


def test_more_values_than_are_looked_at_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax, "MOST_VALUES", 10)

    assert inspected(packed({"params": {"l": [1] * 20}})).coverage is Coverage.PARTIAL


def test_bytes_that_come_once_are_counted_to_the_end() -> None:
    data = packed({"params": {"w": np.zeros(9)}})
    for body, sound in ((data, True), (data[:-1], False), (data + b"!", False)):
        file = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(body)))
        stream = Stream(file, None, seekable=False)  # type: ignore[arg-type]

        assert (not inspect_file(stream, FilePath("m.msgpack")).findings) is sound
