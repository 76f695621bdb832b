"""What is no model is refused, by the name people know it by, whatever it is called."""

from __future__ import annotations

import importlib.util
import io
import marshal
import random
import struct
import zipfile

import pytest

from adapters.inspection.sniffing import sniff
from domain.validation import Severity, ValidationPolicy
from domain.values import FilePath
from tests.support.corpus import inspect_path, samples
from tests.support.inspecting import inspected, refusals, verdict


def riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 200) + kind + b"\0" * 192


def boxes(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + b"isom" + b"\0" * 64


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


JPEG = bytes.fromhex("ffd8ffe000104a46494600010101006000600000ffdb004300") + b"\x08" * 64
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")
MP3_FRAME = b"\xff\xfb\x90\x64" + b"\0" * 413
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHI", 3, 62, 1) + b"\0" * 48
PE = b"MZ" + b"\0" * 58 + struct.pack("<I", 64) + b"PE\0\0\x64\x86" + b"\0" * 18 + b"\x0b\x02"
PYC = importlib.util.MAGIC_NUMBER + b"\0" * 12 + marshal.dumps(compile("x = 1", "x", "exec"))
TFRECORD = bytes.fromhex("0500000000000000eab2043e") + b"hello" + b"\0" * 4
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MATLAB = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM"

# What it is called: how it begins.
CERTAIN: dict[str, bytes] = {
    "JPEG image data": JPEG,
    "PNG image data": PNG,
    "GIF image data": b"GIF89a\1\0\1\0\0\0\0;",
    "TIFF image data": b"II*\0\x08\0\0\0" + b"\0" * 60,
    "a picture (Web/P image)": riff(b"WEBPVP8 "),
    "a picture (AVIF Image)": boxes(b"avif"),
    "a picture (JPEG 2000 Part 1)": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + b"\0" * 50,
    "a picture (JPEG XL)": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 20,
    "an Adobe Photoshop Image": b"8BPS\0\1" + b"\0" * 7 + b"\3\0\0\0\x10\0\0\0\x10\0\x08\0\3",
    "a video (MP4 v2)": boxes(b"mp42"),
    "a video (Apple QuickTime movie)": boxes(b"qt  "),
    "a video (AVI)": riff(b"AVI LIST"),
    "a Matroska video": bytes.fromhex(
        "1a45dfa3a34286810142f7810142f2810442f381084282886d6174726f736b61"
    ),
    "a Windows Media recording": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\0" * 40,
    "a sound recording (WAVE audio)": riff(b"WAVEfmt "),
    "FLAC audio bitstream data": b"fLaC\0\0\0\x22" + b"\0" * 40,
    "an MP3 sound recording": MP3_FRAME * 4,
    "an Ogg sound recording or video": b"OggS\0\2" + b"\0" * 60,
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "a PostScript document": b"%!PS-Adobe-3.0\n",
    "Rich Text Format data": b"{\\rtf1\\ansi hello}",
    "an old Microsoft Office document or installer (Composite Document File)": OLE + b"\0" * 504,
    "an HTML document": b"\n <!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>",
    "a POSIX shell script": b"#!/bin/sh\nrm -rf /\n",
    "a DOS batch file": b"@echo off\r\ndir\r\n",
    "a PHP script": b"<?php echo 1; ?>",
    "an ELF 64-bit LSB shared object": ELF,
    "a PE32+ executable": PE,
    "a Mach-O 64-bit x86_64 executable": bytes.fromhex("cffaedfe07000001030000000200") + b"\0" * 42,
    "compiled Java class data": b"\xca\xfe\xba\xbe\0\0\0\x3d\0\x1f" + b"\0" * 40,
    "compiled Python code": PYC,
    "Lua bytecode": b"\x1bLuaS\0\x19\x93\r\n\x1a\n",
    "Dalvik bytecode of an Android app": b"dex\n035\0" + b"\1" * 100,
    "a WebAssembly binary module version 0x1": b"\0asm\1\0\0\0\1\4\1`\0\0",
    "a Debian binary package": b"!<arch>\ndebian-binary   1412345678  0     0     100644  4"
    b"         `\n2.0\n",
    "an RPM package": b"\xed\xab\xee\xdb\3\0\0\0\0\1pkg-1.0" + b"\0" * 80,
    "OpenType font data": b"OTTO\0\x0b\0\x80\0\3\0\x30CFF " + b"\0" * 60,
    "an SQLite 3.x database": b"SQLite format 3\0\x10\0\1\1\0\x40\x20\x20" + b"\0" * 80,
    "a DuckDB database": b"\1\2\3\4\5\6\7\x08DUCK\x40\0\0\0" + b"\0" * 400,
    "a Microsoft Access Database": b"\0\1\0\0Standard Jet DB\0\1\0\0\0" + b"\0" * 60,
    "Apache Parquet data": b"PAR1\x15\4\x15\0" + b"\0" * 40,
    "Apache Arrow data": b"ARROW1\0\0" + b"\0" * 60,
    "Apache Avro data": b'Obj\1\4\x16avro.schema\xa8\1{"type":"record"}\0',
    "a data set of TensorFlow records": TFRECORD,
    "7-zip archive data": b"7z\xbc\xaf\x27\x1c\0\4" + b"\0" * 40,
    "RAR archive data": b"Rar!\x1a\7\1\0" + b"\0" * 40,
    "a Microsoft Cabinet archive": b"MSCF\0\0\0\0" + b"\0" * 40,
    "ISO 9660 CD-ROM filesystem data": b"\0" * 32768 + b"\1CD001\1\0LINUX" + b" " * 80,
    "a Git bundle": b"# v2 git bundle\n" + b"a" * 40 + b" refs/heads/main\n\nPACK\0\0\0\2",
    "a network capture (pcapng)": b"\n\r\r\n\x1c\0\0\0M<+\x1a\1\0\0\0" + b"\xff" * 8,
    "a pcap capture file": b"\xd4\xc3\xb2\xa1\2\0\4\0" + b"\0" * 8 + b"\xff\xff\0\0\1\0\0\0",
    "an OpenSSH private key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n",
    "a PGP message": b"-----BEGIN PGP MESSAGE-----\n\nabc\n-----END PGP MESSAGE-----\n",
    "a Matlab v5 mat-file version 0x100": MATLAB + b"\0" * 60,
    "DICOM medical imaging data": b"\0" * 128 + b"DICM" + b"\0" * 40,
    "a glTF scene": b"glTF\2\0\0\0\x40\0\0\0" + b"\0" * 60,
    "a Git LFS pointer to a file that was never fetched": b"version https://git-lfs.github.com/"
    b"spec/v1\noid sha256:ab\nsize 5\n",
}


@pytest.mark.parametrize(
    "name", ["m.onnx", "m.pkl", "m.bin", "m", "m.safetensors", "d/config.json"]
)
@pytest.mark.parametrize("what", CERTAIN)
def test_it_is_refused_by_its_name_at_first_sight(what: str, name: str) -> None:
    content = CERTAIN[what]
    assert refusals(inspected(content, name)) == [f"{name} is {what}, not a model."]
    assert refusals(sniff(content, FilePath(name))) == [f"{name} is {what}, not a model."]


TEXTS: dict[str, bytes] = {
    "a.csv": b"a,b\n1,2\n",
    "a.jsonl": b'{"a": 1}\n{"b": 2}\n',
    "a.ipynb": b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    "a.tex": b"\\documentclass{article}\n\\begin{document}x\\end{document}\n",
    "a.c": b"#include <stdio.h>\nint main(void) { return 0; }\n",
    "A.java": b"import java.util.List;\npublic class A {}\n",
    "a.js": b"'use strict';\nfunction f() { return 1 }\n",
    "a.log": b"2026-01-01 00:00:00 INFO started\n" * 20,
    ".env": b"SECRET=1\n",
    "id_rsa.pub": b"ssh-rsa AAAAB3NzaC1yc2E user@host\n",
    "mbox": b"From a@b.c Mon Jan  1 00:00:00 2026\nSubject: x\n\nhi\n",
    "a.pbtxt": b'node {\n  name: "x"\n  op: "Placeholder"\n}\n',
    "array.json": b"[1, 2, 3]\n",
    "string.json": b'"hello"',
    "blank.txt": b" \n\t\n",
    "bom.txt": b"\xef\xbb\xbf",
    "utf16.txt": "hello\n".encode("utf-16"),
    "labels.txt": b"cat\ndog\nbird\n",
    "words.txt": b"cat\ncow\ncrow\ncub\n" * 50,
    "empty.txt": b"",
    "Makefile": b"all:\n\techo\n",
    "a.sql": b"CREATE TABLE x (id int);\n",
    "a.patch": b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
    "tokenizer.json": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}}}',
    "feed.xml": b"<?xml version='1.0'?><rss/>",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_no_model_by_itself_but_may_go_with_one(name: str) -> None:
    report = inspected(TEXTS[name], name)
    assert report.format is None
    assert not refusals(report)
    assert verdict(TEXTS[name], name) == "reject"


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"\0" * 5000,
        b"\xff" * 5000,
        *(random.Random(seed).randbytes(5000) for seed in range(30)),
    ],
)
@pytest.mark.parametrize("name", ["m.bin", "m.pt", "m.pkl", "m.onnx", "m"])
def test_bytes_that_mean_nothing_are_no_model(content: bytes, name: str) -> None:
    assert verdict(content, name) == "reject"


