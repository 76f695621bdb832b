"""Blobs over HTTP: uploaded ahead, asked for, wrong."""

from __future__ import annotations

import hashlib
import os
import random

import httpx
import pytest

from tests.http.conftest import eventually_unstaged, stored
from tests.http.wire import connect, exchange, head, problem_of
from tests.support.server import Server


def content(seed: str, size: int = 5000) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_blob_is_stored_once(client: httpx.Client, name: str) -> None:
    data = content(name)
    url = f"/api/v1/blobs/{sha256(data)}"
    problem_of(client.get(url), 405)
    assert client.head(url).status_code == 404
    for status in (201, 200):
        reply = client.put(url, content=data)
        assert reply.status_code == status
        assert reply.json() == {"sha256": sha256(data), "size": len(data)}
    reply = client.head(url)
    assert (reply.status_code, reply.headers["content-length"]) == (200, str(len(data)))


def test_a_blob_that_was_cut_is_mended_by_another_upload(
    server: Server, client: httpx.Client, name: str
) -> None:
    data = content(name)
    url = f"/api/v1/blobs/{sha256(data)}"
    assert client.put(url, content=data).status_code == 201
    path = server.storage / "blobs" / sha256(data)[:2] / sha256(data)
    path.chmod(0o644)
    os.truncate(path, 100)
    reply = client.put(url, content=data)
    assert (reply.status_code, reply.json()["size"]) == (201, len(data))
    assert path.read_bytes() == data
    assert client.put(url, content=data).status_code == 200


def test_an_empty_blob(client: httpx.Client) -> None:
    url = f"/api/v1/blobs/{sha256(b'')}"
    assert client.put(url, content=b"").json() == {"sha256": sha256(b""), "size": 0}
    assert client.head(url).headers["content-length"] == "0"


def test_a_blob_in_chunks_of_unknown_number(client: httpx.Client, name: str) -> None:
    data = content(name, 3_000_000)
    pieces = (data[start : start + 70_001] for start in range(0, len(data), 70_001))
    reply = client.put(f"/api/v1/blobs/{sha256(data)}", content=pieces)
    assert (reply.status_code, reply.json()["size"]) == (201, len(data))


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_other_bytes_than_promised_are_not_kept(
    server: Server, client: httpx.Client, name: str, size: int
) -> None:
    before = stored(server)
    promised = sha256(name.encode())
    reply = client.put(f"/api/v1/blobs/{promised}", content=content(name, size))
    problem = problem_of(reply, 422, "blob.digest_mismatch")
    assert promised in problem["detail"]
    assert client.head(f"/api/v1/blobs/{promised}").status_code == 404
    assert eventually_unstaged(server) == []
    assert stored(server) == before


@pytest.mark.parametrize(
    "digest",
    [
        *("x", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "٣" * 64, "%00" * 64, "sha256:" + "0" * 64),
        "..%2f" + "0" * 59,
    ],
)
def test_a_digest_that_is_none(client: httpx.Client, digest: str) -> None:
    reply = client.put(f"/api/v1/blobs/{digest}", content=b"x")
    assert reply.status_code in {404, 422}
    problem_of(reply)
    assert client.head(f"/api/v1/blobs/{digest}").status_code in {404, 422}


def test_the_length_is_not_believed_beyond_the_body(server: Server, name: str) -> None:
    data = content(name)
    target = f"/api/v1/blobs/{sha256(data)}"
    sent = head("PUT", target, f"Content-Length: {len(data) - 1}") + data
    exchange(server, sent).problem(422, "blob.digest_mismatch")
    assert eventually_unstaged(server) == []


@pytest.mark.parametrize("after", [0, 1000, 2_500_000])
def test_a_client_that_goes_away_leaves_nothing(
    server: Server, client: httpx.Client, name: str, after: int
) -> None:
    before = stored(server)
    data = content(name, 3_000_000)
    target = f"/api/v1/blobs/{sha256(data)}"
    with connect(server) as connection:
        connection.sendall(head("PUT", target, f"Content-Length: {len(data)}") + data[:after])
    assert eventually_unstaged(server) == []
    assert client.head(target).status_code == 404
    assert stored(server) == before
    assert client.put(target, content=data).status_code == 201
