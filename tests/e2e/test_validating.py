"""The processes that read files, around a real service: under load, and when it dies."""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
import pytest

from entrypoints.container import build_container, migrate
from entrypoints.http.app import create_app
from entrypoints.settings import Settings
from tests.support.corpus import CORPUS
from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
CLIENTS = 48
HELD = (CORPUS / "attacks/main_class.pkl").read_bytes()


def slow_pickle(number: int) -> bytes:
    """One that takes its reader some tenths of a second: it goes by opcode."""
    return pickle.dumps([float(number), *range(60_000)], protocol=4)


def readers(server: Server) -> list[int]:
    """The processes of the service that read files."""
    found = []
    for pid in server.pids:
        with suppress(OSError):
            if b"adapters.inspection.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_many_who_publish_at_once_wait_in_line(tmp_path: Path) -> None:
    settings = {"validation_workers": 2, "validation_timeout": 60}
    with running_server(tmp_path, **settings) as server, server.client(timeout=120) as client:
        publish(client, "m", {"m.safetensors": safetensors(0)}, create_model=True)

        def one(number: int) -> httpx.Response:
            return publish(client, "m", {"m.pkl": slow_pickle(number)})

        with ThreadPoolExecutor(CLIENTS) as threads:
            replies = list(threads.map(one, range(CLIENTS)))
            assert len(readers(server)) == 2
        assert {reply.status_code for reply in replies} == {201}
        numbers = sorted(reply.json()["version"] for reply in replies)
        assert numbers == list(range(2, CLIENTS + 2))


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    settings = {"validation_policy": "standard"}
    if request.param == "postgres":
        settings["database_url"] = request.getfixturevalue("migrated_postgres_url")
    with running_server(tmp_path, **settings) as running:
        yield running


def test_no_alias_points_at_what_is_rejected_at_the_same_time(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(4) as threads:
        publish(client, "m", {"m.pkl": HELD}, create_model=True)
        version, alias = "/api/v1/models/m/versions/1", "/api/v1/models/m/aliases/champion"

        def review(decision: str) -> int:
            body = {"decision": decision, "reason": "It was read."}
            return client.post(f"{version}/review", json=body).status_code

        def point() -> int:
            return client.put(alias, json={"version": 1}).status_code

        outcomes = set()
        for _ in range(20):
            assert review("accept") == 200
            tasks = [threads.submit(point), threads.submit(review, "reject")]
            outcomes.add(outcome := tuple(task.result() for task in tasks))
            found = client.get(version).json()
            assert (found["status"], found["aliases"]) in [
                ("rejected", []),
                ("ready", ["champion"]),
            ]
            assert outcome in {(201, 409), (409, 200)}
            client.delete(alias)
        print(outcomes)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_reader_outlives_a_service_that_is_killed(tmp_path: Path, workers: int) -> None:
    with running_server(tmp_path, workers=workers) as server, server.client() as client:
        publish(client, "m", {"m.safetensors": safetensors(0)}, create_model=True)
        eventually(lambda: len(readers(server)) >= workers, lambda: readers(server))
        processes, children = server.pids, readers(server)
        for pid in processes:
            if pid not in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(map(running, children)), lambda: children)


def test_a_reader_that_is_killed_is_replaced_and_its_file_can_be_sent_again(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path, validation_workers=1) as server, server.client() as client:
        publish(client, "m", {"m.safetensors": safetensors(0)}, create_model=True)
        (reader,) = readers(server)
        os.kill(reader, signal.SIGKILL)
        eventually(lambda: not running(reader), lambda: reader)
        assert publish(client, "m", {"m.pkl": slow_pickle(1)}).json()["version"] == 2
        assert reader not in readers(server)
        assert "Traceback" not in server.log


def test_where_no_process_can_be_started_what_is_stored_is_still_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    container = build_container(
        Settings(
            _env_file=None,
            database_url=f"sqlite:///{tmp_path / 'modelyard.db'}",
            model_storage_path=tmp_path / "artifacts",
        )
    )
    migrate.upgrade(container.database())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    app = create_app(container)

    async def ask() -> tuple[int, int, str]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            await client.post("/api/v1/models", json={"name": "m"})
            found = await client.get("/api/v1/models/m")
            files = {"file": ("m.safetensors", io.BytesIO(safetensors(1)))}
            refused = await client.post("/api/v1/models/m/versions", files=files)
            return found.status_code, refused.status_code, refused.json()["code"]

    with caplog.at_level(logging.ERROR, "modelyard.validation"):
        assert anyio.run(ask) == (200, 503, "validation.unavailable")
    assert "Nothing can be published" in caplog.text