def test_what_is_unknown_is_told_from_what_its_name_promises() -> None:
    (finding,) = inspected(b"\x9a\xff\x13" * 500, "m.onnx").findings
    assert finding.severity is Severity.WARNING
    assert finding.message == (
        "m.onnx is named like ONNX, but is in no format that is known here; it was not checked."
    )


@pytest.mark.parametrize("name", ["m.onnx", "m.safetensors", "m.gguf", "m.pt", "m.keras", "m.pkl"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"Not Found", "text (Not Found)"),
        (b'{"error": "gone"}', 'JSON ({"error": "gone"})'),
        (b"<?xml version='1.0'?><Error/>", "XML (<?xml version='1.0'?><Error/>)"),
        (b" \n\n", "blank text"),
        ("Entry not found\n".encode("utf-16"), "text (Entry not found)"),
        (b"\x1b[31mred\x07", "text (?[31mred?)"),
        (b"word " * 100, "text (word word word word word word word word word word word wo...)"),
        (b"", "empty"),
    ],
)
def test_a_text_under_the_name_of_a_model_is_quoted(name: str, content: bytes, what: str) -> None:
    assert refusals(inspected(content, name)) == [f"{name} is {what}, not a model."]


@pytest.mark.parametrize(
    "start", [b"MZ", b"\xff\xfb\x90\x64", b"#!\xdc\xbe", b"\xff\x0a", b"x\x9c", b"BZh", b"]\0\0"]
)
def test_weights_are_not_taken_for_what_a_few_bytes_of_them_look_like(start: bytes) -> None:
    content = start + bytes(byte * 7 % 251 for byte in range(4096))
    assert not refusals(inspected(content, "weights.bin"))


@pytest.mark.parametrize("word", ["binfmt", "CBM1 ", "FEA1", "PAR1s", "GGUF", "OggS", "Obj"])
def test_a_word_list_may_begin_with_any_word(word: str) -> None:
    assert not refusals(inspected(f"{word}\nother\nwords\n".encode(), "vocab.txt"))


def test_the_corpus_has_no_model_among_its_non_models() -> None:
    seen = [sample for sample in samples() if sample.name.startswith("notmodels/")]
    for sample in seen:
        judgement = ValidationPolicy().judge({FilePath("x"): inspect_path(sample.path)})
        assert judgement.verdict in sample.verdicts, sample
        assert all(each.message.isprintable() for each in judgement.findings)
    assert len(seen) > 50
