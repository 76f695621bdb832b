"""The nginx that is deployed, before two replicas."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.nginx import nginx_before
from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.services.processes import ServerMissing, ServerProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("nginx")
MIB = 1 << 20
CLIENTS = 4


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two, on one registry."""
    folder = tmp_path_factory.mktemp("nginx")
    settings = {"log_format": "json", "log_level": "debug"}
    leaving, staying = {**settings, "drain_seconds": 600}, settings
    with running_server(folder, **leaving) as one, running_server(folder, **staying) as other:
        yield [one, other]


@pytest.fixture(scope="module")
def nginx(replicas: list[Server]) -> Iterator[ServerProcess]:
    try:
        with nginx_before([replica.base_url for replica in replicas]) as started:
            yield started
    except ServerMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture
def client(nginx: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=nginx.url, trust_env=False, timeout=60) as opened:
        yield opened


def logs(replicas: list[Server]) -> str:
    return "".join(replica.log for replica in replicas)


def test_bodies_go_through_as_they_come(replicas: list[Server], client: httpx.Client) -> None:
    """The first half is in the service's hands before the second is sent."""
    content = safetensors("nginx", 8 * MIB)
    digest = hashlib.sha256(content).hexdigest()
    go_on = threading.Event()

    def body() -> Iterator[bytes]:
        yield content[: 4 * MIB]
        assert go_on.wait(60)
        yield content[4 * MIB :]

    with ThreadPoolExecutor(1) as thread:
        put = thread.submit(client.put, f"/api/v1/blobs/{digest}", content=body())
        eventually(lambda: sum(path.stat().st_size for path in replicas[0].staged) >= 2 * MIB)
        go_on.set()
        assert put.result().status_code == 201
    files = {"files": [{"path": "a.safetensors", "sha256": digest}]}
    metadata = files | {"create_model": True}
    client.post("/api/v1/models/big/versions", json=metadata).raise_for_status()
    url = "/api/v1/models/big/versions/1/files/a.safetensors"
    assert client.get(url).content == content
    part = client.get(url, headers={"Range": "bytes=-9"})
    assert (part.status_code, part.content) == (206, content[-9:])


def test_a_request_has_one_id_in_the_answer_and_in_the_log(
    replicas: list[Server], client: httpx.Client
) -> None:
    named = client.get("/api/v1/info", headers={"X-Request-Id": "mine"})
    assert named.headers["x-request-id"] == "mine"
    nameless = client.get("/api/v1/info").headers["x-request-id"]
    eventually(lambda: all(f'"{name}"' in logs(replicas) for name in ("mine", nameless)))


def test_pages_of_the_service_itself_may_change_things(client: httpx.Client) -> None:
    """It sees the host and the port that the browser does."""
    own = {"Origin": str(client.base_url).rstrip("/")}
    assert client.post("/api/v1/models", json={"name": "own"}, headers=own).status_code == 201
    foreign = {"Origin": "http://elsewhere.example"}
    reply = client.post("/api/v1/models", json={"name": "foreign"}, headers=foreign)
    assert reply.status_code == 403


def test_metrics_are_for_the_inside(client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 404


def test_a_replica_is_drained_and_killed_without_a_failed_request(
    replicas: list[Server], nginx: ServerProcess
) -> None:
    """Nginx looks at no readiness: it notices that a replica takes no connections any more."""
    leaving, over = replicas[0], threading.Event()
    done = [0] * CLIENTS

    def send(number: int) -> None:
        with httpx.Client(base_url=nginx.url, trust_env=False, timeout=60) as own:
            publish(own, f"m{number}", {"a": safetensors(number)}, create_model=True)
            while not over.is_set():
                reply = own.get(f"/api/v1/models/m{number}/versions/latest")
                assert reply.status_code == 200, reply.text
                done[number] += 1

    def all_more(count: int) -> None:
        wanted = [so_far + count for so_far in done]
        eventually(lambda: all(has >= wants for has, wants in zip(done, wanted, strict=True)))

    with ThreadPoolExecutor(CLIENTS) as threads:
        sending = [threads.submit(send, number) for number in range(CLIENTS)]
        try:
            all_more(10)
            leaving.process.send_signal(signal.SIGTERM)
            all_more(20)  # on connections that are closed in order
            leaving.process.send_signal(signal.SIGTERM)
            leaving.process.wait(60)
            all_more(10)
        finally:
            over.set()
        for task in sending:
            task.result()
    with httpx.Client(base_url=nginx.url, trust_env=False, timeout=60) as own:
        for number in range(4):  # none of them is tried in vain at the one that is gone
            reply = own.post("/api/v1/models", json={"name": f"after-{number}"})
            assert reply.status_code == 201
