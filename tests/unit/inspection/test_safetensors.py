"""safetensors: the header says what is in the file, and everything in the file is in the header."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from adapters.inspection.formats import safetensors
from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import Coverage, FileReport, Severity
from domain.values import FilePath
from tests.support.inspecting import refusals


def inspected(data: bytes) -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath("model.safetensors"))


def tensor(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def written(header: dict[str, Any] | str, body: bytes = b"") -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + body


def refusal(data: bytes) -> str:
    """What keeps the file out."""
    return refusals(inspected(data))[0]


def test_what_the_library_writes_is_described() -> None:
    tensors: dict[str, Any] = {"a": np.zeros((3, 5), np.float32), "b": np.zeros(4, np.int64)}
    metadata = {"format": "pt", "modelspec.title": "Cats", "modelspec.license": "MIT", "more": "!"}

    report = inspected(save(tensors, metadata))

    assert report.findings == ()
    assert report.format == "safetensors"
    assert report.facts == {
        "dtypes": ["F32", "I64"],
        "framework": "pytorch",
        "license": "MIT",
        "name": "Cats",
        "parameters": 19,
        "tensors": 2,
    }


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("F4", [4], 2), ("F6_E2M3", [4], 3), ("F8_E8M0", [3], 3), ("C64", [2], 16), ("BF16", [], 2)],
)
def test_every_type_has_its_size(dtype: str, shape: list[int], size: int) -> None:
    data = written({"a": tensor(dtype, shape, 0, size)}, bytes(size))

    assert inspected(data).findings == ()


def test_tensors_without_elements_and_files_without_tensors_are_sound() -> None:
    empty = {"a": tensor("F32", [0, 7], 0, 0), "b": tensor("U8", [1], 0, 1)}

    assert inspected(written(empty, b"!")).facts["parameters"] == 1
    assert inspected(written("{}")).facts["tensors"] == 0


def test_tensors_may_be_named_in_another_order_than_they_lie_in() -> None:
    data = written({"z": tensor("U8", [2], 3, 5), "a": tensor("U8", [3], 0, 3)}, bytes(5))

    assert inspected(data).findings == ()


@pytest.mark.parametrize(
    ("header", "body", "said"),
    [
        ({"a": tensor("U8", [4], 0, 4)}, 3, "has 71 bytes; its header promises 72"),
        ({"a": tensor("U8", [4], 0, 4)}, 5, "its header promises"),
        ({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, 6, "overlap at byte 2"),
        ({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 6, 10)}, 10, "leave a gap at byte"),
        ({"a": tensor("U8", [4], 4, 8)}, 8, "leave a gap at byte 0"),
        ({"a": tensor("U8", [4], 4, 0)}, 4, "does not fit its shape"),
        ({"a": tensor("U8", [-4, -1], 0, 4)}, 4, "does not fit its shape"),
        ({"a": tensor("U8", [-4], -4, -8)}, 4, "does not fit its shape"),
        ({"a": tensor("F32", [1 << 62, 4], 0, 0)}, 0, "does not fit its shape"),
        ({"a": tensor("F4", [3], 0, 2)}, 2, "does not fit its shape"),
        ({"a": tensor("F32", [1.0], 0, 4)}, 4, "no short list of whole numbers"),
        ({"a": tensor("F32", [True], 0, 4)}, 4, "no short list of whole numbers"),
        ({"a": tensor("F32", [1] * 100, 0, 4)}, 4, "no short list of whole numbers"),
        ({"a": tensor("F32", [[1]], 0, 4)}, 4, "no short list of whole numbers"),
        ({"a": tensor("OBJECT", [1], 0, 4)}, 4, "of unknown type (OBJECT)"),
        ({"a": {"dtype": "U8", "shape": [1]}}, 1, "does not fit its shape"),
        ({"a": {**tensor("U8", [1], 0, 1), "module": "os"}}, 1, "an unknown field (module)"),
        ({"a": [1]}, 1, "a is no object"),
        ({"__metadata__": {"format": 1}}, 0, "metadata that is no text (format)"),
        ('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}', 0, "two dtype in a"),
        ('{"__metadata__":{"a":"1","a":"2"}}', 0, "two a in __metadata__"),
        ('{"a": [', 0, "is no object"),
        ('{"a": {"dtype"', 0, "no sound JSON"),
        ('{"__metadata__":{}} {}', 0, "no sound JSON"),
        ('{"\\u00zz":1}', 0, "no sound JSON"),
    ],
)
def test_what_does_not_fit_is_refused(header: Any, body: int, said: str) -> None:
    assert said in refusal(written(header, bytes(body)))


def test_two_tensors_of_one_name_are_refused() -> None:
    one = json.dumps(tensor("U8", [1], 0, 1))

    assert "names two tensors a" in refusal(written(f'{{"a":{one},"a":{one}}}', b"!"))


def test_a_header_that_is_not_there_is_refused() -> None:
    data = written({"a": tensor("U8", [1], 0, 1)}, b"!")

    assert "cut short" in refusal(data[:30])


def test_more_than_is_read_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MOST_TENSORS", 2)
    three = {name: tensor("U8", [0], 0, 0) for name in "abc"}

    report = inspected(written(three))

    assert report.coverage is Coverage.PARTIAL
    assert [finding.severity for finding in report.findings] == [Severity.WARNING]


def test_an_endless_text_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MOST_TEXT", 100_000)
    data = written({"__metadata__": {"a": "x" * 1_000_000}})

    assert inspected(data).coverage is Coverage.PARTIAL


def test_the_tensors_are_not_read() -> None:
    class Watched(io.BytesIO):
        read_to = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.read_to = max(self.read_to, self.tell())
            return data

    file = Watched(written({"a": tensor("U8", [8 << 20], 0, 8 << 20)}, bytes(8 << 20)))
    size = len(file.getvalue())

    report = inspect_file(Stream(file, size, seekable=True), FilePath("model.safetensors"))

    assert report.findings == ()
    assert file.read_to < 1 << 20


def test_bytes_that_come_once_are_counted_to_the_end() -> None:
    data = written({"a": tensor("U8", [9], 0, 9)}, bytes(9))
    for body, sound in ((data, True), (data[:-1], False), (data + b"!", False)):
        packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(body)))
        stream = Stream(packed, None, seekable=False)  # type: ignore[arg-type]

        report = inspect_file(stream, FilePath("model.safetensors"))

        assert (not report.findings) is sound
