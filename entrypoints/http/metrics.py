"""Counts and latencies for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

disable_created_metrics()  # type: ignore[no-untyped-call]
_registry = CollectorRegistry()
REQUESTS = Counter(
    "modelyard_http_requests_total",
    "Finished HTTP requests",
    ["method", "operation", "status"],
    registry=_registry,
)
LATENCY = Histogram(
    "modelyard_http_request_duration_seconds",
    "Time from the request's head to the last byte of the reply",
    ["method", "operation"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
    registry=_registry,
)
IN_FLIGHT = Gauge(
    "modelyard_http_requests_in_flight",
    "HTTP requests being worked on",
    registry=_registry,
    multiprocess_mode="livesum",
)
RECEIVED = Counter(
    "modelyard_http_received_bytes_total", "Bytes of request bodies", registry=_registry
)
SENT = Counter("modelyard_http_sent_bytes_total", "Bytes of reply bodies", registry=_registry)


def render_metrics() -> bytes:
    """The text format; of all workers together where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
    return generate_latest(_registry)
