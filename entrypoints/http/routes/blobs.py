"""Blobs: bytes that come ahead of a publish, through the service or straight to the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from application.blobs import BeginDirectUpload, UploadBlob
from application.ports import BlobInfo, UploadPart
from domain.errors import (
    BlobNotFound,
    DigestMismatch,
    DirectUploadUnsupported,
    InvalidDigest,
    MalformedRequest,
    RequestTooLarge,
    UnsupportedMediaType,
    UploadInterrupted,
    UploadNotFound,
)
from entrypoints.http.bodies import JsonRoute, body_chunks, check_announced
from entrypoints.http.deps import DigestParam, Services
from entrypoints.http.errors import problems
from entrypoints.http.examples import example
from entrypoints.http.replies import json_reply
from entrypoints.http.schemas import SHA256, FinishedParts, NewDirectUpload

router = APIRouter(tags=["blobs"], route_class=JsonRoute)
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BLOB = {"sha256": SHA256, "size": 0}
_BODY = (MalformedRequest, RequestTooLarge, UnsupportedMediaType)


@dataclass(frozen=True, slots=True)
class BlobReply:
    """A stored blob; ``size`` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class DirectUploadReply:
    """``parts``: a PUT each, of ``size`` bytes from ``offset`` on, without further headers; the
    ``ETag`` of each answer goes into completing. Where the blob is there already there are none,
    and no ``upload_id``: nothing is left to do."""

    sha256: str
    size: int
    upload_id: str | None
    expires_at: datetime | None
    parts: tuple[UploadPart, ...]


@router.put(
    "/blobs/{sha256}",
    status_code=201,
    response_model=BlobReply,
    operation_id="upload_blob",
    summary="Upload bytes ahead of a publish",
    openapi_extra={"requestBody": {"required": True, "content": _BYTES}},
    responses={
        200: example({"sha256": SHA256, "size": 0}, "It was there already; its age is renewed"),
        201: example({"sha256": SHA256, "size": 0}, "Stored"),
        **problems(UploadInterrupted, RequestTooLarge, DigestMismatch, InvalidDigest),
    },
)
async def upload_blob(request: Request, services: Services, sha256: DigestParam) -> Response:
    """The raw body, streamed. A blob that no version names within a day is collected."""
    most = services.settings().max_upload_size
    check_announced(request, most, f"A blob has at most {most} bytes.")
    announced = request.headers.get("content-length")
    size = None if announced is None else int(announced)
    info, created = await services.upload_blob()(UploadBlob(sha256, body_chunks(request), size))
    return json_reply(BlobReply(info.digest, info.size), 201 if created else 200)


@router.head(
    "/blobs/{sha256}",
    response_class=Response,
    operation_id="stat_blob",
    summary="Ask whether a blob is there",
    responses={
        200: {"description": "It is; its size is the Content-Length"},
        **problems(BlobNotFound, InvalidDigest),
    },
)
async def stat_blob(services: Services, sha256: DigestParam) -> Response:
    """To skip an upload that is not needed."""
    info = await services.store().stat(sha256)
    if info is None:
        raise BlobNotFound(f"There is no blob {sha256}.")
    headers = {"Content-Length": str(info.size), "ETag": f'"{sha256}"'}
    return Response(headers=headers, media_type="application/octet-stream")


@router.post(
    "/blobs/{sha256}/upload",
    status_code=201,
    response_model=DirectUploadReply,
    operation_id="begin_direct_upload",
    summary="Upload bytes straight to the object store",
    responses={
        200: example(
            {**_BLOB, "upload_id": None, "expires_at": None, "parts": []}, "It was there already"
        ),
        201: example(
            {
                "sha256": SHA256,
                "size": 7,
                "upload_id": "4f5c...",
                "expires_at": "2026-11-24T10:30:00Z",
                "parts": [{"number": 1, "offset": 0, "size": 7, "url": "https://..."}],
            },
            "PUT each part to its URL, then complete",
        ),
        **problems(*_BODY, InvalidDigest, DirectUploadUnsupported),
    },
)
async def begin_direct_upload(
    services: Services, sha256: DigestParam, body: NewDirectUpload
) -> Response:
    """Signs a URL for each part, so that the bytes do not pass through the service. Takes S3."""
    begun = await services.begin_direct_upload()(BeginDirectUpload(sha256, body.size))
    if isinstance(begun, BlobInfo):
        return json_reply(DirectUploadReply(sha256, begun.size, None, None, ()))
    reply = DirectUploadReply(sha256, body.size, begun.id, begun.expires_at, begun.parts)
    return json_reply(reply, 201)


@router.post(
    "/blobs/{sha256}/upload/complete",
    response_model=BlobReply,
    operation_id="complete_direct_upload",
    summary="Complete a direct upload",
    responses={
        200: example(_BLOB, "Its bytes have proved right, and it counts"),
        **problems(*_BODY, InvalidDigest, DigestMismatch, DirectUploadUnsupported, UploadNotFound),
    },
)
async def complete_direct_upload(
    services: Services, sha256: DigestParam, body: FinishedParts
) -> Response:
    """Reads the bytes back and compares size and digest; completing twice does no harm."""
    info = await services.direct().complete(sha256, body.size, body.upload_id, body.etags)
    return json_reply(BlobReply(info.digest, info.size))
