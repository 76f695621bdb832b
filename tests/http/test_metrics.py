"""Metrics: what the service counts of publishes, its store, its locks, its database and upkeep."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from adapters.file_lock import FileLockManager
from entrypoints.http import metrics
from tests.support.aio import Loop
from tests.support.metrics import value
from tests.support.publishing import publish, safetensors
from tests.support.server import ROOT, Server, running_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("metrics")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that waits a moment for locks and collects its garbage all the time."""
    folder = tmp_path_factory.mktemp("metrics")
    with running_server(folder, lock_timeout=0.1, gc_interval=1, gc_grace=0) as started:
        yield started


@pytest.fixture(scope="module")
def own(impatient: Server) -> Iterator[httpx.Client]:
    """Its client."""
    with impatient.client() as opened:
        yield opened


@contextmanager
def more(client: httpx.Client, name: str, by: float = 1, **labels: str) -> Iterator[None]:
    """The block makes this metric go up by so much."""
    before = value(client, name, **labels)
    yield
    eventually(lambda: value(client, name, **labels) >= before + by)
    assert value(client, name, **labels) == before + by


def test_the_page_on_operations_tells_of_every_metric() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    told = set(re.findall(r"modelyard_[a-z_]+", text))
    parts = {"counter": ["_total"], "gauge": [""], "histogram": ["", "_bucket", "_count", "_sum"]}
    counted = {
        family.name: {f"{family.name}{part}" for part in parts[family.type]}
        for family in metrics._registry.collect()
    }
    assert told <= set().union(*counted.values())
    assert {name for name, samples in counted.items() if not samples & told} == set()


def test_publishes_are_counted_by_their_end(client: httpx.Client, model: str) -> None:
    content = safetensors(model)
    published = more(client, "publishes_total", outcome="published")
    size = more(client, "published_bytes_total", by=len(content))
    replayed = more(client, "publishes_total", outcome="replayed")
    refused = more(client, "publishes_total", outcome="file.not_a_model")
    told = more(client, "http_problems_total", operation="publish_version", code="file.not_a_model")
    with published, size, replayed, refused, told:
        for status in (201, 200):
            reply = publish(client, model, {"a.safetensors": content}, key=model)
            assert reply.status_code == status
        assert publish(client, model, {"a.exe": b"MZ" + bytes(1000)}).status_code == 415


def test_store_calls_are_counted_by_their_end(
    server: Server, client: httpx.Client, model: str
) -> None:
    name = "store_call_duration_seconds_count"
    content = safetensors(model, 3 << 20)
    files = f"/api/v1/models/{model}/versions/1/files"
    with more(client, name, call="write", outcome="ok"), more(client, name, call="commit"):
        publish(client, model, {"a.safetensors": content}).raise_for_status()
    with more(client, name, call="read", outcome="ok"):
        assert client.get(f"{files}/a.safetensors").content == content
    with (
        more(client, name, call="read"),  # ok, or cancelled while it waited for the disk
        client.stream("GET", f"{files}/a.safetensors") as reply,
    ):
        next(reply.iter_raw(1000))
    assert value(client, "store_call_duration_seconds_sum", call="write") > 0


def test_waits_for_locks_are_counted_by_kind_and_end(impatient: Server, own: httpx.Client) -> None:
    name = "lock_wait_seconds_count"
    own.post("/api/v1/models", json={"name": "locked"}).raise_for_status()
    with more(own, name, kind="publish", outcome="ok"):
        publish(own, "locked", {"a.safetensors": safetensors(1)}).raise_for_status()
    locks = FileLockManager(impatient.storage / "locks")

    async def publish_meanwhile() -> httpx.Response:
        async with locks.hold("publish:locked", timeout=30):
            files = {"a.safetensors": safetensors(2)}
            return await asyncio.to_thread(publish, own, "locked", files)

    with more(own, name, kind="publish", outcome="lock.timeout"):
        assert asyncio.run(publish_meanwhile()).json()["code"] == "lock.timeout"


def test_an_upload_is_in_flight_until_its_last_byte(client: httpx.Client) -> None:
    digest = hashlib.sha256(b"first, last").hexdigest()
    begun, go_on = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield b"first, "
        begun.set()
        assert go_on.wait(60)
        yield b"last"

    with ThreadPoolExecutor(1) as thread:
        put = thread.submit(client.put, f"/api/v1/blobs/{digest}", content=body())
        assert begun.wait(60)
        eventually(lambda: value(client, "http_requests_in_flight", method="PUT") == 1)
        go_on.set()
        assert put.result().status_code == 201
    eventually(lambda: value(client, "http_requests_in_flight", method="PUT") == 0)


def test_transactions_are_counted_by_their_end(client: httpx.Client, name: str) -> None:
    ended = "transaction_duration_seconds_count"
    begun = more(client, "transaction_wait_seconds_count", by=2, outcome="ok")
    kept, dropped = more(client, ended, outcome="commit"), more(client, ended, outcome="rollback")
    with begun, kept, dropped:
        for status in (201, 409):
            assert client.post("/api/v1/models", json={"name": name}).status_code == status


def test_garbage_collections_tell_what_they_removed(own: httpx.Client) -> None:
    files = {"a.safetensors": safetensors("named")}  # else nothing were, which is refused
    publish(own, "named", files, create_model=True).raise_for_status()
    garbage = b"nobody names this"
    digest = hashlib.sha256(garbage).hexdigest()
    before = value(own, "gc_removed_blobs_total"), value(own, "gc_removed_bytes_total")
    own.put(f"/api/v1/blobs/{digest}", content=garbage).raise_for_status()
    eventually(lambda: own.head(f"/api/v1/blobs/{digest}").status_code == 404)
    eventually(lambda: value(own, "gc_removed_blobs_total") > before[0])
    assert value(own, "gc_removed_bytes_total") >= before[1] + len(garbage)
    assert value(own, "gc_runs_total", outcome="ok") >= 1
    assert value(own, "gc_last_success_timestamp_seconds") > 1e9


def test_connections_to_postgresql_are_told(tmp_path: Path, migrated_postgres_url: str) -> None:
    """One that waits for a row is in use; then it is given back."""
    loop = Loop()
    url = migrated_postgres_url
    settings = {"database_url": url, "database_pool_size": 7, "lock_method": "none"}
    with running_server(tmp_path, **settings) as server, server.client() as client:
        eventually(lambda: value(client, "database_connections_max") == 7)
        other = loop.run(asyncpg.connect(url))
        loop.run(other.execute("BEGIN; LOCK TABLE models"))
        with server.client(timeout=60) as waiting, _in_a_thread(waiting) as reply:
            eventually(lambda: value(client, "database_connections_in_use") > 0)
            loop.run(other.execute("ROLLBACK"))
            loop.run(other.close())
            assert reply().status_code == 201
        eventually(lambda: value(client, "database_connections_in_use") == 0)
    loop.close()


@contextmanager
def _in_a_thread(client: httpx.Client) -> Iterator[Callable[[], httpx.Response]]:
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(client.post, "/api/v1/models", json={"name": "waits"})
        yield asked.result
