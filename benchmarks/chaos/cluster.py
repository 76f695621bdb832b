"""Three replicas on PostgreSQL, Redis and S3 behind nginx, each server a process of its own."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.chaos.plan import Plan
from benchmarks.chaos.store_proxy import StoreProxy
from benchmarks.replicas import balancer, command, nginx_program, replicas
from tests.support.services.buckets import s3_client
from tests.support.services.launchers import (
    S3_KEY,
    S3_REGION,
    S3_SECRET,
    postgres_server,
    redis_server,
    s3_server,
)
from tests.support.services.processes import ServerFailed, ServerProcess

BUCKET, PREFIX = "modelyard-chaos", "registry"
_REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs.

    Attributes:
        settings: of every replica, and of the command line on the same registry.
        ports: where clients ask: nginx alone, or every replica where there is no nginx.
        redis: only where the replicas use it.
        objects: a boto3 client of the S3 server, past the proxy.
    """

    settings: Mapping[str, str]
    postgres: ServerProcess
    redis: ServerProcess | None
    s3: ServerProcess
    store: StoreProxy
    replicas: Sequence[ServerProcess]
    ports: Sequence[int]
    objects: Any
    balanced: bool

    def save_logs(self, folder: Path) -> None:
        """Copies what each has written."""
        servers = {"postgres": self.postgres, "redis": self.redis, "s3": self.s3}
        servers |= {f"replica-{n}": one for n, one in enumerate(self.replicas, 1)}
        for name, server in servers.items():
            if server is not None:
                shutil.copy(server.folder / "server.log", folder / f"{name}.log")


@contextmanager
def running_cluster(plan: Plan) -> Iterator[Cluster]:
    """All servers, with an empty registry."""
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(durable=True))
        postgres.stop_signal = signal.SIGQUIT  # the immediate shutdown: recovery at the next start
        redis = stack.enter_context(redis_server()) if plan.lock == "redis" else None
        s3 = stack.enter_context(s3_server())
        store = stack.enter_context(closing(StoreProxy(_port(s3.url))))
        objects = stack.enter_context(closing(s3_client(_credentials(s3.url))))
        objects.create_bucket(Bucket=BUCKET)
        settings = {
            **_credentials(store.url),
            "DATABASE_URL": postgres.url,
            "MODEL_STORAGE_METHOD": "s3",
            "MODEL_STORAGE_PATH": f"s3://{BUCKET}/{PREFIX}",
            "LOCK_METHOD": plan.lock,
            "LOCK_LEASE": f"{plan.lease:g}",
            "LOCK_TIMEOUT": f"{plan.patience * 0.75:g}",
            "GC_INTERVAL": f"{plan.pause:.0f}",
            "GC_GRACE": f"{plan.pause / 2:.0f}",
        }
        if redis is not None:
            settings["REDIS_URL"] = redis.url
        migrated = command(settings, "migrate")
        if migrated.returncode:
            raise ServerFailed(f"modelyard-server migrate: {migrated.stderr}")
        running = stack.enter_context(replicas(_REPLICAS, settings))
        urls = [one.url for one in running]
        if nginx := nginx_program():
            urls = [stack.enter_context(balancer(nginx, urls)).url]
        ports = [_port(url) for url in urls]
        yield Cluster(
            settings,
            postgres,
            redis,
            s3,
            store,
            running,
            ports,
            objects,
            balanced=nginx is not None,
        )


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _credentials(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        "AWS_REGION": S3_REGION,
        "AWS_ALLOW_HTTP": "true",
    }
