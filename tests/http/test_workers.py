"""Two workers behind one address."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server import Server, running_server

pytestmark = pytest.mark.xdist_group("workers")


def workers(server: Server) -> list[int]:
    """Their process ids; multiprocessing's own helper is left out."""
    return [
        pid for pid in server.pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """These answer nothing meanwhile, so that the other does."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def get(server: Server, path: str) -> httpx.Response:
    """On a connection of its own."""
    return httpx.get(f"{server.base_url}{path}", trust_env=False, timeout=30)


def finished(server: Server) -> float:
    """How many times the facts about the service were asked for, as /metrics tells."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(get(server, "/metrics").text)
        for sample in family.samples
        if sample.name == "modelyard_http_requests_total"
        if sample.labels["operation"] == "get_info"
    )


def test_any_worker_tells_the_metrics_of_all(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with running_server(tmp_path, workers=2, tmpdir=temporary) as server:
        one, other = workers(server)
        for asked, stopped in ((3, one), (4, other)):
            with paused(stopped):
                for _ in range(asked):
                    assert get(server, "/api/v1/info").status_code == 200
        _wait_until(lambda: finished(server) == 7)  # a request is counted after its last byte
        for stopped in (one, other):
            with paused(stopped):
                assert finished(server) == 7
        (folder,) = temporary.glob("modelyard-metrics-*")
        assert folder.stat().st_mode & 0o077 == 0
        os.kill(one, signal.SIGKILL)
        _wait_until(lambda: len(workers(server)) == 2 and one not in workers(server))
        _wait_until(lambda: not list(folder.glob(f"gauge_live*_{one}.db")))
        assert finished(server) == 7
        server.stop()
    assert list(temporary.iterdir()) == []


def test_it_opens_as_many_files_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        with running_server(tmp_path) as server:
            limits = Path(f"/proc/{server.pid}/limits").read_text(encoding="ascii")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(hard), str(hard)]


def _wait_until(holds: Callable[[], bool], patience: float = 60) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
