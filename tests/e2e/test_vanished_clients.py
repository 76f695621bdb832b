"""Clients that vanish half way: the service keeps neither their bytes nor their descriptors."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.metrics import value
from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.soundness import assert_tidy, look
from tests.support.waiting import eventually

MIB = 1 << 20
CLIENTS = 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path) as running:
        yield running


def descriptors(server: Server) -> list[str]:
    """What every open file of the server's process is."""
    opened = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            opened.append(os.readlink(entry))
        except FileNotFoundError:  # closed meanwhile
            continue
    return opened


def settled(server: Server, patience: float = 20) -> int:
    """How many descriptors are open once no client is connected."""
    count = [-1]

    def steady() -> bool:
        before, count[0] = count[0], len(descriptors(server))
        return before == count[0]

    deadline = time.monotonic() + patience
    while not steady() and time.monotonic() < deadline:
        time.sleep(0.3)
    return count[0]


def vanish(connection: socket.socket, how: str) -> None:
    """FIN, or RST as from a process that was killed with data unread, or a cable that broke."""
    if how == "RST":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def begin(server: Server, head: str, body: bytes = b"") -> socket.socket:
    connection = socket.create_connection((server.host, server.port), timeout=30)
    lines = [head, f"Host: {server.host}", "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


def begin_publish(server: Server, model: str, sent: bytes) -> socket.socket:
    """A multipart publish of a file that is to be 64 MiB, as far as it gets."""
    head = (
        f"POST /api/v1/models/{model}/versions HTTP/1.1\r\n"
        f"Content-Length: {64 * MIB}\r\n"
        "Content-Type: multipart/form-data; boundary=frontier"
    )
    part = (
        b"--frontier\r\n"
        b'Content-Disposition: form-data; name="file"; filename="m.safetensors"\r\n\r\n'
    )
    return begin(server, head, part + sent)


def begin_upload(server: Server, sent: bytes) -> socket.socket:
    digest = hashlib.sha256(sent + b"more").hexdigest()
    head = f"PUT /api/v1/blobs/{digest} HTTP/1.1\r\nContent-Length: {64 * MIB}"
    return begin(server, head, sent)


def begin_chunked(server: Server, sent: bytes) -> socket.socket:
    digest = hashlib.sha256(sent + b"more").hexdigest()
    head = f"PUT /api/v1/blobs/{digest} HTTP/1.1\r\nTransfer-Encoding: chunked"
    return begin(server, head, f"{len(sent):x}\r\n".encode() + sent)


def vanish_in_upload(server: Server, how: str, clients: int) -> None:
    """Some when all is in memory yet, some in the first batch, some later."""
    sizes = [0, 10_000, 300_000, 3 * MIB]
    connections = []
    for number in range(clients):
        sent = safetensors(number, sizes[number % 4])[: sizes[number % 4]]
        match number % 3:
            case 0:
                connections.append(begin_publish(server, "m", sent))
            case 1:
                connections.append(begin_upload(server, sent))
            case _:
                connections.append(begin_chunked(server, sent))
    eventually(lambda: len(server.staged) >= clients // 4, lambda: server.staged)
    for connection in connections:
        vanish(connection, how)
    eventually(lambda: server.staged == [], lambda: server.staged)


def vanish_in_download(server: Server, how: str, clients: int) -> None:
    connections = []
    for number in range(clients):
        target = "archive?format=tar" if number % 4 == 3 else "files/m.safetensors"
        head = f"GET /api/v1/models/m/versions/1/{target} HTTP/1.1"
        connections.append(begin(server, head))
    for connection in connections:
        assert connection.recv(20_000).startswith(b"HTTP/1.1 200")
    held = [path for path in descriptors(server) if "/blobs/" in path]
    assert len(held) >= clients // 2, "the downloads were over before they were cut"
    for connection in connections:
        vanish(connection, how)

    def freed() -> bool:
        return not any("/blobs/" in path for path in descriptors(server))

    eventually(freed, lambda: descriptors(server))


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_uploads_that_break_off_leave_nothing(server: Server, tmp_path: Path, how: str) -> None:
    with server.client() as client:
        publish(client, "m", {"m.safetensors": safetensors(1)}, create_model=True)
    vanish_in_upload(server, how, 8)  # so that what is opened once for all is open
    before = settled(server)
    for _ in range(2):
        vanish_in_upload(server, how, CLIENTS)
    after = settled(server)
    assert after <= before, sorted(descriptors(server))
    with server.client() as client:
        assert value(client, "http_requests_in_flight") == 1  # the one that asks
        assert publish(client, "m", {"m.safetensors": safetensors(2)}).json()["version"] == 2
    assert "Traceback" not in server.log
    sight = look(tmp_path)
    assert_tidy(sight)
    assert sight.numbers("m") == [1, 2]


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_downloads_that_break_off_free_their_files(server: Server, how: str) -> None:
    files = {"m.safetensors": safetensors(1, 24 * MIB)}
    with server.client() as client:
        publish(client, "m", files, create_model=True).raise_for_status()
    vanish_in_download(server, how, 8)
    before = settled(server)
    for _ in range(2):
        vanish_in_download(server, how, CLIENTS)
    after = settled(server)
    assert after <= before, sorted(descriptors(server))
    assert "Traceback" not in server.log
    with server.client() as client:
        url = "/api/v1/models/m/versions/1/files/m.safetensors"
        assert client.get(url).content == files["m.safetensors"]


def test_a_broken_publish_that_was_all_but_whole_takes_no_number(
    server: Server, tmp_path: Path
) -> None:
    whole = httpx.Request(
        "POST",
        "http://service/api/v1/models/m/versions",
        files={"file": ("m.safetensors", safetensors(2, 50_000))},
    )
    body = whole.read()
    head = (
        "POST /api/v1/models/m/versions HTTP/1.1\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Content-Type: {whole.headers['content-type']}"
    )
    with server.client() as client:
        publish(client, "m", {"m.safetensors": safetensors(1)}, create_model=True)
        for missing in (1, 2, 5, 60):
            vanish(begin(server, head, body[:-missing]), "FIN")
            vanish(begin(server, head, body[:-missing]), "RST")
        eventually(lambda: server.staged == [], lambda: server.staged)
        assert client.get("/api/v1/models/m").json()["version_count"] == 1
        assert publish(client, "m", {"m.safetensors": safetensors(3)}).json()["version"] == 2
    sight = look(tmp_path)
    assert_tidy(sight)
    assert sight.numbers("m") == [1, 2]


def test_memory_stays_bounded_while_300_mib_come_and_go(tmp_path: Path) -> None:
    with running_server(tmp_path, validation_policy="report") as server:  # any bytes will do
        grown = growth_while_300_mib_come_and_go(server)
    print(f"grown by {grown / MIB:.1f} MiB")
    assert grown < 64 * MIB


def growth_while_300_mib_come_and_go(server: Server) -> int:
    """Bytes of memory, of the service and the process that reads the file for it."""
    block = b"\x07\x1f weights" * (MIB // 10)
    size = 300 * len(block)
    hasher = hashlib.sha256()
    for _ in range(300):
        hasher.update(block)
    digest = hasher.hexdigest()
    with server.client() as client:
        publish(client, "m", {"m.safetensors": safetensors(1, 3 * MIB)}, create_model=True)
        client.get("/api/v1/models/m/versions/1/files/m.safetensors").raise_for_status()
        server.reset_peak()
        idle = server.memory()
        sent = client.put(f"/api/v1/blobs/{digest}", content=(block for _ in range(300)))
        assert sent.status_code == 201, sent.text
        body = {"files": [{"path": "m.bin", "sha256": digest}]}
        reply = client.post("/api/v1/models/m/versions", json=body)
        assert reply.status_code == 201, reply.text
        received = hashlib.sha256()
        with client.stream("GET", "/api/v1/models/m/versions/2/files/m.bin") as download:
            for number, chunk in enumerate(download.iter_bytes(MIB)):
                received.update(chunk)
                if number == 10:
                    time.sleep(1)  # a slow reader must not fill the server's memory
        assert int(download.headers["content-length"]) == size
    assert received.hexdigest() == digest
    return server.memory(peak=True) - idle
