"""Aliases: point a name at a version, move it, look back, go back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from application.aliases import DeleteAlias, RollBackAlias, SetAlias
from application.ports import Page, PageRequest
from application.records import AliasMoveRecord, AliasRecord
from domain.errors import (
    AliasHasNoPrevious,
    AliasNotFound,
    InvalidAliasName,
    InvalidModelName,
    InvalidPageToken,
    InvalidRequest,
    MalformedRequest,
    ModelNotFound,
    PreconditionFailed,
    RequestTooLarge,
    UnsupportedMediaType,
    VersionNotFound,
    VersionQuarantined,
)
from domain.values import VersionNumber
from entrypoints.http.bodies import JsonRoute
from entrypoints.http.deps import (
    Actor,
    AliasParam,
    IfMatchHeader,
    ModelParam,
    PageSize,
    PageToken,
    Services,
    header_lines,
)
from entrypoints.http.errors import problems
from entrypoints.http.examples import ALIAS, MOVE, example, page
from entrypoints.http.replies import found_reply, json_reply, location
from entrypoints.http.schemas import AliasTarget

router = APIRouter(tags=["aliases"], route_class=JsonRoute)
_NAMES = (InvalidModelName, InvalidAliasName)


@router.get(
    "/models/{name}/aliases",
    response_model=Page[AliasRecord],
    operation_id="list_aliases",
    summary="List the aliases of a model",
    responses={
        200: example(page(ALIAS), "By name"),
        **problems(ModelNotFound, InvalidPageToken, InvalidModelName),
    },
)
async def list_aliases(
    services: Services, name: ModelParam, page_size: PageSize = 50, page_token: PageToken = None
) -> Response:
    """Each with the version it points at, and who moved it there."""
    wanted = PageRequest(size=page_size, token=page_token or None)
    return json_reply(await services.reader().aliases(name, wanted))


@router.get(
    "/models/{name}/aliases/{alias}",
    response_model=AliasRecord,
    operation_id="get_alias",
    summary="Get an alias",
    responses={
        200: example(ALIAS, "The alias"),
        304: {"description": "Unchanged since the ETag in If-None-Match"},
        **problems(ModelNotFound, AliasNotFound, *_NAMES),
    },
)
async def get_alias(
    request: Request, services: Services, name: ModelParam, alias: AliasParam
) -> Response:
    """Where it points, since when and by whom."""
    return found_reply(request, await services.reader().alias(name, alias))


@router.put(
    "/models/{name}/aliases/{alias}",
    response_model=AliasRecord,
    operation_id="set_alias",
    summary="Create or move an alias",
    responses={
        200: example(ALIAS, "It was there and points at the version now"),
        201: example(ALIAS, "It is new"),
        **problems(
            ModelNotFound,
            VersionNotFound,
            VersionQuarantined,
            PreconditionFailed,
            MalformedRequest,
            RequestTooLarge,
            UnsupportedMediaType,
            *_NAMES,
        ),
    },
)
async def set_alias(
    *,
    request: Request,
    services: Services,
    name: ModelParam,
    alias: AliasParam,
    body: AliasTarget,
    actor: Actor,
    if_match: IfMatchHeader,
    if_none_match: Annotated[
        str | None, Header(description="`*`: only if the alias does not exist yet")
    ] = None,
) -> Response:
    """`If-Match` makes it compare-and-swap: of two that move it at once, one gets 412."""
    if if_none_match is not None and header_lines(request, "if-none-match") != "*":
        raise InvalidRequest("If-None-Match takes only * here.")
    found, created = await services.set_alias()(
        SetAlias(
            name, alias, VersionNumber(body.version), actor, if_match, if_none_match is not None
        )
    )
    if not created:
        return found_reply(request, found)
    where = location("models", name, "aliases", alias)
    return found_reply(request, found, 201, {"Location": where})


@router.delete(
    "/models/{name}/aliases/{alias}",
    status_code=204,
    response_class=Response,
    operation_id="delete_alias",
    summary="Delete an alias",
    responses={
        204: {"description": "Deleted; its history stays"},
        **problems(ModelNotFound, AliasNotFound, PreconditionFailed, *_NAMES),
    },
)
async def delete_alias(
    services: Services, name: ModelParam, alias: AliasParam, actor: Actor, if_match: IfMatchHeader
) -> Response:
    """The version it points at is untouched."""
    await services.delete_alias()(DeleteAlias(name, alias, actor, if_match))
    return Response(status_code=204)


@router.get(
    "/models/{name}/aliases/{alias}/history",
    response_model=Page[AliasMoveRecord],
    operation_id="get_alias_history",
    summary="List every move of an alias",
    responses={
        200: example(page(MOVE), "Newest first"),
        **problems(ModelNotFound, AliasNotFound, InvalidPageToken, *_NAMES),
    },
)
async def get_alias_history(
    services: Services,
    name: ModelParam,
    alias: AliasParam,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> Response:
    """Kept after the alias is deleted; a deletion is a move to no version."""
    wanted = PageRequest(size=page_size, token=page_token or None)
    return json_reply(await services.reader().alias_history(name, alias, wanted))


@router.post(
    "/models/{name}/aliases/{alias}/rollback",
    response_model=AliasRecord,
    operation_id="roll_back_alias",
    summary="Move an alias back",
    responses={
        200: example(ALIAS, "It points at the version before its last move"),
        **problems(
            ModelNotFound,
            AliasNotFound,
            VersionNotFound,
            VersionQuarantined,
            AliasHasNoPrevious,
            PreconditionFailed,
            *_NAMES,
        ),
    },
)
async def roll_back_alias(
    *,
    request: Request,
    services: Services,
    name: ModelParam,
    alias: AliasParam,
    actor: Actor,
    if_match: IfMatchHeader,
) -> Response:
    """Back to the version before the last move. It is a move like any other: doing it twice
    is doing nothing, and both stand in the history."""
    return found_reply(
        request, await services.roll_back_alias()(RollBackAlias(name, alias, actor, if_match))
    )
