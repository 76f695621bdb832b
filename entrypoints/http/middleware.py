"""Layers around everything: ids, measurements and the log; no changes across sites; HEAD."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from urllib.parse import urlsplit

from opentelemetry.trace import format_trace_id, get_current_span
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.errors import CrossSiteRequest, NotReady
from entrypoints.http.errors import error_reply, unexpected
from entrypoints.http.metrics import in_flight, record_request
from entrypoints.logs import set_subject

_log = logging.getLogger("modelyard.access")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class Observe:
    """Gives every request an id (the caller's if it sent a sane one), and tells how it went.

    Replies to reads are logged at DEBUG, changes at INFO, failures of the service at ERROR.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = _request_id(scope)
        _name_subject(scope["request_id"])
        header = (b"x-request-id", scope["request_id"].encode())
        started = time.perf_counter()
        status, sent, received = 0, 0, 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def tagged_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        working = in_flight(scope["method"])
        working.inc()
        try:
            await self._app(scope, counted_receive, tagged_send)
        except Exception as error:
            if status:
                raise  # too late for another reply: the server cuts the connection
            await unexpected(Request(scope), error)(scope, receive, tagged_send)
        except asyncio.CancelledError:
            # Only the server does this, at its end, to what has had its GRACEFUL_TIMEOUT; where the
            # reply has begun it cuts the connection when this returns.
            if not status:
                stopping = NotReady("The service is shutting down; try again in a moment.")
                await error_reply(Request(scope), stopping)(scope, receive, tagged_send)
        finally:
            working.dec()
            status = status or 499  # nobody was there to be answered
            seconds = time.perf_counter() - started
            _record(scope, status, seconds, received, sent)
            _log_request(scope, status, seconds, received, sent)


class SameSite:
    """Refuses changes that a browser asks for on behalf of another site's page.

    There are no accounts, so it is the network that says who may change the registry: a page from
    anywhere must not do so through the browser of somebody inside. Clients that are no browsers
    send neither header. The rules are those of Go's ``http.CrossOriginProtection``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE and (page := _stranger(scope)):
            refusal = CrossSiteRequest(
                f"A page of another site, {page[:200]!a}, asks for a change."
            )
            await error_reply(Request(scope), refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class AnswerHead:
    """Answers HEAD as GET would be, without the body, where no route does (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or _has_route(scope):
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            else:
                await send({"type": "http.response.body"})
                if message.get("more_body"):
                    raise _HeadSentError

        try:
            await self._app(as_get, receive, send_head)
        except _HeadSentError:
            pass  # and the stream of the body is closed
        finally:
            scope.update({key: as_get[key] for key in ("route", "problem") if key in as_get})


class _HeadSentError(Exception):
    """Nobody reads the rest."""


def _has_route(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


def _stranger(scope: Scope) -> str | None:
    """The origin of the page that asks, where that is another site's; None where it is ours."""
    headers = Headers(scope=scope)
    origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
    if site:
        return None if site in {"same-origin", "none"} else origin or site
    return None if not origin or _host(origin) == headers.get("host", "").lower() else origin


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(16)


def _name_subject(request_id: str) -> None:
    """Lets every line of the log tell of which request, and of which trace, it is."""
    span = get_current_span()
    if not span.is_recording():
        set_subject(request_id=request_id)
        return
    span.set_attribute("modelyard.request_id", request_id)
    trace_id = format_trace_id(span.get_span_context().trace_id)
    set_subject(request_id=request_id, trace_id=trace_id)


def _record(scope: Scope, status: int, seconds: float, received: int, sent: int) -> None:
    route = scope.get("route")
    operation = getattr(route, "operation_id", None) or "other"
    method = scope["method"] if operation != "other" else "other"
    record_request(
        method,
        operation,
        status,
        problem=scope.get("problem"),
        seconds=seconds,
        received=received,
        sent=sent,
    )


def _log_request(scope: Scope, status: int, seconds: float, received: int, sent: int) -> None:
    read = scope["method"] in {"GET", "HEAD"}
    level = logging.ERROR if status >= 500 else logging.DEBUG if read else logging.INFO
    if not _log.isEnabledFor(level):
        return
    milliseconds = round(seconds * 1000, 1)
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_ms": milliseconds,
        "bytes_in": received,
        "bytes_out": sent,
    }
    values = tuple(fields.values())
    if "problem" in scope:
        fields["problem"] = scope["problem"]
    _log.log(level, "%s %a %d %.1f ms in=%d out=%d", *values, extra=fields)
