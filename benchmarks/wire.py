"""A small HTTP/1.1 client on raw sockets: two cores are shared, so the client must cost little."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MIB = 1 << 20


class WireError(Exception):
    """The peer closed early, or answered with something other than was asked for."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    def expect(self, *statuses: int) -> Response:
        """This answer, or a WireError that shows it when its status is none of ``statuses``."""
        if self.status not in statuses:
            raise WireError(f"expected {statuses}, got {self.status}: {self.body[:500]!r}")
        return self


def request_bytes(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """One request as it goes over the wire."""
    return request_head(method, path, len(body), headers) + body


def request_head(
    method: str, path: str, length: int, headers: Mapping[str, str] | None = None
) -> bytes:
    """A request's head; ``length`` is that of the body that will follow, in bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if length or method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    """One kept-alive connection to a server on the loopback."""

    def __init__(self, port: int, *, timeout: float = 120) -> None:
        """``timeout`` in seconds, for every single wait."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb", MIB)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()
        self._socket.close()

    def request(self, method: str, path: str, body: Any = None) -> Response:
        """Send a request, with ``body`` as JSON if there is one; return the whole answer."""
        if body is None:
            return self.exchange(request_bytes(method, path))
        headers = {"Content-Type": "application/json"}
        return self.exchange(request_bytes(method, path, json.dumps(body).encode(), headers))

    def exchange(self, request: bytes) -> Response:
        """Send a request that is ready made; return the whole answer."""
        self._socket.sendall(request)
        return self._response()

    def upload(self, head: bytes, file: Path, tail: bytes = b"") -> Response:
        """Send ``head``, the file's bytes from the page cache (sendfile) and ``tail``."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), file.open("rb") as source:
            self._socket.sendall(head)
            self._socket.sendfile(source)
            self._socket.sendall(tail)
        return self._response()

    def download(self, path: str, sink: Callable[[memoryview], object] | None = None) -> int:
        """Read a body of any size and drop it (or hand it to ``sink``); return its bytes."""
        self._socket.sendall(request_bytes("GET", path))
        status, headers = self._head()
        if status != 200:
            raise WireError(f"GET {path}: {status}")
        buffer = memoryview(bytearray(MIB))
        total = 0
        for length in self._pieces(headers):
            left = length
            while left:
                got = self._reader.readinto(buffer[: min(left, MIB)])  # type: ignore[attr-defined]
                if not got:
                    raise WireError(f"GET {path}: closed after {total} bytes")
                if sink:
                    sink(buffer[:got])
                left -= got
                total += got
        return total

    def _head(self) -> tuple[int, dict[str, str]]:
        status = self._reader.readline().split(None, 2)
        if len(status) < 2:
            raise WireError("the server closed the connection")
        headers: dict[str, str] = {}
        while (line := self._reader.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return int(status[1]), headers

    def _pieces(self, headers: Mapping[str, str]) -> Any:
        """The lengths of the body's pieces; the caller reads each before it asks for the next."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield int(headers.get("content-length", "0"))
            return
        while size := int(self._reader.readline().split(b";")[0], 16):
            yield size
            self._reader.readline()
        self._reader.readline()

    def _response(self) -> Response:
        status, headers = self._head()
        body = b"".join([self._reader.read(length) for length in self._pieces(headers)])
        return Response(status, headers, body)
