"""Lists over HTTP: filters, orders, pages."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest

from tests.http.wire import problem_of
from tests.support.publishing import publish, safetensors


@pytest.fixture(scope="module")
def crowd(client: httpx.Client) -> str:
    """Three models whose names begin with this prefix, with twelve versions."""
    prefix = f"crowd{id(client)}"
    for number, team in enumerate(("risk", "growth", "o'hara")):
        name = f"{prefix}-{number}"
        body = {"name": name, "tags": {"team": team, "odd key": "%_`"}}
        user = {"X-User": f"user{number}"}
        assert client.post("/api/v1/models", json=body, headers=user).status_code == 201
        for index in range(4):
            metadata: dict[str, Any] = {
                "metrics": {"auc": index / 10, "n": float(number)},
                "parameters": {"depth": index, "loss": "log", "warm": index % 2 == 0},
                "tags": {"split": "a" if index < 2 else "b"},
            }
            if index == 3:
                metadata |= {"aliases": ["champion"], "metrics": {"n": float(number)}}
            content = safetensors((number, index), size=100 * (index + 1) ** 2)
            reply = publish(client, name, {"m.safetensors": content}, **metadata)
            assert reply.status_code == 201, reply.text
    return prefix


def items(client: httpx.Client, url: str, **params: Any) -> list[Any]:
    """All pages."""
    found: list[Any] = []
    token: str | None = ""
    while token is not None:
        reply = client.get(url, params={**params, "page_token": token})
        assert reply.status_code == 200, reply.text
        found += reply.json()["items"]
        token = reply.json()["next_page_token"]
    return found


def names(client: httpx.Client, crowd: str, filter: str, **params: Any) -> list[str]:
    both = f"name LIKE '{crowd}%' AND ({filter})"
    found = items(client, "/api/v1/models", filter=both, **params)
    return [item["name"].removeprefix(crowd)[1:] for item in found]


def numbers(client: httpx.Client, crowd: str, filter: str, **params: Any) -> list[int]:
    found = items(client, f"/api/v1/models/{crowd}-1/versions", filter=filter, **params)
    return [item["version"] for item in found]


def test_a_list_has_the_records_themselves(client: httpx.Client, crowd: str) -> None:
    listed = items(client, "/api/v1/models", filter=f"name LIKE '{crowd}%'")
    assert listed == [client.get(f"/api/v1/models/{item['name']}").json() for item in listed]
    url = f"/api/v1/models/{crowd}-0/versions"
    listed = items(client, url)
    assert [item["version"] for item in listed] == [4, 3, 2, 1]
    assert listed == [client.get(f"{url}/{item['version']}").json() for item in listed]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("tags.team = 'risk'", ["0"]),
        ("tags.team != 'risk'", ["1", "2"]),
        ("NOT tags.team = 'risk'", ["1", "2"]),
        ("tags.team = 'o''hara'", ["2"]),
        ('tags.team = "o\'hara"', ["2"]),
        ("tags.team IN ('risk', 'growth')", ["0", "1"]),
        ("tags.team NOT IN ('risk', 'growth')", ["2"]),
        ("tags.team LIKE 'r%k'", ["0"]),
        ("tags.team LIKE 'R%'", []),
        ("tags.team ILIKE 'R%'", ["0"]),
        ("tags.team NOT ILIKE '%R%'", []),
        (r"tags.`odd key` LIKE '\%\_`'", ["0", "1", "2"]),
        ("tags.`odd key` = '%_`'", ["0", "1", "2"]),
        ("tags.nothing IS NULL", ["0", "1", "2"]),
        ("tags.team IS NOT NULL", ["0", "1", "2"]),
        ("creator = 'user1' OR creator = 'user2'", ["1", "2"]),
        ("creator = 'user1' and not (tags.team='risk')", ["1"]),
        ("alias = 'champion'", ["0", "1", "2"]),
        ("alias = 'nobody'", []),
        ("alias IS NULL", []),
        ("created_at > '2020-01-01T00:00:00Z' AND updated_at < '2999-01-01'", ["0", "1", "2"]),
        ("created_at <= '2020-01-01T00:00:00+05:00'", []),
    ],
)
def test_filters_of_models(
    client: httpx.Client, crowd: str, filter: str, expected: list[str]
) -> None:
    assert names(client, crowd, filter) == expected


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("metrics.auc > 0.05", [3, 2]),
        ("metrics.auc >= 0.1 AND metrics.auc < 2e-1", [2]),
        ("metrics.auc = 0", [1]),
        ("NOT metrics.auc > 0.05", [4, 1]),
        ("metrics.auc IS NULL", [4]),
        ("parameters.depth IN (1, 3)", [4, 2]),
        ("parameters.depth <= 1", [2, 1]),
        ("parameters.loss = 'log' AND parameters.warm = true", [3, 1]),
        ("parameters.warm = FALSE", [4, 2]),
        ("parameters.loss LIKE 'l_g'", [4, 3, 2, 1]),
        ("tags.split = 'a'", [2, 1]),
        ("version > 2", [4, 3]),
        ("version IN (1,4)", [4, 1]),
        ("alias = 'champion'", [4]),
        ("alias != 'champion'", []),
        ("NOT alias = 'champion'", [3, 2, 1]),
        ("format = 'safetensors'", [4, 3, 2, 1]),
        ("format = 'onnx'", []),
        ("size < 250", [1]),
        ("creator = 'anonymous' AND model LIKE 'crowd%'", [4, 3, 2, 1]),
    ],
)
def test_filters_of_versions(
    client: httpx.Client, crowd: str, filter: str, expected: list[int]
) -> None:
    assert numbers(client, crowd, filter) == expected
    across = items(client, "/api/v1/versions", filter=f"model = '{crowd}-1' AND ({filter})")
    assert [item["version"] for item in across] == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("version", [1, 2, 3, 4]),
        ("version desc", [4, 3, 2, 1]),
        ("size DESC", [4, 3, 2, 1]),
        ("created_at asc", [1, 2, 3, 4]),
        ("metrics.auc desc", [3, 2, 1, 4]),
        ("metrics.auc", [1, 2, 3, 4]),
        ("metrics.n, version", [1, 2, 3, 4]),
        ("metrics.nothing", [4, 3, 2, 1]),
        ("format, size", [1, 2, 3, 4]),
    ],
)
def test_orders(client: httpx.Client, crowd: str, order: str, expected: list[int]) -> None:
    for size in (1, 2, 3, 1000):
        assert numbers(client, crowd, "version > 0", order_by=order, page_size=size) == expected


def test_models_in_order(client: httpx.Client, crowd: str) -> None:
    for order, expected in {
        "name": ["0", "1", "2"],
        "name desc": ["2", "1", "0"],
        "created_at desc,name": ["2", "1", "0"],
        "creator desc": ["2", "1", "0"],
    }.items():
        found = names(client, crowd, "tags.team != ''", order_by=order, page_size=2)
        assert found == expected, order


def test_pages_are_as_large_as_asked(client: httpx.Client, crowd: str) -> None:
    url = f"/api/v1/models/{crowd}-0/versions"
    first = client.get(url, params={"page_size": 3}).json()
    assert len(first["items"]) == 3
    second = client.get(url, params={"page_size": 3, "page_token": first["next_page_token"]}).json()
    assert (len(second["items"]), second["next_page_token"]) == (1, None)
    assert client.get(url, params={"page_size": 4}).json()["next_page_token"] is None
    for wrong in ("0", "-1", "1001", "x", "", "1.5", "99999999999999999999"):
        problem_of(client.get(url, params={"page_size": wrong}), 422, "request.invalid")


def test_pages_stay_in_order_while_others_insert(client: httpx.Client, name: str) -> None:
    dice = random.Random(7)
    there = {f"{name}-{n:04}" for n in dice.sample(range(1000), 30)}
    for one in sorted(there, key=lambda _: dice.random()):
        client.post("/api/v1/models", json={"name": one})
    seen: list[str] = []
    token: str | None = ""
    added = 2000
    while token is not None:
        params: dict[str, Any] = {
            "filter": f"name LIKE '{name}-%'",
            "page_size": 7,
            "page_token": token,
        }
        page = client.get("/api/v1/models", params=params).json()
        seen += [item["name"] for item in page["items"]]
        token = page["next_page_token"]
        for suffix in ("0000.5", str(added)):
            client.post("/api/v1/models", json={"name": f"{name}-{suffix}-{added}"})
        added += 1
    assert seen == sorted(set(seen))
    assert there <= set(seen)


def test_versions_stay_in_order_while_others_publish(client: httpx.Client, model: str) -> None:
    for seed in range(6):
        publish(client, model, {"m.safetensors": safetensors(seed)})
    seen: list[int] = []
    token: str | None = ""
    while token is not None:
        params: dict[str, Any] = {"page_size": 2, "page_token": token}
        page = client.get(f"/api/v1/models/{model}/versions", params=params).json()
        seen += [item["version"] for item in page["items"]]
        token = page["next_page_token"]
        publish(client, model, {"m.safetensors": safetensors("later")})
    assert seen == [6, 5, 4, 3, 2, 1]


def test_a_list_of_a_model_that_is_not_there(client: httpx.Client) -> None:
    problem_of(client.get("/api/v1/models/not-here/versions"), 404, "model.not_found")
    assert client.get("/api/v1/versions", params={"filter": "model = 'not-here'"}).json() == {
        "items": [],
        "next_page_token": None,
    }
