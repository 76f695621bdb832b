"""The examples in the OpenAPI document are what the service answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from domain.values import Digest, FilePath
from domain.version import FileEntry, Manifest
from entrypoints.http.examples import ALIAS, FILE, MANIFEST, MODEL, MOVE, VERSION
from tests.support.tiny_onnx import onnx_model

VARYING = {
    "scanner",
    "ruleset",
    "checked_at",
    "created_at",
    "updated_at",
    "at",
    "sha256",
    "digest",
    "name",
    "model",
}


def assert_like(reply: Any, example: Any) -> None:
    """The same, but for names, times, digests and the releases of what was used."""
    if isinstance(example, dict):
        assert list(reply) == list(example)
        for member in example.keys() - VARYING:
            assert_like(reply[member], example[member])
        for member in example.keys() & VARYING:
            assert type(reply[member]) is type(example[member])
    elif isinstance(example, list):
        assert len(reply) == len(example)
        for one, of_example in zip(reply, example, strict=True):
            assert_like(one, of_example)
    else:
        assert reply == example


Parts = list[tuple[str, tuple[str | None, bytes | str]]]


@pytest.fixture
def ada(client: httpx.Client) -> dict[str, str]:
    return {"X-User": "ada"}


def test_a_publish_as_in_the_examples_is_answered_as_in_the_examples(
    client: httpx.Client, ada: dict[str, str], name: str
) -> None:
    model = {"name": name, "description": MODEL["description"], "tags": MODEL["tags"]}
    assert client.post("/api/v1/models", json=model, headers=ada).status_code == 201
    said = ("description", "parameters", "metrics", "tags", "aliases", "source", "parents")
    parts: Parts = [
        ("file", (FILE["path"], onnx_model(FILE["size"]))),
        ("metadata", (None, json.dumps({member: VERSION[member] for member in said}))),
    ]
    url = f"/api/v1/models/{name}"
    assert_like(client.post(f"{url}/versions", files=parts, headers=ada).json(), VERSION)
    assert_like(client.get(f"{url}/versions/1/files").json(), MANIFEST)
    assert_like(client.get(url).json(), MODEL)
    assert_like(client.get(f"{url}/aliases/champion").json(), ALIAS)
    parts = [("file", ("2.onnx", onnx_model()))]
    assert client.post(f"{url}/versions", files=parts, headers=ada).status_code == 201
    client.put(f"{url}/aliases/champion", json={"version": 2}, headers=ada)
    assert_like(client.get(f"{url}/aliases/champion/history").json()["items"][0], MOVE)


def test_the_digest_of_the_example_is_that_of_its_files() -> None:
    files = [
        FileEntry(FilePath(f["path"]), f["size"], Digest(f["sha256"]), f["media_type"])
        for f in VERSION["files"]
    ]
    assert Manifest.of(files).digest == VERSION["digest"] == MANIFEST["digest"]
