"""The validators, each against the contract; libmagic's with real models and real non-models."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.libmagic import LibmagicValidator
from adapters.memory.validator import MemoryFileValidator
from domain.values import FilePath
from domain.version import Severity
from tests.contracts.file_validator import (
    GGUF,
    JPEG,
    PNG,
    BytesSource,
    FileValidatorContract,
    both,
    refusals,
)
from tests.support.aio import Loop

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


class TestMemoryFileValidator(FileValidatorContract):
    @pytest.fixture
    def validator(self) -> MemoryFileValidator:
        return MemoryFileValidator()


def zip_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 200) + kind + b"\0" * 192


def boxes(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + b"isom" + b"\0" * 64


PICTURES = {"cats/1.jpg": JPEG, "cats/2.png": PNG}
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHI", 3, 62, 1) + b"\0" * 48
PE = b"MZ" + b"\0" * 58 + struct.pack("<I", 64) + b"PE\0\0\x64\x86" + b"\0" * 18 + b"\x0b\x02"

# What it is: the content, and a word that the refusal must have.
NOT_MODELS: dict[str, tuple[bytes, str]] = {
    "gif": (b"GIF89a\1\0\1\0\0\0\0;", "GIF image"),
    "bmp": (b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHI", 40, 1, 1, 1, 24, 0)
            + b"\0" * 60, "bitmap"),
    "tiff": (b"II*\0\x08\0\0\0" + b"\0" * 60, "TIFF"),
    "webp": (riff(b"WEBPVP8 "), "picture"),
    "heic": (boxes(b"heic"), "picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>", "SVG"),
    "mp4": (boxes(b"mp42"), "video"),
    "avi": (riff(b"AVI LIST"), "video"),
    "webm": (bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d"), "WebM"),
    "wav": (riff(b"WAVEfmt "), "sound recording"),
    "flac": (b"fLaC\0\0\0\x22" + b"\0" * 40, "FLAC"),
    "mp3": (b"ID3\4\0\0\0\0\0\x20TIT2" + b"\0" * 40, "MP3"),
    "ogg": (b"OggS\0\2" + b"\0" * 60, "Ogg"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF document"),
    "postscript": (b"%!PS-Adobe-3.0\n", "a PostScript document"),
    "rtf": (b"{\\rtf1\\ansi hello}", "Rich Text"),
    "old word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504, "Composite Document"),
    "docx": (zip_of({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w/>"}),
             "a Microsoft Office document"),
    "epub": (zip_of({"mimetype": b"application/epub+zip", "META-INF/container.xml": b""}), "EPUB"),
    "html": (b"\n <!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>", "an HTML document"),
    "html without a doctype": (b"<html>\n<head><title>404</title></head>", "an HTML document"),
    "shell script": (b"#!/bin/sh\nrm -rf /\n", "shell script"),
    "perl": (b"#!/usr/bin/perl\nprint 1;\n", "Perl script"),
    "node": (b"#!/usr/bin/env node\nconsole.log(1)\n", "Node.js script"),
    "batch": (b"@echo off\r\ndir\r\n", "batch file"),
    "php": (b"<?php echo 1; ?>", "PHP script"),
    "elf": (ELF, "an ELF 64-bit LSB shared object"),
    "pe": (PE, "PE32+ executable"),
    "mach-o": (b"\xcf\xfa\xed\xfe\7\0\0\1\3\0\0\0\2\0\0\0" + b"\0" * 40, "Mach-O"),
    "java class": (b"\xca\xfe\xba\xbe\0\0\0\x3d\0\x1f" + b"\0" * 40, "compiled Java class"),
    "wasm": (b"\0asm\1\0\0\0\1\4\1`\0\0", "WebAssembly"),
    "jar": (zip_of({"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n", "Cat.class": b""}), "Java"),
    "wheel": (zip_of({"p/__init__.py": b"", "p-1.dist-info/WHEEL": b""}), "a Python wheel"),
    "deb": (b"!<arch>\ndebian-binary   1412345678  0     0     100644  4         `\n", "Debian"),
    "truetype": (b"\0\1\0\0\0\x0a\0\x80\0\3\0\x20OS/2" + b"\0" * 40, "Font"),
    "opentype": (b"OTTO\0\x0b\0\x80\0\3\0\x30CFF " + b"\0" * 60, "OpenType"),
    "sqlite": (b"SQLite format 3\0\x10\0\1\1\0\x40\x20\x20" + b"\0" * 80, "SQLite"),
    "parquet": (b"PAR1\x15\4\x15" + b"\0" * 40, "Apache Parquet"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + b"\0" * 40, "7-zip"),
    "rar": (b"Rar!\x1a\7\1\0" + b"\0" * 40, "RAR"),
    "private key": (b"-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n", "key"),
    "certificate": (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "certificate"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS pointer"),
    "dicom": (b"\0" * 128 + b"DICM" + b"\0" * 40, "DICOM"),
    "zip of pictures": (zip_of(PICTURES), "ZIP archive of 1.jpg, 2.png"),
    "tar of pictures": (tar_of(PICTURES), "TAR archive of 1.jpg, 2.png"),
    "picture in gzip": (gzip.compress(JPEG), "gzip-compressed: JPEG image"),
}  # fmt: skip

COMPANIONS: dict[str, tuple[bytes, str]] = {
    "config.json": (b'{"model_type": "bert"}', "application/json"),
    "tokenizer.json": (b'{"version": "1.0", "added_tokens": ["<html>", "<head>"],'
                       b'"x": "' + b"y" * 100_000 + b'"}', "application/json"),
    "events.jsonl": (b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson"),
    "conda.yaml": (b"name: env\nchannels: [x]\n", "application/yaml"),
    "MLmodel": (b"artifact_path: model\nflavors: {}\n", "text/plain"),
    "README.md": (b"---\nlicense: mit\n---\n# Model\n", "text/markdown"),
    "docs/README.md": (b"<p align='center'><img src='x'></p>\n\n# Model\n", "text/markdown"),
    "requirements.txt": (b"torch==2.0\nnumpy\n", "text/plain"),
    "LICENSE": (b"Apache License\nVersion 2.0\n", "text/plain"),
    "vocab.txt": ("[PAD]\n[unused1]\n你好\n…\n".encode() * 5_000, "text/plain"),
    "merges.txt": ("#version: 0.2\nĠ t\nh e\n".encode(), "text/plain"),
    "chat_template.jinja": (b"{% for m in messages %}<div>{{ m }}</div>{% endfor %}", "text/plain"),
    "labels.csv": (b"id,label\n0,cat\n1,dog\n", "text/csv"),
    "latin.txt": ("Stückliste für Öfen\n".encode("latin-1"), "text/plain"),
    "modeling_custom.py": (b"import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n",
                           "text/x-python"),
    "convert.py": (b"#!/usr/bin/env python3\nimport sys\n", "text/x-python"),
    "pkg/__init__.py": (b"", "text/x-python"),
    "tokenizer.model": (b"\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2\n\x0c\n\3<s>\x15\0\0\0\0\x18\3",
                        "application/octet-stream"),
}  # fmt: skip


FORMATS: list[tuple[str, bytes, str]] = [
    ("m.tflite", b"\x1c\0\0\0TFL3" + b"\0" * 40, "tflite"),
    ("m.ort", b"\x18\0\0\0ORTM" + b"\0" * 40, "onnxruntime-ort"),
    ("m.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "hdf5"),
    ("m.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 40 + b"model_config", "keras-h5"),
    ("m.cbm", b"CBM1" + b"\0" * 40, "catboost-cbm"),
    ("m.txt", b"tree\nversion=v4\nnum_class=1\n", "lightgbm-text"),
    ("m.pmml", b"<?xml version='1.0'?>\n<PMML version='4.4'/>", "pmml"),
    ("m.msgpack", b"\x81\xa6params\x81\xa5Dense\x80", "flax-msgpack"),
    ("m.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pytorch-legacy"),
    ("saved_model.pb", b"\x08\1\x12\x0c\n\4\x12\2\n\0\x12\4\n\2\n\0", "tf-savedmodel-pb"),
    ("g.pb", b"\n\x10\n\1x\x12\x0bPlaceholder", "tf-graphdef"),
    ("m.mlmodel", b"\x08\1\x12\6\n\4\n\2in\xb2\x1f\0", "coreml"),
    ("variables.data-00000-of-00001", b"\0\1\2\3" * 100, "tf-checkpoint"),
    ("m.gguf.gz", gzip.compress(GGUF), "gguf+gzip"),
    ("m.tar.gz", gzip.compress(tar_of({"m/config.json": b"{}"})), "tar+gzip"),
    ("m.tar", tar_of({"m/saved_model.pb": b"\x08\1"}), "tf-savedmodel"),
    ("m.zip", zip_of({"m/MLmodel": b"", "m/model.pkl": b""}), "mlflow"),
    ("m.keras", zip_of({"metadata.json": b"", "config.json": b""}), "keras-v3"),
    ("m.pt", zip_of({"m/data.pkl": b"", "m/code/a.py": b"", "m/constants.pkl": b""}),
     "torchscript"),
    ("m.pt2", zip_of({"m/archive_format": b"pt2", "m/data/x.pt": b""}), "torch-pt2"),
]  # fmt: skip


class TestLibmagicValidator(FileValidatorContract):
    @pytest.fixture
    def validator(self) -> LibmagicValidator:
        return LibmagicValidator()

    def test_the_engine_is_the_library(self, validator: LibmagicValidator) -> None:
        assert validator.engine.startswith("libmagic 5.")

    # --- what is no model ---

    @pytest.mark.parametrize("name", ["model.onnx", "model.pkl", "model.bin", "model", "model.txt"])
    @pytest.mark.parametrize("kind", NOT_MODELS)
    async def test_what_is_no_model_is_refused_by_name(
        self, validator: LibmagicValidator, kind: str, name: str
    ) -> None:
        content, word = NOT_MODELS[kind]
        if name == "model.txt" and kind == "svg":
            return  # texts may quote markup that is not a whole page
        verdict = await both(validator, content, name)
        (message,) = refusals(verdict)
        assert message.startswith(f"{name} is ")
        assert message.endswith(", not a model.")
        assert word in message
        assert verdict.format is None

    @pytest.mark.parametrize("name", ["model.onnx", "m.safetensors", "m.gguf", "m.pt", "m.keras"])
    @pytest.mark.parametrize("content", [b'{"error": "not found"}', b"Not Found", b"<Error/>"])
    async def test_an_error_message_under_the_name_of_a_model_is_refused(
        self, validator: LibmagicValidator, name: str, content: bytes
    ) -> None:
        assert refusals(await both(validator, content, name))

    @pytest.mark.parametrize("name", ["m.onnx", "m.pkl", "m.bin", "m.zip", "M.SAFETENSORS"])
    async def test_an_empty_model_is_refused(self, validator: LibmagicValidator, name: str) -> None:
        assert refusals(await both(validator, b"", name)) == [f"{name} is empty, not a model."]

    async def test_an_empty_archive_is_refused_at_its_end(
        self, validator: LibmagicValidator
    ) -> None:
        verdict = await validator.validate(BytesSource(zip_of({})), FilePath("m.zip"))
        assert refusals(verdict) == ["m.zip is an empty ZIP archive, not a model."]

    async def test_a_picture_at_the_front_of_a_large_archive_of_a_model_is_no_refusal(
        self, validator: LibmagicValidator
    ) -> None:
        content = zip_of({"logo.png": PNG, "thumb.png": PNG, "weights.bin": b"\1" * 100})
        assert not refusals(await both(validator, content, "model.zip"))

    @pytest.mark.parametrize("lost", [1, 30, 100, 2_000])
    @pytest.mark.parametrize("name", ["net.pt", "net.zip"])
    async def test_an_archive_that_was_cut_short_is_refused_at_its_end(
        self, validator: LibmagicValidator, name: str, lost: int
    ) -> None:
        content = zip_of({"net/data.pkl": b"\x80\2.", "net/data/0": random.randbytes(200_000)})
        assert not (await both(validator, content, name)).findings
        verdict = await validator.validate(BytesSource(content[:-lost]), FilePath(name))
        assert refusals(verdict) == [f"{name} is a ZIP archive without an end: it was cut short."]

    @pytest.mark.parametrize("comment", [b"", b"c" * 65_535])
    async def test_an_archive_may_end_in_a_comment(
        self, validator: LibmagicValidator, comment: bytes
    ) -> None:
        content = zip_of({"net/data.pkl": b"\x80\2."})
        content = content[:-2] + struct.pack("<H", len(comment)) + comment
        assert (await both(validator, content, "net.pt")).format == "pytorch-zip"

    async def test_safetensors_of_another_length_than_promised_are_refused_at_their_end(
        self, validator: LibmagicValidator
    ) -> None:
        import numpy as np
        import safetensors.numpy

        tensors: dict[str, np.ndarray[Any, Any]] = {
            "b": np.zeros(7, np.float32),
            "a": np.zeros((3, 100), np.int8),
        }
        content = safetensors.numpy.save(tensors, {"data_offsets": '"data_offsets":[0,9999]'})
        header = 8 + int.from_bytes(content[:8], "little")
        size = len(content)
        for length, fault in (
            (size - 1, f"has {size - 1} bytes; its header promises {size}"),
            (header, f"has {header} bytes; its header promises {size}"),
            (100, f"ends after 100 bytes; its header alone has {header}"),
            (size + 1, f"has {size + 1} bytes; its header promises {size}"),
        ):
            source = BytesSource((content + b"\0")[:length])
            verdict = await validator.validate(source, FilePath("m.safetensors"))
            assert refusals(verdict) == [f"m.safetensors {fault}."]
        for whole in (content, safetensors.numpy.save({}), safetensors.numpy.save({}, {"a": "b"})):
            assert not (await both(validator, whole, "m.safetensors")).findings

    async def test_a_page_is_refused_under_any_name(self, validator: LibmagicValidator) -> None:
        page = b"<!DOCTYPE html><html></html>"
        for name in ("README.md", "index.txt", "config.json", "a.jinja", "x.yaml"):
            assert refusals(await both(validator, page, name))

    async def test_a_long_path_and_odd_bytes_make_a_short_printable_message(
        self, validator: LibmagicValidator
    ) -> None:
        content = zip_of({"\x1b[31m\n" + "é" * 300 + ".jpg": JPEG, "\x07.png": PNG})
        (message,) = refusals(await both(validator, content, "d/" * 200 + "m.zip"))
        assert message.isprintable()
        assert len(message) < 400

    # --- what travels with models ---

    @pytest.mark.parametrize("name", COMPANIONS)
    async def test_companions_of_a_model_pass(
        self, validator: LibmagicValidator, name: str
    ) -> None:
        content, media_type = COMPANIONS[name]
        verdict = await both(validator, content, name)
        assert verdict.findings == ()
        assert verdict.format is None
        assert verdict.media_type == media_type

    async def test_a_text_cut_within_a_character_is_still_a_text(
        self, validator: LibmagicValidator
    ) -> None:
        for shift in range(3):
            content = (b"x" * shift + "語".encode() * 30_000)[: 64 * 1024 + 500]
            assert (await both(validator, content, "vocab.txt")).findings == ()

    @pytest.mark.parametrize("content", [b"\0" * 50_000, bytes(range(256)) * 16])
    async def test_bytes_that_nobody_knows_pass_with_a_warning(
        self, validator: LibmagicValidator, content: bytes
    ) -> None:
        verdict = await both(validator, content, "weights.bin")
        assert [(f.code, f.severity) for f in verdict.findings] == [
            ("file.unknown_format", Severity.WARNING)
        ]
        assert verdict.media_type == "application/octet-stream"

    @pytest.mark.parametrize(
        "start", [b"MZ", b"\xff\xfb\x90\x64", b"#!\xdc\xbe", b"\xff\x0a", b"x\x9c"]
    )
    async def test_weights_are_not_taken_for_what_two_bytes_of_them_look_like(
        self, validator: LibmagicValidator, start: bytes
    ) -> None:
        content = start + bytes(byte * 7 % 251 for byte in range(4096))
        assert not refusals(await both(validator, content, "weights.bin"))

    async def test_only_head_and_directory_are_read(self, validator: LibmagicValidator) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("net/data/0", b"\1" * 5_000_000)
            archive.writestr("net/data.pkl", b"\x80\2.")
        source = BytesSource(buffer.getvalue())
        verdict = await validator.validate(source, FilePath("net.pt"))
        assert verdict.format == "pytorch-zip"
        assert source.read < 200_000

    # --- real models ---

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    async def test_pickles_of_every_protocol_are_known(
        self, validator: LibmagicValidator, protocol: int
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
        verdict = await both(validator, pickle.dumps(model, protocol), "model.pkl")
        assert (verdict.format, verdict.findings) == ("pickle", ())

    @pytest.mark.parametrize(
        ("compress", "expected"),
        [
            (lambda data: data, "joblib"),
            (zlib.compress, "joblib+zlib"),
            (gzip.compress, "joblib+gzip"),
            (bz2.compress, "joblib+bz2"),
            (lzma.compress, "joblib+xz"),
            (lambda data: lzma.compress(data, lzma.FORMAT_ALONE), "joblib+lzma"),
        ],
    )
    async def test_joblib_is_known_through_its_compression(
        self,
        validator: LibmagicValidator,
        compress: Callable[[bytes], bytes],
        expected: str,
    ) -> None:
        import joblib
        import numpy as np

        buffer = io.BytesIO()
        joblib.dump({"coef": np.arange(500.0)}, buffer)
        verdict = await both(validator, compress(buffer.getvalue()), "model.joblib")
        assert (verdict.format, verdict.findings) == (expected, ())

    async def test_files_of_real_libraries_are_known(
        self, validator: LibmagicValidator, tmp_path: Path
    ) -> None:
        for path, expected in _real_models(tmp_path):
            verdict = await both(validator, path.read_bytes(), path.name)
            assert (verdict.format, verdict.findings) == (expected, ()), path.name

    @pytest.mark.parametrize(
        ("name", "content", "expected"), FORMATS, ids=[f"{f[0]}-{f[2]}" for f in FORMATS]
    )
    async def test_formats_without_a_library_here_are_known(
        self, validator: LibmagicValidator, name: str, content: bytes, expected: str
    ) -> None:
        verdict = await both(validator, content, name)
        assert (verdict.format, verdict.findings) == (expected, ())


_HOSTILE = """
import struct

