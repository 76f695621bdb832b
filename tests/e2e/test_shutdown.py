"""SIGTERM: what runs is finished or cleanly refused, in time, and nothing is left half done."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.soundness import assert_sound, assert_tidy, collect, look
from tests.support.waiting import eventually

MIB = 1 << 20
KILLED_BY_SIGTERM = -15
"""What the process ends with when it has shut down and then takes the signal as its own end."""


class Pace:
    """Bytes that come in pieces: some at once, the rest when told to go on."""

    def __init__(self, content: bytes, first: int) -> None:
        self._content = content
        self._first = first
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield self._content[: self._first]
        self.begun.set()
        assert self.go_on.wait(60)
        rest = self._content[self._first :]
        for start in range(0, len(rest), MIB):
            yield rest[start : start + MIB]
            time.sleep(0.05)


def multipart(content: bytes) -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://service", files={"file": ("m.safetensors", content)})
    return request.read(), request.headers["content-type"]


def accepts(server: Server) -> bool:
    """Whether a new client gets an answer."""
    try:
        with socket.create_connection((server.host, server.port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(1000) != b""
    except TimeoutError:
        raise AssertionError("a new connection is neither served nor refused") from None
    except OSError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_running_transfers_are_finished(tmp_path: Path, workers: int) -> None:
    small, large = safetensors("small"), safetensors("large", 24 * MIB)
    body, kind = multipart(safetensors("paced", 6 * MIB))
    with running_server(tmp_path, workers=workers, graceful_timeout=20) as server:
        with server.client() as client:
            publish(client, "m", {"small": small, "large": large}, create_model=True)
            first = client.get("/api/v1/models/m/versions/1").json()
            pace = Pace(body, 2 * MIB)

            def upload() -> httpx.Response:
                headers = {"content-type": kind, "content-length": str(len(body))}
                url = f"{server.api}/models/m/versions"
                return httpx.post(url, content=iter(pace), headers=headers, trust_env=False)

            with ThreadPoolExecutor(1) as thread:
                uploading = thread.submit(upload)
                assert pace.begun.wait(30)
                eventually(lambda: server.staged != [])
                url = "/api/v1/models/m/versions/1/files/large"
                with client.stream("GET", url) as download:
                    chunks = download.iter_raw(MIB)
                    received = [next(chunks)]
                    server.process.terminate()
                    eventually(lambda: not accepts(server))
                    assert server.process.poll() is None
                    pace.go_on.set()
                    received += chunks
                assert b"".join(received) == large
                reply = uploading.result()
            assert reply.status_code == 201, reply.text
            assert reply.json()["version"] == 2
        assert server.process.wait(20) in {0, KILLED_BY_SIGTERM}
        assert server.staged == []
        assert "Traceback" not in server.log
    sight = look(tmp_path)
    assert_tidy(sight)
    assert sight.numbers("m") == [1, 2]
    with running_server(tmp_path, workers=workers) as server, server.client() as client:
        assert client.get("/api/v1/models/m/versions/1").json() == first
        assert client.get("/api/v1/models/m/versions/1/files/large").content == large
        assert client.get("/api/v1/models/m/versions/latest").json() == reply.json()


@pytest.mark.parametrize("workers", [1, 2])
def test_transfers_that_are_stuck_do_not_hold_it_up(tmp_path: Path, workers: int) -> None:
    large = safetensors("large", 24 * MIB)
    body, kind = multipart(safetensors("stuck", 6 * MIB))
    with running_server(tmp_path, workers=workers, graceful_timeout=1) as server:
        with server.client() as client:
            publish(client, "m", {"large": large}, create_model=True).raise_for_status()
        stuck = http.client.HTTPConnection(server.host, server.port, timeout=30)
        stuck.putrequest("POST", "/api/v1/models/m/versions")
        stuck.putheader("Content-Type", kind)
        stuck.putheader("Content-Length", str(len(body)))
        stuck.endheaders(body[: 3 * MIB])
        reading = http.client.HTTPConnection(server.host, server.port, timeout=30)
        reading.request("GET", "/api/v1/models/m/versions/1/files/large")
        download = reading.getresponse()
        assert len(download.read(1000)) == 1000
        eventually(lambda: server.staged != [])
        assert server.stop(timeout=15) in {0, KILLED_BY_SIGTERM}
        assert_refused(stuck)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            download.read()
        stuck.close()
        reading.close()
        assert server.staged == []
        assert "Traceback" not in server.log
    sight = look(tmp_path)
    assert_sound(sight)
    assert sight.numbers("m") == [1]
    collect(tmp_path)
    assert_tidy(look(tmp_path))
    with running_server(tmp_path) as server, server.client() as client:
        assert client.get("/api/v1/models/m/versions/1/files/large").content == large
        reply = publish(client, "m", {"m.safetensors": safetensors("stuck")})
        assert reply.json()["version"] == 2


def assert_refused(connection: http.client.HTTPConnection) -> None:
    """Told why, and when to come back."""
    reply = connection.getresponse()
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert json.loads(reply.read())["code"] == "service.not_ready"


def test_idle_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    with running_server(tmp_path, graceful_timeout=20) as server:
        idle = [socket.create_connection((server.host, server.port)) for _ in range(5)]
        with server.client() as client:
            client.get("/health/live").raise_for_status()
            began = time.monotonic()
            assert server.stop(timeout=20) in {0, KILLED_BY_SIGTERM}
            assert time.monotonic() - began < 15
        for connection in idle:
            connection.settimeout(5)
            assert connection.recv(10) == b""
            connection.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    files = {"weights/m.safetensors": safetensors(1), "config.json": b'{"layers": 3}'}
    pages = [
        "/api/v1/models/m",
        "/api/v1/models/m/versions/@champion",
        "/api/v1/models/m/aliases/champion",
        "/api/v1/models/m/aliases/champion/history",
        "/api/v1/versions",
    ]
    with running_server(tmp_path) as server, server.client() as client:
        client.post(
            "/api/v1/models", json={"name": "m", "description": "a", "tags": {"team": "risk"}}
        )
        metadata: dict[str, Any] = {
            "parameters": {"depth": 3},
            "metrics": {"auc": 0.5},
            "tags": {"stage": "test"},
            "description": "*b*",
            "aliases": ["champion"],
        }
        assert publish(client, "m", files, **metadata).status_code == 201
        before = [client.get(page) for page in pages]
        assert server.stop() in {0, KILLED_BY_SIGTERM}
    with running_server(tmp_path) as server, server.client() as client:
        after = [client.get(page) for page in pages]
        for old, new in zip(before, after, strict=True):
            assert old.json() == new.json()
            assert old.headers.get("etag") == new.headers.get("etag")
        for path, content in files.items():
            reply = client.get(f"/api/v1/models/m/versions/@champion/files/{path}")
            assert reply.content == content
            assert reply.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
