"""Whether a server answers in its own protocol, asked without any client library."""

from __future__ import annotations

import http.client
import socket
import struct
from contextlib import suppress
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 5.0


def postgres_answers(url: str) -> bool:
    """Whether it lets somebody in, which it does not while it starts or recovers."""
    user = urlsplit(url).username or "postgres"
    parameters = b"user\0%b\0database\0postgres\0\0" % user.encode()
    hello = struct.pack("!ii", len(parameters) + 8, 3 << 16) + parameters
    return _exchange(url, hello).startswith(b"R")


def redis_answers(url: str) -> bool:
    """Whether it serves commands, or would to one who gave the password."""
    return _exchange(url, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))


def http_answers(url: str) -> bool:
    """Whether there is an answer that is not a server's error, by whatever proxies."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _exchange(url: str, request: bytes) -> bytes:
    parts = urlsplit(url)
    with suppress(OSError):
        address = (parts.hostname, parts.port)
        with socket.create_connection(address, _TIMEOUT_SECONDS) as connection:
            connection.sendall(request)
            return connection.recv(64)
    return b""
