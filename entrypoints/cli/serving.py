"""Listening, and the processes that answer."""

from __future__ import annotations

import logging.config
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from tempfile import TemporaryDirectory

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from entrypoints.logs import logging_config
from entrypoints.settings import Settings

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than proxies keep theirs (nginx: 60)."""
_BACKLOG = 2048
_PATIENCE = 60
"""Seconds that a worker may take to answer before it is replaced; starting one takes several."""
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder whose files the workers count in; read as prometheus_client is imported."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, shared by all workers; port 0 takes a free one.

    Raises:
        OSError: the address cannot be had; saying which settings choose another.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "choose another with HOST and PORT"
        ) from None


def start_log(settings: Settings) -> Callable[[str], object]:
    """Begins the log of the service; what is returned tells people a line, or the log as JSON."""
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
    if settings.log_format == "json":
        return logging.getLogger("modelyard").info
    return lambda line: print(line, file=sys.stderr)


def serve(settings: Settings, listening: socket.socket) -> bool:
    """Runs the service until a signal ends it; False when it could not start."""
    config = uvicorn.Config(
        "entrypoints.http.app:create_app_from_environment",
        factory=True,
        workers=settings.workers,
        loop="auto",
        http="entrypoints.http.protocol:HttpProtocol",
        ws="none",
        reset_contextvars=True,
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=logging_config(settings.log_level, settings.log_format),
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.graceful_timeout,
        timeout_worker_healthcheck=_PATIENCE,
    )
    _allow_connections()
    try:
        if settings.workers == 1:
            uvicorn.Server(config).run(sockets=[listening])
            return True
        supervisor = _Supervisor(config, sockets=[listening])
        with _metrics_of_all():
            supervisor.run()
        return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    except KeyboardInterrupt:
        return True  # Ctrl-C is how it is meant to end
    except SystemExit as end:
        return not end.code  # uvicorn has logged why


def _allow_connections() -> None:
    """As many open files as the system lets this process have: the usual 1,024 are soon reached."""
    with suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _metrics_of_all() -> Iterator[None]:
    """Lets any worker tell the metrics of all: they count in files of a folder they share."""
    if _METRICS in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="modelyard-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[_METRICS] = folder
        try:
            yield
        finally:
            del os.environ[_METRICS]


class _Supervisor(Multiprocess):
    _pids: frozenset[int | None] = frozenset()

    def keep_subprocess_alive(self) -> None:
        """Takes requests in flight of workers that are gone out of the metrics, too."""
        super().keep_subprocess_alive()
        pids = frozenset(process.pid for process in self.processes)
        for gone in self._pids - pids:
            mark_process_dead(gone)  # type: ignore[no-untyped-call]
        self._pids = pids

    def terminate_all(self) -> None:
        """Closes the supervisor's own socket first: else newcomers would wait in its queue."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Passes a signal on that comes once more: it ends the draining."""
        while alive := [process for process in self.processes if process.process.is_alive()]:
            wait([process.process.sentinel for process in alive], timeout=0.5)
            if {signal.SIGTERM, signal.SIGINT} & set(self.signal_queue):
                self.signal_queue.clear()
                super().terminate_all()
        super().join_all()
