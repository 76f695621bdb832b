"""Readiness with servers that are down or frozen: it names them, in time, and tells no secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis

from adapters.sql import migrate
from adapters.sql.postgres import PostgresDatabase
from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.services.buckets import S3Buckets
from tests.support.services.launchers import S3_SECRET, postgres_server, redis_server, s3_server
from tests.support.services.processes import ServerMissing, ServerProcess
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("readiness")]
PASSWORD = "hunter2"
SECRETS = (PASSWORD, S3_SECRET)
LAUNCHERS = {"database": postgres_server, "lock": redis_server, "store": s3_server}


@dataclass(frozen=True, slots=True)
class Setup:
    """A service, and the server of each of its parts."""

    service: Server
    parts: dict[str, ServerProcess]

    def down(self) -> set[str]:
        """What readiness says is down; whoever asks gets an answer within its patience."""
        reply = httpx.get(f"{self.service.base_url}/health/ready", trust_env=False, timeout=20)
        assert not any(secret in reply.text for secret in SECRETS)
        if reply.status_code == 200:
            return set()
        assert (reply.status_code, reply.json()["code"]) == (503, "service.not_ready")
        return {error["pointer"].removeprefix("/checks/") for error in reply.json()["errors"]}


def with_password(server: ServerProcess, user: str) -> str:
    """The server's URL with a user and our password."""
    url = urlsplit(server.url)
    return url._replace(netloc=f"{user}:{PASSWORD}@{url.hostname}:{url.port}").geturl()


def name_user(redis: ServerProcess) -> None:
    """Redis knows the user again, whom it forgets with its end."""
    with Redis.from_url(redis.url) as client:
        client.acl_setuser(
            "modelyard", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"]
        )


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with ExitStack() as stack:
        try:
            parts = {name: stack.enter_context(start()) for name, start in LAUNCHERS.items()}
        except ServerMissing as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(missing))
        name_user(parts["lock"])
        migrate.upgrade(PostgresDatabase(parts["database"].url))
        place = stack.enter_context(S3Buckets(parts["store"].url).new())
        settings = {
            "database_url": with_password(parts["database"], "postgres"),
            "lock_method": "redis",
            "redis_url": with_password(parts["lock"], "modelyard"),
            "model_storage_method": "s3",
            "model_storage_path": place.path,
            **place.environ,
            "log_level": "debug",
        }
        folder: Path = tmp_path_factory.mktemp("readiness")
        yield Setup(stack.enter_context(running_server(folder, **settings)), parts)


def test_what_is_frozen_is_named_in_time(setup: Setup) -> None:
    for server in setup.parts.values():
        server.freeze()
    assert setup.down() == {"database", "lock", "store"}
    for server in setup.parts.values():
        server.thaw()
    eventually(lambda: setup.down() == set())


@pytest.mark.parametrize("part", LAUNCHERS)
def test_what_is_down_is_named_until_it_is_back(setup: Setup, part: str) -> None:
    server = setup.parts[part]
    server.kill()
    eventually(lambda: setup.down() == {part})
    live = httpx.get(f"{setup.service.base_url}/health/live", trust_env=False, timeout=20)
    assert live.status_code == 200
    server.start()
    if part == "lock":
        name_user(server)
    eventually(lambda: setup.down() == set())


def test_a_link_to_the_store_is_not_in_the_log(setup: Setup) -> None:
    with setup.service.client() as client:
        publish(client, "churn", {"a.bin": safetensors("link")}, create_model=True)
        path = "/api/v1/models/churn/versions/1/files/a.bin"
        reply = client.get(path, headers={"Prefer": "redirect"})
        link = httpx.URL(reply.headers["location"])
    eventually(lambda: f"{path}' 307" in setup.service.log)
    assert link.params["X-Amz-Signature"] not in setup.service.log


def test_no_password_is_in_the_log(setup: Setup) -> None:
    """After all that has failed before, and with an account that is gone."""
    with Redis.from_url(setup.parts["lock"].url) as redis:
        redis.acl_deluser("modelyard")
    eventually(lambda: setup.down() == {"lock"})
    for secret in SECRETS:
        assert secret not in setup.service.log


@pytest.mark.parametrize("part", ["database", "store"])
def test_what_does_not_start_tells_no_password(setup: Setup, part: str) -> None:
    database = with_password(setup.parts["database"], "postgres")
    wrong = {
        "database": {"DATABASE_URL": database.replace("postgres:", "nobody:")},
        "store": {"AWS_SECRET_ACCESS_KEY": f"{PASSWORD}-wrong"},
    }
    ended = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "serve"],
        env={**setup.service.environment, **wrong[part]},
        cwd=setup.service.log_path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode in {2, 6}, ended
    assert ended.stderr.startswith("error: ")
    for secret in SECRETS:
        assert secret not in ended.stdout + ended.stderr
