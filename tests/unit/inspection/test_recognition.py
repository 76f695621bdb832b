"""What a file is by its first bytes, and what follows if its name says something else."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import pytest

from adapters.inspection import naming
from adapters.inspection.inspect import inspect_file
from adapters.inspection.recognition import HEAD, Known, NotAModel, recognise
from adapters.inspection.streams import Stream
from domain.validation import FileReport, Severity, ValidationPolicy, Verdict
from domain.values import FilePath

ROOT = Path(__file__).parents[3]
ATTACKS = ROOT / "tests" / "corpus" / "attacks"
MODELS = ROOT / "tests" / "corpus" / "models"


def inspect(content: bytes, name: str) -> FileReport:
    return inspect_file(Stream.of_bytes(content), FilePath(name))


def format_of(content: bytes, name: str = "m") -> str | None:
    found = recognise(content[:HEAD], name, whole=len(content) <= HEAD)
    assert isinstance(found, Known), found
    return found.format


def tar_of(name: str, kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        info = tarfile.TarInfo(name)
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    return buffer.getvalue()


HEADS: list[tuple[str, bytes]] = [
    ("zip", b"PK\x03\x04" + b"\0" * 40),
    ("zip", b"PK\x05\x06" + b"\0" * 18),
    ("lz4", lz4.frame.compress(b"x")),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00x"),
    ("gzip", gzip.compress(b"x", mtime=0)),
    ("bz2", bz2.compress(b"x")),
    ("xz", lzma.compress(b"x")),
    ("lzma", lzma.compress(b"x" * 5000, lzma.FORMAT_ALONE)),
    *(("zlib", zlib.compress(b"x" * 5000, level)) for level in (0, 1, 5, 9)),
    ("tar", tar_of("a.txt", tarfile.PAX_FORMAT)),
    ("tar", tar_of("a.txt", tarfile.GNU_FORMAT)),
    ("hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 40),
    ("npy", b"\x93NUMPY\x01\0"),
    ("gguf", b"GGUF\x03\0\0\0" + b"\0" * 16),
    ("gguf", b"GGUF\0\0\0\x03" + b"\0" * 16),
    ("tflite", b"\x1c\0\0\0TFL3" + b"\0" * 40),
    ("onnxruntime-ort", b"\x18\0\0\0ORTM" + b"\0" * 40),
    ("catboost-cbm", b"CBM1\x10\0\0\0" + b"\0" * 40),
    ("fasttext", b"\xba\x16O/\x0c\0\0\0" + b"\0" * 40),
    ("safetensors", struct.pack("<Q", 2) + b"{}"),
    ("lightgbm-text", b"tree\nversion=v4\nnum_class=1\n"),
    ("pmml", b"<?xml version='1.0'?>\n<PMML version='4.4'/>"),
    ("openvino-ir", b"<?xml version='1.0'?><net name='x' version='11'><layers>"),
    ("xgboost-json", b'{"learner":{"attributes":{}'),
    ("xgboost-json", b'{\n "version": [1, 7, 6],\n "learner": {'),
    ("xgboost-ubj", b"{L\0\0\0\0\0\0\0\x07learner{"),
    ("catboost-json", b'{\n"features_info":\n{'),
    ("lightgbm-json", b'{"name": "tree", "version": "v4"'),
    ("flax-msgpack", b"\x81\xa6params\x81\xa5Dense\x80"),
    *(("pickle", pickle.dumps({"a": [1.5]}, protocol)) for protocol in range(2, 6)),
    *(("pickle", pickle.dumps(io.StringIO, protocol)) for protocol in range(6)),
]


@pytest.mark.parametrize(("expected", "content"), HEADS)
@pytest.mark.parametrize("name", ["m", "m.bin", "a/b/m.txt"])
def test_formats_are_known_under_any_name(expected: str, content: bytes, name: str) -> None:
    assert format_of(content, name) == expected


def test_an_old_tar_is_known_by_its_checksum() -> None:
    content = bytearray(tar_of("a.txt", tarfile.USTAR_FORMAT))
    content[257:265] = b"\0" * 8
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    assert format_of(bytes(content)) == "tar"
    content[0] ^= 1
    assert recognise(bytes(content), "m", whole=True) is None


@pytest.mark.parametrize("place", [512, 1024, 32_768])
def test_hdf5_behind_something_else_is_refused(place: int) -> None:
    model = (MODELS / "model.h5").read_bytes()
    for start in (b"GGUF\3\0\0\0", b"\x93NUMPY\1\0", b"MATLAB 7.3 MAT-file"):
        found = recognise((start.ljust(place, b" ") + model)[:HEAD], "m.h5", whole=False)
        assert isinstance(found, NotAModel)
        assert found.what == "HDF5 data hidden behind something else"
    assert format_of(b"\0" * place + model) == "hdf5"


def test_hdf5_in_an_archive_is_an_archive() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(MODELS / "model.h5", "model.h5")
    assert buffer.getvalue()[512:516] == b"\x89HDF"
    assert format_of(buffer.getvalue()) == "tar"


def test_joblib_is_known_by_its_name_or_its_arrays() -> None:
    assert format_of(pickle.dumps([io.StringIO]), "model.joblib") == "joblib"
    assert format_of((MODELS / "sklearn_rf_joblib").read_bytes(), "m") == "joblib"


# --- names that promise something else ---


def judge(content: bytes, name: str) -> Verdict:
    return ValidationPolicy().judge({FilePath(name): inspect(content, name)}).verdict


SAFE = ("safetensors", "gguf", "onnx", "npy", "json", "txt", "md", "yaml", "csv", "py", "tflite")
HARMLESS = pickle.dumps({"weights": [1.0, 2.0]})


@pytest.mark.parametrize(
    "suffix", [*SAFE, "pb", "pmml", "cbm", "msgpack", "h5", "npz", "jpg", "SAFETENSORS"]
)
def test_a_pickle_under_the_name_of_what_carries_no_code_is_refused(suffix: str) -> None:
    report = inspect(HARMLESS, f"m.{suffix}")
    (message,) = [f.message for f in report.findings if f.code == "file.misnamed"]
    assert message.startswith(f"m.{suffix} is named like ")
    assert message.endswith(", but is a pickle.")
    assert judge(HARMLESS, f"m.{suffix}") is Verdict.REJECT


@pytest.mark.parametrize(
    "name", ["m.pkl", "m.pickle", "m.pt", "m.pth", "m.bin", "m.sav", "m", "m.dat"]
)
def test_a_pickle_under_a_name_that_pickles_have_is_no_surprise(name: str) -> None:
    assert judge(HARMLESS, name) is Verdict.ACCEPT
    assert not [f for f in inspect(HARMLESS, name).findings if f.code == "file.misnamed"]


def test_torch_archives_are_misnamed_too() -> None:
    content = (MODELS / "state_dict.pt").read_bytes()
    assert judge(content, "m.safetensors") is Verdict.REJECT
    assert judge(content, "pytorch_model.bin") is Verdict.ACCEPT


def test_a_safe_format_under_another_name_is_told() -> None:
    content = (MODELS / "tiny.gguf").read_bytes()
    report = inspect(content, "m.onnx")
    (finding,) = [f for f in report.findings if f.code == "file.misnamed"]
    assert finding.severity is Severity.INFO
    assert finding.message == "m.onnx is named like ONNX, but is gguf."
    assert judge(content, "m.onnx") is Verdict.ACCEPT


def test_every_benign_model_of_the_corpus_has_the_name_of_what_it_is() -> None:
    for path in MODELS.iterdir():
        report = inspect(path.read_bytes(), path.name)
        assert not [f.message for f in report.findings if f.code == "file.misnamed"]


# --- pickles that look like texts ---


@pytest.mark.parametrize("name", ["p0_os_system", "inst_opcode", "obj_opcode", "main_class"])
@pytest.mark.parametrize("called", ["vocab.txt", "config.json", "README.md", "m.bin", "m", "m.pkl"])
def test_a_bare_pickle_is_one_whatever_it_is_called(name: str, called: str) -> None:
    content = (ATTACKS / f"{name}.pkl").read_bytes()
    assert format_of(content, called) == "pickle"


@pytest.mark.parametrize("before", [b"Vx\n0" * 30_000, b"V" + b"x" * 100_000 + b"\n0"])
def test_a_text_that_an_unpickler_would_go_on_reading_is_no_companion(before: bytes) -> None:
    content = before + b"cos\nsystem\n(S'true'\ntR."
    found = recognise(content[:HEAD], "pytorch_model.bin", whole=False)
    assert found is None or found == Known("pickle", "application/x-pickle")


def test_a_pickle_in_the_place_of_a_magic_number_is_a_pickle() -> None:
    content = b"U\x06\0\0TFL30" + b"cos\nsystem\n(S'true'\ntR." + b"\0" * 2000
    assert format_of(content, "m.tflite") == "pickle"
    assert judge(content, "m.tflite") is Verdict.REJECT


# --- companions ---

COMPANIONS: dict[str, tuple[bytes, str]] = {
    "config.json": (b'{"model_type": "bert"}', "application/json"),
    "tokenizer.json": (
        json.dumps({"version": "1.0", "added": ["<html>"], "x": "y" * 100_000}).encode(),
        "application/json",
    ),
    "events.jsonl": (b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson"),
    "conda.yaml": (b"name: env\nchannels: [x]\n", "application/yaml"),
    "README.md": (b"---\nlicense: mit\n---\n# Model\n", "text/markdown"),
    "docs/README.md": (b"<p align='center'><img src='x'></p>\n\n# Model\n", "text/markdown"),
    "requirements.txt": (b"torch==2.0\nnumpy\n", "text/plain"),
    "LICENSE": (b"Apache License\nVersion 2.0\n" * 5_000, "text/plain"),
    "vocab.txt": ("[PAD]\n[unused1]\n你好\n…\n".encode() * 5_000, "text/plain"),
    "merges.txt": ("#version: 0.2\nĠ t\nh e\n".encode(), "text/plain"),
    "vocab.json": (b'{"<s>": 0, "\xc4\xa0the": 1}', "application/json"),
    "chat_template.jinja": (b"{% for m in messages %}<div>{{ m }}</div>{% endfor %}", "text/plain"),
    "labels.csv": (b"id,label\n0,cat\n1,dog\n", "text/csv"),
    "latin.txt": ("Stückliste für Öfen\n".encode("latin-1"), "text/plain"),
    "convert.py": (b"#!/usr/bin/env python3\nimport sys\n", "text/x-python"),
    "pkg/__init__.py": (b"", "text/x-python"),
    "tokenizer.model": (
        b"\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2\n\x0c\n\3<s>\x15\0\0\0\0\x18\3",
        "application/octet-stream",
    ),
}


@pytest.mark.parametrize("name", COMPANIONS)
def test_companions_are_known(name: str) -> None:
    content, media_type = COMPANIONS[name]
    found = recognise(content[:HEAD], name, whole=len(content) <= HEAD)
    assert found == Known(None, media_type)


def test_a_text_cut_within_a_character_is_still_a_text() -> None:
    for shift in range(3):
        content = b"x\n" * shift + "語\n".encode() * 30_000
        assert format_of(content, "vocab.txt") is None


@pytest.mark.parametrize("name", ["LICENSE.gz", "notes.txt.gz", "empty.gz"])
def test_a_companion_may_be_compressed(name: str) -> None:
    content = gzip.compress(b"" if name == "empty.gz" else b"You may use it.\n")
    assert not [f for f in inspect(content, name).findings if f.severity is Severity.WARNING]


def test_a_page_is_refused_under_any_name() -> None:
    page = b"<!DOCTYPE html><html></html>"
    for name in ("README.md", "index.txt", "config.json", "a.jinja", "x.yaml", "m.pmml"):
        assert isinstance(recognise(page, name, whole=True), NotAModel)


@pytest.mark.parametrize("before", [b"", b"<!-- a --> ", b"<!---->" * 3])
def test_markup_is_found_behind_comments(before: bytes) -> None:
    page, quoted = (b"<html><body>no</body></html>", b"<foo><html></html></foo>")
    assert isinstance(recognise(before + page, "c.json", whole=True), NotAModel)
    assert recognise(before + quoted, "c.json", whole=True) == Known(None, "application/json")


# --- bytes that nobody should have to look at twice ---


@pytest.mark.parametrize(
    "compress",
    [
        zlib.compress,
        gzip.compress,
        bz2.compress,
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    ],
)
def test_a_bomb_is_not_unpacked_to_be_recognised(compress: Callable[[bytes], bytes]) -> None:
    content = compress(b"\0" * (50 << 20))
    assert format_of(content) is not None


_HOSTILE = """
from adapters.inspection import naming
from adapters.inspection.recognition import HEAD, recognise

