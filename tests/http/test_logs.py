"""The log: as JSON an object a line, the request's id in every line about it, and no secrets."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server, running_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("logs")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def structured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that logs everything as JSON."""
    settings = {"log_format": "json", "log_level": "debug"}
    with running_server(tmp_path_factory.mktemp("logs"), **settings) as server:
        yield server


@pytest.fixture
def own(structured: Server) -> Iterator[httpx.Client]:
    """Its client."""
    with structured.client() as opened:
        yield opened


def lines(server: Server) -> list[dict[str, Any]]:
    """The log so far; each of its lines is an object."""
    found = [json.loads(line) for line in server.log.splitlines()]
    for line in found:
        assert WHEN.fullmatch(line["time"]), line
        assert {"level", "logger", "message"} <= line.keys()
    return found


def about(server: Server, request_id: str) -> list[dict[str, Any]]:
    """The lines about a request; the last one tells that it is over."""

    def told() -> list[dict[str, Any]]:
        return [line for line in lines(server) if line.get("request_id") == request_id]

    eventually(lambda: bool(told()) and told()[-1]["logger"] == "modelyard.access")
    return told()


def test_a_change_is_told_in_fields(structured: Server, own: httpx.Client) -> None:
    own.post("/api/v1/models", json={"name": "churn"}).raise_for_status()
    own.headers.update({"X-Request-Id": "publish-1", "X-User": "ada"})
    reply = publish(own, "churn", {"a.safetensors": safetensors("logs")})
    audit, access = about(structured, "publish-1")
    assert audit["audit"].pop("at") == reply.json()["created_at"]
    assert audit["audit"] == {
        "event": "VersionPublished",
        "model": "churn",
        "version": 1,
        "actor": "ada",
    }
    assert (audit["logger"], audit["level"]) == ("modelyard.audit", "INFO")
    assert access["method"] == "POST"
    assert access["path"] == "/api/v1/models/churn/versions"
    assert access["status"] == 201
    assert access["bytes_in"] == len(reply.request.read())
    assert access["bytes_out"] == len(reply.content)
    assert access["duration_ms"] > 0
    assert "problem" not in access


def test_what_is_refused_is_told_with_the_code(structured: Server, own: httpx.Client) -> None:
    for method in ("GET", "HEAD"):
        headers = {"X-Request-Id": f"{method}-nobody"}
        own.request(method, "/api/v1/models/nobody", headers=headers)
        (access,) = about(structured, f"{method}-nobody")
        assert access["problem"] == "model.not_found"
        assert (access["status"], access["level"]) == (404, "DEBUG")


def test_a_failure_is_told_with_its_stack(structured: Server, own: httpx.Client) -> None:
    own.post("/api/v1/models", json={"name": "harmed"}).raise_for_status()
    with closing(sqlite3.connect(structured.database)) as database, database:
        database.execute("UPDATE models SET created_at = 'no time' WHERE name = 'harmed'")
    assert own.get("/api/v1/models/harmed", headers={"X-Request-Id": "h"}).status_code == 500
    failure, access = about(structured, "h")
    assert failure["level"] == access["level"] == "ERROR"
    assert failure["stack"].startswith("Traceback")
    assert access["problem"] == "server.error"


def test_what_the_server_below_says_is_told_in_the_same_form(structured: Server) -> None:
    started = [line for line in lines(structured) if line["logger"].startswith("uvicorn")]
    assert any("startup complete" in line["message"] for line in started)
    assert not any("color_message" in line for line in started)
    assert "Modelyard is at http" in structured.log


def test_hostile_names_break_no_line(structured: Server, own: httpx.Client) -> None:
    name = quote('a"\u2028\n{"level": "FORGED"}\r\u0085\U0001f600') + "%ff%ed%a0%80"
    own.get(f"/api/v1/models/{name}", headers={"X-Request-Id": "hostile"})
    (access,) = about(structured, "hostile")
    assert access["level"] == "DEBUG"
    assert structured.log.isascii()


def test_as_text_every_line_of_a_request_ends_with_its_id(
    server: Server, client: httpx.Client, name: str
) -> None:
    seen = len(server.log)
    headers = {"X-Request-Id": f"id-of-{name}"}
    client.post("/api/v1/models", json={"name": name}, headers=headers).raise_for_status()
    eventually(lambda: "modelyard.access" in server.log[seen:])
    told = server.log[seen:].splitlines()
    assert len(told) == 2
    for line in told:
        assert WHEN.match(line)
        assert line.endswith(f" id=id-of-{name}")
