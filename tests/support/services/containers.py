"""The same servers from images, where a Docker daemon answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.services.launchers import (
    POSTGRES_CONNECTIONS,
    REDIS_OPTIONS,
    S3_KEY,
    S3_SECRET,
)
from tests.support.services.probes import http_answers, postgres_answers, redis_answers
from tests.support.services.processes import PATIENCE_SECONDS, ServerFailed, ServerMissing

_SOCKET = Path("/var/run/docker.sock")
_PING_SECONDS = 3


@dataclass(frozen=True, slots=True)
class _Image:
    """How a server is started from an image.

    Attributes:
        port: that it listens on inside.
        url: with ``{address}`` where host and port belong.
        ready: is told the URL.
    """

    name: str
    port: int
    url: str
    ready: Callable[[str], bool]
    command: Sequence[str]
    entrypoint: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def _gcs_ready(url: str) -> bool:
    """Tells it besides which address it has outside, for the URLs that it gives and checks."""
    addresses = {"externalUrl": url, "publicHost": url.removeprefix("http://")}
    try:
        reply = httpx.put(f"{url}/_internal/config", json=addresses, trust_env=False)
    except httpx.TransportError:
        return False
    return reply.is_success


IMAGES: Mapping[str, _Image] = {
    "postgres": _Image(
        "postgres:18",
        5432,
        "postgresql://postgres@{address}/postgres",
        postgres_answers,
        ["postgres", "-F", "-N", str(POSTGRES_CONNECTIONS)],
        environ={"POSTGRES_HOST_AUTH_METHOD": "trust"},
    ),
    "redis": _Image(
        "valkey/valkey:9.1",
        6379,
        "redis://{address}/0",
        redis_answers,
        ["valkey-server", "--protected-mode", "no", *REDIS_OPTIONS],
    ),
    "s3": _Image(
        "chrislusf/seaweedfs:4.48",
        8333,
        "http://{address}",
        lambda url: http_answers(f"{url}/healthz"),
        ["mini", "-dir=/tmp", "-ip=127.0.0.1", "-ip.bind=0.0.0.0", "-master.telemetry=false"],
        entrypoint="weed",
        environ={"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET},
    ),
    "gcs": _Image(
        "fsouza/fake-gcs-server:1.54.0",
        4443,
        "http://{address}",
        _gcs_ready,
        ["-scheme=http", "-backend=memory"],
    ),
}


def docker_answers() -> bool:
    """Whether there is a daemon; asked only where there may be one, and not for long."""
    if not _SOCKET.exists() and "DOCKER_HOST" not in os.environ:
        return False
    import docker  # type: ignore[import-untyped]

    try:
        client = docker.from_env(timeout=_PING_SECONDS)
        client.close()
    except (docker.errors.DockerException, OSError):
        return False
    return True


@contextmanager
def container(name: str) -> Iterator[str]:
    """The URL of a server of that kind; raises ``ServerMissing`` when its image cannot be had."""
    from docker.errors import APIError  # type: ignore[import-untyped]
    from testcontainers.core.container import DockerContainer

    image = IMAGES[name]
    made = DockerContainer(image.name).with_command(list(image.command))
    made.with_exposed_ports(image.port).with_envs(**image.environ)
    if image.entrypoint:
        made.with_kwargs(entrypoint=image.entrypoint)
    with ExitStack() as stack:
        try:
            stack.enter_context(made)
        except APIError as error:
            raise ServerMissing(f"{image.name} does not start: {error}") from error
        address = f"{made.get_container_host_ip()}:{made.get_exposed_port(image.port)}"
        url = image.url.format(address=address)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not image.ready(url):
            if time.monotonic() > deadline:
                raise ServerFailed(f"{image.name} does not answer: {made.get_logs()}")
            time.sleep(0.05)
        yield url
