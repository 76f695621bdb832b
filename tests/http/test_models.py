"""Models over HTTP: register, list, read, change, delete."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.http.wire import problem_of
from tests.support.publishing import publish, safetensors

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
WEIGHTS = {"model.safetensors": safetensors("weights")}


def test_registering_a_model_answers_with_it_and_says_where_it_is(
    client: httpx.Client, name: str
) -> None:
    reply = client.post(
        "/api/v1/models",
        json={"name": name, "description": "# Churn", "tags": {"team": "risk"}},
        headers={"X-User": "ada"},
    )
    assert reply.status_code == 201
    assert reply.headers["location"] == f"/api/v1/models/{name}"
    assert reply.headers["content-type"] == "application/json"
    created = reply.json()
    assert _TIME.fullmatch(created["created_at"])
    assert created == {
        "name": name,
        "description": "# Churn",
        "tags": {"team": "risk"},
        "creator": "ada",
        "created_at": created["created_at"],
        "updated_at": created["created_at"],
        "latest_version": None,
        "version_count": 0,
        "aliases": {},
    }
    again = client.get(reply.headers["location"])
    assert again.json() == created
    assert again.headers["etag"] == reply.headers["etag"]


def test_without_a_user_the_creator_is_anonymous(client: httpx.Client, name: str) -> None:
    assert client.post("/api/v1/models", json={"name": name}).json()["creator"] == "anonymous"


def test_a_user_name_may_have_any_script(client: httpx.Client, name: str) -> None:
    headers = {b"X-User": "Ada Łovelace 李".encode()}
    reply = client.post("/api/v1/models", json={"name": name}, headers=headers)
    assert reply.json()["creator"] == "Ada Łovelace 李"


def test_a_taken_name_is_refused(client: httpx.Client, model: str) -> None:
    problem_of(client.post("/api/v1/models", json={"name": model}), 409, "model.exists")


def test_names_are_the_same_after_normalisation(client: httpx.Client, name: str) -> None:
    composed, decomposed = f"{name} caf\u00e9", f"{name} cafe\u0301"
    reply = client.post("/api/v1/models", json={"name": decomposed})
    assert reply.json()["name"] == composed
    problem_of(client.post("/api/v1/models", json={"name": composed}), 409, "model.exists")
    assert client.get(f"/api/v1/models/{decomposed}").json()["name"] == composed


def test_names_that_differ_in_case_are_different(client: httpx.Client, model: str) -> None:
    assert client.post("/api/v1/models", json={"name": model.upper()}).status_code == 201


@pytest.mark.parametrize(
    "odd", ["with space", "(1+1)", "...", "-", "数据", "नमूना", "مُوذَج", "a" * 200]
)
def test_odd_names_work_everywhere(client: httpx.Client, name: str, odd: str) -> None:
    full = f"{name} {odd}"
    created = client.post("/api/v1/models", json={"name": full})
    assert created.status_code == 201, created.text
    where = created.headers["location"]
    assert client.get(where).json()["name"] == full
    published = client.post(
        f"{where}/versions", files=[("file", ("m.safetensors", safetensors(odd)))]
    )
    assert published.status_code == 201, published.text
    assert client.get(published.headers["location"]).json()["model"] == full
    archive = client.get(f"{published.headers['location']}/archive")
    assert archive.status_code == 200
    assert archive.headers["content-disposition"].startswith("attachment; filename=")


def test_a_model_that_is_not_there(client: httpx.Client, name: str) -> None:
    for method in ("GET", "DELETE"):
        problem_of(client.request(method, f"/api/v1/models/{name}"), 404, "model.not_found")
    problem_of(client.patch(f"/api/v1/models/{name}", json={}), 404, "model.not_found")


def test_a_known_etag_saves_the_body(client: httpx.Client, model: str) -> None:
    url = f"/api/v1/models/{model}"
    etag = client.get(url).headers["etag"]
    assert re.fullmatch(r'"[\x21\x23-\x7e]+"', etag)
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        reply = client.get(url, headers={"If-None-Match": header})
        assert (reply.status_code, reply.content) == (304, b""), header
        assert reply.headers["etag"] == etag
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    client.patch(url, json={"description": "changed"})
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 200


def test_a_merge_patch_changes_what_it_names(client: httpx.Client, model: str) -> None:
    url = f"/api/v1/models/{model}"
    client.patch(url, json={"description": "one", "tags": {"keep": "1", "drop": "2"}})
    before = client.get(url).json()
    patched = client.patch(
        url,
        json={"tags": {"drop": None, "new": "3", "never.was": None}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert patched.status_code == 200
    assert patched.json() == {
        **before,
        "tags": {"keep": "1", "new": "3"},
        "updated_at": patched.json()["updated_at"],
    }
    assert patched.json()["updated_at"] > before["updated_at"]
    emptied = client.patch(url, json={"description": None, "tags": None}).json()
    assert (emptied["description"], emptied["tags"]) == ("", {})
    unchanged = client.patch(url, json={}).json()
    assert (unchanged["description"], unchanged["tags"]) == ("", {})


@pytest.mark.parametrize(
    "patch",
    [
        {"creator": "eve"},
        {"version_count": 3},
        {"tags": {"a": 1}},
        {"tags": {"a": {"b": None}}},
        {"tags": []},
        {"tags": "x"},
        {"description": 1},
        {"name": None},
        {"name": 7},
        {"name": ""},
        {"name": "a/b"},
        [],
        "x",
        {"description": "x" * 100_001},
        {"tags": {"k": "x" * 100_001}},
        {"tags": {"k" * 251: "x"}},
        {"tags": {"": "x"}},
        {"tags": {f"k{n}": "x" for n in range(1001)}},
    ],
)
def test_a_wrong_patch_changes_nothing(client: httpx.Client, model: str, patch: object) -> None:
    before = client.get(f"/api/v1/models/{model}").json()
    problem_of(client.patch(f"/api/v1/models/{model}", json=patch), 422)
    assert client.get(f"/api/v1/models/{model}").json() == before


def test_a_patch_may_ask_for_the_state_it_was_meant_for(client: httpx.Client, model: str) -> None:
    url = f"/api/v1/models/{model}"
    etag = client.get(url).headers["etag"]
    first = client.patch(url, json={"description": "1"}, headers={"If-Match": etag})
    assert first.status_code == 200
    assert first.headers["etag"] != etag
    stale = client.patch(url, json={"description": "2"}, headers={"If-Match": etag})
    problem_of(stale, 412, "precondition.failed")
    weak = client.patch(url, json={}, headers={"If-Match": f"W/{first.headers['etag']}"})
    problem_of(weak, 412)
    anyone = client.patch(url, json={"description": "3"}, headers={"If-Match": "*"})
    assert anyone.json()["description"] == "3"
    listed = f'"x", {anyone.headers["etag"]}'
    assert client.patch(url, json={}, headers={"If-Match": listed}).status_code == 200


def test_a_renamed_model_keeps_what_it_has(client: httpx.Client, model: str) -> None:
    publish(client, model, WEIGHTS, aliases=["champion"])
    new = f"{model}-new"
    renamed = client.patch(f"/api/v1/models/{model}", json={"name": new})
    assert renamed.status_code == 200
    assert renamed.json()["name"] == new
    assert renamed.json()["aliases"] == {"champion": 1}
    problem_of(client.get(f"/api/v1/models/{model}"), 404, "model.not_found")
    assert client.get(f"/api/v1/models/{new}/versions/@champion").json()["model"] == new
    assert publish(client, new, {"model.safetensors": safetensors("2")}).json()["version"] == 2


def test_renaming_onto_a_taken_name_is_refused(client: httpx.Client, model: str) -> None:
    other = f"{model}-other"
    client.post("/api/v1/models", json={"name": other})
    problem_of(client.patch(f"/api/v1/models/{model}", json={"name": other}), 409, "model.exists")
    assert client.get(f"/api/v1/models/{model}").status_code == 200


def test_renaming_onto_a_retired_name_is_refused(client: httpx.Client, model: str) -> None:
    retired = f"{model}-retired"
    publish(client, retired, WEIGHTS, create_model=True)
    client.delete(f"/api/v1/models/{retired}")
    reply = client.patch(f"/api/v1/models/{model}", json={"name": retired})
    problem_of(reply, 409, "model.name_retired")


def test_deleting_a_model_takes_its_versions_along(client: httpx.Client, model: str) -> None:
    publish(client, model, WEIGHTS)
    reply = client.delete(f"/api/v1/models/{model}")
    assert (reply.status_code, reply.content) == (204, b"")
    problem_of(client.get(f"/api/v1/models/{model}"), 404, "model.not_found")
    problem_of(client.get(f"/api/v1/models/{model}/versions/1"), 404, "model.not_found")
    listed = client.get("/api/v1/versions", params={"filter": f"model = '{model}'"})
    assert listed.json()["items"] == []


def test_a_model_with_an_alias_is_deleted_by_force_only(client: httpx.Client, model: str) -> None:
    publish(client, model, WEIGHTS, aliases=["champion"])
    url = f"/api/v1/models/{model}"
    assert "alias" in problem_of(client.delete(url), 409, "model.in_use")["detail"]
    problem_of(client.delete(url, params={"force": "false"}), 409, "model.in_use")
    problem_of(client.delete(url, params={"force": "perhaps"}), 422, "request.invalid")
    assert client.get(f"{url}/versions/@champion").status_code == 200
    assert client.delete(url, params={"force": "true"}).status_code == 204


def test_a_delete_may_ask_for_the_state_it_was_meant_for(client: httpx.Client, model: str) -> None:
    url = f"/api/v1/models/{model}"
    etag = client.get(url).headers["etag"]
    client.patch(url, json={"description": "changed"})
    problem_of(client.delete(url, headers={"If-Match": etag}), 412, "precondition.failed")
    etag = client.get(url).headers["etag"]
    assert client.delete(url, headers={"If-Match": etag}).status_code == 204


def test_a_name_registered_again_goes_on_numbering(client: httpx.Client, model: str) -> None:
    for seed in range(3):
        publish(client, model, {"model.safetensors": safetensors(seed)})
    etag = client.get(f"/api/v1/models/{model}").headers["etag"]
    assert client.delete(f"/api/v1/models/{model}").status_code == 204
    again = client.post("/api/v1/models", json={"name": model})
    assert again.status_code == 201
    assert again.json()["version_count"] == 0
    assert again.json()["latest_version"] is None
    assert again.headers["etag"] != etag
    assert publish(client, model, WEIGHTS).json()["version"] == 4
    client.delete(f"/api/v1/models/{model}")
    assert publish(client, model, WEIGHTS, create_model=True).json()["version"] == 5
