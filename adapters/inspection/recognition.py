"""What a file is, by its first 64 KiB.

libmagic calls most models "data" and some of them wrongly by name (a pickle of protocol 5 "XENIX
relocatable", a SavedModel "PDP-11 executable"), so our own signatures are asked first; libmagic
names what is no model. This says what a file is, not whether it is sound or safe.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from adapters.inspection import libmagic, naming
from adapters.inspection.archives.member_streams import BROKEN, DECOMPRESSORS
from adapters.inspection.formats import protobuf_kinds
from adapters.inspection.pickles.recognition import goes_beyond, recognise_pickle
from adapters.inspection.report import OCTETS

HEAD = 64 * 1024
"""Bytes of a file's beginning that it is recognised by, at most."""


@dataclass(frozen=True, slots=True)
class Known:
    """A kind of file that may enter; ``format`` is None for a companion of a model."""

    format: str | None
    media_type: str


@dataclass(frozen=True, slots=True)
class NotAModel:
    """What it is instead, worded to follow "is"."""

    what: str
    media_type: str


Recognised = Known | NotAModel | None

_HDF5 = b"\x89HDF\r\n\x1a\n"
_FETCHED_NOT = "a Git LFS pointer to a file that was never fetched"
_ARROW = "application/vnd.apache.arrow.file"

