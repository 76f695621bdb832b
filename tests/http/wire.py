"""HTTP by hand, for what a decent client would not send."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.server import Server

BOUNDARY = "b0undary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; ``sent`` are the bytes of the request that the service took before."""

    status: int
    headers: httpx.Headers
    body: bytes
    interim: tuple[int, ...]
    sent: int

    def problem(self, status: int | None = None, code: str | None = None) -> dict[str, Any]:
        """The problem document, checked."""
        return check_problem(self.status, self.headers, self.body, status, code)


def check_problem(
    status: int,
    headers: httpx.Headers,
    body: bytes,
    expected_status: int | None = None,
    expected_code: str | None = None,
) -> dict[str, Any]:
    """Asserts that a reply is an RFC 9457 problem with all its members, and returns it."""
    assert headers["content-type"] == "application/problem+json", body
    problem: dict[str, Any] = json.loads(body)
    assert expected_status in {None, status}, problem
    assert expected_code in {None, problem["code"]}, problem
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert problem["status"] == status
    assert problem["type"] == f"urn:modelyard:error:{problem['code']}"
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]
    for field in problem["errors"]:
        assert set(field) == {"pointer", "message"}
        assert field["pointer"].startswith("/")
    if status == 503:
        assert int(headers["retry-after"]) > 0
    return problem


def problem_of(
    reply: httpx.Response, status: int | None = None, code: str | None = None
) -> dict[str, Any]:
    """The same of a reply that httpx received."""
    return check_problem(reply.status_code, reply.headers, reply.content, status, code)


def head(method: str, target: str | bytes, *headers: str | bytes, keep: bool = False) -> bytes:
    """A request line and headers, as given; the connection is not kept unless asked."""
    raw = target if isinstance(target, bytes) else target.encode()
    lines = [method.encode() + b" " + raw + b" HTTP/1.1", b"Host: localhost"]
    lines += [line if isinstance(line, bytes) else line.encode() for line in headers]
    if not keep:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", b""])


def request(method: str, target: str | bytes, *headers: str | bytes, body: bytes = b"") -> bytes:
    """A whole request with the length of its body."""
    length = [f"Content-Length: {len(body)}"] if body or method in {"POST", "PUT", "PATCH"} else []
    return head(method, target, *headers, *length) + body


def post_json(target: str, body: bytes, *headers: str | bytes) -> bytes:
    """A whole POST of JSON."""
    return request("POST", target, "Content-Type: application/json", *headers, body=body)


def part(disposition: str | bytes, content: bytes = b"", *headers: str) -> bytes:
    """One part of a multipart body; what follows ``form-data`` in its disposition."""
    raw = disposition if isinstance(disposition, bytes) else disposition.encode()
    lines = [f"--{BOUNDARY}".encode(), b"Content-Disposition: form-data" + raw]
    lines += [line.encode() for line in headers]
    return b"\r\n".join([*lines, b"", content]) + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    """The parts with the boundary that ends them."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post_parts(target: str, *parts: bytes) -> bytes:
    """A whole multipart POST."""
    return request("POST", target, f"Content-Type: {MULTIPART}", body=multipart(*parts))


def connect(server: Server, timeout: float = 20) -> socket.socket:
    """A connection to the service."""
    return socket.create_connection((server.host, server.port), timeout)


def exchange(server: Server, *pieces: bytes, timeout: float = 20) -> Reply:
    """Sends the pieces, reading meanwhile, and stops sending when a final reply has begun."""
    return exchange_all(server, iter(pieces), timeout=timeout)


def exchange_all(server: Server, pieces: Iterable[bytes], *, timeout: float = 20) -> Reply:
    """The same for an endless body."""
    received, sent = bytearray(), 0
    deadline = time.monotonic() + timeout
    waiting = _small(pieces)
    piece = next(waiting, b"")
    with connect(server) as connection:
        connection.setblocking(False)
        while time.monotonic() < deadline:
            writers = [connection] if piece else []
            readable, writable, _ = select.select([connection], writers, [], 0.1)
            if readable:
                try:
                    chunk = connection.recv(_PIECE)
                except ConnectionResetError:
                    chunk = b""
                received += chunk
                if not chunk or _is_whole(received):
                    break
            elif writable:
                try:
                    count = connection.send(piece)
                except OSError:
                    piece = b""
                    continue
                sent += count
                piece = piece[count:] or next(waiting, b"")
    return parse(bytes(received), sent)


def read_reply(connection: socket.socket) -> Reply:
    """The next reply on a connection that is kept."""
    received = b""
    while not _is_whole(received):
        chunk = connection.recv(_PIECE)
        assert chunk, f"the connection ended: {received!r}"
        received += chunk
    return parse(received)


def _small(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            yield piece[start : start + _PIECE]


def parse(received: bytes, sent: int = 0) -> Reply:
    """The final reply, and the interim ones before it."""
    interim: list[int] = []
    while True:
        top, separator, body = received.partition(b"\r\n\r\n")
        assert separator, f"no reply: {received[:200]!r}"
        line, *lines = top.split(b"\r\n")
        status = int(line.split(b" ")[1])
        if status >= 200:
            break
        interim.append(status)
        received = body
    pairs = [(name, value.strip()) for name, _, value in (raw.partition(b":") for raw in lines)]
    headers = httpx.Headers(pairs)
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Reply(status, headers, body, tuple(interim), sent)


def _joined(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole += rest[:length]
        body = rest[length + 2 :]
    return bytes(whole)


def _is_whole(received: bytes | bytearray) -> bool:
    if b"\r\n\r\n" not in received:
        return False
    try:
        reply = parse(bytes(received))
    except AssertionError:  # an interim reply only
        return False
    length = reply.headers.get("content-length")
    return length is not None and len(reply.body) >= int(length)
