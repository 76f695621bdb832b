"""The real application in a process that kills itself, as ``kill -9`` would, at a chosen step.

A step is a call of the operating system's functions that storing needs, or a statement of the
database, before it and after it. What only reads is no step: dying there is as dying at the step
before. Steps are counted while one request is carried out, from the moment it arrives.
``os.write`` has two: nothing written, and half of it.

Two ways to run it::

    python -m tests.support.dying_server serve   # over HTTP; the request says X-Die-At: os.rename
    python -m tests.support.dying_server fork    # jobs on stdin, each in a forked process

The second is quick, for a walk over every step: see :class:`Undertaker`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import portalocker
from fastapi import FastAPI
from sqlalchemy import Engine, event

from entrypoints.container import Container, migrate
from entrypoints.http.app import create_app, create_app_from_environment
from tests.support.server import ROOT, environment_for
from tests.support.soundness import settings_for

Handle = Callable[[MutableMapping[str, Any], Callable[..., Any], Callable[..., Any]], Any]

_WATCHED = (
    "open fsync fdatasync rename replace link symlink utime unlink mkdir rmdir truncate "
    "ftruncate posix_fadvise"
)


@dataclass(slots=True)
class Steps:
    """Counts, and kills at the chosen one; ``at`` is a number or a name of which the first counts.

    Args:
        last_words: a descriptor that gets the name of the step where this process dies.
    """

    last_words: int
    at: int | str | None = None
    passed: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _write: Callable[[int, bytes], int] = os.write

    def step(self, name: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Passes a step, or dies at it after doing something."""
        if self.at is None:
            return
        with self._lock:
            if self.at in {name, len(self.passed)}:
                meanwhile()
                self._write(self.last_words, f"{len(self.passed)} {name}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            self.passed.append(name)

    def install(self) -> None:
        """Puts itself before everything that counts as a step, in the whole process."""
        for name in _WATCHED.split():
            setattr(os, name, self._watched(f"os.{name}", getattr(os, name)))
        os.write = self._torn(os.write)
        portalocker.lock = self._watched("flock", portalocker.lock)

        for moment in ("before", "after"):
            event.listen(Engine, f"{moment}_cursor_execute", functools.partial(self._sql, moment))

    def _sql(self, moment: str, _db: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("SELECT", "PRAGMA")):
            self.step(f"{moment} {_kind(statement)}")

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.step(name)
            return function(*args, **kwargs)

        return stepped

    def _torn(self, write: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def stepped(fd: int, content: Any) -> int:
            self.step("os.write")
            self.step("half os.write", lambda: write(fd, content[: len(content) // 2]))
            return write(fd, content)

        return stepped


def _kind(statement: str) -> str:
    """``INSERT INTO versions``, ``COMMIT``: enough of a statement to know it by."""
    words = statement.split(maxsplit=3)
    return " ".join(words[: 3 if words[0] in {"INSERT", "DELETE"} else 2])


# --- over HTTP ----------------------------------------------------------------------------------


class _Marked:
    """Lets the steps be counted from a request that asks for it."""

    def __init__(self, app: Handle, steps: Steps) -> None:
        self._app = app
        self._steps = steps

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        marks = dict(scope.get("headers", ()))
        if (at := marks.get(b"x-die-at")) is not None:
            self._steps.at = at.decode()
        await self._app(scope, receive, send)


def _serve() -> None:
    import uvicorn

    steps = Steps(last_words=2)
    steps.install()
    app = create_app_from_environment()
    migrate.prepare(app.state.container.database())
    uvicorn.run(
        _Marked(app, steps),
        port=int(os.environ["PORT"]),
        http="httptools",
        log_level="warning",
    )


@contextmanager
def dying_server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """The service over HTTP on the registry in this folder: its process, and a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.support.dying_server", "serve"]
    environment = environment_for(folder, port=port)
    with (
        subprocess.Popen(command, cwd=folder, env=environment) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
    ):
        try:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    client.get("/health/ready").raise_for_status()
                    break
                time.sleep(0.02)
            yield process, client
        finally:
            process.kill()


# --- forked, one process a job ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """A request to carry out on the registry in a folder, and where to die; ``body`` in hex."""

    folder: str
    at: int | None
    method: str
    path: str
    body: str
    headers: dict[str, str]
    prepared: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """``died``: the step's name, None for a survivor, whose reply the rest is."""

    died: str | None
    status: int = 0
    document: dict[str, Any] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)


class Undertaker:
    """Carries out requests in processes of their own, each of which may die on its way.

    The processes are forked from one that has imported everything and has no threads.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dying_server", "fork"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def carry_out(
        self, folder: Path, request: httpx.Request, *, at: int | None, prepared: bool = True
    ) -> Outcome:
        """Dies at step ``at`` of this request; without, it is carried out.

        Args:
            prepared: the database and the store's folders are there before steps count.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        headers = {key: value for key, value in request.headers.items() if key != "host"}
        path, body = request.url.raw_path.decode(), request.read().hex()
        job = Job(str(folder), at, request.method, path, body, headers, prepared)
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends the process all others are forked from."""
        self._process.communicate()


def _fork() -> None:
    container = Container()
    app = create_app(container)
    asyncio.run(_warm_up(app))
    for line in sys.stdin:
        job = Job(**json.loads(line))
        mouth, ear = os.pipe()[::-1]
        child = os.fork()
        if child == 0:
            os.close(ear)
            _carry_out(job, mouth, container, app)
            os._exit(0)
        os.close(mouth)
        with open(ear, encoding="utf-8") as words:
            said = words.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            said = json.dumps(asdict(Outcome(died=said.strip())))
        print(said.strip() or json.dumps({"status": -1, "died": None}), flush=True)


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def _warm_up(app: FastAPI) -> None:
    """What every process would do for itself; without starting threads, which do not fork."""
    async with _client(app) as client:
        (await client.get("/health/live")).raise_for_status()
    assert threading.active_count() == 1


def _carry_out(job: Job, mouth: int, container: Container, app: FastAPI) -> None:
    steps = Steps(last_words=mouth)
    write = os.write
    steps.install()
    container.settings.override(settings_for(Path(job.folder)))
    if not job.prepared:
        migrate.prepare(container.database())

    async def request() -> httpx.Response:
        if job.prepared:
            await container.store().check()
        async with _client(app) as client:
            steps.at = job.at
            body = bytes.fromhex(job.body)
            return await client.request(job.method, job.path, content=body, headers=job.headers)

    reply = asyncio.run(asyncio.wait_for(request(), 60))
    steps.at = None
    document = reply.json() if reply.content else {}
    outcome = Outcome(None, reply.status_code, document, steps.passed)
    write(mouth, json.dumps(asdict(outcome)).encode())


if __name__ == "__main__":
    {"serve": _serve, "fork": _fork}[sys.argv[1]]()
