"""A server process that can be stopped, killed, frozen and started again where it was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.02

# Below the ports that systems give to connections: while a server is down, no client takes its
# port. Each has a twin ten thousand above it, for SeaweedFS, and both are free.
_PORTS = range(12_000, 22_000)
_TWIN = 10_000

# Ends the server and removes its folder when whoever started it is gone, however that came about:
# the pipe that it reads from closes with its last holder.
_WATCHDOG = (
    'read -r _; kill -s "$1" -- "-$2"; sleep 2; kill -s KILL -- "-$2"; sleep 0.2; rm -rf -- "$3"'
)


class ServerMissing(Exception):
    """There is no such server to be had here; the text says what would bring it.

    Attributes:
        excused: whether a machine may well be without, also one that checks everything.
    """

    def __init__(self, reason: str, *, excused: bool = False) -> None:
        super().__init__(reason)
        self.excused = excused


class ServerFailed(Exception):
    """A server ended, or did not answer in time; the text ends with its log."""


@dataclass(slots=True)
class ServerProcess:
    """A server of this machine; all its starts share address and data.

    Attributes:
        url: where it is reached.
        command: its program and arguments.
        folder: its data and log, and nothing else.
        answers: whether it is ready to serve.
        stop_signal: asks it to end.
        account: user and group ids that it runs as, when not those of this process.
    """

    url: str
    command: Sequence[str | Path]
    folder: Path
    answers: Callable[[], bool]
    environ: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    account: tuple[int, int] | None = None
    _process: subprocess.Popen[bytes] | None = None
    _watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written so far, in all its starts."""
        with suppress(FileNotFoundError):
            return self._log_path.read_text(encoding="utf-8", errors="replace")
        return ""

    @property
    def _log_path(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        """Starts it and waits until it answers; raises ``ServerFailed``."""
        assert self._process is None, "it runs already"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**minimal_environment(self.folder), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **identity(self.account),
            )
        try:
            self._watchdog = _watchdog(self._process.pid, self.stop_signal, self.folder)
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = 30) -> None:
        """Asks it to end, and waits; raises ``TimeoutExpired`` when it does not, in seconds."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            self._process.wait(timeout)
            self._forget()

    def kill(self) -> None:
        """Ends all its processes at once, as a power cut would (``kill -9``)."""
        if self._process is not None:
            self._signal_all(signal.SIGSTOP)  # none starts another one meanwhile
            doomed = _descendants(self._process.pid)
            self._signal_all(signal.SIGKILL)
            self._process.wait()
            while any(map(_runs, doomed)):  # PostgreSQL does not start beside one of before
                time.sleep(_POLL_SECONDS)
            self._forget()

    def restart(self) -> None:
        """Stops it and starts it on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Leaves its connections open and unanswered, until ``thaw``."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in _descendants(self._process.pid) if self._process is not None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _forget(self) -> None:
        self._process = None
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError):
                if self.answers() and process.poll() is None:
                    return
            time.sleep(_POLL_SECONDS)
        raise ServerFailed(f"{self.command[0]} does not answer:\n{self.log[-4000:]}")


@contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    """Starts it; at the end nothing of it is left, whatever was done to it meanwhile."""
    try:
        server.start()
        yield server
    finally:
        try:
            server.thaw()
            server.stop()
        except subprocess.TimeoutExpired:
            server.kill()
        finally:
            shutil.rmtree(server.folder, ignore_errors=True)


def new_folder(name: str, account: tuple[int, int] | None = None) -> Path:
    """A new folder that is reached by the account, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix=f"modelyard-{name}-"))
    if account is not None:
        os.chown(folder, *account)
    return folder


def minimal_environment(home: Path) -> dict[str, str]:
    """What every program may count on, and nothing of the developer's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C"}


def identity(account: tuple[int, int] | None) -> dict[str, Any]:
    """Arguments that let ``subprocess`` run a program as that account."""
    if account is None:
        return {}
    return {"user": account[0], "group": account[1], "extra_groups": []}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback device that nobody has, nor their twins."""
    ports = iter(random.sample(_PORTS, len(_PORTS)))
    return list(islice((port for port in ports if _are_free(port, port + _TWIN)), count))


def _watchdog(pid: int, ending: signal.Signals, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sh", "-c", _WATCHDOG, "watchdog", ending.name.removeprefix("SIG"), str(pid), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _are_free(*ports: int) -> bool:
    for port in ports:
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


def _descendants(pid: int) -> list[int]:
    """The process and, on Linux, all that it started; elsewhere those end with it."""
    found, unseen = [], [pid]
    while unseen:
        found.append(pid := unseen.pop())
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                unseen += map(int, (task / "children").read_text().split())
    return found
