"""A stock ``mlflow server`` on SQLite, in an environment of its own; only with MLFLOW_BENCH=1."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import Server, free_port, running
from benchmarks.wire import Connection, request_bytes, request_head

PINNED = "mlflow==3.17.2"
API = "/api/2.0/mlflow"
_CACHE = Path(__file__).parent / ".cache" / PINNED


def wanted() -> bool:
    """Whether this run compares with MLflow."""
    return os.environ.get("MLFLOW_BENCH") == "1"


@dataclass(frozen=True, slots=True)
class MLflow:
    """A running MLflow and the four calls that are compared."""

    server: Server

    def call(self, connection: Connection, method: str, path: str, body: Any) -> Any:
        """One JSON call of its REST API."""
        return connection.request(method, API + path, body).expect(200).json()

    def prepare(self, model: str) -> Run:
        """Register ``model`` and open the run that its versions will come from."""
        with Connection(self.server.port) as connection:
            self.call(connection, "POST", "/registered-models/create", {"name": model})
            run = self.call(connection, "POST", "/runs/create", {"experiment_id": "0"})
        info = run["run"]["info"]
        return Run(model, info["run_id"], info["artifact_uri"])

    def publish(self, connection: Connection, run: Run, name: str, data: bytes) -> str:
        """The file by artifact PUT, then model-versions/create; returns the version."""
        connection.exchange(request_bytes("PUT", run.path(name), data)).expect(200)
        body = {
            "name": run.model,
            "source": f"{run.uri}/{name}",
            "run_id": run.id,
            "tags": [{"key": key, "value": "x"} for key in ("stage", "team", "batch")],
        }
        created = self.call(connection, "POST", "/model-versions/create", body)
        return str(created["model_version"]["version"])

    def alias(self, model: str, alias: str, version: str) -> str:
        """Point an alias at a version; returns the path that resolves it."""
        body = {"name": model, "alias": alias, "version": version}
        with Connection(self.server.port) as connection:
            self.call(connection, "POST", "/registered-models/alias", body)
        return f"{API}/registered-models/alias?name={model}&alias={alias}"

    def upload(self, run: Run, name: str, file: Path) -> None:
        """One artifact PUT of a whole file."""
        head = request_head("PUT", run.path(name), file.stat().st_size)
        with Connection(self.server.port) as connection:
            connection.upload(head, file).expect(200)


@dataclass(frozen=True, slots=True)
class Run:
    """Where a model's artifacts belong."""

    model: str
    id: str
    uri: str

    def path(self, name: str) -> str:
        """The artifact's address in the proxied API."""
        inside = self.uri.removeprefix("mlflow-artifacts:/")
        return f"/api/2.0/mlflow-artifacts/artifacts/{inside}/{name}/model.safetensors"


@contextlib.contextmanager
def mlflow(workdir: Path) -> Iterator[MLflow | None]:
    """A fresh server with two workers, or None when the run does not ask for it."""
    if not wanted():
        yield None
        return
    binary = _installed()
    data = workdir / "mlflow"
    data.mkdir()
    port = free_port()
    command = [binary, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    command += ["--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(data / "artifacts")]
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "TMPDIR": str(data)}
    ready = "/health"
    with running(
        "mlflow", command, port=port, ready=ready, workdir=workdir, env=env, patience=180
    ) as server:
        yield MLflow(server)


def _installed() -> str:
    """MLflow's command, installed on first use; MLFLOW_VENV names one that is there already."""
    venv = Path(os.environ.get("MLFLOW_VENV", _CACHE))
    binary = venv / "bin" / "mlflow"
    if not binary.exists():
        print(f"Installing {PINNED} into {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        python = str(venv / "bin" / "python")
        uv = shutil.which("uv", path=Path(sys.executable).parent)
        pip = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        subprocess.run([*pip, "--quiet", PINNED], check=True)
    return str(binary)
