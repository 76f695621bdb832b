"""A TCP connection to a service that breaks when it is told to, and leads elsewhere later."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

from tests.support.server import Server

_PIECE = 64 * 1024


class Cable(ThreadingTCPServer):
    """What a load balancer is to a client: an address that stays.

    Attributes:
        passed: bytes that clients have sent through it.
        choked: set once ``limit`` of them have passed; more are not taken until :meth:`lead_to`.
    """

    daemon_threads = True

    def __init__(self, server: Server, limit: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = (server.host, server.port)
        self.passed = 0
        self.choked = threading.Event()
        self._limit: int | None = limit
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        """Its address, as that of a service."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def lead_to(self, server: Server) -> None:
        """Lets everything pass from now on, to another service."""
        self._limit = None
        self.target = (server.host, server.port)

    def admit(self, connection: socket.socket) -> bytes:
        """The next bytes of a client that may pass; nothing at its end."""
        with self._counting:
            left = _PIECE if self._limit is None else self._limit - self.passed
            content = connection.recv(min(left, _PIECE))
            self.passed += len(content)
            if self.passed == self._limit:
                self.choked.set()
        return content

    def is_open(self) -> bool:
        """Whether more may pass now."""
        return self._limit is None or self.passed < self._limit


class _Connection(BaseRequestHandler):
    server: Cable

    def handle(self) -> None:
        target = self.server.target
        with suppress(OSError), socket.create_connection(target, timeout=30) as service:
            while self.server.target == target:
                readers = [service] + [self.request] * self.server.is_open()
                readable, _, _ = select.select(readers, [], [], 0.05)
                for reader in readable:
                    other = service if reader is self.request else self.request
                    up = reader is self.request
                    content = self.server.admit(reader) if up else reader.recv(_PIECE)
                    if not content:
                        return
                    other.sendall(content)


@contextmanager
def cable_to(server: Server, *, limit: int) -> Iterator[Cable]:
    """A way to the service that takes so many bytes of clients."""
    with Cable(server, limit) as cable:
        serving = threading.Thread(target=cable.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield cable
        finally:
            cable.shutdown()
            serving.join()
