"""Files of versions."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from application.blobs import OpenedFile, OpenFile
from application.records import FileRecord
from application.streams import primed
from domain.errors import (
    AliasNotFound,
    BlobCorrupt,
    FileNotFound,
    InvalidAliasName,
    InvalidModelName,
    InvalidReference,
    ModelNotFound,
    RangeNotSatisfiable,
    VersionNotFound,
    VersionQuarantined,
)
from domain.values import VersionNumber
from domain.version import check_ready
from entrypoints.container import Container
from entrypoints.http.archives import tar_size, tar_stream, zip_stream
from entrypoints.http.bodies import JsonRoute
from entrypoints.http.deps import ModelParam, ReferenceParam, Services, none_match
from entrypoints.http.errors import problems
from entrypoints.http.examples import MANIFEST, example
from entrypoints.http.ranges import parse_range
from entrypoints.http.replies import StreamReply, attachment, json_reply

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


async def _redirect(request: Request, services: Container, opened: OpenedFile) -> Response | None:
    """Where the bytes are fetched from the store itself; None where they come from here."""
    settings, asked = services.settings(), _prefers_redirect(request)
    if settings.downloads != "redirect" and not asked:
        return None
    url = await opened.link(settings.link_lifetime)
    if url is None:
        return None
    headers = {"Location": url, "Cache-Control": "no-store", "ETag": f'"{opened.file.sha256}"'}
    if asked:
        headers["Preference-Applied"] = "redirect"
    return Response(status_code=307, headers=headers)


def _prefers_redirect(request: Request) -> bool:
    """RFC 7240: preferences in a list, each perhaps with parameters, in any case."""
    asked = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(preference.partition(";")[0].strip() == "redirect" for preference in asked)


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
        307: {"description": "The bytes are at Location, in the object store"},
        **problems(*_FIND, FileNotFound, VersionQuarantined, RangeNotSatisfiable, BlobCorrupt),
    },
)
async def download_file(
    request: Request, services: Services, name: ModelParam, ref: ReferenceParam, path: FilePathParam
) -> Response:
    """Takes `Range`, `If-Range` and `If-None-Match`; the ETag is the sha256.

    With `Prefer: redirect`, or where the service is set up so, the answer leads to a URL of the
    object store that is good for a few minutes.
    """
    opened = await services.open_file()(OpenFile(name, ref, path))
    headers = _headers(opened, isinstance(ref, VersionNumber))
    if not none_match(request, opened.file.sha256):
        return Response(status_code=304, headers=headers)
    if redirect := await _redirect(request, services, opened):
        return redirect
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
        **problems(*_FIND, FileNotFound, VersionQuarantined),
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
        **problems(*_FIND, VersionQuarantined, BlobCorrupt),
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
    check_ready(version.status, version.version)
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
