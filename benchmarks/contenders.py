"""Modelyard itself and its yardsticks, each started the way its makers mean it to run."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from benchmarks import bare
from benchmarks.servers import Server, free_port, running
from benchmarks.wire import Connection

ROOT = Path(__file__).resolve().parents[1]
SERVE = [sys.executable, "-m", "entrypoints.cli", "serve"]
MODELS = "/api/v1/models"
NGINX_CONF = """
{user}
daemon off;
worker_processes 1;
pid {workdir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {workdir}/nginx-body;
  proxy_temp_path {workdir}/nginx-proxy;
  fastcgi_temp_path {workdir}/nginx-fastcgi;
  uwsgi_temp_path {workdir}/nginx-uwsgi;
  scgi_temp_path {workdir}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /ready {{ return 200; }}
    location / {{ root {served}; }}
  }}
}}
"""


def modelyard(
    workdir: Path,
    *,
    workers: int,
    name: str = "modelyard",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AbstractContextManager[Server]:
    """The real service with its own SQLite file and blob folder, both under ``workdir/name``.

    Args:
        settings: others than these.
    """
    data = workdir / name
    data.mkdir(exist_ok=True)
    port = free_port()
    env = {
        "DATABASE_URL": database_url(data),
        "MODEL_STORAGE_PATH": str(data / "blobs"),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKERS": str(workers),
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    return running(name, SERVE, port=port, ready="/health/ready", workdir=workdir, env=env)


def database_url(data: Path) -> str:
    """The SQLite database of a service whose folder is ``data``."""
    return f"sqlite:///{data / 'registry.db'}"


def create_model(server: Server, model: str) -> None:
    """Register a model that versions can be published to."""
    with Connection(server.port) as connection:
        connection.request("POST", MODELS, {"name": model}).expect(201)


def bare_route(workdir: Path, body: bytes, *, workers: int) -> AbstractContextManager[Server]:
    """A FastAPI route that answers with ``body``, on uvicorn as fast as it is configured."""
    file = workdir / "bare.json"
    file.write_bytes(body)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.bare:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    return running(
        "bare",
        command,
        port=port,
        ready=bare.PATH,
        workdir=workdir,
        env={bare.BODY_VARIABLE: str(file), "PYTHONPATH": str(ROOT)},
    )


@contextlib.contextmanager
def nginx(workdir: Path, served: Path) -> Iterator[Server | None]:
    """Nginx with sendfile over the folder ``served``; None, with a hint, where there is none."""
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if binary is None:
        print("nginx is not installed, so downloads are not held against it: "
              "apt-get install nginx-light")  # fmt: skip
        yield None
        return
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    conf = workdir / "nginx.conf"
    conf.write_text(NGINX_CONF.format(user=user, workdir=workdir, port=port, served=served))
    command = [binary, "-p", str(workdir), "-c", str(conf)]
    with running("nginx", command, port=port, ready="/ready", workdir=workdir) as server:
        yield server
