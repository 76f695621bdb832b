"""Counts and latencies for Prometheus."""

from __future__ import annotations

import asyncio
import os
from functools import cache
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

from application.maintenance import Collected
from domain.errors import ModelyardError

disable_created_metrics()  # type: ignore[no-untyped-call]
_registry = CollectorRegistry()
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "other")
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


def _counter(name: str, told: str, *labels: str) -> Counter:
    return Counter(f"modelyard_{name}", told, labels, registry=_registry)


def _gauge(name: str, told: str, *labels: str, mode: Any = "livesum") -> Gauge:
    return Gauge(f"modelyard_{name}", told, labels, registry=_registry, multiprocess_mode=mode)


def _seconds(name: str, told: str, *labels: str) -> Histogram:
    name = f"modelyard_{name}_seconds"
    return Histogram(name, told, labels, registry=_registry, buckets=_BUCKETS)


_REQUESTS = _counter(
    "http_requests_total", "Finished HTTP requests", "method", "operation", "status"
)
_LATENCY = _seconds(
    "http_request_duration",
    "Time from the request's head to the last byte of the reply",
    "method",
    "operation",
)
_IN_FLIGHT = _gauge("http_requests_in_flight", "HTTP requests being worked on", "method")
_RECEIVED = _counter("http_received_bytes_total", "Bytes of request bodies")
_SENT = _counter("http_sent_bytes_total", "Bytes of reply bodies")
_PROBLEMS = _counter(
    "http_problems_total", "Requests that ended with a problem", "operation", "code"
)
_PUBLISHES = _counter(
    "publishes_total",
    "Publishes by their end: published, replayed, the code of a problem, or abandoned",
    "outcome",
)
HELD = _counter("held_versions_total", "Versions that were published, but held for a review")
PUBLISHED = _counter("published_bytes_total", "Bytes of the files of published versions")

_STORE = _seconds(
    "store_call_duration", "Time that the store took, without that of clients", "call", "outcome"
)
_VALIDATION = _seconds("validation_duration", "Time to look at a file", "call", "outcome")
_LOCK = _seconds("lock_wait", "Time until a lock was had, or not", "kind", "outcome")
_BEGIN = _seconds("transaction_wait", "Time until a transaction had begun, or not", "outcome")
_TRANSACTION = _seconds("transaction_duration", "Time from its beginning to its end", "outcome")
_CONNECTIONS = _gauge("database_connections_in_use", "Connections to the database in use")
_MOST_CONNECTIONS = _gauge("database_connections_max", "Connections to the database at most")

_GC_RUNS = _counter("gc_runs_total", "Garbage collections of the service itself", "outcome")
_GC_BLOBS = _counter("gc_removed_blobs_total", "Blobs that it removed")
_GC_BYTES = _counter("gc_removed_bytes_total", "Bytes that it removed, of broken uploads too")
_GC_UPLOADS = _counter("gc_expired_uploads_total", "Uploads that nobody went on with in time")
_GC_LAST = _gauge("gc_last_success_timestamp_seconds", "When one last ended well", mode="max")


def outcome_of(error: BaseException | None) -> str:
    """``ok``, the code of the error, ``cancelled`` or ``failed``."""
    if error is None:
        return "ok"
    if isinstance(error, ModelyardError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "failed"


def record_call(
    part: str, operation: str, _began: float, seconds: float, error: BaseException | None
) -> None:
    """Counts a call that the store, the validator, the locks or the database have ended."""
    outcome = outcome_of(error)
    if part == "store":
        _STORE.labels(operation, outcome).observe(seconds)
    elif part == "validator":
        _VALIDATION.labels(operation, outcome).observe(seconds)
    elif part == "lock":
        _LOCK.labels(operation, outcome).observe(seconds)
    elif operation == "begin":
        _BEGIN.labels(outcome).observe(seconds)
    else:
        _TRANSACTION.labels(operation).observe(seconds)


_IN_FLIGHT_BY_METHOD = {method: _IN_FLIGHT.labels(method) for method in _METHODS}


def in_flight(method: str) -> Gauge:
    """Those that are being worked on: of PATCH, the uploads in several requests that come in."""
    return _IN_FLIGHT_BY_METHOD.get(method) or _IN_FLIGHT_BY_METHOD["other"]


@cache
def _requests(method: str, operation: str, status: int) -> tuple[Counter, Histogram]:
    """Finding them costs more than counting."""
    counter = _REQUESTS.labels(method, operation, status)
    return counter, _LATENCY.labels(method, operation)


def record_request(
    method: str,
    operation: str,
    status: int,
    *,
    problem: str | None,
    seconds: float,
    received: int,
    sent: int,
) -> None:
    """Counts a request after its last byte; ``problem`` is the code that it was answered with."""
    counter, latency = _requests(method, operation, status)
    counter.inc()
    latency.observe(seconds)
    _RECEIVED.inc(received)
    _SENT.inc(sent)
    if problem:
        _PROBLEMS.labels(operation, problem).inc()
    if operation == "publish_version":
        ends = {201: "published", 200: "replayed"}
        _PUBLISHES.labels(problem or ends.get(status, "abandoned")).inc()


def record_connections(in_use: int, most: int) -> None:
    """What the database's pool looks like now."""
    _CONNECTIONS.set(in_use)
    _MOST_CONNECTIONS.set(most)


def record_collection(collected: Collected | Exception) -> None:
    """Counts a garbage collection, or that it failed."""
    if isinstance(collected, Exception):
        _GC_RUNS.labels(outcome_of(collected)).inc()
        return
    _GC_RUNS.labels("ok").inc()
    _GC_BLOBS.inc(collected.blobs)
    _GC_BYTES.inc(collected.size + collected.staged_size)
    _GC_UPLOADS.inc(collected.uploads)
    _GC_LAST.set_to_current_time()


def render_metrics() -> bytes:
    """The text format; of all workers together where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
    return generate_latest(_registry)
