"""The application factory. Nothing is built at import."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from application.maintenance import claim_store
from domain.errors import CrossSiteRequest, StoreFull, StoreUnavailable, ValidationUnavailable
from entrypoints.container import Container, build_container, migrate
from entrypoints.http.draining import Draining
from entrypoints.http.errors import Problem, add_error_handlers, problems
from entrypoints.http.metrics import record_call
from entrypoints.http.middleware import AnswerHead, Observe, SameSite
from entrypoints.http.routes import aliases, blobs, files, models, service, uploads, versions
from entrypoints.http.tracing import start_tracing, stop_tracing, telemetry, traced
from entrypoints.http.tus import SpeakTus
from entrypoints.http.upkeep import collect_regularly, watch_connections
from entrypoints.settings import load_settings

_log = logging.getLogger("modelyard.validation")

_REF = "#/components/schemas/{model}"
_DESCRIPTION = """\
A registry for machine-learning models. Register a model, publish versions of it with their files,
parameters, metrics and tags, point aliases at versions, and fetch by number, `latest` or `@alias`.

Errors are RFC 9457 problem documents; branch on their `code`.
"""


def create_app(container: Container) -> FastAPI:
    """The REST API over the use cases of this container."""
    draining, tracing = Draining(), start_tracing(service.server_version())
    container.record_call.override(traced(record_call, tracing) if tracing else record_call)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        migrate.check(
            container.database()
        )  # whichever server runs this, and however it was started
        with suppress(StoreFull, StoreUnavailable):  # what is stored may still be read
            await claim_store(container.store(), container.references())
        try:
            await container.sandbox().start()
        except ValidationUnavailable as error:  # what is stored may still be read
            _log.error("%s Nothing can be published until it does.", error.detail)
        upkeep = asyncio.gather(collect_regularly(container), watch_connections(container))
        with draining.on_sigterm(container.settings().drain_seconds):
            yield {"draining": draining}
        upkeep.cancel()
        await asyncio.gather(upkeep, return_exceptions=True)
        await container.sandbox().close()
        await container.database().close()
        if tracing:
            await stop_tracing(tracing)

    app = FastAPI(
        title="Modelyard",
        version=service.server_version(),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=telemetry(tracing),
    )
    app.state.container, app.state.draining = container, draining
    app.add_middleware(SpeakTus)
    app.add_middleware(AnswerHead)
    app.add_middleware(SameSite)
    app.add_middleware(Observe)  # around the others
    add_error_handlers(app)
    for area in (versions, files, models, aliases, blobs, uploads):
        app.include_router(area.router, prefix="/api/v1")
    app.include_router(service.router)
    service.add_pages(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schemas that routes name by reference only."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        for model in (*versions.SCHEMAS, Problem):
            schema = TypeAdapter(model).json_schema(ref_template=_REF)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for item in document["paths"].values():
            for method, operation in item.items():
                if method not in {"get", "head", "options"}:
                    refused = problems(CrossSiteRequest)[403]
                    operation["responses"].setdefault("403", refused)
        app.openapi_schema = document
    return app.openapi_schema


def create_app_from_environment() -> FastAPI:
    """What the server's worker processes call.

    Raises:
        InvalidSettings
    """
    return create_app(build_container(load_settings()))
