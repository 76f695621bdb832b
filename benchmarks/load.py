"""Load on one server: repeated reads (wrk, or a loop of our own) and concurrent writes."""

from __future__ import annotations

import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable

from benchmarks.servers import Server
from benchmarks.wire import Connection, WireError, request_bytes

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def reads_per_second(server: Server, path: str, *, connections: int, seconds: float) -> float:
    """Requests per second of ``GET path`` over kept-alive connections; every answer a 200."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return _loop(server, path, connections, seconds)
    url = f"http://127.0.0.1:{server.port}{path}"
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise WireError(f"{server.name} failed under load:\n{output}")
    return float(output.partition("Requests/sec:")[2].split()[0])


def _loop(server: Server, path: str, connections: int, seconds: float) -> float:
    """What wrk does, in one thread of Python: answer in, next request out."""
    request = request_bytes("GET", path)
    pending: dict[socket.socket, bytes] = {}
    done = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            peer = socket.create_connection(("127.0.0.1", server.port))
            selector.register(peer, selectors.EVENT_READ)
            pending[peer] = b""
            peer.sendall(request)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for key, _ in selector.select(1):
                peer = key.fileobj  # type: ignore[assignment]
                pending[peer] += peer.recv(1 << 16)
                if _complete(pending[peer]):
                    pending[peer] = b""
                    done += 1
                    peer.sendall(request)
        elapsed = time.perf_counter() - start
    for peer in pending:
        peer.close()
    return done / elapsed


def _complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    if length is None or not head.startswith(b"HTTP/1.1 200"):
        raise WireError(f"not a plain 200: {head[:200]!r}")
    return len(body) >= int(length[1])


def writes_per_second(
    server: Server, clients: int, seconds: float, write: Callable[[Connection, int], None]
) -> float:
    """Calls of ``write(connection, client)`` per second, by ``clients`` threads at once."""
    counts = [0] * clients
    failures: list[BaseException] = []
    barrier = threading.Barrier(clients + 1)

    def work(client: int) -> None:
        try:
            with Connection(server.port) as connection:
                barrier.wait()
                deadline = time.perf_counter() + seconds
                while time.perf_counter() < deadline and not failures:
                    write(connection, client)
                    counts[client] += 1
        except (OSError, WireError, threading.BrokenBarrierError) as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    if failures:
        raise failures[0]
    return sum(counts) / elapsed
