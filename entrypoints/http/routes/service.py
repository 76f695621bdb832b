"""The service itself: health, metrics, facts, and the pages for a browser."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from anyio import fail_after, move_on_after
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from application.maintenance import claim_store
from domain.errors import (
    DatabaseUnavailable,
    FieldError,
    ModelNotFound,
    ModelyardError,
    NotReady,
)
from domain.values import (
    MAX_ALIASES_PER_PUBLISH,
    MAX_DESCRIPTION,
    MAX_ENTRIES,
    MAX_FILES,
    MAX_NAME,
    MAX_PATH,
    MAX_VALUE,
    ModelName,
)
from entrypoints.http.deps import Services
from entrypoints.http.errors import problems
from entrypoints.http.examples import example
from entrypoints.http.metrics import render_metrics
from entrypoints.http.replies import json_reply

_log = logging.getLogger("modelyard.http")
router = APIRouter(tags=["service"])
_STATIC = Path(__file__).parent.parent / "static"
_PATIENCE_SECONDS = 5.0
_ANY = ModelName("any")
Part = Literal["database", "store", "lock"]
_PARTS: list[Part] = ["database", "store", "lock"]
_FEATURES = [
    "aliases",
    "alias_history",
    "archives",
    "blobs",
    "filters",
    "idempotency_key",
    "ranges",
    "tus",
]


@dataclass(frozen=True, slots=True)
class HealthReply:
    """``checks``: what was looked at, each ``ok``."""

    status: str
    checks: dict[str, str]


@dataclass(frozen=True, slots=True)
class InfoReply:
    """``limits``: sizes in bytes, lengths in characters, counts."""

    name: str
    version: str
    limits: dict[str, int]
    features: list[str]
    validation: str
    storage_method: str


@router.get(
    "/health/live",
    response_model=HealthReply,
    operation_id="get_liveness",
    summary="Is the process alive?",
    responses={200: example({"status": "ok", "checks": {}}, "It is"), **problems()},
)
async def get_liveness() -> Response:
    """Looks at nothing; restart the process if this does not answer."""
    return json_reply(HealthReply("ok", {}))


@router.get(
    "/health/ready",
    response_model=HealthReply,
    operation_id="get_readiness",
    summary="Can it take requests?",
    responses={
        200: example(
            {"status": "ok", "checks": {"database": "ok", "store": "ok", "lock": "ok"}}, "It can"
        ),
        **problems(NotReady),
    },
)
async def get_readiness(
    request: Request,
    services: Services,
    checks: Annotated[list[Part], Query(description="What to ask")] = _PARTS,
) -> Response:
    """Asks the database, the store and the lock; a 503 names what is down.

    A load balancer may ask `?checks=database`: without the store lookups go on, and without the
    lock everything does.

    After SIGTERM it is 503 too: the service serves for another `DRAIN_SECONDS`, but should be sent
    nothing more.
    """
    if request.app.state.draining.begun:
        raise NotReady("The service is shutting down.")

    async def database() -> None:
        with suppress(ModelNotFound):  # a point read does not queue behind searches
            await services.reader().model(_ANY)

    async def store() -> None:
        await services.store().check()
        # It may have been away before. A database that is down is no fault of the store.
        with move_on_after(_PATIENCE_SECONDS / 2), suppress(DatabaseUnavailable):
            await claim_store(services.store(), services.references())

    asked: dict[Part, Callable[[], Awaitable[None]]] = {
        "database": database,
        "store": store,
        "lock": services.locks().check,
    }
    results = await asyncio.gather(*(_fault(name, asked[name]) for name in dict.fromkeys(checks)))
    faults = [fault for fault in results if fault]
    if faults:
        names = ", ".join(fault.pointer.rsplit("/", 1)[-1] for fault in faults)
        raise NotReady(f"Not ready: {names}.", errors=faults)
    return json_reply(HealthReply("ok", dict.fromkeys(checks, "ok")))


async def _fault(name: str, check: Callable[[], Awaitable[None]]) -> FieldError | None:
    """What is wrong with this part; None where nothing is."""
    where = f"/checks/{name}"
    try:
        with fail_after(_PATIENCE_SECONDS):
            await check()
    except ModelyardError as error:
        return FieldError(where, error.detail)
    except TimeoutError:
        return FieldError(where, f"no answer in {_PATIENCE_SECONDS:g} s")
    except Exception:  # noqa: BLE001 - whatever it is, this part cannot serve
        _log.exception("the readiness check of the %s failed", name)
        return FieldError(where, "it fails; the log of the service says why")
    return None


@router.get(
    "/metrics",
    response_class=Response,
    operation_id="get_metrics",
    summary="Metrics for Prometheus",
    responses={200: {"description": "Text format", "content": {"text/plain": {}}}, **problems()},
)
async def get_metrics() -> Response:
    """Requests and their latencies by operation; bytes in and out."""
    return Response(render_metrics(), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/api/v1/info",
    response_model=InfoReply,
    operation_id="get_info",
    summary="Version, limits and features of this service",
    responses={
        200: example(
            {
                "name": "modelyard",
                "version": "0.1.0",
                "limits": {"max_upload_size": 1 << 40},
                "features": _FEATURES,
                "validation": "standard",
                "storage_method": "local",
            },
            "What it is",
        ),
        **problems(),
    },
)
async def get_info(services: Services) -> Response:
    """For clients to adapt to."""
    settings = services.settings()
    limits = {
        "max_upload_size": settings.max_upload_size,
        "max_metadata_size": settings.max_metadata_size,
        "max_files": MAX_FILES,
        "max_path_length": MAX_PATH,
        "max_name_length": MAX_NAME,
        "max_value_length": MAX_VALUE,
        "max_description_length": MAX_DESCRIPTION,
        "max_entries": MAX_ENTRIES,
        "max_aliases_per_publish": MAX_ALIASES_PER_PUBLISH,
        "max_page_size": 1000,
    }
    reply = InfoReply(
        "modelyard",
        server_version(),
        limits,
        _FEATURES,
        settings.validation_policy,
        settings.model_storage_method,
    )
    return json_reply(reply)


def server_version() -> str:
    """The release of the server, from its installed metadata."""
    try:
        return version("modelyard-server")
    except PackageNotFoundError:
        return "0.1.0"


def add_pages(app: FastAPI) -> None:
    """Swagger UI from the service's own files, and a front door for browsers."""

    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="Modelyard",
            swagger_js_url=f"{root}/static/swagger-ui/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/static/swagger-ui/swagger-ui.css",
            swagger_favicon_url=f"{root}/static/swagger-ui/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
        )

    async def front_door(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")

    app.add_route("/docs", docs, include_in_schema=False)
    app.add_route("/", front_door, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
