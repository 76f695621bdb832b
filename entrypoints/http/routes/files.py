"""Files of versions out, blobs in."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from application.blobs import OpenedFile, OpenFile, UploadBlob
from application.records import FileRecord
from application.streams import primed
from domain.errors import (
    AliasNotFound,
    BlobCorrupt,
    BlobNotFound,
    DigestMismatch,
    FileNotFound,
    InvalidAliasName,
    InvalidDigest,
    InvalidModelName,
    InvalidReference,
    ModelNotFound,
    RangeNotSatisfiable,
    RequestTooLarge,
    UploadInterrupted,
    VersionNotFound,
)
from domain.values import VersionNumber
from entrypoints.http.archives import tar_size, tar_stream, zip_stream
from entrypoints.http.bodies import JsonRoute, body_chunks, check_announced
from entrypoints.http.deps import DigestParam, ModelParam, ReferenceParam, Services, none_match
from entrypoints.http.errors import problems
from entrypoints.http.examples import MANIFEST, example
from entrypoints.http.ranges import parse_range
from entrypoints.http.replies import StreamReply, attachment, json_reply
from entrypoints.http.schemas import SHA256

router = APIRouter(route_class=JsonRoute)
_FIND = (
    ModelNotFound,
    VersionNotFound,
    AliasNotFound,
    InvalidModelName,
    InvalidReference,
    InvalidAliasName,
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BYTES = {"application/octet-stream": _BINARY}
_OF_ANY_TYPE = {"*/*": _BINARY}
FilePathParam = Annotated[str, Path(description="Path in the version", examples=["model.onnx"])]


@dataclass(frozen=True, slots=True)
class ManifestReply:
    """``digest`` is the sha256 of what ``sha256sum`` prints for the files, sorted by path."""

    items: list[FileRecord]
    next_page_token: None
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class BlobReply:
    """A stored blob; ``size`` in bytes."""

    sha256: str
    size: int


@router.get(
    "/models/{name}/versions/{ref}/files",
    tags=["files"],
    response_model=ManifestReply,
    operation_id="get_manifest",
    summary="List the files of a version",
    responses={
        200: example(MANIFEST, "The manifest, by path"),
        **problems(*_FIND),
    },
)
async def get_manifest(services: Services, name: ModelParam, ref: ReferenceParam) -> Response:
    """All of them in one page."""
    version = (await services.reader().version(name, ref)).record
    return json_reply(ManifestReply(version.files, None, version.size, version.digest))


def _headers(opened: OpenedFile, pinned: bool) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(opened.file.sha256)).decode()
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{opened.file.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": attachment(opened.file.path.rsplit("/", 1)[-1]),
        "Cache-Control": "private, max-age=31536000, immutable" if pinned else "no-cache",
        # As a header and not as Starlette's media_type, which claims that every text is UTF-8.
        "Content-Type": opened.file.media_type,
        "X-Content-Type-Options": "nosniff",
        "X-Model-Version": str(opened.version.version),
    }


@router.get(
    "/models/{name}/versions/{ref}/files/{path:path}",
    tags=["files"],
    response_class=Response,
    operation_id="download_file",
    summary="Download a file",
    responses={
        200: {"description": "The bytes, of their media type", "content": _OF_ANY_TYPE},
        206: {"description": "The bytes of the Range", "content": _OF_ANY_TYPE},
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(*_FIND, FileNotFound, RangeNotSatisfiable, BlobCorrupt),
    },
)
async def download_file(
    request: Request, services: Services, name: ModelParam, ref: ReferenceParam, path: FilePathParam
) -> Response:
    """Takes `Range`, `If-Range` and `If-None-Match`; the ETag is the sha256."""
    opened = await services.open_file()(OpenFile(name, ref, path))
    headers = _headers(opened, isinstance(ref, VersionNumber))
    if not none_match(request, opened.file.sha256):
        return Response(status_code=304, headers=headers)
    size, status, span = opened.file.size, 200, None
    if request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        span = parse_range(request.headers.get("range", ""), size)
    start, stop = span or (0, size)
    if span is not None:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    return StreamReply(await opened.read(start, stop), status, headers)


@router.head(
    "/models/{name}/versions/{ref}/files/{path:path}",
    tags=["files"],
    response_class=Response,
    operation_id="stat_file",
    summary="Look at a file without its bytes",
    responses={
        200: {"description": "Size, digest and type are in the headers"},
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(*_FIND, FileNotFound),
    },
)
async def stat_file(
    request: Request, services: Services, name: ModelParam, ref: ReferenceParam, path: FilePathParam
) -> Response:
    """`Content-Length`, `ETag`, `Repr-Digest`, as the GET has them."""
    opened = await services.open_file()(OpenFile(name, ref, path))
    headers = _headers(opened, isinstance(ref, VersionNumber))
    if not none_match(request, opened.file.sha256):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(opened.file.size)
    return Response(headers=headers)


@router.get(
    "/models/{name}/versions/{ref}/archive",
    tags=["files"],
    response_class=Response,
    operation_id="download_archive",
    summary="Download all files as one archive",
    responses={
        200: {
            "description": "The archive",
            "content": {
                "application/zip": _BINARY,
                "application/x-tar": _BINARY,
            },
        },
        **problems(*_FIND, BlobCorrupt),
    },
)
async def download_archive(
    services: Services,
    name: ModelParam,
    ref: ReferenceParam,
    format: Annotated[
        Literal["zip", "tar"], Query(description="Kind of archive, not compressed")
    ] = "zip",
) -> Response:
    """Made on the fly."""
    version = (await services.reader().version(name, ref)).record
    store = services.store()
    headers = {
        "Content-Disposition": attachment(f"{version.model}-{version.version}.{format}"),
        "X-Content-Type-Options": "nosniff",
        "X-Model-Version": str(version.version),
    }
    if format == "tar":
        headers["Content-Length"] = str(tar_size(version))
        stream, media_type = tar_stream(version, store), "application/x-tar"
    else:
        stream, media_type = zip_stream(version, store), "application/zip"
    # Primed, so that a lost blob can still be told.
    return StreamReply(await primed(stream), 200, headers, media_type)


@router.put(
    "/blobs/{sha256}",
    tags=["blobs"],
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
    tags=["blobs"],
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
