"""The first look, while the rest of a file is still arriving."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.inspection.sniffing import sniff
from domain.validation import NOT_A_MODEL, Severity
from domain.values import FilePath
from tests.support.corpus import samples

HEAD = 64 * 1024
JPEG = bytes.fromhex("ffd8ffe000104a46494600010101006000600000ffdb004300") + b"\x08" * 64


@pytest.mark.parametrize("name", ["cat.jpg", "model.onnx", "weights/model.safetensors", "cat"])
def test_a_picture_is_refused_by_its_right_name(name: str) -> None:
    (finding,) = sniff(JPEG, FilePath(name)).findings
    assert (finding.code, finding.severity) == (NOT_A_MODEL, Severity.CRITICAL)
    assert finding.path == name
    assert finding.message == f"{name} is JPEG image data, not a model."


def test_what_is_known_is_named_but_not_judged() -> None:
    report = sniff(pickle.dumps([1]), FilePath("m.pkl"))
    assert (report.format, report.media_type) == ("pickle", "application/x-pickle")
    assert report.findings == ()


@pytest.mark.parametrize("content", [b"\x9a\xff" * 500, b"\0" * HEAD])
def test_what_is_unknown_passes(content: bytes) -> None:
    report = sniff(content, FilePath("m.bin"))
    assert (report.format, report.media_type) == (None, "application/octet-stream")
    assert report.findings == ()


def test_an_empty_model_is_refused() -> None:
    (finding,) = sniff(b"", FilePath("m.onnx")).findings
    assert finding.message == "m.onnx is empty, not a model."
    assert sniff(b"", FilePath("pkg/__init__.py")).findings == ()


def test_no_benign_model_is_refused_at_first_sight_however_little_has_come() -> None:
    for sample in samples():
        if sample.benign:
            content = sample.path.read_bytes()
            for length in (HEAD, 4096):
                assert not sniff(content[:length], FilePath(sample.path.name)).findings, sample


def test_a_long_path_makes_a_short_printable_message() -> None:
    (finding,) = sniff(JPEG, FilePath("d/" * 200 + "é" * 50 + ".pt")).findings
    assert finding.message.isprintable()
    assert len(finding.message) < 200


def test_many_threads_get_their_own_answers() -> None:
    files = [(JPEG, "a.pt"), (b"# Hello\n", "README.md"), (b"%PDF-1.7\n", "a.onnx")] * 50
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda file: sniff(file[0], FilePath(file[1])), files))
    assert reports == reports[:3] * 50
    assert [len(report.findings) for report in reports[:3]] == [1, 0, 1]
