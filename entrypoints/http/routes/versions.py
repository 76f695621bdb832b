"""Versions: publish, list, read, change, delete."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from application.filters import VERSIONS
from application.ports import Page
from application.publishing import IncomingFile, PublishDetails, PublishVersion, UploadedFile
from application.records import VersionRecord
from application.versions import DeleteVersion, ReviewVersion, UpdateVersion
from domain.errors import (
    AliasNotFound,
    BlobNotUploaded,
    FileNotAModel,
    FileRefused,
    IdempotencyConflict,
    InvalidAliasName,
    InvalidFilePath,
    InvalidFilter,
    InvalidManifest,
    InvalidModelName,
    InvalidOrder,
    InvalidPageToken,
    InvalidReference,
    InvalidRequest,
    MalformedRequest,
    ModelNotFound,
    NoModel,
    ParentNotFound,
    PreconditionFailed,
    RequestTooLarge,
    SearchTooCostly,
    UnsupportedMediaType,
    UploadInterrupted,
    ValidationUnavailable,
    VersionImmutable,
    VersionInUse,
    VersionNotFound,
    VersionNotHeld,
    VersionQuarantined,
)
from domain.validation import Decision, Status
from entrypoints.http.bodies import (
    JsonRoute,
    is_json,
    multipart_boundary,
    publish_parts,
    validated,
)
from entrypoints.http.deps import (
    Actor,
    Force,
    IdempotencyKey,
    IfMatchHeader,
    ModelParam,
    NumberParam,
    PageSize,
    PageToken,
    ReferenceParam,
    Services,
    VersionFilter,
    VersionOrder,
    page_request,
    services_of,
)
from entrypoints.http.errors import problems
from entrypoints.http.examples import VERSION, example, page
from entrypoints.http.metrics import HELD, PUBLISHED
from entrypoints.http.replies import found_reply, json_reply, location
from entrypoints.http.schemas import NewReview, PublishBody, PublishMetadata, VersionPatch
from entrypoints.settings import Settings

router = APIRouter(tags=["versions"], route_class=JsonRoute)
_LIST = (InvalidFilter, InvalidOrder, InvalidPageToken, SearchTooCostly)

_PUBLISH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "description": "The files; each filename is the path in the version",
                            "items": {"type": "string", "format": "binary"},
                        },
                        "metadata": {"$ref": "#/components/schemas/PublishMetadata"},
                    },
                },
                "encoding": {"metadata": {"contentType": "application/json"}},
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/PublishBody"}},
        },
    }
}


async def _parts(
    request: Request, settings: Settings
) -> AsyncGenerator[IncomingFile | UploadedFile | PublishDetails, None]:
    if boundary := multipart_boundary(request):
        incoming = publish_parts(
            request,
            boundary,
            max_files_size=settings.max_upload_size,
            max_metadata_size=settings.max_metadata_size,
        )
        async with aclosing(incoming) as parts:
            async for part in parts:
                yield part
    elif is_json(request):
        body = validated(PublishBody, await request.json())  # strictly: see JsonRoute
        yield body.details()
        for file in body.uploaded():
            yield file
    else:
        raise UnsupportedMediaType(
            "A version is published as multipart/form-data with its files, or as "
            "application/json that names blobs uploaded before."
        )


# Routes are tried in this order: the one that is asked most comes first.


@router.get(
    "/models/{name}/versions/{ref}",
    response_model=VersionRecord,
    operation_id="get_version",
    summary="Get a version by number, `latest` or `@alias`",
    responses={
        200: example(VERSION, "The version"),
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(
            ModelNotFound,
            VersionNotFound,
            AliasNotFound,
            InvalidModelName,
            InvalidReference,
            InvalidAliasName,
        ),
    },
)
async def get_version(request: Request, name: ModelParam, ref: ReferenceParam) -> Response:
    """With its files, parameters, metrics, tags and the aliases that point at it."""
    return found_reply(request, await services_of(request).reader().version(name, ref))


@router.post(
    "/models/{name}/versions",
    status_code=201,
    response_model=VersionRecord,
    operation_id="publish_version",
    summary="Publish a version",
    openapi_extra=_PUBLISH,
    responses={
        200: example(VERSION, "The same request was carried out before under this key"),
        201: example(VERSION, "Published"),
        **problems(
            MalformedRequest,
            UploadInterrupted,
            ModelNotFound,
            IdempotencyConflict,
            RequestTooLarge,
            UnsupportedMediaType,
            FileNotAModel,
            NoModel,
            FileRefused,
            VersionQuarantined,
            ValidationUnavailable,
            InvalidModelName,
            InvalidAliasName,
            InvalidFilePath,
            InvalidManifest,
            ParentNotFound,
            BlobNotUploaded,
        ),
    },
)
async def publish_version(
    request: Request,
    services: Services,
    name: ModelParam,
    actor: Actor,
    idempotency_key: IdempotencyKey,
) -> Response:
    """All files in one request (`multipart/form-data`, streamed into the store, `metadata` before
    or after the files), or naming blobs that were PUT before (`application/json`).

    The version appears, with the next number, once its bytes are durable; a refused or broken
    upload leaves nothing and takes no number. Files are recognised by their content and read, never
    loaded; what a person has to look at is published with the `status` `quarantined`.
    """
    async with aclosing(_parts(request, services.settings())) as parts:
        published = await services.publish_version()(
            PublishVersion(name, actor, parts, idempotency_key)
        )
    record = published.version.record
    if not published.replayed:
        PUBLISHED.inc(record.size)
        HELD.inc(record.status != Status.READY)
    where = location("models", record.model, "versions", record.version)
    status = 200 if published.replayed else 201
    return found_reply(request, published.version, status, {"Location": where})


@router.get(
    "/models/{name}/versions",
    response_model=Page[VersionRecord],
    operation_id="list_model_versions",
    summary="List the versions of a model",
    responses={
        200: example(page(VERSION), "Newest first unless ordered otherwise"),
        **problems(ModelNotFound, InvalidModelName, *_LIST),
    },
)
async def list_model_versions(
    *,
    services: Services,
    name: ModelParam,
    filter: VersionFilter = None,
    order_by: VersionOrder = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> Response:
    """Filters know `version`, `creator`, `created_at`, `updated_at`, `size`, `format`, `status`,
    `alias`, `tags.<key>`, `metrics.<key>`, `parameters.<key>` and `facts.<key>`."""
    wanted = page_request(VERSIONS, filter, order_by, page_size, page_token)
    return json_reply(await services.reader().versions(wanted, model=name))


@router.get(
    "/versions",
    response_model=Page[VersionRecord],
    operation_id="list_versions",
    summary="List versions of all models",
    responses={
        200: example(page(VERSION), "Newest first unless ordered otherwise"),
        **problems(*_LIST),
    },
)
async def list_versions(
    services: Services,
    filter: VersionFilter = None,
    order_by: VersionOrder = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> Response:
    """Filters know `model` besides what the list of one model knows."""
    wanted = page_request(VERSIONS, filter, order_by, page_size, page_token)
    return json_reply(await services.reader().versions(wanted))


@router.patch(
    "/models/{name}/versions/{ref}",
    response_model=VersionRecord,
    operation_id="update_version",
    summary="Describe, tag or measure a version",
    responses={
        200: example(VERSION, "The changed version"),
        **problems(
            MalformedRequest,
            RequestTooLarge,
            UnsupportedMediaType,
            ModelNotFound,
            VersionNotFound,
            PreconditionFailed,
            VersionImmutable,
            InvalidModelName,
            InvalidReference,
        ),
    },
)
async def update_version(
    *,
    request: Request,
    services: Services,
    name: ModelParam,
    number: NumberParam,
    body: VersionPatch,
    actor: Actor,
    if_match: IfMatchHeader,
) -> Response:
    """A JSON merge patch of `description`, `tags` and `metrics`; the rest is immutable."""
    command = UpdateVersion(name, number, actor, body.members(), if_match)
    return found_reply(request, await services.update_version()(command))


@router.post(
    "/models/{name}/versions/{ref}/review",
    response_model=VersionRecord,
    operation_id="review_version",
    summary="Accept or reject a version that is held",
    responses={
        200: example(VERSION, "The version, with the decision under `validation.reviews`"),
        **problems(
            MalformedRequest,
            RequestTooLarge,
            UnsupportedMediaType,
            InvalidRequest,
            ModelNotFound,
            VersionNotFound,
            VersionNotHeld,
            VersionInUse,
            PreconditionFailed,
            InvalidModelName,
            InvalidReference,
        ),
    },
)
async def review_version(
    *,
    request: Request,
    services: Services,
    name: ModelParam,
    number: NumberParam,
    body: NewReview,
    actor: Actor,
    if_match: IfMatchHeader,
) -> Response:
    """A version whose `status` is `quarantined` is listed and described, but its files are not
    served and no alias may point at it. Accepted, it is like any other; rejected, it stays held.
    Who decided what, when and why is kept; a later decision replaces an earlier one.
    """
    decision = Decision(body.decision)
    command = ReviewVersion(name, number, actor, decision, body.reason, if_match)
    return found_reply(request, await services.review_version()(command))


@router.delete(
    "/models/{name}/versions/{ref}",
    status_code=204,
    response_class=Response,
    operation_id="delete_version",
    summary="Delete a version",
    responses={
        204: {"description": "Deleted; its number is never used again"},
        **problems(
            ModelNotFound,
            VersionNotFound,
            VersionInUse,
            PreconditionFailed,
            InvalidModelName,
            InvalidReference,
        ),
    },
)
async def delete_version(
    *,
    services: Services,
    name: ModelParam,
    number: NumberParam,
    actor: Actor,
    if_match: IfMatchHeader,
    force: Force = False,
) -> Response:
    """Refused while an alias points at it, unless forced, which deletes the alias too."""
    await services.delete_version()(DeleteVersion(name, number, actor, force, if_match))
    return Response(status_code=204)


SCHEMAS = (PublishMetadata, PublishBody)
"""Models that only ``openapi_extra`` names, for the document to define."""
