"""A service with small limits, and one whose disk and rows go wrong."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.conftest import eventually_unstaged, stored
from tests.http.wire import MULTIPART, exchange_all, head, part, problem_of
from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server

pytestmark = pytest.mark.xdist_group("small")
KIB = 1024
MIB = KIB * KIB


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that takes 1 MiB of files and 4 KiB of JSON."""
    folder = tmp_path_factory.mktemp("small")
    with running_server(folder, max_upload_size=MIB, max_metadata_size=4 * KIB) as started:
        yield started


@pytest.fixture
def caller(small: Server) -> Iterator[httpx.Client]:
    with small.client() as opened:
        yield opened


def clean(small: Server) -> bool:
    return not eventually_unstaged(small)


def test_files_together_are_bounded(small: Server, caller: httpx.Client, name: str) -> None:
    half = {f"{n}.safetensors": safetensors((name, n), size=400 * KIB) for n in range(3)}
    before = stored(small)
    problem = problem_of(publish(caller, name, half, create_model=True), 413, "request.too_large")
    assert str(MIB) in problem["detail"]
    assert clean(small)
    assert stored(small) == before
    problem_of(caller.get(f"/api/v1/models/{name}"), 404)
    half.popitem()
    assert publish(caller, name, half, create_model=True).json()["version"] == 1


def test_blobs_together_are_bounded(caller: httpx.Client, name: str) -> None:
    files = []
    for number in range(3):
        content = safetensors((name, "blob", number), size=400 * KIB)
        digest = hashlib.sha256(content).hexdigest()
        assert caller.put(f"/api/v1/blobs/{digest}", content=content).status_code == 201
        files.append({"path": f"{number}.safetensors", "sha256": digest})
    url = f"/api/v1/models/{name}/versions"
    body = {"files": files, "create_model": True}
    problem_of(caller.post(url, json=body), 413, "request.too_large")
    problem_of(caller.get(f"/api/v1/models/{name}"), 404)
    assert caller.post(url, json={**body, "files": files[:2]}).status_code == 201


@pytest.mark.parametrize("announced", [True, False])
def test_a_blob_is_bounded(small: Server, announced: bool) -> None:
    before = stored(small)
    length = f"Content-Length: {100 * MIB}" if announced else "Transfer-Encoding: chunked"
    sent = head("PUT", "/api/v1/blobs/" + "0" * 64, length)
    piece = bytes(MIB) if announced else b"%x\r\n%s\r\n" % (MIB, bytes(MIB))
    reply = exchange_all(small, itertools.chain([sent], itertools.repeat(piece, 100)))
    reply.problem(413, "request.too_large")
    assert reply.sent < 40 * MIB
    assert clean(small)
    assert stored(small) == before


def test_what_surrounds_the_parts_is_bounded(small: Server, name: str) -> None:
    target = f"/api/v1/models/{name}/versions"
    sent = head("POST", target, f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked")
    piece = b"%x\r\n%s\r\n" % (MIB, b"preamble" * (MIB // 8))
    reply = exchange_all(small, itertools.chain([sent], itertools.repeat(piece, 200)))
    reply.problem(413, "request.too_large")
    assert reply.sent < 80 * MIB


def test_json_is_bounded(caller: httpx.Client, name: str) -> None:
    body = {"name": name, "description": "x" * 5 * KIB}
    problem_of(caller.post("/api/v1/models", json=body), 413, "request.too_large")
    parts = {"metadata": (None, '{"description": "%s"}' % ("x" * 5 * KIB))}
    reply = caller.post(f"/api/v1/models/{name}/versions", files=parts)
    problem_of(reply, 413, "request.too_large")


# --- what goes wrong inside ---------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Server]:
    """A service with one version, to be harmed."""
    with running_server(tmp_path) as started:
        with started.client() as opened:
            files = {"m.safetensors": safetensors("m"), "a.txt": b"x"}
            assert publish(opened, "m", files, create_model=True).status_code == 201
        yield started


def test_failures_are_problems_too(broken: Server) -> None:
    """One service for all of them: starting one costs more than the tests."""
    with broken.client() as client:
        _a_lost_blob(broken, client)
        _a_store_that_is_gone(broken, client)
        _a_row_that_nobody_foresaw(broken, client)


def _a_lost_blob(server: Server, client: httpx.Client) -> None:
    digest = client.get("/api/v1/models/m/versions/1").json()["files"][0]["sha256"]
    lost = server.storage / "blobs" / digest[:2] / digest
    content = lost.read_bytes()
    lost.unlink()
    for path in ("files/a.txt", "archive", "archive?format=tar"):
        reply = client.get(f"/api/v1/models/m/versions/1/{path}")
        assert digest in problem_of(reply, 500, "blob.corrupt")["detail"]
    lost.write_bytes(content)
    assert client.get("/api/v1/models/m/versions/1/files/a.txt").content == b"x"


def _a_row_that_nobody_foresaw(server: Server, client: httpx.Client) -> None:
    database = sqlite3.connect(server.database)
    with database:
        database.execute("UPDATE models SET created_at = 'not a time', updated_at = x'00'")
    database.close()
    reply = client.get("/api/v1/models/m", headers={"X-Request-Id": "harmed"})
    problem = problem_of(reply, 500, "server.error")
    assert problem["request_id"] == reply.headers["x-request-id"] == "harmed"
    assert "Traceback" not in reply.text
    assert "sqlite" not in reply.text.lower()
    assert "id=harmed" in server.log
    assert "Traceback" in server.log
    assert 'status="500"' in client.get("/metrics").text


def _a_store_that_is_gone(server: Server, client: httpx.Client) -> None:
    shutil.rmtree(server.storage)
    server.storage.write_text("in the way", encoding="utf-8")
    problem = problem_of(client.get("/health/ready"), 503, "service.not_ready")
    assert "/checks/store" in {error["pointer"] for error in problem["errors"]}
    assert "store" in problem["detail"]
    assert client.get("/health/live").status_code == 200
    digest = hashlib.sha256(b"x").hexdigest()
    reply = client.put(f"/api/v1/blobs/{digest}", content=b"x")
    problem_of(reply, 503, "store.unavailable")


# --- the end of it ------------------------------------------------------------------------------


def test_a_running_upload_is_finished_or_cleanly_refused_at_the_end(tmp_path: Path) -> None:
    content = safetensors("slow", size=3 * MIB)
    body = part('; name="file"; filename="m.safetensors"', content)
    with running_server(tmp_path, graceful_timeout=10) as server:
        with server.client() as client:
            client.post("/api/v1/models", json={"name": "m"})

        def pieces() -> Iterator[bytes]:
            yield body[: 2 * MIB]
            server.process.terminate()
            yield body[2 * MIB :]
            yield b"--b0undary--\r\n"

        with server.client() as client:
            url = "/api/v1/models/m/versions"
            reply = client.post(url, content=pieces(), headers={"Content-Type": MULTIPART})
        assert reply.status_code == 201
        server.process.wait(20)
    with running_server(tmp_path) as server, server.client() as client:
        assert client.get("/api/v1/models/m/versions/1/files/m.safetensors").content == content
