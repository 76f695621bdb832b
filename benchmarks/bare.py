"""The yardstick for reads: one FastAPI route, no parameters, that returns ready-made bytes."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Response

PATH = "/bare"
BODY_VARIABLE = "BENCH_BARE_BODY"


def create_app() -> FastAPI:
    """An application whose one route answers with the bytes of the file the variable names."""
    body = Path(os.environ[BODY_VARIABLE]).read_bytes()
    app = FastAPI(openapi_url=None)

    @app.get(PATH)
    async def bare() -> Response:
        return Response(body, media_type="application/json")

    return app
