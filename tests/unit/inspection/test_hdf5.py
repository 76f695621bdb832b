"""HDF5: what would read other files is refused, whatever the links; weights are counted."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from adapters.inspection.formats import hdf5
from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import Coverage, FileReport, Severity
from domain.values import FilePath
from tests.support.inspecting import refusals

CONFIG = {
    "class_name": "Sequential",
    "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"units": 2}}]},
}


def written(fill: Callable[[Any], object], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def weights(file: Any) -> None:
    """As Keras 3 lays them out."""
    file["layers/dense/vars/0"] = np.zeros((8, 6), np.float32)
    file["layers/dense/vars/1"] = np.zeros(6, np.float32)


def inspected(data: bytes) -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath("model.h5"))


def refusal(data: bytes) -> str:
    return refusals(inspected(data))[0]


def refusal_of(change: Callable[[Any], object]) -> str:
    def fill(file: Any) -> None:
        weights(file)
        change(file)

    return refusal(written(fill))


@pytest.mark.parametrize("library", ["earliest", "latest"])
def test_weights_are_counted_without_those_of_the_optimizer(library: str) -> None:
    def fill(file: Any) -> None:
        weights(file)
        file["optimizer/vars/0"] = np.zeros(1000)

    report = inspected(written(fill, libver=library))

    assert report.findings == ()
    assert report.format == "hdf5"
    assert report.facts == {"dtypes": ["F32"], "parameters": 54, "tensors": 2}


def test_a_model_of_keras_is_described_by_its_configuration() -> None:
    def fill(file: Any) -> None:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(CONFIG).encode()
        file.attrs["training_config"] = json.dumps({"loss": "mse"}).encode()
        file["model_weights/dense/kernel"] = np.zeros((3, 2), np.float16)

    report = inspected(written(fill))

    assert report.findings == ()
    assert report.format == "keras-h5"
    assert report.facts["framework_version"] == "2.15.0"
    assert report.facts["architecture"] == "Sequential"
    assert report.facts["parameters"] == 6


@pytest.mark.parametrize("attribute", ["model_config", "training_config"])
def test_code_in_a_configuration_keeps_the_file_back(attribute: str) -> None:
    layer = {"class_name": "system", "module": "os", "config": {}}
    configs = {"model_config": CONFIG, attribute: {"class_name": "Model", "config": [layer]}}

    def fill(file: Any) -> None:
        for name, config in configs.items():
            file.attrs[name] = json.dumps(config)

    assert "os.system" in refusal(written(fill))


@pytest.mark.parametrize("value", ["{", b"\xff", 7, ["{}", "{}"]])
def test_a_configuration_that_is_none_is_refused(value: Any) -> None:
    assert "model" in refusal_of(lambda file: file.attrs.__setitem__("model_config", value))


def test_a_configuration_that_is_too_long_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MOST_CONFIG", 100)
    data = written(lambda file: file.attrs.__setitem__("model_config", "x" * 101))

    assert inspected(data).coverage is Coverage.PARTIAL


def test_data_in_no_layout_of_a_model_are_held() -> None:
    report = inspected(written(lambda file: file.__setitem__("temperature", np.zeros(9))))

    assert [finding.code for finding in report.findings] == ["file.no_model_structure"]
    assert report.findings[0].severity is Severity.WARNING


def test_external_links_are_refused_and_not_followed() -> None:
    link = h5py.ExternalLink("/etc/passwd", "/x")
    message = refusal_of(lambda file: file["layers"].__setitem__("a", link))

    assert "/layers/a is a link to /x in another file, /etc/passwd" in message


def test_external_data_are_refused() -> None:
    message = refusal_of(
        lambda file: file.create_dataset("a", (9,), "u1", external=[("../secret", 0, 9)])
    )

    assert "the data of /a lie in another file, ../secret" in message


def virtual(source: str) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        weights(file)
        layout = h5py.VirtualLayout((8, 6), np.float32)
        layout[:] = h5py.VirtualSource(source, "layers/dense/vars/0", (8, 6))
        file.create_virtual_dataset("layers/a", layout)

    return fill


def test_virtual_data_in_other_files_are_refused() -> None:
    assert "the data of /layers/a lie in another file, b.h5" in refusal(written(virtual("b.h5")))
    assert inspected(written(virtual("."))).findings == ()


def test_a_name_that_hdf5_would_follow_as_a_path_is_refused() -> None:
    data = written(lambda file: file.create_group("layers/aXb"))
    assert data.count(b"aXb") == 1

    assert "named like a path (a/b)" in refusal(data.replace(b"aXb", b"a/b"))


def test_links_within_the_file_may_go_round_in_circles() -> None:
    def fill(file: Any) -> None:
        weights(file)
        file["layers/again"] = file["layers"]
        file["layers/soft"] = h5py.SoftLink("/nowhere")
        file["layers/dense/vars/2"] = file["layers/dense/vars/0"]

    report = inspected(written(fill))

    assert report.findings == ()
    assert report.facts["tensors"] == 2


def test_shapes_far_beyond_the_file_are_refused() -> None:
    message = refusal_of(lambda file: file.create_dataset("a", (1 << 40,), "f4", chunks=(1024,)))

    assert "expands to more than" in message


def test_filters_that_are_plugins_are_held() -> None:
    def fill(file: Any) -> None:
        weights(file)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((4,))
        plan.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_INT32, space, plan)

    (finding,) = inspected(written(fill)).findings

    assert finding.severity is Severity.WARNING
    assert "plugin 40000" in finding.message


def test_types_are_named_as_in_numpy() -> None:
    def fill(file: Any) -> None:
        file["layers/a"] = np.zeros(3, np.int64)
        file["layers/b"] = np.zeros(3, np.uint8)
        file["layers/c"] = np.zeros(3, [("x", "f4")])
        file["layers/d"] = ["text"]
        file["layers/e"] = h5py.Empty("f4")

    report = inspected(written(fill))

    assert report.facts["dtypes"] == ["F32", "I64", "U8"]
    assert report.facts["parameters"] == 6


def test_more_objects_than_are_looked_at_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "MOST_OBJECTS", 4)

    assert inspected(written(weights)).coverage is Coverage.PARTIAL


def test_groups_that_are_nested_without_end_are_refused() -> None:
    message = refusal_of(lambda file: file.create_group("layers" + "/a" * 200))

    assert "nested more than 100 deep" in message


def test_a_file_is_refused_that_is_not_as_long_as_it_says() -> None:
    data = written(weights)

    for other in (data[:40], data[:-1], data + b"!", b"\x89HDF\r\n\x1a\n" + bytes(90)):
        assert refusal(other)


def test_what_is_compressed_is_looked_into() -> None:
    data = written(virtual("b.h5"))
    packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data)))
    stream = Stream(packed, len(data), seekable=False)  # type: ignore[arg-type]

    report = inspect_file(stream, FilePath("model.h5"))

    assert "b.h5" in report.findings[0].message


def test_files_on_disk_are_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(written(weights))

    with path.open("rb") as file:
        stream = Stream(file, path.stat().st_size, seekable=True)
        assert inspect_file(stream, FilePath("model.h5")).facts["parameters"] == 54


def test_a_heap_of_texts_that_leads_in_circles_is_refused() -> None:
    """libhdf5 2.0 never comes back from it."""
    data = bytearray(written(lambda file: file.attrs.update({"keras_version": "3.0"})))
    place = data.index(b"GCOL") + 16 + 24
    free = data[place : place + 16]
    assert free[:8] == bytes(8)
    assert int.from_bytes(free[8:], "little") > 16
    data[place + 8 : place + 16] = bytes(8)
    assert any("heap of texts" in message for message in refusals(inspected(bytes(data))))


def test_many_texts_are_fine() -> None:
    def fill(file: Any) -> None:
        weights(file)
        for number in range(300):
            file.attrs[f"note {number}"] = "x" * (number * 7)

    assert refusals(inspected(written(fill))) == []
