"""A client that publishes: model files to send, and honest patience."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

LONGEST_RETRY_AFTER = 5


def safetensors(seed: object, size: int = 1000) -> bytes:
    """A model file that passes validation; other seeds give other bytes."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"weights": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(repr(seed)).randbytes(size)


def publish(
    client: httpx.Client,
    model: str,
    files: Mapping[str, bytes],
    *,
    key: str | None = None,
    **metadata: Any,
) -> httpx.Response:
    """One multipart publish; ``client`` has the server as its base URL."""
    parts: list[tuple[str, tuple[str | None, bytes]]] = [
        ("file", (path, content)) for path, content in files.items()
    ]
    parts.append(("metadata", (None, json.dumps(metadata).encode())))
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/api/v1/models/{model}/versions", files=parts, headers=headers)


def assert_unavailable(reply: httpx.Response, *codes: str) -> None:
    """An honest 503: a problem document, and when to come back."""
    assert reply.status_code == 503, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert 1 <= int(reply.headers["retry-after"]) <= LONGEST_RETRY_AFTER
    problem = reply.json()
    assert problem["status"] == 503
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert not codes or problem["code"] in codes, problem


def persistently(
    call: Callable[[], httpx.Response], refused: list[str], *, tries: int = 40
) -> httpx.Response:
    """Calls until the answer is no 503, as ``Retry-After`` asks; ``refused`` gets their codes."""
    for _ in range(tries):
        reply = call()
        if reply.status_code != 503:
            return reply
        assert_unavailable(reply)
        refused.append(reply.json()["code"])
        time.sleep(int(reply.headers["retry-after"]))
    raise AssertionError(f"503 after {tries} tries: {refused}")
