"""The service itself: health, metrics, pages, errors of the framework, request ids."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from application.ports import RegistryReader
from entrypoints.container import build_container, migrate
from entrypoints.http.app import create_app
from entrypoints.settings import Settings
from tests.http.wire import exchange, head, problem_of
from tests.support.publishing import publish, safetensors
from tests.support.server import Server


def test_it_lives_and_is_ready(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "ok", "checks": {}}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    checks = {"database": "ok", "store": "ok", "lock": "ok"}
    assert ready.json() == {"status": "ok", "checks": checks}


def test_it_says_what_it_takes(client: httpx.Client) -> None:
    info = client.get("/api/v1/info").json()
    assert info["name"] == "modelyard"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", info["version"])
    assert info["limits"]["max_files"] == 1000
    assert all(isinstance(limit, int) and limit > 0 for limit in info["limits"].values())
    assert {"aliases", "filters", "ranges"} <= set(info["features"])


def test_metrics_are_what_prometheus_reads(client: httpx.Client, model: str) -> None:
    def counted(metric: str, **labels: str) -> float:
        text = client.get("/metrics").text
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return samples.get((metric, frozenset(labels.items())), 0.0)

    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    got = {"method": "GET", "operation": "get_model", "status": "200"}
    before = counted("modelyard_http_requests_total", **got)
    for _ in range(3):
        client.get(f"/api/v1/models/{model}")
    assert counted("modelyard_http_requests_total", **got) == before + 3
    timed = {"method": "GET", "operation": "get_model"}
    assert counted("modelyard_http_request_duration_seconds_count", **timed) >= 3
    unknown = {"method": "other", "operation": "other", "status": "404"}
    before = counted("modelyard_http_requests_total", **unknown)
    for number in range(3):
        client.request(("GET", "PUT", "PURGE")[number], f"/no/such/{number}")
    assert counted("modelyard_http_requests_total", **unknown) == before + 3
    received = counted("modelyard_http_received_bytes_total")
    client.put("/api/v1/blobs/" + "0" * 64, content=bytes(10_000))
    assert counted("modelyard_http_received_bytes_total") >= received + 10_000
    assert counted("modelyard_http_requests_in_flight", method="GET") >= 1


def test_the_documentation_needs_no_other_host(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(?:src|href|url)\s*[=:(]\s*["']?\s*(?:https?:)?//""", page.text)
    links = re.findall(r"""(?:src|href)="([^"]+)\"""", page.text)
    assert any("swagger-ui-bundle" in link for link in links)
    for link in links:
        asset = client.get(link)
        assert asset.status_code == 200, link
        assert asset.content
    css = client.get(next(link for link in links if link.endswith(".css"))).text
    assert not re.search(r"url\(\s*[\"']?\s*(?:https?:)?//", css)
    assert "@import" not in css


def test_the_front_door_leads_to_the_documentation(client: httpx.Client) -> None:
    reply = client.get("/")
    assert reply.is_redirect
    assert reply.headers["location"] == "/docs"


def test_head_is_get_without_the_body(server: Server, client: httpx.Client, model: str) -> None:
    files = {"model.safetensors": safetensors(model, size=3_000_000)}
    assert publish(client, model, files, aliases=["best"]).status_code == 201
    one = f"/api/v1/models/{model}"
    for path in (
        *(one, f"{one}/versions/@best", f"{one}/versions", f"{one}/aliases/best", "/api/v1/info"),
        *(f"{one}/versions/1/archive", f"{one}/versions/1/archive?format=tar", f"{one}/none"),
        *(f"{one}/versions/1/files/model.safetensors", "/health/ready", "/docs", "/", "/nowhere"),
    ):
        got, told = (client.request(method, path) for method in ("GET", "HEAD"))
        assert told.status_code == got.status_code, path
        assert told.content == b""
        for name in got.headers.keys() - {"x-request-id", "date", "transfer-encoding"}:
            assert told.headers[name] == got.headers[name], (path, name)
        known = client.head(path, headers={"If-None-Match": got.headers.get("etag", '"x"')})
        assert known.status_code == (304 if "etag" in got.headers else got.status_code), path
    counted = 'requests_total{method="HEAD",operation="get_model",status="200"}'
    assert counted in client.get("/metrics").text
    assert exchange(server, head("HEAD", one)).body == b""


