"""Errors on the wire: RFC 9457 problem documents, written in one place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from domain.errors import (
    FieldError,
    InvalidRequest,
    Kind,
    MalformedRequest,
    ModelyardError,
    RangeNotSatisfiable,
)

_log = logging.getLogger("modelyard.http")

STATUS = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.GONE: 410,
    Kind.PRECONDITION_FAILED: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.RANGE: 416,
    Kind.INVALID: 422,
    Kind.CHECKSUM: 460,  # of the tus protocol, 1.0
    Kind.CORRUPT: 500,
    Kind.LOCKED: 503,
    Kind.UNAVAILABLE: 503,
}
_RETRY_AFTER_SECONDS = "1"
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_FRAMEWORK = {
    404: ("request.no_such_path", "There is nothing at this path"),
    405: ("request.method_not_allowed", "This path does not take this method"),
    500: ("server.error", "The service failed; its log has the reason under this request id"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem. Branch on ``code``; show ``detail`` to people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[FieldError, ...]


class Refused(HTTPException):
    """A domain error raised where the framework lets only its own through: while reading a body."""

    def __init__(self, error: ModelyardError) -> None:
        super().__init__(STATUS[error.kind], error.detail)
        self.error = error


def problem_of(error: ModelyardError, request_id: str, status: int | None = None) -> Problem:
    """The problem that a domain error is; of the status of its kind, unless told another."""
    kind, status = _type(error.code), status or STATUS[error.kind]
    return Problem(kind, error.title, status, error.detail, error.code, request_id, error.errors)


def _type(code: str) -> str:
    return f"urn:modelyard:error:{code}"


def _request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


def _reply(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    request.scope["problem"] = problem.code  # for the metrics and the log
    content = orjson.dumps(problem, option=orjson.OPT_APPEND_NEWLINE)
    return Response(content, problem.status, headers, "application/problem+json")


def error_reply(request: Request, error: ModelyardError) -> Response:
    """The problem document of a domain error, with the headers its status asks for."""
    problem, headers = problem_of(error, _request_id(request)), {}
    if problem.status == 503:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return _reply(request, problem, headers)


async def _domain_error(request: Request, error: Exception) -> Response:
    error = cast(ModelyardError, error)
    if error.kind in {Kind.CORRUPT, Kind.UNAVAILABLE}:
        _log.error("%s: %s", error.code, error.detail)
    return error_reply(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    error = cast(RequestValidationError, error)
    fields = [
        FieldError(_pointer(fault["loc"]), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors()[:20]
    ]
    detail = "; ".join(f"{field.pointer}: {field.message}" for field in fields[:3])
    return error_reply(request, InvalidRequest(f"{detail}.", errors=fields))


def _pointer(location: Sequence[Any]) -> str:
    steps = location[1:] if location and location[0] == "body" else location
    return "/" + "/".join(str(step).replace("~", "~0").replace("/", "~1")[:250] for step in steps)


async def _framework_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if isinstance(error, Refused):
        return error_reply(request, error.error)
    status, headers = error.status_code, dict(error.headers or {})
    code, title = _FRAMEWORK.get(status, ("request.refused", "The request is refused"))
    detail = str(error.detail)
    if status in _FRAMEWORK:
        detail = f"{title}: {request.method} {request.url.path[:200]}"
    if status == 405:
        headers["Allow"] = ", ".join(_allowed(request)) or headers.get("Allow", "")
    problem = Problem(_type(code), title, status, detail, code, _request_id(request), ())
    return _reply(request, problem, headers)


def _allowed(request: Request) -> list[str]:
    """The methods that any route takes at this path: the router tells those of the first only."""
    found = {
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    }
    return sorted(found | {"HEAD"} if "GET" in found else found)


def unexpected(request: Request, error: Exception) -> Response:
    """The problem document of an error that nobody raised on purpose; the log has its story."""
    request_id = _request_id(request)
    _log.error("unexpected error on %s", request.method, exc_info=error)
    code, title = _FRAMEWORK[500]
    problem = Problem(_type(code), title, 500, f"{title}.", code, request_id, ())
    return _reply(request, problem)


async def _disconnected(request: Request, _: Exception) -> Response:
    return error_reply(request, MalformedRequest("The client went away."))


def add_error_handlers(app: FastAPI) -> None:
    """Turns every error, the framework's own too, into a problem document."""
    app.add_exception_handler(ModelyardError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)


def problems(*errors: type[ModelyardError]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of an operation that can raise these, for its OpenAPI document.

    InvalidRequest, 431, 500 and 503 come with every operation.
    """
    by_status: dict[int | str, list[type[ModelyardError]]] = {422: [InvalidRequest]}
    for error in errors:
        known = by_status.setdefault(STATUS[error.kind], [])
        if error not in known:
            known.append(error)
    more = {status: _problem_reply(text) for status, text in _EVERYWHERE.items()}
    return more | {status: _described(status, found) for status, found in by_status.items()}


_EVERYWHERE: dict[int | str, str] = {
    431: "`request.too_large`: target and headers have more than 64 KiB",
    500: "`server.error`",
    503: "Try again after the seconds in `Retry-After`: `database.unavailable`, "
    "`store.unavailable`, `store.full` or `lock.timeout`",
}


def _problem_reply(description: str, **content: object) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema, **content}}
    return {"description": description, "content": content}


def _described(status: int | str, errors: list[type[ModelyardError]]) -> dict[str, Any]:
    first = errors[0]
    example: dict[str, Any] = {
        "type": _type(first.code),
        "title": first.title,
        "status": status,
        "detail": f"{first.title}: one sentence about this request.",
        "code": first.code,
        "request_id": "0f8fad5bd9cb469fa165708680a1b8f3",
        "errors": [],
    }
    description = ", ".join(f"`{error.code}` ({error.title})" for error in errors)
    return _problem_reply(description, example=example)
