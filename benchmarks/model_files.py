"""Large model files, and files that want to grow: the structure is real, the weights are zeros."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

MIB = 1 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def large(folder: Path, size: int) -> Iterator[Path]:
    """Formats whose headers tell all: ``size`` bytes each, half of that for GGUF."""
    yield _safetensors(folder / "model.safetensors", size)
    yield _onnx(folder / "model.onnx", min(size, 1_900 * MIB))
    yield _gguf(folder / "model.gguf", size // 2)


def pickles(folder: Path, size: int) -> Iterator[Path]:
    """The ways in which Python stores an array of so many bytes."""
    import joblib  # noqa: PLC0415 - of the development environment only
    import numpy as np  # noqa: PLC0415

    weights = {"weights": np.zeros(size // 4, np.float32)}
    for protocol in (2, 4):
        path = folder / f"numpy_protocol_{protocol}.pkl"
        with path.open("wb") as file:
            pickle.dump(weights, file, protocol)
        yield path
    joblib.dump(weights, folder / "model.joblib")
    yield folder / "model.joblib"
    rounded = np.random.default_rng(1).integers(0, 50, size // 16).astype(np.float32)
    joblib.dump({"weights": rounded}, folder / "zlib.joblib", compress=3)
    yield folder / "zlib.joblib"
    yield _torch_zip(folder / "model.pt", size)
    yield _torch_legacy(folder / "legacy.pt", size)


def growing(folder: Path, size: int) -> Iterator[Path]:
    """Ten million instructions, and bombs that would be some ``size`` bytes."""
    opcodes = folder / "ten_million_opcodes.pkl"
    opcodes.write_bytes(b"\x80\4" + b"K\x010" * 5_000_000 + b"N.")
    yield opcodes
    lists = folder / "lists_in_lists.pkl"
    lists.write_bytes(b"\x80\4]" + b"q\0h\0h\0\x86q\0" * 1_000_000 + b".")
    yield lists
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    for name, pack in packers.items():
        path = folder / f"zeros.pkl.{name}"
        path.write_bytes(pack(b"\0" * 16 * MIB) * (size // (16 * MIB)))
        yield path
    path = folder / "zeros.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\2}.")
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(size // MIB // 4):
                member.write(b"\0" * MIB)
    yield path
    nested = folder / "zip_of_zips.zip"
    with zipfile.ZipFile(nested, "w", zipfile.ZIP_STORED) as archive:
        for number in range(20):
            archive.write(path, f"{number}.zip")
    yield nested


def _safetensors(path: Path, size: int) -> Path:
    count = 300
    each = (size // count) & ~3
    header = {
        f"model.layers.{n}.weight": {
            "dtype": "F32",
            "shape": [each // 4],
            "data_offsets": [n * each, (n + 1) * each],
        }
        for n in range(count)
    }
    told = json.dumps(header).encode()
    return _sparse(path, struct.pack("<Q", len(told)) + told, count * each)


def _sparse(path: Path, head: bytes, zeros: int) -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + zeros)
    return path


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _onnx(path: Path, size: int) -> Path:
    """One Add of 100 tensors: ModelProto with a graph whose initializers have raw data."""
    count = 100
    each = (size // count) & ~3
    tensors = []
    for number in range(count):
        name = b"w%d" % number
        head = _field(1, each // 4) + _field(2, 1) + _field(8, name) + b"\x4a" + _varint(each)
        tensors.append(b"\x2a" + _varint(len(head) + each) + head)
    node = _field(1, _field(1, b"w0") + _field(1, b"w1") + _field(2, b"y") + _field(4, b"Add"))
    shape = _field(2, _field(1, _field(1, each // 4)))
    output = _field(12, _field(1, b"y") + _field(2, _field(1, _field(1, 1) + shape)))
    rest = node + _field(2, b"graph") + output
    length = sum(len(tensor) + each for tensor in tensors) + len(rest)
    with path.open("wb") as file:
        file.write(_field(1, 8) + _field(8, _field(2, 17)) + b"\x3a" + _varint(length))
        for tensor in tensors:
            file.write(tensor)
            file.seek(each, 1)
        file.write(rest)
    return path


def _gguf(path: Path, size: int, vocabulary: int = 128_256) -> Path:
    """Version 3, with the keys and the vocabulary of a language model, and 291 tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def array(kind: int, items: list[bytes]) -> bytes:
        return struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)

    keys = {
        "general.architecture": struct.pack("<I", 8) + text("llama"),
        "general.name": struct.pack("<I", 8) + text("zeros"),
        "llama.context_length": struct.pack("<II", 4, 8192),
        "tokenizer.ggml.tokens": array(8, [text(f"token{n}") for n in range(vocabulary)]),
        "tokenizer.ggml.token_type": array(5, [struct.pack("<i", 1)] * vocabulary),
        "tokenizer.ggml.merges": array(8, [text(f"to ken{n}") for n in range(280_000)]),
    }
    count = 291
    each = size // count // 4096 * 4096
    tensors = [
        text(f"blk.{n}.weight") + struct.pack("<IQIQ", 1, each // 4, 0, n * each)
        for n in range(count)
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(keys))
    head += b"".join(text(key) + value for key, value in keys.items()) + b"".join(tensors)
    return _sparse(path, head + b"\0" * (-len(head) % 32), count * each)


def _state_dict(elements: int, *, last: bytes) -> bytes:
    """One tensor in an OrderedDict, as torch.save pickles it.

    Args:
        last: what ends the persistent id of its storage, behind the number of elements.
    """
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpu"
    count = b"J" + struct.pack("<i", elements)
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + count + last + b"tQK\0"
    tensor += count + b"\x85K\1\x85\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\2ccollections\nOrderedDict\n)RX\1\0\0\0w" + tensor + b"s."


def _torch_zip(path: Path, size: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _state_dict(size // 4, last=b""))
        archive.writestr("archive/byteorder", b"little")
        with archive.open("archive/data/0", "w") as member:
            for _ in range(size // MIB):
                member.write(b"\0" * MIB)
        archive.writestr("archive/version", b"3\n")
    return path


def _torch_legacy(path: Path, size: int) -> Path:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(part, 2) for part in (_LEGACY_MAGIC, 1001, system)]
    parts += [_state_dict(size // 4, last=b"N"), pickle.dumps(["0"], 2)]
    return _sparse(path, b"".join(parts) + struct.pack("<q", size // 4), size // 4 * 4)