def test_replies_end_the_line(client: httpx.Client, model: str) -> None:
    for path in (f"/api/v1/models/{model}", "/api/v1/models/none", "/nowhere"):
        assert client.get(path).content.endswith(b"}\n")


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/api/v1/models", "there are filter, order_by, page_size, page_token"),
        ("/api/v1/models/{}/versions", "there are filter, order_by, page_size, page_token"),
        ("/api/v1/models/{}", "there are none here"),
    ],
)
def test_a_query_parameter_that_is_unknown(
    client: httpx.Client, model: str, path: str, known: str
) -> None:
    reply = client.get(path.format(model), params={"filer": "x = 1", "a/b": ""})
    problem = problem_of(reply, 422, "request.invalid")
    assert "'filer'" in problem["detail"]
    assert problem["errors"] == [
        {"pointer": "/query/a~1b", "message": known},
        {"pointer": "/query/filer", "message": known},
    ]


def test_readiness_asks_no_list(tmp_path: Path) -> None:
    """Searches may all be taken; they answer with 503 then, and this must not."""
    settings = Settings(
        _env_file=None,
        database_url=f"sqlite:///{tmp_path / 'rows.db'}",
        model_storage_path=tmp_path / "artifacts",
    )
    container = build_container(settings)
    migrate.prepare(container.database())

    async def ask() -> httpx.Response:
        with container.reader.override(PointReads(container.reader())):
            transport = httpx.ASGITransport(create_app(container))
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as caller:
                return await caller.get("/health/ready")

    assert asyncio.run(ask()).status_code == 200
    container.database().dispose()


class PointReads:
    """A reader that has nothing else."""

    def __init__(self, reader: RegistryReader) -> None:
        self.model = reader.model


# --- pages of other sites -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_page_of_another_site_changes_nothing(
    server: Server, client: httpx.Client, untouched: str, headers: dict[str, str]
) -> None:
    headers = {name: value.format(own=server.base_url) for name, value in headers.items()}
    path = f"/api/v1/models/{untouched}"
    parts = [("file", ("model.safetensors", safetensors("elsewhere")))]
    for reply in (
        client.post(f"{path}/versions", files=parts, headers=headers),
        client.post(f"{path}/aliases/champion/rollback", headers=headers),
        client.delete(path, headers=headers),
        client.post("/no/such/path", headers=headers),
    ):
        problem_of(reply, 403, "request.cross_site")
    assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "{own}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "{own}"},
        {},
    ],
)
def test_a_page_of_its_own_and_what_is_no_page_make_changes(
    server: Server, client: httpx.Client, name: str, headers: dict[str, str]
) -> None:
    headers = {key: value.format(own=server.base_url) for key, value in headers.items()}
    reply = client.post("/api/v1/models", json={"name": name}, headers=headers)
    assert reply.status_code == 201


# --- request ids --------------------------------------------------------------------------------


@pytest.mark.parametrize("sane", ["abc", "0f8fad5b-d9cb-469f-a165-708680a1b8f3", "a/b:c=d+e._-"])
def test_a_sane_request_id_comes_back(client: httpx.Client, sane: str) -> None:
    for url in ("/health/live", "/no/such/path", "/api/v1/models/%00"):
        reply = client.get(url, headers={"X-Request-Id": sane})
        assert reply.headers["x-request-id"] == sane
        if reply.is_error:
            problem_of(reply)


@pytest.mark.parametrize(
    "odd", [b"", b"a b", b"x" * 129, b"\xff", b"a\tb", b"<script>", b'"', "ü".encode(), b"a;b"]
)
def test_an_odd_request_id_is_replaced(client: httpx.Client, odd: bytes) -> None:
    reply = client.get("/health/live", headers=[(b"X-Request-Id", odd)])
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])


