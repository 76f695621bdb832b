"""One server of each kind for a whole test session, started when the first test asks for it.

The process that began the session has the servers, so that they live exactly as long as it does.
Those of pytest-xdist, which come and go, ask it over a socket.
"""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from socket import create_connection
from typing import Protocol

from tests.support.services import launchers
from tests.support.services.azurite import azure_server
from tests.support.services.containers import IMAGES, container, docker_answers
from tests.support.services.processes import LOOPBACK, ServerMissing, ServerProcess

_LAUNCHERS: Mapping[str, Callable[[], AbstractContextManager[ServerProcess]]] = {
    "postgres": launchers.postgres_server,
    "redis": launchers.redis_server,
    "s3": launchers.s3_server,
    "gcs": launchers.gcs_server,
    "azure": azure_server,
}
_LONGEST_START_SECONDS = 600.0


def given(name: str) -> Mapping[str, str]:
    """The environment where it names the server of that kind, and so may hold its credentials."""
    return os.environ if _variable(name) in os.environ else {}


def _variable(name: str) -> str:
    return f"TEST_{name.upper()}_URL"


class Servers(Protocol):
    """What a test session can ask for."""

    def url(self, name: str) -> str:
        """Where the server of that kind is; raises ``ServerMissing``."""

    def close(self) -> None:
        """Ends what was started for this."""


class OwnServers(Servers):
    """Servers of this process: the environment names them, else Docker or a wheel brings them."""

    def __init__(self) -> None:
        self._started = ExitStack()
        self._urls: dict[str, str] = {}
        self._missing: dict[str, ServerMissing] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._desk: _Desk | None = None

    def url(self, name: str) -> str:
        if named := given(name).get(_variable(name)):
            return named
        with self._locks[name]:
            if name in self._missing:
                raise self._missing[name]
            if name not in self._urls:
                try:
                    self._urls[name] = self._start(name)
                except ServerMissing as missing:
                    self._missing[name] = missing
                    raise
            return self._urls[name]

    def _start(self, name: str) -> str:
        if name in IMAGES and self._docker_answers:
            with suppress(ServerMissing):
                return self._started.enter_context(container(name))
        return self._started.enter_context(_LAUNCHERS[name]()).url

    @cached_property
    def _docker_answers(self) -> bool:
        return docker_answers()

    @property
    def address(self) -> tuple[str, int]:
        """Where other processes ask for these servers, with ``ServersElsewhere``."""
        if self._desk is None:
            self._desk = _Desk(self)
            threading.Thread(target=self._desk.serve_forever, args=(0.1,), daemon=True).start()
        host, port = self._desk.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        if self._desk is not None:
            self._desk.shutdown()
            self._desk.server_close()
        self._started.close()


class ServersElsewhere(Servers):
    """The servers of the process that began the session."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def url(self, name: str) -> str:
        with (
            create_connection(self._address, _LONGEST_START_SECONDS) as connection,
            connection.makefile("rw", encoding="utf-8") as stream,
        ):
            stream.write(f"{name}\n")
            stream.flush()
            answer = json.loads(stream.readline())
        if "missing" in answer:
            raise ServerMissing(answer["missing"], excused=answer["excused"])
        assert "url" in answer, answer["failed"]
        return str(answer["url"])

    def close(self) -> None:
        pass


class _Desk(socketserver.ThreadingTCPServer):
    """Answers each line, the name of a server, with a line of JSON."""

    daemon_threads = True

    def __init__(self, servers: OwnServers) -> None:
        self.servers = servers
        super().__init__((LOOPBACK, 0), _Clerk)


class _Clerk(socketserver.StreamRequestHandler):
    server: _Desk

    def handle(self) -> None:
        name = self.rfile.readline().decode().strip()
        answer: dict[str, object]
        try:
            answer = {"url": self.server.servers.url(name)}
        except ServerMissing as missing:
            answer = {"missing": str(missing), "excused": missing.excused}
        except Exception as error:  # noqa: BLE001  (the one who asks shall see it)
            answer = {"failed": f"{type(error).__name__}: {error}"}
        self.wfile.write(json.dumps(answer).encode() + b"\n")
