"""HTTP/1.1 on the wire: uvicorn's protocol, and what it leaves open.

* A head, a trailer or a chunk's extensions of any length are collected by the parser at quadratic
  cost, and all others wait: 100 MB take 20 seconds. Here they end at 64 KiB with 431.
* A head may take for ever to arrive, and its connection a file of the process. Here it has 30
  seconds, then the connection is closed; one that is idle between requests has its own timeout.
* ``Upgrade`` makes the parser skip the body, and take nothing more from the connection. Java's
  HttpClient and ``curl --http2`` offer it with every request; here it is ignored (RFC 9110, 7.8).
* A request that cannot be parsed is answered with a problem document.
* A client that is still sending when its request is refused can read why: the connection lingers,
  because closing it at once would reset it (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, cast

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from domain.errors import MalformedRequest, ModelyardError, RequestTooLarge
from entrypoints.http.errors import problem_of

MAX_HEAD = 64 * 1024
HEAD_SECONDS = 30.0
_LINGER_SECONDS = 2.0


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _deaf = False
    _upgrading = False
    _progress = False
    _without_progress = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        self._progress = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, MalformedRequest("This is not HTTP/1.1 as RFC 9112 has it."))
        else:
            self._without_progress = 0 if self._progress else self._without_progress + len(data)
            if self._without_progress > MAX_HEAD:
                self._refuse(431, RequestTooLarge(f"A head has at most {MAX_HEAD} bytes."))
            elif self._in_head and not self._progress:
                self._await_head()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up_head)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up_head(self) -> None:
        self._head_timer = None
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if cycle is None or cycle.response_complete:
            self.transport.close()
        else:  # the head of the next request, while this one is still being answered
            self._await_head()

    # --- what the parser tells ------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self._progress = True
        self._in_head = False
        self._forget_head()
        self._upgrading = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._upgrading:
            super().on_headers_complete()
            draining = self.app_state.get("draining")
            if draining and draining.begun:
                self.cycle.keep_alive = False
            if not self.cycle.keep_alive:
                self.cycle.transport = cast(Any, _LingeringTransport(self, self.cycle))

    def on_body(self, body: bytes) -> None:
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        if not self._upgrading:
            self._in_head = True
            if self.cycle.response_complete:  # answered before its end: no other timeout runs
                self._await_head()
            super().on_message_complete()

    # --- what becomes of it ---------------------------------------------------------------------

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Reads the request once more as if it had not asked for another protocol."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        head = [method + b" " + self.url + b" HTTP/" + version]
        head += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self._upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def _refuse(self, status: int, error: ModelyardError) -> None:
        """Answers in place of the application, and takes nothing more."""
        self._deaf = True
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None before the first request
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        request_id = secrets.token_hex(16)
        told = {"request_id": request_id}
        self.logger.info("refused with %d, %s", status, error.code, extra=told)
        self.transport.write(_reply(status, error, request_id, self.server_state.default_headers))
        self.linger()

    def linger(self) -> None:
        """Takes nothing more, tells that nothing more will come, and closes a while later."""
        self._deaf = True
        self._forget_head()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


class _LingeringTransport:
    """What a cycle closes after its reply, where the connection is not kept."""

    def __init__(self, protocol: HttpProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        if self._cycle.more_body and self._cycle.response_complete:
            self._protocol.linger()
        else:
            self._protocol.transport.close()


def _reply(status: int, error: ModelyardError, request_id: str, headers: Any) -> bytes:
    problem = problem_of(error, request_id, status)
    content = orjson.dumps(problem, option=orjson.OPT_APPEND_NEWLINE)
    lines = [
        *(name + b": " + value for name, value in headers),
        b"content-type: application/problem+json",
        b"content-length: %d" % len(content),
        b"x-request-id: " + request_id.encode(),
        b"connection: close",
    ]
    return STATUS_LINE[status] + b"\r\n".join([*lines, b"", content])
