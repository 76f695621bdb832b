"""Request bodies: JSON read strictly and within a limit, multipart read as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from multipart import (
    MultipartError,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from application.publishing import IncomingFile, PublishDetails
from domain.errors import (
    InvalidManifest,
    InvalidRequest,
    MalformedRequest,
    ModelyardError,
    RequestTooLarge,
    UnsupportedMediaType,
    UploadInterrupted,
)
from domain.values import MAX_FILES, FilePath
from entrypoints.http.errors import Refused
from entrypoints.http.schemas import PublishMetadata

_BATCH = 256 * 1024
M = TypeVar("M", bound=BaseModel)


async def read_limited(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """All of it.

    Raises:
        RequestTooLarge: more than ``limit`` bytes.
    """
    whole = bytearray()
    async for chunk in chunks:
        whole += chunk
        if len(whole) > limit:
            raise RequestTooLarge(f"JSON is taken up to {limit} bytes.")
    return bytes(whole)


def parse_json(raw: bytes) -> Any:
    """Strict JSON (RFC 8259): no NaN, no bad UTF-8, no endless nesting.

    Raises:
        MalformedRequest: saying where it goes wrong.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"The body is not JSON: {error}.") from None


def is_json(request: Request) -> bool:
    """Whether the body says that it is JSON."""
    kind: str = parse_options_header(request.headers.get("content-type", ""))[0].lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def validated(model: type[M], value: object) -> M:
    """The value as this model.

    Raises:
        RequestValidationError: with every field that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        located = [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        raise RequestValidationError(located) from None


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in batches of at least 256 KiB (the last may be smaller).

    Raises:
        UploadInterrupted: the client went away before its end.
    """
    batch: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            batch.append(chunk)
            size += len(chunk)
            if size >= _BATCH:
                yield batch[0] if len(batch) == 1 else b"".join(batch)
                batch, size = [], 0
    except ClientDisconnect:
        raise UploadInterrupted("The connection closed before the end of the body.") from None
    if size:
        yield b"".join(batch)


class _JsonRequest(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            limit = self.app.state.container.settings().max_metadata_size
            try:
                if not is_json(self):
                    raise UnsupportedMediaType("This operation takes application/json.")
                if int(self.headers.get("content-length", 0)) > limit:
                    raise RequestTooLarge(f"JSON is taken up to {limit} bytes.")
                self._body = await read_limited(body_chunks(self), limit)
            except ModelyardError as error:
                raise Refused(error) from None
        return self._body

    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except ModelyardError as error:
            raise Refused(error) from None


class JsonRoute(APIRoute):
    """A route whose JSON body, if it takes one, is read strictly and within the limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_strictly(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return read_strictly


# --- multipart publish --------------------------------------------------------------------------


def multipart_boundary(request: Request) -> str | None:
    """The boundary of a multipart/form-data body, None where it is something else.

    Raises:
        MalformedRequest: multipart without a usable boundary.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.lower() != "multipart/form-data":
        return None
    boundary: str = options.get("boundary", "")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise MalformedRequest("The multipart boundary has 1 to 70 ASCII characters (RFC 2046).")
    return boundary


async def _events(request: Request, boundary: str) -> AsyncIterator[Any]:
    try:
        with PushMultipartParser(
            boundary, max_header_size=8192, max_segment_count=MAX_FILES + 2
        ) as parser:
            async for chunk in body_chunks(request):
                for event in parser.parse(chunk):
                    yield event
    except ParserLimitReached:
        raise InvalidManifest(
            f"A version has at most {MAX_FILES} files, and a part short headers."
        ) from None
    except (MultipartError, UnicodeError) as error:
        raise MalformedRequest(f"The multipart body is broken: {error}.") from None


async def _payload(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            return
        yield event if isinstance(event, bytes) else bytes(event)


async def publish_parts(
    request: Request, boundary: str, metadata_limit: int
) -> AsyncIterator[IncomingFile | PublishDetails]:
    """The parts of a multipart publish, in the order they arrive and while they do.

    The chunks of a file must be read before the next part is asked for.

    Raises:
        MalformedRequest, UploadInterrupted, InvalidRequest, InvalidManifest, InvalidFilePath,
        RequestTooLarge, RequestValidationError
    """
    events = _events(request, boundary)
    async for event in events:
        if event.name == "file":
            if not event.filename:
                raise InvalidRequest("A 'file' part needs a filename: the path in the version.")
            yield IncomingFile(FilePath(event.filename), _payload(events))
        elif event.name == "metadata":
            raw = await read_limited(_payload(events), metadata_limit)
            yield validated(PublishMetadata, parse_json(raw)).details()
        else:
            raise InvalidRequest(
                f"The part {event.name[:80]!a} is unknown; there are 'file' and 'metadata'."
            )
