"""Versions over HTTP: read, change, delete."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.http.wire import problem_of
from tests.support.publishing import publish, safetensors


@pytest.fixture
def version(client: httpx.Client, model: str) -> str:
    """The path of a version that ``champion`` points at."""
    metadata: dict[str, Any] = {"tags": {"a": "1"}, "metrics": {"auc": 0.5}, "parameters": {"p": 1}}
    publish(client, model, {"m.safetensors": safetensors(1)}, aliases=["champion"], **metadata)
    return f"/api/v1/models/{model}/versions/1"


def test_number_latest_and_alias_name_the_same_version(
    client: httpx.Client, versions: str, version: str
) -> None:
    by_number = client.get(version)
    assert by_number.status_code == 200
    for reference in ("latest", "@champion"):
        reply = client.get(f"{versions}/{reference}")
        assert reply.json() == by_number.json()
        assert reply.headers["etag"] == by_number.headers["etag"]


def test_latest_is_the_highest_number_that_is_left(client: httpx.Client, model: str) -> None:
    for seed in range(3):
        publish(client, model, {"m.safetensors": safetensors(seed)})
    url = f"/api/v1/models/{model}/versions"
    client.delete(f"{url}/3")
    client.patch(f"{url}/1", json={"description": "changed last"})
    assert client.get(f"{url}/latest").json()["version"] == 2
    assert client.get(f"/api/v1/models/{model}").json()["latest_version"] == 2
    assert publish(client, model, {"m.safetensors": safetensors(3)}).json()["version"] == 4


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("2", (404, "version.not_found")),
        ("2147483647", (404, "version.not_found")),
        ("2147483648", (422, "reference.invalid")),
        ("99999999999999999999", (422, "reference.invalid")),
        ("0", (422, "reference.invalid")),
        ("01", (422, "reference.invalid")),
        ("-1", (422, "reference.invalid")),
        ("+1", (422, "reference.invalid")),
        ("1.0", (422, "reference.invalid")),
        ("٣", (422, "reference.invalid")),
        ("Latest", (422, "reference.invalid")),
        ("champion", (422, "reference.invalid")),
        ("@nobody", (404, "alias.not_found")),
        ("@", (422, "alias.invalid_name")),
        ("@@x", (422, "alias.invalid_name")),
        ("@latest", (422, "alias.invalid_name")),
        ("@v1", (422, "alias.invalid_name")),
        ("%00", (422, "reference.invalid")),
        ("@%F0%9F%98%80", (422, "alias.invalid_name")),
    ],
)
def test_references_to_nothing(
    client: httpx.Client, versions: str, version: str, reference: str, expected: tuple[int, str]
) -> None:
    for suffix in ("", "/files", "/files/m.safetensors", "/archive"):
        problem_of(client.get(f"{versions}/{reference}{suffix}"), *expected)


def test_no_version_yet(client: httpx.Client, versions: str) -> None:
    problem_of(client.get(f"{versions}/latest"), 404, "version.not_found")
    problem_of(client.get(f"{versions}/1"), 404, "version.not_found")


def test_a_known_etag_saves_the_body(client: httpx.Client, versions: str, version: str) -> None:
    etag = client.get(version).headers["etag"]
    for reference in ("1", "latest", "@champion"):
        reply = client.get(f"{versions}/{reference}", headers={"If-None-Match": etag})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)
    client.patch(version, json={"tags": {"b": "2"}})
    assert client.get(version, headers={"If-None-Match": etag}).status_code == 200


def test_an_etag_changes_with_the_aliases_that_are_shown(
    client: httpx.Client, model: str, version: str
) -> None:
    etag = client.get(version).headers["etag"]
    client.put(f"/api/v1/models/{model}/aliases/other", json={"version": 1})
    reply = client.get(version, headers={"If-None-Match": etag})
    assert (reply.status_code, reply.json()["aliases"]) == (200, ["champion", "other"])


def test_a_merge_patch_changes_what_it_names(client: httpx.Client, version: str) -> None:
    before = client.get(version).json()
    patch = {"description": "# New", "tags": {"a": None, "b": "2"}, "metrics": {"auc_eu": 1}}
    reply = client.patch(version, json=patch)
    assert reply.status_code == 200
    assert reply.json() == {
        **before,
        "description": "# New",
        "tags": {"b": "2"},
        "metrics": {"auc": 0.5, "auc_eu": 1.0},
        "updated_at": reply.json()["updated_at"],
    }
    assert reply.headers["etag"] == client.get(version).headers["etag"]
    emptied = client.patch(version, json={"description": None, "tags": None, "metrics": None})
    assert [emptied.json()[key] for key in ("description", "tags", "metrics")] == ["", {}, {}]


@pytest.mark.parametrize(
    "member",
    [
        "files",
        "parameters",
        "creator",
        "size",
        "digest",
        "source",
        "parents",
        "version",
        "model",
        "validation",
        "created_at",
        "updated_at",
        "aliases",
    ],
)
def test_the_rest_of_a_version_is_immutable(
    client: httpx.Client, version: str, member: str
) -> None:
    before = client.get(version)
    problem = problem_of(
        client.patch(version, json={member: None, "tags": {"x": "y"}}), 422, "version.immutable"
    )
    assert problem["errors"][0]["pointer"] == f"/{member}"
    assert member in problem["detail"]
    after = client.get(version)
    assert (after.json(), after.headers["etag"]) == (before.json(), before.headers["etag"])


@pytest.mark.parametrize(
    "patch",
    [
        {"colour": "red"},
        {"metrics": {"auc": "0.5"}},
        {"metrics": {"auc": True}},
        {"metrics": {"auc": [1]}},
        {"metrics": 1},
        {"tags": {"a": 1.5}},
        {"tags": ["a"]},
        {"description": {}},
        {"metrics": {f"m{n}": n for n in range(1001)}},
        [1],
        "text",
    ],
)
def test_a_wrong_patch_changes_nothing(client: httpx.Client, version: str, patch: Any) -> None:
    before = client.get(version).json()
    problem_of(client.patch(version, json=patch), 422, "request.invalid")
    assert client.get(version).json() == before


def test_maps_are_bounded_after_a_patch_too(client: httpx.Client, version: str) -> None:
    assert (
        client.patch(version, json={"tags": {f"a{n}": "" for n in range(999)}}).status_code == 200
    )
    problem_of(client.patch(version, json={"tags": {"one": "", "more": ""}}), 422)
    assert len(client.get(version).json()["tags"]) == 1000


def test_changes_may_ask_for_the_state_they_were_meant_for(
    client: httpx.Client, version: str
) -> None:
    etag = client.get(version).headers["etag"]
    changed = client.patch(version, json={"tags": {"b": "2"}}, headers={"If-Match": etag})
    assert changed.status_code == 200
    for method in ("PATCH", "DELETE"):
        body: dict[str, str] | None = {} if method == "PATCH" else None
        params = {} if method == "PATCH" else {"force": "true"}
        stale = client.request(
            method, version, headers={"If-Match": etag}, params=params, json=body
        )
        problem_of(stale, 412, "precondition.failed")
    fresh = {"If-Match": changed.headers["etag"]}
    reply = client.delete(version, params={"force": "true"}, headers=fresh)
    assert reply.status_code == 204


@pytest.mark.parametrize("reference", ["latest", "@champion", "0", "x"])
def test_changes_name_a_version_by_its_number(
    client: httpx.Client, versions: str, version: str, reference: str
) -> None:
    problem_of(client.patch(f"{versions}/{reference}", json={}), 422)
    problem_of(client.delete(f"{versions}/{reference}", params={"force": "true"}), 422)
    assert client.get(version).status_code == 200


def test_a_version_with_an_alias_is_deleted_by_force_only(
    client: httpx.Client, model: str, version: str
) -> None:
    problem = problem_of(client.delete(version), 409, "version.in_use")
    assert "@champion" in problem["detail"]
    assert client.delete(version, params={"force": "true"}).status_code == 204
    problem_of(client.get(version), 404, "version.not_found")
    problem_of(client.get(f"/api/v1/models/{model}/aliases/champion"), 404, "alias.not_found")
    history = client.get(f"/api/v1/models/{model}/aliases/champion/history").json()["items"]
    assert [(move["version"], move["previous_version"]) for move in history] == [
        (None, 1),
        (1, None),
    ]
    problem_of(client.delete(version), 404, "version.not_found")


def test_a_key_of_a_deleted_version_makes_no_second_one_silently(
    client: httpx.Client, model: str
) -> None:
    files = {"m.safetensors": safetensors(1)}
    publish(client, model, files, key=model)
    client.delete(f"/api/v1/models/{model}/versions/1")
    problem_of(publish(client, model, files, key=model), 404, "version.not_found")
    assert client.get(f"/api/v1/models/{model}").json()["version_count"] == 0
