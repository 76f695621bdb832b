"""Traces: what a collector gets to see, and that nobody suffers where it is gone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.collector import Collector, attributes, collector
from tests.support.publishing import publish, safetensors
from tests.support.server import Server, environment_for, running_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("tracing")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def listening() -> Iterator[Collector]:
    with collector() as started:
        yield started


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, listening: Collector) -> Iterator[Server]:
    """A service that sends its spans at once."""
    settings = {
        "otel_exporter_otlp_endpoint": listening.url,
        "otel_bsp_schedule_delay": 20,
        "otel_resource_attributes": "deployment.environment.name=test",
        "log_format": "json",
    }
    with running_server(tmp_path_factory.mktemp("traces"), **settings) as server:
        yield server


@pytest.fixture
def client(traced: Server) -> Iterator[httpx.Client]:
    with traced.client() as opened:
        yield opened


def spans_of(listening: Collector, request_id: str) -> list[Span]:
    """The span of a request, once it is there, and all others of its trace."""

    def found() -> list[Span]:
        return [
            span
            for span in listening.spans
            if attributes(span.attributes).get("modelyard.request_id") == request_id
        ]

    eventually(lambda: found() != [])
    (request,) = found()
    others = [s for s in listening.spans if s.trace_id == request.trace_id and s != request]
    return [request, *others]


def test_a_publish_is_a_trace(traced: Server, listening: Collector, client: httpx.Client) -> None:
    client.post("/api/v1/models", json={"name": "churn"}).raise_for_status()
    client.headers.update({"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "publish-1"})
    content = safetensors("trace")
    publish(client, "churn", {f"{SECRET}.safetensors": content}).raise_for_status()
    request, *others = spans_of(listening, "publish-1")
    assert request.name == "POST /api/v1/models/{name}/versions"
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    told = attributes(request.attributes)
    assert told["http.response.status_code"] == "201"
    assert told["http.route"] == "/api/v1/models/{name}/versions"
    assert {span.name for span in others} >= {
        *("store write", "store commit", "lock publish"),
        *("transaction begin", "transaction commit"),
    }
    for span in others:
        assert span.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert attributes(span.attributes)["modelyard.outcome"] == "ok"
    assert SECRET not in str(listening.requests)
    lines = map(json.loads, traced.log.splitlines())
    about = [line for line in lines if line.get("request_id") == "publish-1"]
    assert {line["logger"] for line in about} == {"modelyard.audit", "modelyard.access"}
    assert {line["trace_id"] for line in about} == {TRACE}
    (resource, *_) = listening.resources
    assert resource["service.name"] == "modelyard"
    assert resource["deployment.environment.name"] == "test"


def test_requests_of_one_connection_have_traces_of_their_own(
    listening: Collector, client: httpx.Client
) -> None:
    requests = []
    for number in range(3):
        client.get("/api/v1/models/nobody", headers={"X-Request-Id": f"own-{number}"})
        requests.append(spans_of(listening, f"own-{number}")[0])
    assert len({span.trace_id for span in requests}) == 3
    assert {span.parent_span_id for span in requests} == {b""}


def test_probes_are_not_traced(listening: Collector, client: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert client.get(path).status_code == 200
    client.get("/api/v1/info", headers={"X-Request-Id": "after"})
    spans_of(listening, "after")
    paths = {attributes(span.attributes).get("url.path") for span in listening.spans}
    assert "/api/v1/info" in paths
    assert not paths & {"/health/live", "/health/ready", "/metrics"}


def test_what_fails_is_an_error_of_its_trace(
    traced: Server, listening: Collector, client: httpx.Client
) -> None:
    files = {"a.safetensors": safetensors("lost")}
    version = publish(client, "lost", files, create_model=True).json()
    digest = version["files"][0]["sha256"]
    (traced.storage / "blobs" / digest[:2] / digest).unlink()
    path = "/api/v1/models/lost/versions/1/files/a.safetensors"
    assert client.get(path, headers={"X-Request-Id": "lost"}).status_code == 500
    request, *others = spans_of(listening, "lost")
    assert request.status.code == Status.STATUS_CODE_ERROR
    (read,) = (span for span in others if span.name == "store read")
    assert read.status.code == Status.STATUS_CODE_ERROR
    assert attributes(read.attributes)["modelyard.outcome"] == "blob.not_found"


@pytest.mark.parametrize("gone", ["silent", "refusing"])
def test_a_collector_that_is_gone_holds_nobody_up(tmp_path: Path, gone: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if gone == "refusing":
            silent.close()
        settings = {"otel_exporter_otlp_endpoint": address, "otel_bsp_schedule_delay": 20}
        with running_server(tmp_path, **settings) as server, server.client() as client:
            for _ in range(50):
                assert client.get("/api/v1/info").status_code == 200
            server.stop(timeout=30)


_IMPORTED = """
import sys
from entrypoints.http.app import create_app_from_environment
create_app_from_environment()
spared = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto")
print([name for name in sys.modules if name.startswith(spared)])
"""


def test_without_a_collector_nothing_of_it_is_imported(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _IMPORTED],
        env=environment_for(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert told.stdout == b"[]\n"
