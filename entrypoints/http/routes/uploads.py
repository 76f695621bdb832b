"""Uploads in several requests, by the tus protocol."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import PlainValidator, WithJsonSchema
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from application.uploads import AppendToUpload, CreateUpload
from domain.errors import (
    ChecksumMismatch,
    CrossSiteRequest,
    DigestMismatch,
    InvalidDigest,
    MalformedRequest,
    RequestTooLarge,
    TusVersionUnsupported,
    UnsupportedMediaType,
    UploadConflict,
    UploadExpired,
    UploadInterrupted,
    UploadNotFound,
    UploadSealed,
)
from domain.upload import Upload, UploadMetadata
from entrypoints.http.bodies import JsonRoute
from entrypoints.http.deps import Actor, Services, header_lines
from entrypoints.http.errors import problems
from entrypoints.http.examples import example
from entrypoints.http.replies import json_reply, location
from entrypoints.http.schemas import SHA256
from entrypoints.http.tus import (
    BYTES,
    capabilities,
    checksum_in,
    concat_in,
    documented,
    new_length,
    number_in,
    upload_headers,
)

router = APIRouter(tags=["uploads"], route_class=JsonRoute)
_ID = re.compile(r"[0-9a-f]{32}")
_AN_ID = "6b1f0a6c4cd14ad0a0a6c6b9e8c1a2d3"


def _upload_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise UploadNotFound(f"There is no upload {text[:80]!a}.")
    return text


UploadParam = Annotated[
    str,
    PlainValidator(_upload_id),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{32}$", "examples": [_AN_ID]}),
    Path(alias="upload", description="Id of the upload"),
]


@dataclass(frozen=True, slots=True)
class UploadReply:
    """``offset`` bytes of ``length`` have come; ``sha256`` names the blob, once all have. Until
    ``expires_at`` it may stand still, or is remembered when it is complete."""

    id: str
    offset: int
    length: int | None
    sha256: str | None
    metadata: dict[str, str]
    concat: str | None
    creator: str
    created_at: datetime
    expires_at: datetime


_EXAMPLE = {
    "id": _AN_ID,
    "offset": 1073741824,
    "length": 1073741824,
    "sha256": SHA256,
    "metadata": {"filename": "model.onnx"},
    "concat": None,
    "creator": "ada",
    "created_at": "2026-11-24T09:30:00Z",
    "expires_at": "2026-11-25T09:31:00Z",
}
_VERSION = (MalformedRequest, TusVersionUnsupported)
_TAKING = (
    *_VERSION,
    CrossSiteRequest,
    UploadSealed,
    UploadNotFound,
    UploadConflict,
    UploadExpired,
    RequestTooLarge,
    UnsupportedMediaType,
    InvalidDigest,
    DigestMismatch,
    ChecksumMismatch,
    UploadInterrupted,
)


async def _body(request: Request) -> AsyncIterator[bytes]:
    """As it comes: what has come before a client goes away is kept."""
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise UploadInterrupted("The connection closed before the end of the body.") from None


def _is_bytes(request: Request) -> bool:
    kind: str = request.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == BYTES


async def _check_empty(request: Request) -> None:
    async for _ in _body(request):
        raise UnsupportedMediaType(f"The bytes of an upload are sent as {BYTES}.")


@router.options(
    "/uploads",
    status_code=204,
    response_class=Response,
    operation_id="get_upload_options",
    summary="Ask what uploads may be like",
    responses={204: {"description": "In the headers: version, extensions, size"}, **problems()},
)
@router.options("/uploads/{upload}", response_class=Response, include_in_schema=False)
async def get_upload_options(services: Services) -> Response:
    """By the tus protocol, 1.0.0: stock clients such as tus-js-client, tuspy and Uppy upload here
    in as many requests as it takes; a publish then names the blob by its digest."""
    return Response(status_code=204, headers=capabilities(services.settings().max_upload_size))


@router.post(
    "/uploads",
    status_code=201,
    response_class=Response,
    operation_id="create_upload",
    summary="Begin an upload",
    openapi_extra=documented(
        "Upload-Length",
        "Upload-Defer-Length",
        "Upload-Metadata",
        "Upload-Concat",
        "Upload-Checksum",
        body=False,
    ),
    responses={
        201: {"description": "Send the bytes to Location, from Upload-Offset on"},
        **problems(*_TAKING),
    },
)
async def create_upload(
    request: Request,
    services: Services,
    actor: Actor,
) -> Response:
    """The first bytes, or all of them, may come with it.

    With `Upload-Concat: final` it puts uploads together that were begun as parts, and answers when
    that is done.
    """
    metadata = UploadMetadata(header_lines(request, "upload-metadata") or "")
    concat, parts = concat_in(request)
    if parts and number_in(request, "Upload-Length") is not None:
        raise MalformedRequest("The length of a final upload is that of its parts together.")
    with_bytes = _is_bytes(request) and not parts
    if not with_bytes:
        await _check_empty(request)
    command = CreateUpload(
        creator=actor,
        length=None if parts else new_length(request),
        metadata=metadata,
        concat=concat,
        parts=parts,
        chunks=_body(request) if with_bytes else None,
        checksum=checksum_in(request) if with_bytes else None,
    )
    upload = await services.create_upload()(command)
    where = request.scope.get("root_path", "") + location("uploads", upload.id)
    return Response(status_code=201, headers={"Location": where, **upload_headers(upload)})


@router.head(
    "/uploads/{upload}",
    response_class=Response,
    operation_id="stat_upload",
    summary="Ask how far an upload is",
    openapi_extra=documented(),
    responses={
        200: {"description": "In the headers: Upload-Offset, Upload-Length, and Upload-Sha256"},
        **problems(*_VERSION, UploadNotFound, UploadExpired),
    },
)
async def stat_upload(
    services: Services,
    upload: UploadParam,
) -> Response:
    """Where it is complete, `Upload-Sha256` and `Repr-Digest` name the blob."""
    return Response(headers=upload_headers(await services.find_upload()(upload)))


@router.get(
    "/uploads/{upload}",
    response_model=UploadReply,
    operation_id="get_upload",
    summary="Look at an upload",
    responses={200: example(_EXAMPLE, "How it stands"), **problems(UploadNotFound, UploadExpired)},
)
async def get_upload(services: Services, upload: UploadParam) -> Response:
    """What HEAD tells, as JSON. It needs no tus header."""
    found = await services.find_upload()(upload)
    return json_reply(_reply(found), headers={"Cache-Control": "no-store"})


def _reply(upload: Upload) -> UploadReply:
    return UploadReply(
        id=upload.id,
        offset=upload.received,
        length=upload.length,
        sha256=upload.sha256,
        metadata={
            key: value.decode(errors="replace") for key, value in upload.metadata.values.items()
        },
        concat=upload.concat.partition(";")[0] or None,
        creator=upload.creator,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
    )


@router.patch(
    "/uploads/{upload}",
    status_code=204,
    response_class=Response,
    operation_id="append_to_upload",
    summary="Send bytes of an upload",
    openapi_extra=documented("Upload-Offset", "Upload-Length", "Upload-Checksum", body=True),
    responses={
        204: {"description": "Taken; go on from Upload-Offset"},
        **problems(*_TAKING),
    },
)
async def append_to_upload(
    request: Request,
    services: Services,
    upload: UploadParam,
) -> Response:
    """What has come is kept when the connection breaks, unless a checksum is promised. The last
    bytes are answered once the blob is complete, which takes a while for a large one. A POST with
    `X-HTTP-Method-Override: PATCH` does the same.
    """
    if not _is_bytes(request):
        raise UnsupportedMediaType(f"The bytes of an upload are sent as {BYTES}.")
    offset = number_in(request, "Upload-Offset")
    if offset is None:
        raise MalformedRequest("Upload-Offset says where these bytes begin; it is missing.")
    command = AppendToUpload(
        upload=upload,
        offset=offset,
        chunks=_body(request),
        announced=int(request.headers.get("content-length", 0)),
        length=number_in(request, "Upload-Length"),
        checksum=checksum_in(request),
    )
    further = await services.append_to_upload()(command)
    return Response(status_code=204, headers=upload_headers(further))


@router.delete(
    "/uploads/{upload}",
    status_code=204,
    response_class=Response,
    operation_id="terminate_upload",
    summary="Give up an upload",
    openapi_extra=documented(),
    responses={204: {"description": "It is gone"}, **problems(*_VERSION, UploadNotFound)},
)
async def terminate_upload(
    services: Services,
    upload: UploadParam,
) -> Response:
    """Its bytes go too. A blob that it has become stays, until it is collected."""
    await services.terminate_upload()(upload)
    return Response(status_code=204)
