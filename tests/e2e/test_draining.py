"""SIGTERM with DRAIN_SECONDS: load balancers turn away first, so that no request is lost."""

from __future__ import annotations

import operator
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.waiting import eventually

KILLED_BY_SIGTERM = -15
"""What the process ends with when it has shut down and then takes the signal as its own end."""
LONG = 600
"""Seconds of draining: the test ends it with a second signal, when all have turned away."""
CLIENTS = 4


class Balancer:
    """Gives each request to the next replica that says it is ready."""

    def __init__(self, replicas: list[Server]) -> None:
        self._replicas = replicas
        self._ready = list(replicas)
        self._done = [0] * CLIENTS
        self._over = threading.Event()

    def watch(self) -> None:
        """One look at the replicas."""
        ready = []
        for replica in self._replicas:
            reply = httpx.get(f"{replica.base_url}/health/ready", trust_env=False, timeout=30)
            if reply.status_code == 200:
                ready.append(replica)
        self._ready = ready

    def send(self, number: int) -> None:
        """Sends requests, on connections that are kept, until it is over."""
        with ExitStack() as stack:
            clients = {r.pid: stack.enter_context(r.client()) for r in self._replicas}
            turn = number
            while not self._over.is_set():
                turn += 1
                client = clients[self._ready[turn % len(self._ready)].pid]
                if turn % 2:
                    files = {"m.safetensors": safetensors(turn)}
                    assert publish(client, f"m{number}", files).status_code == 201
                else:
                    found = client.get(f"/api/v1/models/m{number}/versions/latest")
                    assert found.status_code == 200
                self._done[number] += 1

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """All the clients, during the block; an error of any of them is raised at its end."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            sending = [threads.submit(self.send, number) for number in range(CLIENTS)]
            try:
                yield
            finally:
                self._over.set()
            for task in sending:
                task.result()

    def more(self, requests: int) -> None:
        """Waits until each client has been answered so often again, as it should."""
        wanted = [done + requests for done in self._done]
        eventually(lambda: all(map(operator.ge, self._done, wanted)))


@contextmanager
def slow_upload(server: Server) -> Iterator[Future[httpx.Response]]:
    """A publish whose last byte is sent at the end of the block; it is answered after it."""
    go_on = threading.Event()
    whole = httpx.Request("POST", server.api, files={"file": ("slow", safetensors("slow"))})
    content = whole.read()

    def body() -> Iterator[bytes]:
        yield content[:-1]
        assert go_on.wait(120)
        yield content[-1:]

    headers = {"Content-Type": whole.headers["content-type"], "Content-Length": str(len(content))}
    url = f"{server.api}/models/m0/versions"
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(
            httpx.post, url, content=body(), headers=headers, trust_env=False, timeout=120
        )
        go_on.set()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_replica_is_drained_without_a_failed_request(tmp_path: Path, workers: int) -> None:
    settings = {"drain_seconds": LONG, "workers": workers}
    with running_server(tmp_path, **settings) as leaving, running_server(tmp_path) as staying:
        balancer = Balancer([leaving, staying])
        with staying.client() as client:
            for number in range(CLIENTS):
                files = {"m.safetensors": safetensors(number)}
                publish(client, f"m{number}", files, create_model=True).raise_for_status()
        with balancer.traffic(), slow_upload(leaving) as slow:
            balancer.more(4)
            leaving.process.send_signal(signal.SIGTERM)
            eventually(lambda: is_draining(leaving))
            balancer.more(4)  # they know nothing of it yet, and are served
            balancer.watch()
            balancer.more(2)
            leaving.process.send_signal(signal.SIGTERM)
            eventually(lambda: not accepts(leaving))
            balancer.more(4)
            assert leaving.process.poll() is None  # it waits for the slow upload
        assert slow.result().status_code == 201
        assert leaving.process.wait(60) in {0, KILLED_BY_SIGTERM}
        assert "Traceback" not in leaving.log


def is_draining(server: Server) -> bool:
    """Whether it says so; it serves all the same, on connections that it then closes."""
    ready = httpx.get(f"{server.base_url}/health/ready", trust_env=False, timeout=30)
    if ready.status_code == 200:
        return False
    assert ready.status_code == 503
    assert ready.json()["detail"] == "The service is shutting down."
    served = httpx.get(f"{server.api}/models/m0", trust_env=False, timeout=30)
    assert served.status_code == 200
    return served.headers["connection"] == "close"


def accepts(server: Server) -> bool:
    """Whether it takes new connections."""
    try:
        httpx.get(f"{server.base_url}/health/live", trust_env=False, timeout=30)
    except httpx.TransportError:
        return False
    return True


def test_it_stops_by_itself_when_the_time_is_over(tmp_path: Path) -> None:
    with running_server(tmp_path, drain_seconds=1) as server:
        began = time.monotonic()
        assert server.stop(timeout=60) in {0, KILLED_BY_SIGTERM}
        assert time.monotonic() - began >= 1
