"""Models: register, list, read, change, delete."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from application.filters import MODELS
from application.models import DeleteModel, RegisterModel, UpdateModel
from application.ports import Page
from application.records import ModelRecord
from domain.errors import (
    InvalidFilter,
    InvalidModelName,
    InvalidOrder,
    InvalidPageToken,
    MalformedRequest,
    ModelExists,
    ModelInUse,
    ModelNameRetired,
    ModelNotFound,
    PreconditionFailed,
    RequestTooLarge,
    SearchTooCostly,
    UnsupportedMediaType,
)
from domain.values import ModelName
from entrypoints.http.bodies import JsonRoute
from entrypoints.http.deps import (
    Actor,
    Force,
    IfMatchHeader,
    ModelFilter,
    ModelOrder,
    ModelParam,
    PageSize,
    PageToken,
    Services,
    page_request,
)
from entrypoints.http.errors import problems
from entrypoints.http.examples import MODEL, example, page
from entrypoints.http.replies import found_reply, json_reply, location
from entrypoints.http.schemas import ModelPatch, NewModel

router = APIRouter(tags=["models"], route_class=JsonRoute)
_BODY = (MalformedRequest, RequestTooLarge, UnsupportedMediaType)


@router.post(
    "/models",
    status_code=201,
    response_model=ModelRecord,
    operation_id="register_model",
    summary="Register a model",
    responses={
        201: example(MODEL, "Registered"),
        **problems(*_BODY, ModelExists, InvalidModelName),
    },
)
async def register_model(
    request: Request, services: Services, body: NewModel, actor: Actor
) -> Response:
    """Reserves the name. Publishing with `create_model` does it along the way."""
    found = await services.register_model()(
        RegisterModel(ModelName(body.name), actor, body.description, body.tags)
    )
    return found_reply(request, found, 201, {"Location": location("models", found.record.name)})


@router.get(
    "/models",
    response_model=Page[ModelRecord],
    operation_id="list_models",
    summary="List models",
    responses={
        200: example(page(MODEL), "A page of models, by name unless ordered otherwise"),
        **problems(InvalidFilter, InvalidOrder, InvalidPageToken, SearchTooCostly),
    },
)
async def list_models(
    services: Services,
    filter: ModelFilter = None,
    order_by: ModelOrder = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> Response:
    """Filters know `name`, `creator`, `created_at`, `updated_at`, `alias` and `tags.<key>`."""
    wanted = page_request(MODELS, filter, order_by, page_size, page_token)
    return json_reply(await services.reader().models(wanted))


@router.get(
    "/models/{name}",
    response_model=ModelRecord,
    operation_id="get_model",
    summary="Get a model",
    responses={
        200: example(MODEL, "The model"),
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(ModelNotFound, InvalidModelName),
    },
)
async def get_model(request: Request, services: Services, name: ModelParam) -> Response:
    """With its latest version, the number of versions and all aliases."""
    return found_reply(request, await services.reader().model(name))


@router.patch(
    "/models/{name}",
    response_model=ModelRecord,
    operation_id="update_model",
    summary="Rename, describe or tag a model",
    responses={
        200: example(MODEL, "The changed model"),
        **problems(
            *_BODY,
            ModelNotFound,
            ModelExists,
            ModelNameRetired,
            PreconditionFailed,
            InvalidModelName,
        ),
    },
)
async def update_model(
    *,
    request: Request,
    services: Services,
    name: ModelParam,
    body: ModelPatch,
    actor: Actor,
    if_match: IfMatchHeader,
) -> Response:
    """A JSON merge patch of `name`, `description` and `tags`."""
    found = await services.update_model()(UpdateModel(name, actor, body.members(), if_match))
    return found_reply(request, found)


@router.delete(
    "/models/{name}",
    status_code=204,
    response_class=Response,
    operation_id="delete_model",
    summary="Delete a model with all its versions",
    responses={
        204: {"description": "Deleted"},
        **problems(ModelNotFound, ModelInUse, PreconditionFailed, InvalidModelName),
    },
)
async def delete_model(
    services: Services,
    name: ModelParam,
    actor: Actor,
    if_match: IfMatchHeader,
    force: Force = False,
) -> Response:
    """Refused while an alias exists, unless forced. Its version numbers stay used: a model
    registered under this name later goes on where this one stopped."""
    await services.delete_model()(DeleteModel(name, actor, force, if_match))
    return Response(status_code=204)