# Each is found at its offset, and long enough to be no accident. One of letters alone may also be
# the first word of a text.
_MAGIC: tuple[tuple[int, bytes, Recognised], ...] = (
    (0, b"PK\x03\x04", Known("zip", "application/zip")),
    (0, b"PK\x05\x06", Known("zip", "application/zip")),
    (0, b"PK\x07\x08", Known("zip", "application/zip")),
    (0, b"\x04\x22\x4d\x18", Known("lz4", "application/x-lz4")),
    (0, b"\x28\xb5\x2f\xfd", Known("zstd", "application/zstd")),
    (0, b"\x1f\x8b\x08", Known("gzip", "application/gzip")),
    (0, b"\xfd7zXZ\0", Known("xz", "application/x-xz")),
    (0, _HDF5, Known("hdf5", "application/x-hdf5")),
    (0, b"\x93NUMPY", Known("npy", "application/x-numpy-data")),
    (4, b"TFL3", Known("tflite", "application/x-tflite")),
    (4, b"ORTM", Known("onnxruntime-ort", "application/x-onnxruntime")),
    (0, b"CBM1", Known("catboost-cbm", "application/x-catboost")),
    (0, b"binf", Known("xgboost-binary", "application/x-xgboost")),
    (0, b"\xba\x16O/\x0b\0\0\0", Known("fasttext", "application/x-fasttext")),
    (0, b"\xba\x16O/\x0c\0\0\0", Known("fasttext", "application/x-fasttext")),
    (0, b"tree\nversion=v", Known("lightgbm-text", "text/plain")),
    (0, b"tree\r\nversion=v", Known("lightgbm-text", "text/plain")),
    (0, b"version https://git-lfs.github.com/spec/", NotAModel(_FETCHED_NOT, "text/plain")),
    (0, b"ID3\x02", NotAModel("an MP3 sound recording", "audio/mpeg")),
    (0, b"ID3\x03", NotAModel("an MP3 sound recording", "audio/mpeg")),
    (0, b"ID3\x04", NotAModel("an MP3 sound recording", "audio/mpeg")),
    (0, b"OggS\0", NotAModel("an Ogg sound recording or video", "application/ogg")),
    (0, b"MSCF\0\0\0\0", NotAModel("a Microsoft Cabinet archive", "application/vnd.ms-cab")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", NotAModel("a picture (JPEG XL)", "image/jxl")),
    (0, b"%!PS-Adobe", NotAModel("a PostScript document", "application/postscript")),
    (0, b"PAR1", NotAModel("Apache Parquet data", "application/vnd.apache.parquet")),
    (0, b"ARROW1\0\0", NotAModel("Apache Arrow data", _ARROW)),
    (0, b"FEA1", NotAModel("Apache Arrow data (Feather)", _ARROW)),
    (0, b"Obj\x01", NotAModel("Apache Avro data", "application/vnd.apache.avro")),
    (8, b"DUCK", NotAModel("a DuckDB database", "application/vnd.duckdb.file")),
    (0, b"\n\r\r\n\x1c\0\0\0M<+\x1a", NotAModel("a network capture (pcapng)", OCTETS)),
    (0, b"# v2 git bundle\n", NotAModel("a Git bundle", "application/x-git")),
    (0, b"# v3 git bundle\n", NotAModel("a Git bundle", "application/x-git")),
    (0, b"dex\n0", NotAModel("Dalvik bytecode of an Android app", "application/vnd.android.dex")),
    (0, b"PACK\0\0\0\2", NotAModel("a Git pack", "application/x-git")),
    (0, b"\x1bLua", NotAModel("Lua bytecode", "application/x-lua-bytecode")),
    (0, b"<?php", NotAModel("a PHP script", "text/x-php")),
)
_PICKLES = "application/x-pickle"
_XML = "application/xml"
_JSON = "application/json"
_MAX_SAFETENSORS_HEADER = 100_000_000
_TF_CHECKPOINT = re.compile(r"\.(?:data-\d{5}-of-\d{5}|index)$")
_TEXTUAL = re.compile(r"text/(?!html)|application/(?:json|x-ndjson|xml)$")


def recognise(head: bytes, name: str, *, whole: bool) -> Recognised:
    """By the first bytes, and where those leave a choice by the name too; None if unknown.

    Args:
        head: the first :data:`HEAD` bytes, or fewer; the end of them may be cut anywhere.
        name: of the file or member; what comes before the last slash does not matter.
        whole: whether the head is all there is; one of less than :data:`HEAD` bytes always is.
    """
    name = name.rsplit("/", 1)[-1]
    whole = whole or len(head) < HEAD
    if not head:
        return _empty(name)
    # A pickle may hold the magic of another format where that is looked for, so it comes first.
    if pickle := recognise_pickle(head):
        if pickle == "pickle" and name.lower().endswith("joblib"):
            pickle = "joblib"
        return Known(pickle, _PICKLES)
    if hidden := _hdf5_behind(head):
        return hidden
    text = b"\0" not in head[:64]
    for offset, magic, known in _MAGIC:
        if head.startswith(magic, offset) and not (text and magic.isalnum()):
            return known
    known = _container(head) or _model(head, name) or _by_libmagic(head, name, whole=whole)
    if known is None and not whole and naming.is_unpickled(name) and goes_beyond(head):
        # Its first value may be longer than the head: unpicklers do not ask how it begins.
        return Known("pickle", _PICKLES)
    return known


def _empty(name: str) -> Recognised:
    if naming.promises_a_model(name):
        return NotAModel("empty", "application/x-empty")
    return Known(None, naming.of_text("text/plain", name))


def _hdf5_behind(head: bytes) -> Recognised:
    """HDF5 may begin at 512, 1024, 2048 ... (HDF5 file format, III.A). What is something else at
    its beginning and HDF5 further on depends on who opens it; in archives such a file may lie."""
    if head.startswith(b"PK") or _is_tar(head):
        return None
    for place in (512 << power for power in range(7)):
        if head.startswith(_HDF5, place):
            if not any(head[:place]):
                return Known("hdf5", "application/x-hdf5")
            return NotAModel("HDF5 data hidden behind something else", "application/x-hdf5")
    return None


# --- containers ---------------------------------------------------------------------------------


# Two or three bytes begin many a file: what follows them must decompress.
_COMPRESSIONS: tuple[tuple[bytes, str, str], ...] = (
    (b"BZh", "bz2", "application/x-bzip2"),
    (b"]\0\0", "lzma", "application/x-lzma"),
    *((b"x" + level, "zlib", "application/zlib") for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")),
)


def _container(head: bytes) -> Recognised:
    if _is_tar(head):
        return Known("tar", "application/x-tar")
    for magic, method, media_type in _COMPRESSIONS:
        if head.startswith(magic) and _unpacks(head, method):
            return Known(method, media_type)
    return None


def _is_tar(head: bytes) -> bool:
    """A header of 512 bytes, with "ustar" or at least with a checksum of itself."""
    if len(head) < 512 or not head[0]:
        return False
    field = head[148:156].strip(b"\0 ")
    if not field or any(digit not in b"01234567" for digit in field):
        return False
    return sum(head[:148]) + sum(head[156:512]) + 8 * 32 == int(field, 8)


def _unpacks(head: bytes, method: str) -> bool:
    try:
        return bool(DECOMPRESSORS[method]().decompress(head, 4096)) or len(head) == HEAD
    except BROKEN:
        return False


# --- models -------------------------------------------------------------------------------------


def _model(head: bytes, name: str) -> Recognised:
    return (
        _safetensors(head, name)
        or _gguf(head)
        or _xgboost(head)
        or _markup(head, name)
        or _protobuf(head, name)
        or _msgpack(head, name)
        or _tf_checkpoint(head, name)
        or _tfrecord(head)
    )


def _safetensors(head: bytes, name: str) -> Recognised:
    known = Known("safetensors", "application/x-safetensors")
    if head[8:9] == b"{" and name.lower().endswith(".safetensors"):
        return known
    if len(head) < 10 or head[8:9] != b"{" or head[9:10] not in {b'"', b"}", b" ", b"\n"}:
        return None
    length = int.from_bytes(head[:8], "little")
    if 2 <= length <= _MAX_SAFETENSORS_HEADER and b"\0" not in head[8 : 8 + min(length, 256)]:
        return known
    return None


def _gguf(head: bytes) -> Recognised:
    if not head.startswith(b"GGUF") or len(head) < 8:
        return None
    version = min(*struct.unpack_from("<I", head, 4), *struct.unpack_from(">I", head, 4))
    return Known("gguf", "application/x-gguf") if 1 <= version < 100 else None


_UBJ_KEY = re.compile(rb"\{(?:[iU].|I..|l.{4}|L.{8})(?:learner|version|Model|Config)", re.DOTALL)
_XGBOOST_PARAMETERS = 136
_XGBOOST_NAME = re.compile(rb"[a-z0-9]+:[a-z0-9_]+")


def _xgboost(head: bytes) -> Recognised:
    """UBJSON, or the old binary form, which begins with 136 bytes of numbers and two names."""
    if _UBJ_KEY.match(head):
        return Known("xgboost-ubj", "application/ubjson")
    at = _XGBOOST_PARAMETERS + 8
    length = int.from_bytes(head[at - 8 : at], "little")
    if not 4 <= length <= 64 or not _XGBOOST_NAME.fullmatch(head, at, at + length):
        return None
    booster = head[at + length + 8 :]
    if booster.startswith((b"gbtree", b"gblinear", b"dart")):
        return Known("xgboost-binary", "application/x-xgboost")
    return None


def _markup(head: bytes, name: str) -> Recognised:
    start = _as_utf8(head[:16_384]).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        return _json(head)
    if not start.startswith(b"<"):
        return None
    # A long comment may come first; a page under this name is still a page.
    if b"<PMML" in start or (name.lower().endswith(".pmml") and not naming.is_page(start)):
        return Known("pmml", _XML)
    if re.search(rb"<net\s[^<>]*name=", start) and b"<layers" in start:
        return Known("openvino-ir", _XML)
    return None


def _as_utf8(start: bytes) -> bytes:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return start[: len(start) & ~1].decode("utf-16", "replace").encode("utf-8", "replace")
    return start


_JSON_MARKS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("xgboost-json", re.compile(rb'\{\s*"learner"\s*:\s*\{')),
    ("xgboost-json", re.compile(rb'\{\s*"version"\s*:\s*\[[\d,\s]{1,40}\]\s*,\s*"learner"')),
    ("xgboost-json", re.compile(rb'\{\s*"(?:Model|Config)"\s*:\s*\{\s*"learner"\s*:\s*\{')),
    ("lightgbm-json", re.compile(rb'\{\s*"name"\s*:\s*"tree"\s*,\s*"version"\s*:\s*"v')),
    ("catboost-json", re.compile(rb'\{\s*"(?:ctr_data|features_info|model_info)"\s*:\s*\{')),
)


def _json(head: bytes) -> Recognised:
    """By the first key, which is always the same; the checkers look for the others."""
    text = head[:16_384].lstrip(b"\xef\xbb\xbf \t\r\n")
    found = (name for name, mark in _JSON_MARKS if mark.match(text))
    return next((Known(name, _JSON) for name in found), None)


def _protobuf(head: bytes, name: str) -> Recognised:
    fields = protobuf_kinds.fields(head)
    if not fields:
        return None
    described = protobuf_kinds.is_described(fields)
    core_ml = described and (protobuf_kinds.is_core_ml(fields) or name.endswith(".mlmodel"))
    # A few random bytes in ten thousand pass for these; runtimes want the version, and no
    # vocabulary begins with a piece of kilobytes.
    onnx = protobuf_kinds.is_onnx(fields) and any(field.number == 1 for field in fields)
    pieces = protobuf_kinds.is_sentencepiece(fields) and fields[0].value < 4096
    kinds = (
        (Known("onnx", "application/x-onnx"), onnx),
        (Known(None, OCTETS), pieces),
        (Known(None, OCTETS), protobuf_kinds.is_fingerprint(fields)),
        (Known("keras-metadata", OCTETS), protobuf_kinds.is_keras_metadata(fields)),
        (Known("tf-graphdef", "application/x-tensorflow"), protobuf_kinds.is_graph_def(fields)),
        (Known("coreml", "application/x-coreml"), core_ml),
        (
            Known("tf-savedmodel-pb", "application/x-tensorflow"),
            protobuf_kinds.is_saved_model(fields),
        ),
    )
    return next((known for known, fits in kinds if fits), None)


def _msgpack(head: bytes, name: str) -> Recognised:
    """A map whose first key is a short text: what flax writes."""
    if len(head) < 4 or not 0x81 <= head[0] <= 0x8F or not 0xA1 <= head[1] <= 0xBF:
        return None
    key = head[2 : 2 + (head[1] & 0x1F)]
    if key == b"params" or (name.endswith(".msgpack") and key.isascii()):
        return Known("flax-msgpack", "application/vnd.msgpack")
    return None


def _tf_checkpoint(head: bytes, name: str) -> Recognised:
    """Raw tensors and their index, which nothing but their names tells apart from any bytes."""
    if _TF_CHECKPOINT.search(name) and b"\0" in head:
        return Known("tf-checkpoint", OCTETS)
    return None


def _tfrecord(head: bytes) -> Recognised:
    """A length with its masked CRC-32C: https://www.tensorflow.org/tutorials/load_data/tfrecord."""
    if len(head) < 16 or any(head[5:8]):
        return None
    crc = 0xFFFFFFFF
    for byte in head[:8]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    if masked != int.from_bytes(head[8:12], "little"):
        return None
    return NotAModel("a data set of TensorFlow records", "application/x-tfrecord")


# --- companions, and what is no model -----------------------------------------------------------


def _by_libmagic(head: bytes, name: str, *, whole: bool) -> Recognised:
    media_type = libmagic.media_type(head)
    if sound := _mpeg_audio(head):
        return sound
    text = naming.is_text(head, media_type, whole=whole)
    if naming.refuses(media_type, head, name):
        return NotAModel(naming.for_people(libmagic.describe(head), media_type), media_type)
    if text and naming.is_binary(name):
        return NotAModel(naming.of_misnamed_text(head), "text/plain")
    if text and (whole or naming.is_textual(name) or _in_lines(head)):
        plain = media_type if _TEXTUAL.match(media_type) else "text/plain"
        return Known(None, naming.of_text(plain, name))
    return None


_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def _in_lines(head: bytes) -> bool:
    """Whether it is text as people write it. An unpickler would take a line or a length that goes
    beyond the head for one value, and go on behind it."""
    return b"\n" in head[HEAD // 2 :] and not _CONTROL.search(head)


# ISO 11172-3: kbit/s of layer III in version 1 and in versions 2 and 2.5; Hz in version 1.
_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_RATES = (44_100, 48_000, 32_000, 0)


def _mpeg_audio(head: bytes) -> NotAModel | None:
    """MP3 without a tag: three frames in a row, each as long as its header says."""
    at = 0
    for _ in range(3):
        header = head[at : at + 4]
        if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
            return None
        version = header[1] >> 3 & 3
        newer = version == 3
        bitrate = _BITRATES[0 if newer else 1][header[2] >> 4]
        rate = _RATES[header[2] >> 2 & 3] >> (0 if newer else 1 if version == 2 else 2)
        if version == 1 or not bitrate or not rate:
            return None
        at += (144_000 if newer else 72_000) * bitrate // rate + (header[2] >> 1 & 1)
    return NotAModel("an MP3 sound recording", "audio/mpeg")
