"""Request bodies: JSON read strictly and within a limit, multipart read as a stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from multipart import (
    MultipartError,
    ParserLimitReached,
    PushMultipartParser,
    content_disposition_unquote,
    parse_options_header,
)
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from application.publishing import IncomingFile, PublishDetails
from domain.errors import (
    FieldError,
    InvalidManifest,
    InvalidRequest,
    MalformedRequest,
    ModelyardError,
    RequestTooLarge,
    UnsupportedMediaType,
    UploadInterrupted,
    pointer_to,
)
from domain.values import MAX_FILES, FilePath
from entrypoints.http.errors import Refused
from entrypoints.http.schemas import PublishMetadata

_BATCH = 256 * 1024
_PART_HEADER = 8 * 1024
M = TypeVar("M", bound=BaseModel)


async def _read_limited(chunks: AsyncIterator[bytes], limit: int) -> bytes:
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


def _parse_json(raw: bytes, what: str = "The body") -> Any:
    """Strict JSON (RFC 8259, RFC 7493): no NaN, no bad UTF-8, no endless nesting, no name twice.

    orjson is the stricter reader, but keeps the last of two members of a name, and rounds integers
    of more than 64 bits, silently: so the value comes from the other one.

    Raises:
        MalformedRequest: saying where it goes wrong; ``what`` begins the sentence.
    """
    try:
        orjson.loads(raw)
        return json.loads(raw.decode(), object_pairs_hook=_object)
    except ValueError as error:
        raise MalformedRequest(f"{what} is not JSON: {error}.") from None
    except RecursionError:
        raise MalformedRequest(f"{what} is not JSON: depth limit exceeded.") from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(members)
    if len(unique) < len(members):
        counts = Counter(name for name, _ in members)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"an object has two members {twice[:80]!a}")
    return unique


def check_announced(request: Request, limit: int, detail: str) -> None:
    """Refuses a body by its Content-Length.

    Raises:
        RequestTooLarge: it announces more than ``limit`` bytes.
    """
    if int(request.headers.get("content-length", 0)) > limit:
        raise RequestTooLarge(detail)


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
                check_announced(self, limit, f"JSON is taken up to {limit} bytes.")
                self._body = await _read_limited(body_chunks(self), limit)
            except ModelyardError as error:
                raise Refused(error) from None
        return self._body

    async def json(self) -> Any:
        try:
            return _parse_json(await self.body())
        except ModelyardError as error:
            raise Refused(error) from None


class JsonRoute(APIRoute):
    """A route that knows its query parameters, and reads a JSON body strictly, within the limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = [field.alias for field in self.dependant.query_params]
        takes_body = not {"GET", "HEAD"}.issuperset(self.methods or ())

        async def read_strictly(request: Request) -> Response:
            if request.scope["query_string"]:
                _check_query(request, known)
            if takes_body:
                request = _JsonRequest(request.scope, request.receive)
            return await handle(request)

        return read_strictly


def _check_query(request: Request, known: list[str]) -> None:
    """A misspelt filter must not be answered with everything there is."""
    if unknown := sorted(request.query_params.keys() - set(known))[:5]:
        there_are = f"there are {', '.join(known)}" if known else "there are none here"
        raise InvalidRequest(
            f"Query parameters are unknown: {', '.join(ascii(key[:80]) for key in unknown)}; "
            f"{there_are}.",
            errors=[FieldError(pointer_to("/query", key), there_are) for key in unknown],
        )


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


async def _events(request: Request, boundary: str, most: int) -> AsyncIterator[Any]:
    size = 0
    try:
        with PushMultipartParser(
            boundary, max_header_size=_PART_HEADER, max_segment_count=MAX_FILES + 2
        ) as parser:
            async for chunk in body_chunks(request):
                size += len(chunk)
                if size > most:  # in files and metadata this is noticed earlier
                    raise RequestTooLarge(f"A request has at most {most} bytes.")
                for event in parser.parse(chunk):
                    yield event
    except ParserLimitReached:
        raise InvalidManifest(
            f"A version has at most {MAX_FILES} files, and a part short headers."
        ) from None
    except MultipartError as error:
        raise MalformedRequest(f"The multipart body is broken: {error.args[0]}.") from None


def _filename(part: Any) -> str:
    """As it was sent: the library's own drops the folders of what looks like a Windows path.

    Raises:
        InvalidRequest: there is none.
    """
    disposition = parse_options_header(
        part.header("Content-Disposition", ""),
        unquote=lambda text, _: content_disposition_unquote(text),
    )[1]
    if not disposition.get("filename"):
        raise InvalidRequest("A 'file' part needs a filename: the path in the version.")
    return str(disposition["filename"])


def _check_encoding(part: Any) -> None:
    encoding = part.header("Content-Transfer-Encoding", "binary")
    if encoding.strip().lower() not in {"binary", "7bit", "8bit"}:
        raise MalformedRequest(
            f"Parts are sent as they are (RFC 7578, 4.7), not in {encoding[:40]!a}."
        )


async def _payload(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            return
        yield event if isinstance(event, bytes) else bytes(event)


async def publish_parts(
    request: Request, boundary: str, *, max_files_size: int, max_metadata_size: int
) -> AsyncGenerator[IncomingFile | PublishDetails, None]:
    """The parts of a multipart publish, in the order they arrive and while they do.

    The chunks of a file must be read before the next part is asked for.

    Raises:
        MalformedRequest, UploadInterrupted, InvalidRequest, InvalidManifest, InvalidFilePath,
        RequestTooLarge, RequestValidationError
    """
    most = max_files_size + max_metadata_size + MAX_FILES * 2 * _PART_HEADER
    check_announced(request, most, f"A version has at most {max_files_size} bytes of files.")
    events = _events(request, boundary, most)
    async for event in events:
        _check_encoding(event)
        if event.name == "file":
            yield IncomingFile(FilePath(_filename(event)), _payload(events))
        elif event.name == "metadata":
            raw = await _read_limited(_payload(events), max_metadata_size)
            metadata = _parse_json(raw, "The 'metadata' part")
            yield validated(PublishMetadata, metadata).details()
        else:
            raise InvalidRequest(
                f"The part {event.name[:80]!a} is unknown; there are 'file' and 'metadata'."
            )
