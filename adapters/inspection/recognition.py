"""How the beginning of a model file looks.

libmagic calls most models "data" and some of them wrongly by name (a pickle of protocol 5 "XENIX
relocatable", a SavedModel "PDP-11 executable"), so these signatures are asked first. They say
what a file is, not whether it is sound or safe.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from adapters.inspection.formats import protobuf
from domain.values import FilePath

OCTETS = "application/octet-stream"
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

_MAGIC: tuple[tuple[int, bytes, Recognised], ...] = (
    (4, b"TFL3", Known("tflite", "application/x-tflite")),
    (4, b"ORTM", Known("onnxruntime-ort", "application/x-onnxruntime")),
    (0, b"\x93NUMPY", Known("npy", "application/x-numpy-data")),
    (0, b"CBM1", Known("catboost-cbm", "application/x-catboost")),
    (0, b"binf", Known("xgboost-binary", "application/x-xgboost")),
    (0, b"\xba\x16O/", Known("fasttext", "application/x-fasttext")),
    (0, b"tree\nversion=v", Known("lightgbm-text", "text/plain")),
    (0, b"(\xb5/\xfd", Known("zstd", "application/zstd")),
    (0, b"ID3\x02", NotAModel("an MP3 sound recording", "audio/mpeg")),
    (0, b"ID3\x03", NotAModel("an MP3 sound recording", "audio/mpeg")),
    (0, b"ID3\x04", NotAModel("an MP3 sound recording", "audio/mpeg")),
    (0, b"OggS\0", NotAModel("an Ogg sound recording or video", "application/ogg")),
    (
        0,
        b"MSCF\0\0\0\0",
        NotAModel("a Microsoft Cabinet archive", "application/vnd.ms-cab-compressed"),
    ),
    (0, b"%!PS-Adobe", NotAModel("a PostScript document", "application/postscript")),
    (0, b"PAR1", NotAModel("Apache Parquet data", "application/vnd.apache.parquet")),
    (0, b"ARROW1", NotAModel("Apache Arrow data", "application/vnd.apache.arrow.file")),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        NotAModel("a Git LFS pointer to a file that was never fetched", "text/plain"),
    ),
    (
        0,
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        Known("pytorch-legacy", "application/x-pickle"),
    ),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_SAFETENSORS_HEADER = 100_000_000

# The opcodes that a pickle written by a pickler begins with, after PROTO and FRAME.
_FIRST_OPCODES = frozenset(
    b"(])}cXKMJGNUTqCBIFLSVPQ\x82\x83\x84\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96"
)
_OLD_PICKLE = re.compile(
    rb"""
      \(? [ci] (?:[A-Za-z_]\w*\.)* [A-Za-z_]\w* \n [A-Za-z_][\w.]* \n   # GLOBAL, INST
    | \( [dlt] p [0-9]+ \n                                              # an empty container
    | [\]})] q \x00                                                     # in protocol 1
    """,
    re.VERBOSE,
)
_TF_CHECKPOINT = re.compile(r"\.(?:data-\d{5}-of-\d{5}|index)$")


def recognise(head: bytes, path: FilePath, *, whole: bool = False) -> Recognised:
    """By the first bytes, and where those leave a choice by the name too; None if unknown."""
    for offset, magic, known in _MAGIC:
        if head.startswith(magic, offset):
            return known
    return (
        _hdf5(head)
        or _safetensors(head)
        or _gguf(head)
        or _pickle(head, path)
        or _xgboost_ubj(head)
        or _markup(head)
        or _protobuf(head, path)
        or _msgpack(head, path)
        or _tf_checkpoint(head, path)
    )


def _hdf5(head: bytes) -> Recognised:
    if not head.startswith(_HDF5):
        return None
    keras = b"model_config" in head or b"keras_version" in head
    return Known("keras-h5" if keras else "hdf5", "application/x-hdf5")


def _safetensors(head: bytes) -> Recognised:
    if len(head) < 10 or head[8:9] != b"{" or head[9:10] not in {b'"', b"}", b" ", b"\n"}:
        return None
    length = int.from_bytes(head[:8], "little")
    if 2 <= length <= _MAX_SAFETENSORS_HEADER and b"\0" not in head[8 : 8 + min(length, 256)]:
        return Known("safetensors", "application/x-safetensors")
    return None


def _gguf(head: bytes) -> Recognised:
    if not head.startswith(b"GGUF") or len(head) < 8:
        return None
    version = min(*struct.unpack_from("<I", head, 4), *struct.unpack_from(">I", head, 4))
    return Known("gguf", "application/x-gguf") if 1 <= version < 100 else None


def _pickle(head: bytes, path: FilePath) -> Recognised:
    if not (_new_pickle(head) or _OLD_PICKLE.match(head)):
        return None
    joblib = b"NumpyArrayWrapper" in head or path.name.lower().endswith("joblib")
    return Known("joblib" if joblib else "pickle", "application/x-pickle")


def _new_pickle(head: bytes) -> bool:
    if len(head) < 3 or head[0] != 0x80 or not 2 <= head[1] <= 5 or head[2] not in _FIRST_OPCODES:
        return False
    if head[2] == 0x95:
        return head[1] >= 4 and int.from_bytes(head[3:11], "little") < 1 << 48
    return True


def _xgboost_ubj(head: bytes) -> Recognised:
    if head.startswith(b"{L") and b"learner" in head[:256]:
        return Known("xgboost-ubj", "application/ubjson")
    return None


def _markup(head: bytes) -> Recognised:
    start = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        return _json(head)
    if start.startswith(b"<") and b"<PMML" in start:
        return Known("pmml", "application/xml")
    if start.startswith(b"<") and re.search(rb"<net\s[^<>]*name=", start) and b"<layers" in start:
        return Known("openvino-ir", "application/xml")
    return None


def _json(head: bytes) -> Recognised:
    for name, marks in (
        ("xgboost-json", (b'"learner"', b'"learner_model_param"')),
        ("xgboost-json", (b'"learner"', b'"gradient_booster"')),
        ("xgboost-json", (b'{"learner":{"attributes"',)),
        ("catboost-json", (b'"features_info"', b'"float_features"')),
        ("catboost-json", (b'"features_info"', b'"categorical_features"')),
        ("lightgbm-json", (b'"num_tree_per_iteration"', b'"max_feature_idx"')),
    ):
        if all(mark in head for mark in marks):
            return Known(name, "application/json")
    return None


def _protobuf(head: bytes, path: FilePath) -> Recognised:
    fields = protobuf.fields(head)
    if not fields:
        return None
    described = protobuf.is_described(fields)
    core_ml = described and (protobuf.is_core_ml(fields) or path.name.endswith(".mlmodel"))
    saved_model = described and (path.name.endswith(".pb") or b"serving_default" in head)
    kinds = (
        (Known("onnx", "application/x-onnx"), protobuf.is_onnx(fields)),
        (Known(None, OCTETS), protobuf.is_sentencepiece(fields)),
        (Known("tf-graphdef", "application/x-tensorflow"), protobuf.is_graph_def(fields)),
        (Known("coreml", "application/x-coreml"), core_ml),
        (Known("tf-savedmodel-pb", "application/x-tensorflow"), saved_model),
    )
    return next((known for known, fits in kinds if fits), None)


def _msgpack(head: bytes, path: FilePath) -> Recognised:
    """A map whose first key is a short text: what flax writes."""
    if len(head) < 4 or not 0x81 <= head[0] <= 0x8F or not 0xA1 <= head[1] <= 0xBF:
        return None
    key = head[2 : 2 + (head[1] & 0x1F)]
    if key == b"params" or (path.name.endswith(".msgpack") and key.isascii()):
        return Known("flax-msgpack", "application/vnd.msgpack")
    return None


def _tf_checkpoint(head: bytes, path: FilePath) -> Recognised:
    """Raw tensors and their index, which nothing but their names tells apart from any bytes."""
    if _TF_CHECKPOINT.search(path.name) and b"\0" in head:
        return Known("tf-checkpoint", OCTETS)
    return None
