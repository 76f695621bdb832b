"""The files that are sent, and how a multipart publish frames them."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.wire import MIB, request_head

BOUNDARY = "modelyard-benchmark-6b1f"
METADATA: Mapping[str, Any] = {
    "description": "A benchmark's version",
    "parameters": {
        "max_depth": 6,
        "learning_rate": 0.05,
        "n_estimators": 400,
        "objective": "binary:logistic",
        "balanced": True,
    },
    "metrics": {"auc": 0.91, "loss": 0.23, "f1": 0.84},
    "tags": {"stage": "production", "team": "team-7", "batch": "batch-0"},
}


def _header(size: int) -> bytes:
    """A safetensors header for one tensor that fills a file of ``size`` bytes."""
    length = 128
    data = size - 8 - length
    entry = {"weight": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}
    return struct.pack("<Q", length) + json.dumps(entry).encode().ljust(length)


def small_file(nonce: bytes, size: int = 4096) -> bytes:
    """A real safetensors file of ``size`` bytes, another for each ``nonce``."""
    head = _header(size)
    data = hashlib.sha256(nonce).digest() * (size // 32)
    return (head + data)[:size]


class BigFile:
    """A safetensors file of ``size`` bytes on disk that is cheaply made into another one."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        head = _header(size)
        self._nonce_at = len(head)
        block = os.urandom(MIB)
        with path.open("wb") as sink:
            sink.write(head)
            for _ in range(size // MIB):
                sink.write(block)
            sink.truncate(size)
        self.sha256 = ""
        self.renew()

    def renew(self) -> None:
        """Change eight bytes, so that no store has seen the file, and hash it."""
        with self.path.open("r+b") as file:
            file.seek(self._nonce_at)
            file.write(os.urandom(8))
        with self.path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()


def publish_frame(
    model: str, length: int, metadata: Mapping[str, Any], filename: str = "model.safetensors"
) -> tuple[bytes, bytes]:
    """What goes before and after a file of ``length`` bytes in a multipart publish."""
    before = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=metadata\r\n"
        f"Content-Type: application/json\r\n\r\n{json.dumps(metadata)}\r\n"
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name=file; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    after = f"\r\n--{BOUNDARY}--\r\n".encode()
    head = request_head(
        "POST",
        f"/api/v1/models/{model}/versions",
        len(before) + length + len(after),
        {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    return head + before, after
