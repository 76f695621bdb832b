"""The OpenAPI document tells a stranger, and a generator of clients, all there is to know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from application.filters import MODELS, VERSIONS, Vocabulary, parse_filter, parse_order
from entrypoints.container import build_container
from entrypoints.http.app import create_app
from entrypoints.settings import Settings

METHODS = {"get", "put", "post", "patch", "delete", "head", "options"}


def the_document() -> dict[str, Any]:
    """Nothing is opened for it."""
    nowhere = Path("nowhere")
    settings = Settings(
        _env_file=None,
        database_url=f"sqlite:///{nowhere / 'rows.db'}",
        model_storage_path=nowhere,
    )
    return create_app(build_container(settings)).openapi()


DOCUMENT = the_document()
OPERATIONS = {
    f"{method} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}

each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def test_every_call_of_the_contract_is_there() -> None:
    models, one = "/api/v1/models", "/api/v1/models/{name}"
    versions, ref = f"{one}/versions", f"{one}/versions/{{ref}}"
    aliases, alias = f"{one}/aliases", f"{one}/aliases/{{alias}}"
    assert set(OPERATIONS) >= {
        *(f"post {models}", f"get {models}", f"get {one}", f"patch {one}", f"delete {one}"),
        *(f"post {versions}", f"get {versions}", "get /api/v1/versions"),
        *(f"get {ref}", f"patch {ref}", f"delete {ref}", f"get {ref}/files", f"get {ref}/archive"),
        *(f"get {ref}/files/{{path}}", f"head {ref}/files/{{path}}"),
        *(f"get {aliases}", f"get {alias}", f"put {alias}", f"delete {alias}"),
        *(f"get {alias}/history", f"post {alias}/rollback"),
        *("put /api/v1/blobs/{sha256}", "head /api/v1/blobs/{sha256}", "get /api/v1/info"),
        *("get /health/live", "get /health/ready", "get /metrics"),
    }


@each_operation
def test_an_operation_has_a_summary_a_description_and_a_tag(operation: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z].*[^.]", operation["summary"])
    assert len(operation["description"]) >= 10
    assert len(operation["tags"]) == 1


def test_operation_ids_are_method_names_and_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in names)


@each_operation
def test_a_successful_json_reply_has_an_example_and_a_schema(operation: dict[str, Any]) -> None:
    successes = {
        status: reply
        for status, reply in operation["responses"].items()
        if status.startswith("2") and reply.get("description")
    }
    assert successes
    for status, reply in successes.items():
        if json_content := reply.get("content", {}).get("application/json"):
            assert json_content["example"], status
    declared = [r.get("content", {}).get("application/json") for r in successes.values()]
    assert not any(declared) or any(content and "schema" in content for content in declared)


@each_operation
def test_every_error_reply_is_a_documented_problem(operation: dict[str, Any]) -> None:
    errors = {
        status: reply for status, reply in operation["responses"].items() if status[0] in "45"
    }
    assert {"422", "500", "503"} <= errors.keys()
    for status, reply in errors.items():
        content = reply["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, status
        assert re.search(r"`[a-z_]+\.[a-z_]+`", reply["description"]), status


def test_every_change_tells_that_it_may_be_refused_to_a_page_of_another_site() -> None:
    for name, operation in OPERATIONS.items():
        told = "`request.cross_site`" in str(operation["responses"].get("403"))
        assert told is not name.startswith(("get ", "head ", "options ")), name


@pytest.mark.parametrize(
    ("path", "vocabulary"),
    [
        ("/api/v1/models", MODELS),
        ("/api/v1/versions", VERSIONS),
        ("/api/v1/models/{name}/versions", VERSIONS),
    ],
)
def test_filters_and_orders_that_are_shown_can_be_used(path: str, vocabulary: Vocabulary) -> None:
    for name, parse in (("filter", parse_filter), ("order_by", parse_order)):
        (shown,) = (
            parameter
            for parameter in OPERATIONS[f"get {path}"]["parameters"]
            if parameter["name"] == name
        )
        written = re.findall("`(.+?)`", shown["description"])
        for text in (*written, *shown["schema"]["examples"]):
            parse(text, vocabulary)
        assert written


@each_operation
def test_every_parameter_says_what_it_is(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]


@each_operation
def test_a_changing_operation_with_a_body_shows_an_example_of_it(
    operation: dict[str, Any],
) -> None:
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, body in content.items():
        if media_type != "application/json":
            continue
        schema = _resolved(body["schema"])
        examples = [
            field.get("examples") or _resolved(field.get("items", {})).get("properties")
            for field in schema["properties"].values()
        ]
        assert any(examples)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][name] if name else schema
    return found


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    named = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert named == DOCUMENT["components"]["schemas"].keys()


def test_the_document_is_json_and_says_what_it_documents() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["info"]["title"] == "Modelyard"
    assert DOCUMENT["info"]["version"]
    assert DOCUMENT["openapi"].startswith("3.1")
