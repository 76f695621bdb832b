"""Starts, watches and stops the servers that are measured: loopback only, each with its log."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wire import Connection, WireError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it listens, and the process at the root of its tree."""

    name: str
    port: int
    pid: int


class ServerFailed(Exception):
    """A server did not start; the message ends with its log's last lines."""


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    *,
    port: int,
    ready: str,
    workdir: Path,
    env: Mapping[str, str] | None = None,
    patience: float = 60,
) -> Iterator[Server]:
    """Run ``command`` until the block ends; enter it once ``GET ready`` answers 200.

    ``workdir`` is the current folder and receives the log, ``patience`` is in seconds.
    """
    log = workdir / f"{name}-{port}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            cwd=workdir,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(name, port, process.pid)
    try:
        _await_ready(server, process, ready, log, patience)
        yield server
    finally:
        _stop(process)


def _await_ready(
    server: Server, process: subprocess.Popen[bytes], ready: str, log: Path, patience: float
) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, WireError), Connection(server.port, timeout=5) as link:
            if link.request("GET", ready).status == 200:
                return
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    state = f"not ready after {patience:g} s" if process.poll() is None else "ended at its start"
    raise ServerFailed(f"{server.name}: {state}:\n{tail}")


def _stop(process: subprocess.Popen[bytes], patience: float = 10) -> None:
    """End the whole tree: politely, then, after ``patience`` seconds, by force."""
    family = process_tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def process_tree(root: int) -> list[int]:
    """The ids of ``root`` and all its descendants, as /proc names them now."""
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def tree_rss(root: int) -> int:
    """Resident bytes of ``root`` and its descendants, added up (shared pages count in each)."""
    pages = 0
    for pid in process_tree(root):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def peak_memory(
    server: Server, idle: int, growth: list[float], *, every: float = 0.02
) -> Iterator[None]:
    """Sample a server's resident memory during the block; append its growth over idle in MiB.

    ``idle`` is in bytes, ``every`` in seconds.
    """
    done = threading.Event()
    samples = [idle]

    def watch() -> None:
        while not done.wait(every):
            samples.append(tree_rss(server.pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    growth.append((max(samples) - idle) / MIB)
