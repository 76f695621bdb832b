"""What is found in files decides over the wire too: refused, held, reviewed, described."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.http.conftest import stored
from tests.http.wire import problem_of
from tests.support.corpus import CORPUS
from tests.support.publishing import publish, safetensors
from tests.support.server import Server

HELD = {"m.pkl": (CORPUS / "attacks/main_class.pkl").read_bytes()}
CAT = (CORPUS / "notmodels/cat.jpg").read_bytes()


def zipped(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def review(client: httpx.Client, version: str, decision: str, **more: Any) -> httpx.Response:
    body = {"decision": decision, "reason": "It was read.", **more}
    return client.post(f"{version}/review", json=body, headers={"X-User": "eve"})


@pytest.fixture
def held(client: httpx.Client, model: str) -> str:
    """The path of a version that is held."""
    reply = publish(client, model, HELD)
    assert (reply.status_code, reply.json()["status"]) == (201, "quarantined")
    return f"/api/v1/models/{model}/versions/1"


@pytest.mark.parametrize(
    ("path", "content", "sentence"),
    [
        ("cat.jpg", CAT, "cat.jpg is JPEG image data, not a model."),
        ("model.onnx", CAT, "model.onnx is JPEG image data, not a model."),
        (
            "model.pt",
            zipped({"tom.jpg": CAT, "kitty.jpg": CAT + b"."}),
            "model.pt is a ZIP archive of tom.jpg, kitty.jpg, not a model.",
        ),
    ],
    ids=["cat.jpg", "cat.onnx", "cats.pt"],
)
def test_a_cat_is_no_model(
    client: httpx.Client, untouched: str, path: str, content: bytes, sentence: str
) -> None:
    problem = problem_of(publish(client, untouched, {path: content}), 415, "file.not_a_model")
    assert problem["detail"] == sentence


def test_a_trap_is_refused_with_what_it_would_run(
    server: Server, client: httpx.Client, untouched: str
) -> None:
    before = stored(server)
    trap = (CORPUS / "attacks/torch_zip_payload.pt").read_bytes()
    problem = problem_of(publish(client, untouched, {"model.pt": trap}), 422, "file.refused")
    assert "loading it would run" in problem["detail"]
    assert "system(" in problem["detail"]
    assert "data.pkl" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/files/model.pt"
    assert stored(server) == before


def test_what_is_held_is_counted(client: httpx.Client, model: str) -> None:
    def count() -> float:
        found = re.search(
            r"^modelyard_held_versions_total (\S+)$", client.get("/metrics").text, re.MULTILINE
        )
        return float(found[1]) if found else 0

    before = count()
    publish(client, model, HELD)
    publish(client, model, {"m.safetensors": safetensors(1)})
    assert count() == before + 1


def test_a_held_version_is_described_but_not_served(client: httpx.Client, held: str) -> None:
    validation = client.get(held).json()["validation"]
    assert (validation["verdict"], validation["policy"]) == ("review", "standard")
    assert [finding["subject"] for finding in validation["findings"]] == ["__main__.MyModel", None]
    assert validation["checked_at"].endswith("Z")
    for path in ("files/m.pkl", "archive", "archive?format=tar"):
        problem_of(client.get(f"{held}/{path}"), 409, "version.quarantined")
    assert client.head(f"{held}/files/m.pkl").status_code == 409
    redirected = client.get(f"{held}/files/m.pkl", headers={"Prefer": "redirect"})
    problem_of(redirected, 409, "version.quarantined")
    assert client.get(f"{held}/files").status_code == 200
    problem_of(
        client.put(f"{held.rsplit('/', 2)[0]}/aliases/champion", json={"version": 1}),
        409,
        "version.quarantined",
    )


def test_a_review_lets_it_in_and_is_kept(client: httpx.Client, held: str) -> None:
    etag = client.get(held).headers["etag"]
    reply = review(client, held, "accept", reason="The class is ours.")
    assert reply.status_code == 200, reply.text
    version = reply.json()
    assert (version["status"], version["validation"]["verdict"]) == ("ready", "review")
    (kept,) = version["validation"]["reviews"]
    assert (kept["decision"], kept["reason"], kept["reviewer"]) == (
        "accept",
        "The class is ours.",
        "eve",
    )
    assert reply.headers["etag"] != etag
    assert client.get(f"{held}/files/m.pkl").content == HELD["m.pkl"]
    alias = f"{held.rsplit('/', 2)[0]}/aliases/champion"
    assert client.put(alias, json={"version": 1}).status_code == 201
    problem_of(review(client, held, "reject"), 409, "version.in_use")
    assert client.delete(alias).status_code == 204
    assert review(client, held, "reject").json()["status"] == "rejected"
    problem_of(client.get(f"{held}/files/m.pkl"), 409, "version.quarantined")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "accept"},
        {"decision": "accept", "reason": ""},
        {"decision": "accept", "reason": " "},
        {"decision": "maybe", "reason": "x"},
        {"decision": "accept", "reason": "x", "by": "me"},
        {"decision": True, "reason": "x"},
        {"decision": "accept", "reason": "x" * 10_001},
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_review_that_is_not_one(client: httpx.Client, held: str, body: dict[str, Any]) -> None:
    problem_of(client.post(f"{held}/review", json=body), 422, "request.invalid")
    assert client.get(held).json()["status"] == "quarantined"


def test_a_review_of_what_has_changed_meanwhile(client: httpx.Client, held: str) -> None:
    seen = client.get(held).headers["etag"]
    assert review(client, held, "reject").status_code == 200
    body = {"decision": "accept", "reason": "x"}
    late = client.post(f"{held}/review", json=body, headers={"If-Match": seen})
    problem_of(late, 412, "precondition.failed")


def test_versions_are_found_by_status_format_and_facts(
    client: httpx.Client, held: str, model: str
) -> None:
    weights = (CORPUS / "models/model.safetensors").read_bytes()
    assert publish(client, model, {"model.safetensors": weights}).status_code == 201
    versions = held.rsplit("/", 1)[0]

    def found(filter: str) -> list[int]:
        reply = client.get(versions, params={"filter": filter})
        assert reply.status_code == 200, reply.text
        return [version["version"] for version in reply.json()["items"]]

    assert found("status = 'quarantined'") == [1]
    assert found("facts.parameters > 1e2 AND format = 'safetensors'") == [2]
    assert found("facts.parameters > 1e9") == []
    assert found("facts.dtypes LIKE '%F32%'") == [2]
    assert found("facts.imports = '__main__.MyModel'") == [1]
    assert found("facts.parameters IS NULL") == [1]