from adapters.libmagic import archives, lengths, naming, signatures
from domain.values import FilePath

path = FilePath("config.json")
for head in (
    b"<!---->" * 9_000 + b"<foo><html>",
    b"<!-- -- > " * 6_000 + b"<html>",
    b"<?xml>" * 10_000 + b"<foo>",
    b"\\xef\\xbb\\xbf \\n" * 12_000 + b"<foo>",
    b"<" + b"<net " * 12_000 + b"<layers",
    b"c" + b"a." * 32_000,
    b"#! " + b" " * 60_000,
):
    signatures.recognise(head, path)
    naming.refuses("text/html", head, path)
naming.for_people("[" * 64_000, "image/png")
naming.for_people(" " * 64_000 + "x", "image/png")
for header in (
    b'"data_offsets":[0,1]' * 500_000,
    b'"data_offsets"' + b" " * 10_000_000,
    b'"data_offsets":[' + b"1" * 10_000_000,
    b'"data_offsets":[1' + b" " * 10_000_000,
):
    lengths._last(header)
name = b"." * 63_996 + b".jpg"
header = b"PK\\1\\2" + b"\\0" * 24 + struct.pack("<HHH", len(name), 0, 0) + b"\\0" * 12
names = archives._directory_names((header + name) * 65)
assert len(names) == 65
assert isinstance(archives.zip_kind(names * 20, path, complete=True), signatures.NotAModel)
member = b"PK\\3\\4" + b"\\xff" * 22 + struct.pack("<HH", 32_000, 0)
assert len(archives.zip_names(member * 2_000)) == 1
"""


def test_no_bytes_keep_it_busy() -> None:
    """Where an expression has to look at the same bytes again and again, this takes hours."""
    subprocess.run([sys.executable, "-c", _HOSTILE], cwd=ROOT, timeout=15, check=True)


@pytest.mark.parametrize("before", [b"", b"<!-- a --> ", b"<!---->" * 3])
async def test_markup_is_found_behind_comments(before: bytes) -> None:
    assert refusals(await both(_VALIDATOR, before + b"<html><body>no</body></html>", "c.json"))
    assert not refusals(await both(_VALIDATOR, before + b"<foo><html></html></foo>", "c.json"))


def _real_models(folder: Path) -> Iterator[tuple[Path, str]]:
    """One file of each format that a library of the test group writes."""
    import numpy as np
    import safetensors.numpy
    import skops.io
    import xgboost
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
    model = LogisticRegression().fit(x, [0, 1, 0, 1])
    booster = xgboost.train({"max_depth": 1}, xgboost.DMatrix(x, [0, 1, 0, 1]), 2)

    def write(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    yield write("m.onnx", to_onnx(model, x[:1]).SerializeToString()), "onnx"
    yield write("m.safetensors", safetensors.numpy.save({"w": x})), "safetensors"
    yield write("m.skops", skops.io.dumps(model)), "skops"
    for name, kind in (("m.ubj", "xgboost-ubj"), ("m.json", "xgboost-json")):
        booster.save_model(folder / name)
        yield folder / name, kind
    np.save(folder / "m.npy", x)
    yield folder / "m.npy", "npy"
    np.savez(folder / "m.npz", a=x, b=x)
    yield folder / "m.npz", "npz"
    yield write("config.json", json.dumps({"learner": "none"}).encode()), None  # type: ignore[misc]


# --- whatever the bytes -------------------------------------------------------------------------

_STARTS = [
    *(content[:64] for content, _ in NOT_MODELS.values()),
    *(
        b"\x08\1\x12",
        b"\n\x10",
        b"\x80\4\x95",
        b"GGUF",
        b"{",
        b"<",
        b"\x1f\x8b",
        b"PK\3\4",
        b"PK\5\6",
    ),
    *(zlib.compress(b"x" * 100), tar_of({"a": b"b"})[:512], b"\x81\xa6", b"]\0\0", b"BZh9"),
]
_NAMES = ["m.onnx", "m.pb", "m.mlmodel", "m.msgpack", "m.zip", "m.tar", "m.joblib", "m", "é.txt"]


@given(
    start=st.sampled_from([b"", *_STARTS]),
    rest=st.binary(max_size=300),
    cut=st.integers(0, 400),
    name=st.sampled_from(_NAMES),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_it_fail(start: bytes, rest: bytes, cut: int, name: str) -> None:
    loop = Loop()
    content = (start + rest)[:cut]
    try:
        verdict = loop.run(both(_VALIDATOR, content, name))
    except AssertionError:
        # A ZIP archive may be known by its end alone.
        assert content.startswith(b"PK")
    else:
        assert "/" in verdict.media_type
        assert all(finding.message.isprintable() for finding in verdict.findings)
    finally:
        loop.close()


_VALIDATOR = LibmagicValidator()