for head in (
    b"<!---->" * 9_000 + b"<foo><html>",
    b"<!-- -- > " * 6_000 + b"<html>",
    b"<?xml>" * 10_000 + b"<foo>",
    b"\\xef\\xbb\\xbf \\n" * 12_000 + b"<foo>",
    b"<" + b"<net " * 12_000 + b"<layers",
    b"c" + b"a." * 32_000,
    b"#! " + b" " * 60_000,
    b"{" + b" " * 60_000 + b'"learner"',
    b"(" * 65_000,
    b"(lp0\\n" + b"I1\\na" * 20_000,
    b"\\n\\x02\\n\\x00" * 16_000,
    b"PK\\x03\\x04" * 16_000,
):
    for name in ("config.json", "m.pmml", "m.bin"):
        recognise(head[:HEAD], name, whole=False)
        naming.refuses("text/html", head, name)
for text in ("[" * 64_000, " " * 64_000 + "x", "(" * 64_000, "a," * 32_000):
    naming.for_people(text, "image/png")
"""


def test_no_bytes_keep_it_busy() -> None:
    """Where an expression has to look at the same bytes again and again, this takes hours."""
    subprocess.run([sys.executable, "-c", _HOSTILE], cwd=ROOT, timeout=30, check=True)


def test_what_libmagic_says_is_printable_and_short() -> None:
    for said in ("a\x1b[31m" * 1000, "x" * 5000, "", ",", "(", "RIFF"):
        words = naming.for_people(said, "video/mp4")
        assert words.isprintable()
        assert len(words) < 150


def test_a_value_longer_than_the_head_may_begin_a_pickle() -> None:
    long = b"X" + (1 << 20).to_bytes(4, "little") + b"\1" * (1 << 20)

    assert recognise(long[:HEAD], "model.pkl", whole=False) == Known(
        "pickle", "application/x-pickle"
    )
    assert recognise(long[:HEAD], "model.dat", whole=False) is None
    assert recognise(bytes(HEAD), "model.pkl", whole=False) is None
