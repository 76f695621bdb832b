"""The validators, each against the contract; the real one with what people send by mistake."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.inspection import RULESET
from adapters.inspection.validator import SandboxedFileValidator
from adapters.memory.validator import MemoryFileValidator
from domain.validation import Severity
from domain.values import FilePath
from tests.contracts.file_validator import (
    JPEG,
    PNG,
    BytesSource,
    FileValidatorContract,
    both,
    refusals,
)
from tests.support.aio import Loop

pytestmark = pytest.mark.anyio


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
             "a Microsoft Word document"),
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
    "picture in gzip": (gzip.compress(JPEG), "JPEG image"),
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


@pytest.fixture(scope="module")
async def sandboxed(anyio_backend: str) -> AsyncIterator[SandboxedFileValidator]:
    """One for all tests: its processes take a while to start."""
    async with SandboxedFileValidator() as validator:
        yield validator


class TestSandboxedFileValidator(FileValidatorContract):
    @pytest.fixture
    def validator(self, sandboxed: SandboxedFileValidator) -> SandboxedFileValidator:
        return sandboxed

    def test_the_engine_names_all_that_reads(self, validator: SandboxedFileValidator) -> None:
        assert [part.split()[0] for part in validator.engine.split(", ")] == [
            *("modelyard", "libmagic", "picklescan")
        ]
        assert validator.ruleset == RULESET

    # --- what is no model ---

    @pytest.mark.parametrize("name", ["model.onnx", "model.pkl", "model.bin", "model", "model.txt"])
    @pytest.mark.parametrize("kind", NOT_MODELS)
    async def test_what_is_no_model_is_refused_by_name(
        self, validator: SandboxedFileValidator, kind: str, name: str
    ) -> None:
        content, word = NOT_MODELS[kind]
        if name == "model.txt" and kind == "svg":
            return  # texts may quote markup that is not a whole page
        report = await both(validator, content, name)
        messages = refusals(report)
        assert messages
        assert all(message.startswith(name) or name in message for message in messages)
        assert any(word in message for message in messages), messages
        assert report.format is None

    @pytest.mark.parametrize("name", ["m.onnx", "m.safetensors", "m.gguf", "m.pt", "m.keras"])
    @pytest.mark.parametrize("content", [b'{"error": "not found"}', b"Not Found", b"<Error/>"])
    async def test_an_error_message_under_the_name_of_a_model_is_refused(
        self, validator: SandboxedFileValidator, name: str, content: bytes
    ) -> None:
        assert refusals(await both(validator, content, name))

    @pytest.mark.parametrize("name", ["m.onnx", "m.pkl", "m.bin", "m.zip", "M.SAFETENSORS"])
    async def test_an_empty_model_is_refused(
        self, validator: SandboxedFileValidator, name: str
    ) -> None:
        assert refusals(await both(validator, b"", name))

    async def test_a_page_is_refused_under_any_name(
        self, validator: SandboxedFileValidator
    ) -> None:
        page = b"<!DOCTYPE html><html></html>"
        for name in ("README.md", "index.txt", "config.json", "a.jinja", "x.yaml"):
            assert refusals(await both(validator, page, name))

    async def test_a_long_path_and_odd_bytes_make_short_printable_messages(
        self, validator: SandboxedFileValidator
    ) -> None:
        content = zip_of({"\x1b[31m\n" + "é" * 300 + ".jpg": JPEG, "\x07.png": PNG})
        messages = refusals(await both(validator, content, "d/" * 200 + "m.zip"))
        assert messages
        assert all(message.isprintable() and len(message) < 501 for message in messages)

    # --- what travels with models ---

    @pytest.mark.parametrize("name", COMPANIONS)
    async def test_companions_of_a_model_pass(
        self, validator: SandboxedFileValidator, name: str
    ) -> None:
        content, media_type = COMPANIONS[name]
        report = await both(validator, content, name)
        assert not [f for f in report.findings if f.severity is not Severity.INFO]
        assert report.format is None
        assert report.media_type == media_type

    async def test_a_text_cut_within_a_character_is_still_a_text(
        self, validator: SandboxedFileValidator
    ) -> None:
        for shift in range(3):
            content = (b"x" * shift + "語".encode() * 30_000)[: 64 * 1024 + 500]
            assert not refusals(await both(validator, content, "vocab.txt"))

    @pytest.mark.parametrize("content", [b"\0" * 50_000, bytes(range(256)) * 16])
    async def test_bytes_that_nobody_knows_are_held(
        self, validator: SandboxedFileValidator, content: bytes
    ) -> None:
        report = await both(validator, content, "weights.bin")
        assert [(f.code, f.severity) for f in report.findings] == [
            ("file.unknown_format", Severity.WARNING)
        ]
        assert report.media_type == "application/octet-stream"

    @pytest.mark.parametrize(
        "start", [b"MZ", b"\xff\xfb\x90\x64", b"#!\xdc\xbe", b"\xff\x0a", b"x\x9c"]
    )
    async def test_weights_are_not_taken_for_what_two_bytes_of_them_look_like(
        self, validator: SandboxedFileValidator, start: bytes
    ) -> None:
        content = start + bytes(byte * 7 % 251 for byte in range(4096))
        assert not refusals(await both(validator, content, "weights.bin"))

    # --- how much is read ---

    async def test_a_small_file_is_asked_for_once(self, validator: SandboxedFileValidator) -> None:
        source = BytesSource(zip_of({"net/data.pkl": b"\x80\2.", "net/data/0": b"\1" * 100}))
        await validator.validate(source, FilePath("net.pt"))
        assert source.read == source.size

    async def test_weights_in_an_archive_are_not_read(
        self, validator: SandboxedFileValidator
    ) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("net/data/0", random.randbytes(20_000_000))
            archive.writestr("net/data.pkl", b"\x80\2}q\0.")
        source = BytesSource(buffer.getvalue())
        report = await validator.validate(source, FilePath("net.pt"))
        assert not refusals(report)
        assert source.read < 1_000_000


# --- whatever the bytes -------------------------------------------------------------------------

_STARTS = [
    *(content[:64] for content, _ in NOT_MODELS.values()),
    *(b"\x08\1\x12", b"\n\x10", b"\x80\4\x95", b"GGUF", b"{", b"<", b"\x1f\x8b", b"PK\3\4"),
    *(b"PK\5\6", b"\x81\xa6", b"]\0\0", b"BZh9", b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\1\0"),
    *(zlib.compress(b"x" * 100), tar_of({"a": b"b"})[:512]),
]
_NAMES = ["m.onnx", "m.pb", "m.mlmodel", "m.msgpack", "m.zip", "m.tar", "m.joblib", "m", "é.txt"]


def test_no_bytes_make_it_fail() -> None:
    loop = Loop()
    validator = SandboxedFileValidator()

    @given(
        start=st.sampled_from([b"", *_STARTS]),
        rest=st.binary(max_size=300),
        cut=st.integers(0, 400),
        name=st.sampled_from(_NAMES),
    )
    @settings(max_examples=300, deadline=None)
    def judge(start: bytes, rest: bytes, cut: int, name: str) -> None:
        report = loop.run(both(validator, (start + rest)[:cut], name))
        assert "/" in report.media_type
        assert all(finding.message.isprintable() for finding in report.findings)
        assert "file.not_checked" not in {finding.code for finding in report.findings}

    try:
        judge()
    finally:
        loop.run(validator.close())
        loop.close()
