"""Traces by OpenTelemetry, where its environment names a collector; else nothing is imported.

FastAPI itself makes the spans of requests, and takes their parents from ``traceparent``.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

from fastapi.telemetry import TelemetryConfig

from entrypoints.http.metrics import outcome_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_LAST_WORDS_SECONDS = 2.0
Record = Callable[[str, str, float, float, BaseException | None], None]


def start_tracing(release: str) -> TracerProvider | None:
    """Sends spans, in batches and by a thread of its own, to the collector that is named.

    Args:
        release: of the service.
    """
    if (
        not any(map(os.environ.get, _ENDPOINTS))
        or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
        or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    ):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    service = {
        "service.name": "modelyard",
        "service.version": release,
        "service.instance.id": uuid4().hex,
        **OTELResourceDetector().detect().attributes,
    }
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def stop_tracing(provider: TracerProvider) -> None:
    """Sends what is left, for a few seconds: a collector that is gone holds nobody up."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        provider.shutdown()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=stop, daemon=True).start()
    try:
        async with asyncio.timeout(_LAST_WORDS_SECONDS):
            await over.wait()
    except TimeoutError:
        pass


def telemetry(provider: TracerProvider | None) -> TelemetryConfig:
    """What FastAPI is to do by itself: the spans of requests, but not of probes."""
    return {
        "tracer_provider": provider,
        "tracing": provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"] == "/metrics" or scope["path"][:8] == "/health/",
    }


def traced(record: Record, provider: TracerProvider) -> Record:
    """Records calls of the store, the locks and the database as spans, too."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    tracer = provider.get_tracer("modelyard")

    def record_and_trace(
        part: str, operation: str, began: float, seconds: float, error: BaseException | None
    ) -> None:
        record(part, operation, began, seconds, error)
        now, clock = time.time_ns(), time.perf_counter()
        span = tracer.start_span(
            f"{part} {operation}",
            attributes={"modelyard.seconds": seconds, "modelyard.outcome": outcome_of(error)},
            start_time=now - int((clock - began) * 1e9),
        )
        if isinstance(error, Exception):
            span.set_status(StatusCode.ERROR)
        span.end(now)

    return record_and_trace
