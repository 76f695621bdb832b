"""What travels below HTTP's manners: broken heads, floods, slow and silent clients."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.http.wire import (
    MULTIPART,
    connect,
    exchange,
    exchange_all,
    head,
    multipart,
    parse,
    part,
    post_json,
    read_reply,
    request,
)
from tests.support.publishing import safetensors
from tests.support.server import Server

MIB = 1 << 20
FILE = part('; name="file"; filename="m.safetensors"', safetensors("weights"))


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /health/live HTTP/9.9\r\n\r\n",
        b"GET /api/v1/models/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/models/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"ODD /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        head("GET", "/health/live", "No colon"),
        head("GET", "/health/live", "Space : x"),
        head("GET", "/health/live", b"X-User: a\x00b"),
        head("GET", "/health/live", b"X-User: a\x7fb"),
        head("POST", "/api/v1/models", "Content-Length: x"),
        head("POST", "/api/v1/models", "Content-Length: -1"),
        head("POST", "/api/v1/models", "Content-Length: +1"),
        head("POST", "/api/v1/models", "Content-Length: 99999999999999999999999"),
        head("POST", "/api/v1/models", "Content-Length: 5", "Content-Length: 6"),
        head("POST", "/api/v1/models", "Content-Length: 5", "Transfer-Encoding: chunked"),
        head("POST", "/api/v1/models", "Transfer-Encoding: gzip"),
        head("POST", "/api/v1/models", "Transfer-Encoding: chunked, identity"),
    ],
)
def test_what_is_not_http(server: Server, sent: bytes) -> None:
    reply = exchange(server, sent)
    reply.problem(400, "request.malformed")
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("start", "filler"),
    [
        (b"GET /health/live HTTP/1.1\r\nX-User: ", b"a"),
        (b"GET /health/live HTTP/1.1\r\n", b"X-A: b\r\n"),
        (b"GET /api/v1/models?filter=", b"a"),
        (b"GET /api/v1/models HTTP/1.1\r\nX-User: ", "模".encode()),
        (
            head("PUT", "/api/v1/blobs/" + "0" * 64, "Transfer-Encoding: chunked") + b"0\r\nX: ",
            b"a",
        ),
        (head("PUT", "/api/v1/blobs/" + "0" * 64, "Transfer-Encoding: chunked") + b"1;x=", b"a"),
        (b"", b"\r\n"),
        (b"", b"a"),
    ],
    ids=["header", "headers", "query", "user", "trailer", "extension", "blank", "method"],
)
def test_a_head_without_end(server: Server, start: bytes, filler: bytes) -> None:
    server.reset_peak()
    before = server.memory()
    piece = filler * (MIB // len(filler))
    reply = exchange_all(server, itertools.chain([start], itertools.repeat(piece, 100)))
    assert reply.status in {400, 431}
    reply.problem()
    assert server.memory(peak=True) - before < 16 * MIB


def test_a_head_may_be_large(server: Server) -> None:
    sent = head("GET", "/health/live", "Cookie: " + "a" * 60_000)
    assert exchange(server, sent).status == 200


def test_a_large_body_is_no_head(server: Server, model: str) -> None:
    body = b'{"name": "%s-2", "description": "%s"}' % (model.encode(), b"x" * 90_000)
    assert exchange(server, post_json("/api/v1/models", body)).status == 201


def test_pipelined_requests_are_answered_in_order(server: Server, model: str) -> None:
    many = b"".join(
        head("GET", path, keep=True)
        for path in (f"/api/v1/models/{model}", "/health/live", "/nothing") * 20
    )
    with connect(server) as connection:
        connection.sendall(many + head("GET", "/health/live"))
        received = read_all(connection)
    statuses = [int(piece[:3]) for piece in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 404] * 20 + [200]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.3"])
def test_an_offer_to_upgrade_is_ignored(server: Server, name: str, protocol: str) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMA")
    with connect(server) as connection:
        for number in range(2):
            body = b'{"name": "%s-%d"}' % (name.encode(), number)
            length = f"Content-Length: {len(body)}"
            kind = "Content-Type: application/json"
            sent = head("POST", "/api/v1/models", *offer, kind, length, keep=True)
            for piece in (sent[:50], sent[50:] + body[:5], body[5:]):
                connection.sendall(piece)
                time.sleep(0.02)
            assert read_reply(connection).status == 201
        connection.sendall(head("GET", f"/api/v1/models/{name}-1", *offer, keep=True))
        assert read_reply(connection).status == 200
        connection.sendall(head("GET", "/health/live"))
        assert parse(read_all(connection)).status == 200


# --- Expect: 100-continue -----------------------------------------------------------------------

EXPECT = "Expect: 100-continue"


def expecting(
    server: Server, *lines: str, target: str, body: bytes = b""
) -> tuple[list[int], bytes]:
    """Sends a head that asks first, and the body once invited; what came, and the last of it."""
    with connect(server) as connection:
        connection.sendall(head("POST", target, EXPECT, *lines))
        first = connection.recv(65536)
        if not first.startswith(b"HTTP/1.1 100 "):
            connection.shutdown(socket.SHUT_WR)
            return [parse(first).status], first
        connection.sendall(body)
        received = first + read_all(connection)
    reply = parse(received)
    return [*reply.interim, reply.status], received


def test_a_good_request_is_invited(server: Server, model: str) -> None:
    body = multipart(FILE)
    target = f"/api/v1/models/{model}/versions"
    lines = (f"Content-Type: {MULTIPART}", f"Content-Length: {len(body)}")
    assert expecting(server, *lines, target=target, body=body)[0] == [100, 201]


@pytest.mark.parametrize(
    ("target", "lines", "status"),
    [
        ("/api/v1/models/{}%00/versions", (f"Content-Type: {MULTIPART}",), 422),
        ("/api/v1/models/{}/versions", ("Content-Type: text/plain",), 415),
        ("/api/v1/models/{}/versions", (f"Content-Type: {MULTIPART}", "X-User: \x01"), 400),
        ("/api/v1/models/{}/versions", (f"Content-Type: {MULTIPART}", "Idempotency-Key: a b"), 422),
        ("/api/v1/models", ("Content-Type: text/plain",), 415),
        ("/api/v1/nothing", ("Content-Type: application/json",), 404),
        ("/api/v1/models/{}", ("Content-Type: application/json",), 405),
    ],
)
def test_a_bad_request_is_not_invited(
    server: Server, untouched: str, target: str, lines: tuple[str, ...], status: int
) -> None:
    lines = (*lines, "Content-Length: 1000")
    assert expecting(server, *lines, target=target.format(untouched))[0] == [status]


@pytest.mark.parametrize(
    ("target", "kind", "length"),
    [
        ("/api/v1/models", "application/json", 9 << 20),
        ("/api/v1/models/{}/versions", "application/json", 9 << 20),
        ("/api/v1/models/{}/versions", MULTIPART, 1 << 41),
    ],
)
def test_a_body_announced_as_too_large_is_not_invited(
    server: Server, untouched: str, target: str, kind: str, length: int
) -> None:
    lines = (f"Content-Type: {kind}", f"Content-Length: {length}")
    assert expecting(server, *lines, target=target.format(untouched))[0] == [413]


def test_a_missing_model_is_told_before_the_files_are_sent(server: Server, name: str) -> None:
    """The metadata says that the model is not to be made, so nothing more is needed to know."""
    parts = part('; name="metadata"', b"{}") + FILE[:-500]
    sent = head(
        "POST",
        f"/api/v1/models/{name}/versions",
        f"Content-Type: {MULTIPART}",
        f"Content-Length: {1 << 30}",
    )
    endless = itertools.chain([sent, parts], itertools.repeat(bytes(MIB), 1 << 10))
    reply = exchange_all(server, endless)
    reply.problem(404, "model.not_found")
    assert reply.sent < 40 * MIB


# --- crowds, and the slow -----------------------------------------------------------------------


def test_a_slow_client_holds_up_nobody(server: Server, client: httpx.Client, model: str) -> None:
    body = multipart(part('; name="file"; filename="m.safetensors"', safetensors("slow", 8)))
    target = f"/api/v1/models/{model}/versions"
    length = f"Content-Length: {len(body)}"
    sent = head("POST", target, f"Content-Type: {MULTIPART}", length) + body
    pause = 1.5 / len(sent)
    answered = []

    def drip() -> None:
        with connect(server) as connection:
            for byte in sent:
                connection.sendall(bytes([byte]))
                time.sleep(pause)
            answered.append(parse(read_all(connection)).status)

    slow = threading.Thread(target=drip)
    slow.start()
    others = 0
    while slow.is_alive():
        assert client.get(f"/api/v1/models/{model}").status_code == 200
        others += 1
    slow.join()
    assert answered == [201]
    assert others > 20


def test_silent_and_reluctant_connections_hold_up_nobody(
    server: Server, client: httpx.Client, model: str
) -> None:
    silent = [connect(server) for _ in range(50)]
    for number, connection in enumerate(silent):
        if number % 2:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nX-Half:")
    for _ in range(20):
        assert client.get(f"/api/v1/models/{model}").status_code == 200
    for connection in silent:
        connection.close()


def test_a_reader_that_stops_reading_costs_no_memory(
    server: Server, client: httpx.Client, model: str
) -> None:
    content = safetensors(model, size=64 * MIB)
    target = f"/api/v1/models/{model}/versions"
    assert client.post(target, files=[("file", ("m.safetensors", content))]).status_code == 201
    server.reset_peak()
    before = server.memory()
    readers = [connect(server) for _ in range(4)]
    for reader in readers:
        reader.sendall(head("GET", f"{target}/1/files/m.safetensors"))
    for reader in readers:
        assert reader.recv(100)
    time.sleep(0.5)
    assert server.memory(peak=True) - before < 64 * MIB
    for reader in readers:
        reader.close()
    assert client.get(f"{target}/1").status_code == 200


def test_two_hundred_at_once(server: Server, model: str) -> None:
    connections = [connect(server) for _ in range(200)]
    barrier = threading.Barrier(20)

    def one(batch: int) -> list[int]:
        mine = connections[batch * 10 : batch * 10 + 10]
        barrier.wait()
        for number, connection in enumerate(mine):
            if number % 2:
                connection.sendall(head("GET", f"/api/v1/models/{model}"))
            else:
                body = b'{"name": "%s-%d-%d"}' % (model.encode(), batch, number)
                connection.sendall(post_json("/api/v1/models", body))
        return [parse(read_all(connection)).status for connection in mine]

    with ThreadPoolExecutor(20) as pool:
        statuses = [status for batch in pool.map(one, range(20)) for status in batch]
    for connection in connections:
        connection.close()
    assert sorted(statuses) == [200] * 100 + [201] * 100


def test_a_client_that_hangs_up_while_it_is_answered(
    server: Server, client: httpx.Client, model: str
) -> None:
    content = safetensors(model, size=8 * MIB)
    target = f"/api/v1/models/{model}/versions"
    client.post(target, files=[("file", ("m.safetensors", content))])
    for path in ("1/files/m.safetensors", "1/archive", "1/archive?format=tar"):
        for _ in range(5):
            with connect(server) as connection:
                connection.sendall(request("GET", f"{target}/{path}"))
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert client.get(f"{target}/1/files/m.safetensors").content == content
