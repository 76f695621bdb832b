"""An HTTP server before a store, which answers some requests itself and passes the others on."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, bytes]
Judge = Callable[[str, str, int], Answer | None]
"""Takes method, target and length of a request; its answer, or None to pass it on."""
_PER_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@contextmanager
def front(store: str, judge: Judge) -> Iterator[str]:
    """The URL of a server before the one at the URL ``store``."""
    handler = partial(_Handler, urlsplit(store).netloc, judge)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request per connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, store: str, judge: Judge, *args: Any) -> None:
        self._store = store
        self._judge = judge
        super().__init__(*args)

    def handle_one_request(self) -> None:
        self.close_connection = True
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if self.raw_requestline and self.parse_request():
                self._answer()
        except (ConnectionError, TimeoutError):
            return

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self._judge(self.command, self.path, len(body))
        if answer is not None:
            self._send(answer[0], [("Content-Type", "application/xml")], answer[1])
            return
        store = http.client.HTTPConnection(self._store, timeout=60)
        try:
            store.request(self.command, self.path, body or None, dict(self.headers.items()))
            reply = store.getresponse()
            self._send(reply.status, reply.getheaders(), reply.read())
        finally:
            store.close()

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        told = dict(headers).get("Content-Length") if self.command == "HEAD" else None
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _PER_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", told or str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def quota(most: int, refusal: Answer) -> Judge:
    """Refuses objects of more than ``most`` bytes, also those that come in parts."""
    sent: Counter[str] = Counter()

    def judge(method: str, target: str, length: int) -> Answer | None:
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        in_parts = not query.keys().isdisjoint({"partNumber", "upload_id", "blockid"})
        name = query.get("upload_id", [parts.path])[0]
        sent[name] = length + (sent[name] if in_parts else 0)
        return refusal if method in {"PUT", "POST"} and sent[name] > most else None

    return judge
