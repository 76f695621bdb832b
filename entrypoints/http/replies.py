"""Replies: JSON with an entity tag, and streams that end with their reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from application.ports import Found
from application.streams import ByteStream
from entrypoints.http.deps import none_match


def dumps(value: object) -> bytes:
    """JSON with times in RFC 3339, UTC as ``Z``, and a newline, which keeps terminals tidy."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def json_reply(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON reply."""
    return Response(dumps(value), status, headers, "application/json")


def found_reply(
    request: Request,
    found: Found[Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A record with its ETag; 304 without it where a GET says that it is known already."""
    tagged = {"ETag": f'"{found.etag}"', **(headers or {})}
    if request.method == "GET" and not none_match(request, found.etag):
        return Response(status_code=304, headers=tagged)
    return json_reply(found.record, status, tagged)


def location(*segments: str | int) -> str:
    """A path below the API with every segment escaped."""
    return "/api/v1/" + "/".join(quote(str(segment), safe="@") for segment in segments)


def attachment(filename: str) -> str:
    """A Content-Disposition that is safe whatever the name holds (RFC 6266, RFC 8187)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-+()") else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


class StreamReply(StreamingResponse):
    """A stream that is closed, and its file with it, when the reader goes away."""

    def __init__(
        self,
        chunks: ByteStream,
        status: int,
        headers: Mapping[str, str],
        media_type: str | None = None,
    ) -> None:
        super().__init__(chunks, status, headers, media_type)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._chunks.aclose()
