"""Folders of models in archives: what their files are together, and the rules that go with that."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from tests.support.containers import MODEL, PAYLOAD, tarred, zipped
from tests.support.corpus import CORPUS
from tests.support.inspecting import codes, inspected, messages, verdict

GRAPH = (CORPUS / "models/saved_model.pb").read_bytes()
FILES = (CORPUS / "attacks/savedmodel_file_op.pb").read_bytes()


def unpacked(name: str) -> list[tuple[str, bytes]]:
    """The files of an archive in the corpus."""
    path = CORPUS / name
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [(each, archive.read(each)) for each in archive.namelist()]
    with tarfile.open(path) as tar:
        members = [each for each in tar if each.isfile()]
        files = [(each.name, tar.extractfile(each)) for each in members]
        return [(name, file.read()) for name, file in files if file is not None]


def as_zip(files: list[tuple[str, bytes]]) -> bytes:
    return zipped(files, zipfile.ZIP_DEFLATED)


def as_tar(files: list[tuple[str, bytes]]) -> bytes:
    return tarred(list(files))


def as_tar_gz(files: list[tuple[str, bytes]]) -> bytes:
    return gzip.compress(as_tar(files))


each_archive = pytest.mark.parametrize("archive", [as_zip, as_tar, as_tar_gz])
Archive = Callable[[list[tuple[str, bytes]]], bytes]


@each_archive
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("models/savedmodel.tar.gz", "tf-savedmodel"),
        ("models/relu.mlpackage.zip", "coreml-mlpackage"),
        ("models/mlflow_dir.zip", "mlflow"),
    ],
)
def test_a_known_kind_of_folder_is_named_in_any_archive(
    archive: Archive, source: str, kind: str
) -> None:
    report = inspected(archive(unpacked(source)), "model.bin")

    assert report.format == kind
    assert verdict(archive(unpacked(source)), "model.bin") == "accept"


@each_archive
def test_a_hugging_face_folder_has_the_facts_of_its_weights_and_its_configuration(
    archive: Archive,
) -> None:
    config = json.dumps({"model_type": "bert", "architectures": ["BertModel"]}).encode()
    files = [("m/config.json", config), ("m/model.safetensors", MODEL), ("m/vocab.txt", b"a\nb\n")]

    report = inspected(archive(files), "model.bin")

    assert report.facts["parameters"] == 516
    assert report.facts["model_type"] == "bert"
    assert report.facts["architecture"] == "BertModel"


@each_archive
def test_shards_are_added_up(archive: Archive) -> None:
    files = [(f"m/model-0000{number}-of-00003.safetensors", MODEL) for number in (1, 2, 3)]

    assert inspected(archive(files), "model.bin").facts["parameters"] == 3 * 516


@each_archive
def test_a_graph_that_reads_files_is_held(archive: Archive) -> None:
    files = [("m/saved_model.pb", FILES), ("m/fingerprint.pb", b"\x09" + bytes(8))]

    assert verdict(archive(files), "model.bin") == "review"
    assert "graph.file_access" in codes(archive(files), "model.bin")


@each_archive
def test_lambda_layers_beside_a_graph_are_held(archive: Archive) -> None:
    metadata = b'\x0a\x20{"class_name": "Lambda", "config": {}}'
    files = [("m/saved_model.pb", GRAPH), ("m/keras_metadata.pb", metadata)]
    honest = [("m/saved_model.pb", GRAPH), ("m/keras_metadata.pb", metadata.replace(b"L", b"l"))]

    assert verdict(archive(files), "model.bin") == "review"
    assert "keras.lambda" in codes(archive(files), "model.bin")
    assert verdict(archive(honest), "model.bin") == "accept"


@each_archive
def test_a_graph_as_text_is_held(archive: Archive) -> None:
    files = [("m/saved_model.pbtxt", b"saved_model_schema_version: 1\n"), ("m.safetensors", MODEL)]

    assert verdict(archive(files), "model.bin") == "review"


@each_archive
def test_python_beside_a_model_is_told_and_held_where_it_is_asked_for(archive: Archive) -> None:
    code = ("m/modeling_x.py", b"import os\n\nos.system('true')\n")
    config = ("m/config.json", b'{"auto_map": {"AutoModel": "modeling_x.XModel"}}')
    model = ("m/model.safetensors", MODEL)

    assert verdict(archive([model, code]), "model.bin") == "accept"
    told = "model.bin holds Python code: m/modeling_x.py."
    assert told in messages(archive([model, code]), "model.bin")
    assert verdict(archive([config, model, code]), "model.bin") == "review"


@each_archive
def test_a_known_place_hides_no_payload(archive: Archive) -> None:
    for name in (
        "m/fingerprint.pb",
        "m/variables/variables.data-00000-of-00001",
        "x.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
        "__MACOSX/._x",
    ):
        files = [("m/saved_model.pb", GRAPH), (name, PAYLOAD)]
        assert "loading it would run posix.system('true')." in messages(archive(files), "m.bin")
        assert verdict(archive(files), "m.bin") == "reject"


@each_archive
def test_bytes_in_no_known_format_are_held(archive: Archive) -> None:
    noise = bytes(range(255, 0, -1)) * 10
    files = [("m/model.safetensors", MODEL), ("m/blob.xyz", noise)]

    assert verdict(archive(files), "model.bin") == "review"


@each_archive
def test_a_model_without_its_files_beside_it_is_told_of(archive: Archive) -> None:
    model = (CORPUS / "models/mlp_external_data.onnx").read_bytes()

    said = messages(archive([("m/model.onnx", model)]), "model.bin")

    assert "model.bin needs m/weights.bin, which is not in it." in said


@each_archive
def test_so_many_refusals_are_enough(archive: Archive) -> None:
    files = [(f"{number}.pkl", PAYLOAD) for number in range(2000)]

    report = inspected(archive(files), "model.bin")

    assert 20 <= len(report.findings) <= 100
    assert verdict(archive(files), "model.bin") == "reject"


def test_names_of_members_do_no_harm_where_they_are_shown() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", errors="surrogateescape") as archive:
        info = tarfile.TarInfo("a\udc80\x1b[31m\n.pkl")
        info.size = len(PAYLOAD)
        archive.addfile(info, io.BytesIO(PAYLOAD))

    report = inspected(file.getvalue(), "model.tar")

    for finding in report.findings:
        assert finding.message.isprintable()
        assert (finding.location or "").isprintable()
        (finding.location or "").encode()
