"""The real service as a process of its own, for tests that talk to it over a socket."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 60.0
_ADDRESS = re.compile(r"Modelyard is at (http://\S+?:\d+),")


@dataclass(slots=True)
class Server:
    """A running service.

    Attributes:
        base_url: without a slash at its end.
        environment: what it was started with; the command line works on the same registry with it.
    """

    base_url: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    storage: Path
    database: Path
    log_path: Path

    @property
    def api(self) -> str:
        """Where the operations of the REST API are."""
        return f"{self.base_url}/api/v1"

    @property
    def host(self) -> str:
        return httpx.URL(self.base_url).host

    @property
    def port(self) -> int:
        port = httpx.URL(self.base_url).port
        assert port is not None
        return port

    @property
    def pid(self) -> int:
        """Of the first process; that of WORKERS=2 and more only watches over the others."""
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """Of the first process and all that it started."""
        found, unseen = [], [self.pid]
        while unseen:
            found.append(pid := unseen.pop())
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    unseen += map(int, (task / "children").read_text().split())
        return found

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def staged(self) -> list[Path]:
        """Files of uploads that are neither finished nor dropped."""
        return [path for path in (self.storage / "staging").rglob("*") if path.is_file()]

    def client(self, **options: object) -> httpx.Client:
        """A client of this service, whatever proxies the machine has."""
        defaults: dict[str, object] = {"base_url": self.base_url, "timeout": 30, "trust_env": False}
        return httpx.Client(**{**defaults, **options})  # type: ignore[arg-type]

    def memory(self, *, peak: bool = False) -> int:
        """Resident bytes of all its processes, now or at their worst. Linux only."""
        field = "VmHWM" if peak else "VmRSS"
        total = 0
        for pid in self.pids:
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
                if found := re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE):
                    total += int(found[1]) * 1024
        return total

    def reset_peak(self) -> None:
        """Lets ``memory(peak=True)`` begin anew from what is resident now."""
        for pid in self.pids:
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    def stop(self, timeout: float = 30) -> int:
        """Asks it to end, as an operator would, waits, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Ends all its processes at once, as a power cut would (``kill -9``)."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running_server(tmp_path: Path, **settings: object) -> Iterator[Server]:
    """The service on its own SQLite file, folder and free port of the loopback device.

    Settings go by their names in lower case: ``running_server(tmp_path, workers=2)``. A second
    server in the same folder, while the first runs or later, works on the same registry.
    """
    with _ended(_start(tmp_path, settings)) as server:
        yield server


@contextmanager
def _ended(server: Server) -> Iterator[Server]:
    """Leaves no process behind, however the test ends."""
    try:
        yield server
        with suppress(subprocess.TimeoutExpired):
            server.stop()
    finally:
        server.kill()


def environment_for(tmp_path: Path, **settings: object) -> dict[str, str]:
    """Variables for the service or the command line on the registry in this folder."""
    named = {name.upper(): str(value) for name, value in settings.items()}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'modelyard.db'}",
        "MODEL_STORAGE_PATH": str(tmp_path / "artifacts"),
        "PORT": "0",
        **named,
    }


def _start(tmp_path: Path, settings: dict[str, object]) -> Server:
    environment = environment_for(tmp_path, **settings)
    descriptor, log_path = _new_log(tmp_path)
    with os.fdopen(descriptor, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", "serve"],
            cwd=tmp_path,  # so that no .env of a developer is read
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Server(
        base_url="",
        process=process,
        environment=environment,
        storage=Path(environment["MODEL_STORAGE_PATH"]),
        database=tmp_path / "modelyard.db",
        log_path=log_path,
    )
    try:
        _wait_until_ready(server)
    except BaseException:
        server.kill()
        raise
    return server


def _new_log(tmp_path: Path) -> tuple[int, Path]:
    for number in range(1, 1000):
        path = tmp_path / f"server-{number}.log"
        with suppress(FileExistsError):
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), path
    raise AssertionError("a thousand servers in one folder")


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        if not server.base_url and (address := _ADDRESS.search(server.log)):
            server.base_url = address[1]
        if server.base_url:
            with suppress(httpx.TransportError):
                url = f"{server.base_url}/health/ready"
                if httpx.get(url, trust_env=False, timeout=10).status_code == 200:
                    return
        time.sleep(0.02)
    raise AssertionError(f"the service did not become ready; its log:\n{server.log}")
