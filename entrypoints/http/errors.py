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
    Kind.PRECONDITION_FAILED: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.RANGE: 416,
    Kind.INVALID: 422,
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
class ProblemField:
    """What is wrong with one field: an RFC 6901 pointer and a sentence."""

    pointer: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem. Branch on ``code``; show ``detail`` to people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ProblemField]


class Refused(HTTPException):
    """A domain error raised where the framework lets only its own through: while reading a body."""

    def __init__(self, error: ModelyardError) -> None:
        super().__init__(STATUS[error.kind], error.detail)
        self.error = error


def _respond(
    request: Request,
    status: int,
    code: str,
    title: str,
    *,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    request_id = request.scope.get("request_id", "")
    problem = _problem(status, code, title, detail=detail, request_id=request_id, errors=errors)
    return Response(orjson.dumps(problem), status, headers, "application/problem+json")


def _problem(
    status: int,
    code: str,
    title: str,
    *,
    detail: str,
    request_id: str,
    errors: Sequence[FieldError],
) -> Problem:
    fields = [ProblemField(error.pointer, error.message) for error in errors]
    kind = f"urn:modelyard:error:{code}"
    return Problem(kind, title, status, detail, code, request_id, fields)


def problem_of(error: ModelyardError, status: int, request_id: str) -> Problem:
    """The document of an error for which there is no request that could be parsed."""
    return _problem(
        status,
        error.code,
        error.title,
        detail=error.detail,
        request_id=request_id,
        errors=error.errors,
    )


def problem_response(request: Request, error: ModelyardError) -> Response:
    """The problem document of a domain error, with the headers its status asks for."""
    status = STATUS[error.kind]
    headers = {}
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return _respond(
        request,
        status,
        error.code,
        error.title,
        detail=error.detail,
        errors=error.errors,
        headers=headers,
    )


async def _domain_error(request: Request, error: Exception) -> Response:
    error = cast(ModelyardError, error)
    if error.kind in {Kind.CORRUPT, Kind.UNAVAILABLE}:
        _log.error("%s: %s", error.code, error.detail)
    return problem_response(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    error = cast(RequestValidationError, error)
    fields = [
        FieldError(_pointer(fault["loc"]), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors()[:20]
    ]
    detail = "; ".join(f"{field.pointer}: {field.message}" for field in fields[:3])
    return problem_response(request, InvalidRequest(f"{detail}.", errors=fields))


def _pointer(location: Sequence[Any]) -> str:
    steps = location[1:] if location and location[0] == "body" else location
    return "/" + "/".join(str(step).replace("~", "~0").replace("/", "~1")[:250] for step in steps)


async def _framework_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if isinstance(error, Refused):
        return problem_response(request, error.error)
    code, title = _FRAMEWORK.get(error.status_code, ("request.refused", "The request is refused"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request)) or headers.get("Allow", "")
    return _respond(
        request,
        error.status_code,
        code,
        title,
        detail=f"{title}: {request.method} {request.url.path[:200]}"
        if error.status_code in _FRAMEWORK
        else str(error.detail),
        headers=headers,
    )


def _allowed(request: Request) -> list[str]:
    """The methods that any route takes at this path: the router tells those of the first only."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def unexpected(request: Request, error: Exception) -> Response:
    """The problem document of an error that nobody raised on purpose; the log has its story."""
    request_id = request.scope.get("request_id", "")
    _log.error("unexpected error on %s id=%s", request.method, request_id, exc_info=error)
    code, title = _FRAMEWORK[500]
    return _respond(request, 500, code, title, detail=title + ".")


async def _disconnected(request: Request, _: Exception) -> Response:
    return problem_response(request, MalformedRequest("The client went away."))


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
    responses = {status: _described(status, found) for status, found in by_status.items()}
    responses.setdefault(
        500, {"description": "`server.error`", "content": {"application/problem+json": _SCHEMA}}
    )
    responses.setdefault(
        431,
        {
            "description": "`request.too_large`: target and headers have more than 64 KiB",
            "content": {"application/problem+json": _SCHEMA},
        },
    )
    responses.setdefault(
        503,
        {
            "description": "Try again after the seconds in `Retry-After`: "
            "`database.unavailable`, `store.unavailable`, `store.full` or `lock.timeout`",
            "content": {"application/problem+json": _SCHEMA},
        },
    )
    return responses


_SCHEMA: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}


def _described(status: int | str, errors: list[type[ModelyardError]]) -> dict[str, Any]:
    first = errors[0]
    example: dict[str, Any] = {
        "type": f"urn:modelyard:error:{first.code}",
        "title": first.title,
        "status": status,
        "detail": f"{first.title}: one sentence about this request.",
        "code": first.code,
        "request_id": "0f8fad5bd9cb469fa165708680a1b8f3",
        "errors": [],
    }
    return {
        "description": ", ".join(f"`{error.code}` ({error.title})" for error in errors),
        "content": {"application/problem+json": {**_SCHEMA, "example": example}},
    }
