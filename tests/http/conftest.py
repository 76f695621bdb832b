"""One real service for all tests of a process; each test has a model of its own in it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service with its default settings."""
    with running_server(tmp_path_factory.mktemp("http")) as started:
        yield started


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    """Its client."""
    with server.client() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_failures(server: Server) -> Iterator[None]:
    """Whatever a test sends, the service neither fails nor dies."""
    seen = len(server.log)
    yield
    assert server.process.poll() is None, server.log
    log = server.log[seen:]
    assert " ERROR " not in log, log
    assert "Traceback" not in log, log


@pytest.fixture
def name() -> str:
    """A name that no model has."""
    return f"model-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def model(client: httpx.Client, name: str) -> str:
    """A new model, and nothing in it."""
    assert client.post("/api/v1/models", json={"name": name}).status_code == 201
    return name


@pytest.fixture
def versions(model: str) -> str:
    """The path of the versions of a new model."""
    return f"/api/v1/models/{model}/versions"


@pytest.fixture
def untouched(server: Server, client: httpx.Client, model: str) -> Iterator[str]:
    """A new model; after the test nothing may be left behind, and no number be taken."""
    blobs = stored(server)
    yield model
    assert client.get(f"/api/v1/models/{model}/versions").json()["items"] == []
    assert eventually_unstaged(server) == []
    assert stored(server) == blobs
    reply = publish(client, model, {"model.safetensors": safetensors(model)})
    assert reply.status_code == 201, reply.text
    assert reply.json()["version"] == 1


def stored(server: Server) -> set[str]:
    """The blobs in the store."""
    return {path.name for path in (server.storage / "blobs").rglob("*") if path.is_file()}


def eventually_unstaged(server: Server, patience: float = 10) -> list[Path]:
    """Staged files that are still there after some patience."""
    deadline = time.monotonic() + patience
    while (left := server.staged) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