def test_every_request_has_an_id_of_its_own(client: httpx.Client) -> None:
    ids = {client.get("/health/live").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


# --- what the framework says --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/api", "/api/v1", "/api/v2/models", "/api/v1/models/a/b", "/static/none.js"),
        *("/static/../../pyproject.toml", "/static/%2e%2e/%2e%2e/pyproject.toml", "/docs/x"),
        *("//api/v1/models", "/api/v1/models/a/versions/1/files/", "/redoc", "/api/v1/models/"),
    ],
)
def test_a_path_to_nothing(server: Server, path: str) -> None:
    exchange(server, head("GET", path)).problem(404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/models", "GET, HEAD, POST"),
        ("/api/v1/models/a", "DELETE, GET, HEAD, PATCH"),
        ("/api/v1/models/a/versions", "GET, HEAD, POST"),
        ("/api/v1/versions", "GET, HEAD"),
        ("/api/v1/models/a/versions/1", "DELETE, GET, HEAD, PATCH"),
        ("/api/v1/models/a/versions/1/files", "GET, HEAD"),
        ("/api/v1/models/a/versions/1/files/a/b", "GET, HEAD"),
        ("/api/v1/models/a/versions/1/archive", "GET, HEAD"),
        ("/api/v1/models/a/aliases", "GET, HEAD"),
        ("/api/v1/models/a/aliases/b", "DELETE, GET, HEAD, PUT"),
        ("/api/v1/models/a/aliases/b/history", "GET, HEAD"),
        ("/api/v1/models/a/aliases/b/rollback", "POST"),
        ("/api/v1/blobs/x", "HEAD, PUT"),
        ("/api/v1/info", "GET, HEAD"),
        ("/health/live", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/static/swagger-ui/swagger-ui.css", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_take(client: httpx.Client, path: str, allowed: str) -> None:
    for method in ("OPTIONS", "PURGE", "TRACE"):
        reply = client.request(method, path)
        problem_of(reply, 405, "request.method_not_allowed")
        assert reply.headers["allow"] == allowed
    for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
        if method not in allowed:
            problem_of(client.request(method, path), 405)


def test_json_operations_take_json_only(client: httpx.Client, model: str) -> None:
    for method, path in (
        ("POST", "/api/v1/models"),
        ("PATCH", f"/api/v1/models/{model}"),
        ("POST", f"/api/v1/models/{model}/versions"),
        ("PUT", f"/api/v1/models/{model}/aliases/a"),
    ):
        for kind in (
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "json",
            "",
        ):
            headers = {"Content-Type": kind} if kind else {}
            reply = client.request(method, path, content=b'{"version": 1}', headers=headers)
            problem_of(reply, 415, "request.unsupported_media_type")


def test_json_may_be_called_otherwise(client: httpx.Client, name: str) -> None:
    for number, kind in enumerate(
        ("application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json")
    ):
        content = b'{"name": "%s"}' % f"{name}-{number}".encode()
        reply = client.post("/api/v1/models", content=content, headers={"Content-Type": kind})
        assert reply.status_code == 201, kind


# --- the OpenAPI document -----------------------------------------------------------------------


def test_every_operation_is_described(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert len(operations) >= 26
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, method, operation in operations:
        where = f"{method} {path}"
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), where
        assert operation["summary"], where
        assert operation["description"], where
        responses = operation["responses"]
        assert {"422", "500", "503"} <= set(responses), where
        for status, response in responses.items():
            assert response["description"], (where, status)
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], (where, status)
        if "requestBody" in operation:
            assert operation["requestBody"]["content"], where
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_reference_of_the_document_resolves(client: httpx.Client) -> None:
    reply = client.get("/openapi.json")
    schemas = reply.json()["components"]["schemas"]
    for name in re.findall(r'"\$ref":\s*"([^"]+)"', reply.text):
        assert name.startswith("#/components/schemas/")
        assert name.rsplit("/", 1)[1] in schemas
