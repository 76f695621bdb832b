"""Publishing a version over HTTP, in both forms."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.http.wire import problem_of
from tests.support.publishing import publish, safetensors
from tests.support.server import Server

WEIGHTS = safetensors("weights")
FILES = {
    "config.json": b'{"layers": 2}',
    "model.safetensors": WEIGHTS,
    "tokenizer/vocab.txt": b"a\nb\n",
    "README.md": b"# It\n",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def upload(client: httpx.Client, content: bytes) -> str:
    """PUTs a blob and returns its digest."""
    digest = sha256(content)
    assert client.put(f"/api/v1/blobs/{digest}", content=content).status_code in {200, 201}
    return digest


def test_a_publish_answers_with_the_whole_version(client: httpx.Client, model: str) -> None:
    publish(client, model, {"model.safetensors": safetensors("parent")})
    metadata = {
        "description": "First try",
        "parameters": {"depth": 6, "rate": 0.5, "loss": "log", "warm": True, "none": None},
        "metrics": {"auc": 0.91, "count": 3, "tiny": 5e-324},
        "tags": {"stage": "new", "odd key/`": "ö"},
        "aliases": ["champion", "best-yet"],
        "source": "git:4f2a91c",
        "parents": [{"model": model, "version": 1}],
    }
    url = f"/api/v1/models/{model}/versions"
    parts: list[Any] = [("file", (path, content)) for path, content in FILES.items()]
    parts.append(("metadata", (None, json.dumps(metadata).encode())))
    reply = client.post(url, files=parts, headers={"X-User": "ada"})
    assert reply.status_code == 201, reply.text
    assert reply.headers["location"] == f"{url}/2"
    version = reply.json()
    lines = "".join(
        f"{sha256(FILES[path])}  {path}\n" for path in sorted(FILES, key=lambda path: path.encode())
    )
    assert version == {
        "model": model,
        "version": 2,
        **{key: metadata[key] for key in ("description", "parameters", "metrics", "tags")},
        "aliases": ["best-yet", "champion"],
        "files": version["files"],
        "size": sum(map(len, FILES.values())),
        "digest": sha256(lines.encode()),
        "creator": "ada",
        "source": "git:4f2a91c",
        "parents": [{"model": model, "version": 1}],
        "status": "ready",
        "facts": {"dtypes": ["U8"], "parameters": 1000, "tensors": 1},
        "validation": version["validation"],
        "created_at": version["created_at"],
        "updated_at": version["updated_at"],
    }
    assert version["validation"]["verdict"] == "accept"
    assert [file["path"] for file in version["files"]] == sorted(FILES)
    for file in version["files"]:
        content = FILES[file["path"]]
        assert (file["size"], file["sha256"]) == (len(content), sha256(content))
        assert re.fullmatch(r"[a-z]+/[\w.+-]+", file["media_type"])
        assert client.get(f"{url}/2/files/{file['path']}").content == content
    formats = {file["path"]: file["format"] for file in version["files"]}
    assert formats["model.safetensors"] == "safetensors"
    assert formats["README.md"] is None
    again = client.get(f"{url}/2")
    assert again.json() == version
    assert again.headers["etag"] == reply.headers["etag"]


@pytest.mark.parametrize("metadata_first", [True, False])
def test_metadata_may_come_before_or_after_the_files(
    client: httpx.Client, name: str, metadata_first: bool
) -> None:
    files = [("file", ("a.safetensors", WEIGHTS)), ("file", ("b/notes.txt", b"x"))]
    metadata = ("metadata", (None, b'{"create_model": true, "metrics": {"auc": 1}}'))
    parts = [metadata, *files] if metadata_first else [*files, metadata]
    reply = client.post(f"/api/v1/models/{name}/versions", files=parts)
    assert reply.status_code == 201, reply.text
    assert reply.json()["metrics"] == {"auc": 1.0}


def test_no_metadata_is_no_fault(client: httpx.Client, versions: str) -> None:
    reply = client.post(versions, files=[("file", ("m.safetensors", WEIGHTS))])
    assert reply.status_code == 201
    version = reply.json()
    assert (version["parameters"], version["source"], version["parents"]) == ({}, None, [])


def test_a_model_that_is_not_there_is_not_made_unasked(client: httpx.Client, name: str) -> None:
    reply = publish(client, name, {"m.safetensors": WEIGHTS})
    problem_of(reply, 404, "model.not_found")
    problem_of(client.get(f"/api/v1/models/{name}"), 404, "model.not_found")
    created = publish(client, name, {"m.safetensors": WEIGHTS}, create_model=True)
    assert (created.status_code, created.json()["version"]) == (201, 1)
    assert client.get(f"/api/v1/models/{name}").json()["version_count"] == 1


def test_a_version_of_blobs_that_were_uploaded_before(client: httpx.Client, versions: str) -> None:
    files = [{"path": path, "sha256": upload(client, content)} for path, content in FILES.items()]
    reply = client.post(versions, json={"files": files, "tags": {"how": "json"}})
    assert reply.status_code == 201, reply.text
    assert reply.json()["tags"] == {"how": "json"}
    parts = client.post(versions, files=[("file", item) for item in FILES.items()])
    assert parts.json()["digest"] == reply.json()["digest"]
    assert parts.json()["files"] == reply.json()["files"]
    for path, content in FILES.items():
        assert client.get(f"{versions}/latest/files/{path}").content == content


def test_a_blob_that_was_not_uploaded_is_named(client: httpx.Client, untouched: str) -> None:
    url = f"/api/v1/models/{untouched}/versions"
    missing = sha256(b"never uploaded")
    reply = client.post(url, json={"files": [{"path": "m.safetensors", "sha256": missing}]})
    assert missing in problem_of(reply, 422, "blob.not_uploaded")["detail"]


def test_a_parent_that_does_not_exist_is_pointed_at(client: httpx.Client, versions: str) -> None:
    metadata = {"parents": [{"model": "nobody", "version": 1}]}
    parts: list[Any] = [
        ("file", ("m.safetensors", WEIGHTS)),
        ("metadata", (None, json.dumps(metadata))),
    ]
    problem = problem_of(client.post(versions, files=parts), 422, "version.parent_not_found")
    assert problem["errors"][0]["pointer"] == "/parents/0"
    assert client.get(versions).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "content", "found"),
    [
        ("cat.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + bytes(100), "JPEG"),
        ("model.onnx", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(100), "PNG"),
        ("paper.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(100), "PDF"),
        ("page.txt", b"<!DOCTYPE html><html><body>hello</body></html>", "HTML"),
        ("run.safetensors", b"#!/bin/sh\nexec true\n", "script"),
    ],
)
def test_what_is_not_a_model_is_refused_by_name(
    client: httpx.Client, untouched: str, path: str, content: bytes, found: str
) -> None:
    problem = problem_of(publish(client, untouched, {path: content}), 415, "file.not_a_model")
    assert path in problem["detail"]
    assert found in problem["detail"]
    assert problem["errors"][0]["pointer"] == f"/files/{path}"


def test_one_file_that_is_no_model_refuses_all(client: httpx.Client, untouched: str) -> None:
    gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(100)
    reply = publish(client, untouched, {"m.safetensors": safetensors("x"), "assets/a.gif": gif})
    assert problem_of(reply, 415, "file.not_a_model")["errors"][0]["pointer"] == (
        "/files/assets~1a.gif"
    )


# --- idempotency --------------------------------------------------------------------------------


def test_a_repeated_key_gives_the_same_version(client: httpx.Client, model: str) -> None:
    first = publish(client, model, FILES, key=f"{model}-1", tags={"a": "1", "b": "2"})
    assert first.status_code == 201
    again = publish(
        client, model, dict(reversed(FILES.items())), key=f"{model}-1", tags={"b": "2", "a": "1"}
    )
    assert again.status_code == 200, again.text
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    other = publish(client, model, FILES, key=f"{model}-2", tags={"a": "1", "b": "2"})
    assert (other.status_code, other.json()["version"]) == (201, 2)
    assert publish(client, model, FILES).json()["version"] == 3


def test_a_key_is_good_for_one_request(client: httpx.Client, model: str) -> None:
    publish(client, model, FILES, key=model)
    for reply in (
        publish(client, model, FILES, key=model, description="another"),
        publish(client, model, {**FILES, "more.txt": b"x"}, key=model),
        publish(client, f"{model}2", FILES, key=model, create_model=True),
    ):
        problem_of(reply, 409, "idempotency.conflict")
    assert client.get(f"/api/v1/models/{model}").json()["latest_version"] == 1
    problem_of(client.get(f"/api/v1/models/{model}2"), 404)


def test_a_key_belongs_to_its_user(client: httpx.Client, versions: str) -> None:
    parts = [("file", ("m.safetensors", WEIGHTS))]
    for number, user in enumerate(("ada", "bob"), start=1):
        headers = {"X-User": user, "Idempotency-Key": versions}
        reply = client.post(versions, files=parts, headers=headers)
        assert (reply.status_code, reply.json()["version"]) == (201, number)


def test_a_refused_request_does_not_use_up_its_key(client: httpx.Client, model: str) -> None:
    publish(client, model, {"cat.gif": b"GIF89a" + bytes(100)}, key=model)
    assert publish(client, model, FILES, key=model).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "a\tb", "ü".encode()])
def test_a_key_that_is_not_visible_is_refused(
    client: httpx.Client, versions: str, key: str | bytes
) -> None:
    headers = [(b"Idempotency-Key", key.encode() if isinstance(key, str) else key)]
    reply = client.post(versions, files=[("file", ("m.safetensors", WEIGHTS))], headers=headers)
    problem_of(reply, 422, "request.invalid")


def test_many_with_one_key_at_once_make_one_version(server: Server, model: str) -> None:
    barrier = threading.Barrier(8)

    def one(_: int) -> httpx.Response:
        with server.client() as client:
            barrier.wait()
            return publish(client, model, FILES, key=model, aliases=["champion"])

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(one, range(8)))
    assert sorted(reply.status_code for reply in replies) == [200] * 7 + [201]
    assert {reply.json()["version"] for reply in replies} == {1}
    with server.client() as client:
        assert len(client.get(f"/api/v1/models/{model}/versions").json()["items"]) == 1
        history = client.get(f"/api/v1/models/{model}/aliases/champion/history").json()
        assert len(history["items"]) == 1


def test_many_at_once_get_dense_numbers(server: Server, model: str) -> None:
    def one(number: int) -> int:
        with server.client() as client:
            reply = publish(client, model, {"m.safetensors": safetensors(number)})
            assert reply.status_code == 201, reply.text
            return int(reply.json()["version"])

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(one, range(24))) == list(range(1, 25))
