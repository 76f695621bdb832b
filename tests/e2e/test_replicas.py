"""Several replicas on PostgreSQL, Redis and S3 are one registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from tests.support.server import Server, running_server
from tests.support.services.buckets import Place

pytestmark = pytest.mark.timeout(300)
LARGE = 40 << 20
CLIENTS = 8


@dataclass(frozen=True, slots=True)
class Team:
    """Two replicas, and a client of each."""

    servers: tuple[Server, Server]
    one: httpx.Client
    other: httpx.Client


def new_folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@pytest.fixture(params=["redis", "postgres", "none"])
def team(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    migrated_postgres_url: str,
    redis_url: str,
    s3_bucket: Place,
) -> Iterator[Team]:
    settings = {
        "database_url": migrated_postgres_url,
        "redis_url": redis_url,
        "lock_method": request.param,
        "model_storage_method": "s3",
        "model_storage_path": s3_bucket.path,
        "validation_policy": "report",  # any bytes will do
        **s3_bucket.environ,
    }
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(running_server(new_folder(tmp_path, name), **settings))
            for name in ("one", "other")
        )
        yield Team(
            (one, other), stack.enter_context(one.client()), stack.enter_context(other.client())
        )


only_redis = pytest.mark.parametrize("team", ["redis"], indirect=True)


def register(client: httpx.Client, name: str = "churn") -> None:
    client.post("/api/v1/models", json={"name": name}).raise_for_status()


def publish(
    client: httpx.Client, content: bytes, key: str | None = None, path: str = "model.bin"
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    files = [("file", (path, content))]
    return client.post("/api/v1/models/churn/versions", files=files, headers=headers)


def test_numbers_are_dense_whichever_replica_publishes(team: Team) -> None:
    register(team.one)
    clients = cycle((team.one, team.other))
    with ThreadPoolExecutor(CLIENTS) as threads:
        work = [threads.submit(publish, next(clients), b"bytes %d" % n) for n in range(40)]
        replies = [task.result() for task in work]
    assert {reply.status_code for reply in replies} == {201}
    assert sorted(reply.json()["version"] for reply in replies) == list(range(1, 41))


def test_one_key_publishes_once_whichever_replica_is_asked(team: Team) -> None:
    register(team.one)
    clients = cycle((team.one, team.other))
    with ThreadPoolExecutor(CLIENTS) as threads:
        work = [threads.submit(publish, next(clients), b"same", "train-42") for _ in range(16)]
        replies = [task.result() for task in work]
    assert sorted(reply.status_code for reply in replies) == [200] * 15 + [201]
    assert {reply.json()["version"] for reply in replies} == {1}
    assert publish(team.other, b"other", "train-42").status_code == 409
    assert publish(team.other, b"other").json()["version"] == 2


@only_redis
def test_what_one_replica_publishes_the_other_gives(team: Team) -> None:
    register(team.one)
    content = hashlib.shake_128(b"large").digest(LARGE)
    assert publish(team.one, content, path="weights/model.bin").status_code == 201
    alias = "/api/v1/models/churn/aliases/champion"
    assert team.one.put(alias, json={"version": 1}).status_code == 201
    file = "/api/v1/models/churn/versions/@champion/files/weights/model.bin"
    assert team.other.get(file).content == content
    part = team.other.get(file, headers={"Range": f"bytes={LARGE - 9}-"})
    assert (part.status_code, part.content) == (206, content[-9:])
    archive = team.other.get("/api/v1/models/churn/versions/1/archive?format=tar")
    assert (
        hashlib.sha256(content).digest() == hashlib.sha256(archive.content[512:][:LARGE]).digest()
    )


@only_redis
def test_a_client_that_prefers_so_fetches_from_the_store_itself(team: Team) -> None:
    register(team.one)
    publish(team.one, b"0123456789", path="weights/größe 1.bin")
    file = "/api/v1/models/churn/versions/1/files/weights/größe 1.bin"
    reply = team.other.get(file, headers={"Prefer": "respond-async, redirect"})
    assert (reply.status_code, reply.headers["preference-applied"]) == (307, "redirect")
    assert reply.headers["cache-control"] == "no-store"
    link = reply.headers["location"]
    assert not link.startswith(team.servers[1].base_url)
    fetched = httpx.get(link, headers={"Range": "bytes=2-4"}, trust_env=False)
    assert (fetched.status_code, fetched.content) == (206, b"234")
    assert "gr%C3%B6%C3%9Fe%201.bin" in fetched.headers["content-disposition"]
    assert httpx.get(link[:-1], trust_env=False).status_code == 403
    assert team.other.get(file).content == b"0123456789"


@only_redis
def test_bytes_that_go_straight_to_the_store_count_once_they_prove_right(team: Team) -> None:
    content = hashlib.shake_128(b"direct").digest(1 << 20)
    digest = hashlib.sha256(content).hexdigest()
    blob = f"/api/v1/blobs/{digest}"
    finished: dict[str, object] = {}
    for sent, status in ((content[:-1] + b"?", 422), (content, 200)):
        begun = team.one.post(f"{blob}/upload", json={"size": len(content)})
        assert begun.status_code == 201
        for part in begun.json()["parts"]:
            put = sent[part["offset"] : part["offset"] + part["size"]]
            httpx.put(part["url"], content=put, trust_env=False).raise_for_status()
        assert team.other.head(blob).status_code == 404
        finished = {"upload_id": begun.json()["upload_id"], "size": len(content)}
        assert team.other.post(f"{blob}/upload/complete", json=finished).status_code == status
    assert team.other.post(f"{blob}/upload/complete", json=finished).status_code == 200
    again = team.one.post(f"{blob}/upload", json={"size": len(content)})
    assert (again.status_code, again.json()["parts"]) == (200, [])
    register(team.one)
    files = {"files": [{"path": "model.bin", "sha256": digest}]}
    assert team.other.post("/api/v1/models/churn/versions", json=files).status_code == 201
    assert team.one.get("/api/v1/models/churn/versions/1/files/model.bin").content == content


def test_a_folder_takes_no_direct_uploads_and_gives_no_links(tmp_path: Path) -> None:
    with running_server(tmp_path, validation_policy="report") as server, server.client() as client:
        register(client)
        publish(client, b"bytes")
        file = "/api/v1/models/churn/versions/1/files/model.bin"
        assert client.get(file, headers={"Prefer": "redirect"}).content == b"bytes"
        refused = client.post(f"/api/v1/blobs/{'0' * 64}/upload", json={"size": 1})
        assert refused.status_code == 409
        assert refused.json()["code"] == "blob.direct_upload_unsupported"
        assert "PUT" in refused.json()["detail"]


@only_redis
def test_a_store_belongs_to_one_registry(team: Team, tmp_path: Path) -> None:
    store = {
        name: value
        for name, value in team.servers[0].environment.items()
        if name.startswith(("AWS_", "MODEL_STORAGE_"))
    }
    with (
        pytest.raises(AssertionError, match=r"store\.of_another"),
        running_server(new_folder(tmp_path, "third"), **store),
    ):
        pass
