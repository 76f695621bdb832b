"""The audit trail: every change leaves exactly one line in the service's log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server

ACTOR = 'Zo\u00eb "} \u00ab\u20281970-01-01 INFO modelyard.audit: \u00bb'
"""Someone who would like to write lines of their own."""
Change = Callable[[httpx.Client, str], httpx.Response]


def patch(path: str, **document: object) -> Change:
    return lambda client, model: client.patch(f"{model}{path}", json=document)


def set_alias(version: int) -> Change:
    return lambda client, model: client.put(f"{model}/aliases/best", json={"version": version})


def delete(path: str) -> Change:
    return lambda client, model: client.delete(f"{model}{path}")


CHANGES: dict[str, tuple[Change, dict[str, Any]]] = {
    "register": (
        lambda client, model: client.post("/api/v1/models", json={"name": model.split("/")[-1]}),
        {"event": "ModelRegistered"},
    ),
    "publish": (
        lambda client, model: publish(client, model.split("/")[-1], {"1.bin": safetensors(1)}),
        {"event": "VersionPublished", "version": 1},
    ),
    "publish again": (
        lambda client, model: publish(client, model.split("/")[-1], {"2.bin": safetensors(2)}),
        {"event": "VersionPublished", "version": 2},
    ),
    "describe the model": (
        patch("", description="Who leaves"),
        {"event": "ModelUpdated", "changed": ["description"]},
    ),
    "tag the model": (
        patch("", tags={"team": "risk"}),
        {"event": "ModelUpdated", "changed": ["tags"]},
    ),
    "change the version": (
        patch("/versions/1", description="a", tags={"a": "b"}, metrics={"auc": 0.9}),
        {"event": "VersionUpdated", "version": 1, "changed": ["description", "metrics", "tags"]},
    ),
    "set an alias": (
        set_alias(1),
        {"event": "AliasMoved", "alias": "best", "version": 1, "previous_version": None},
    ),
    "move the alias": (
        set_alias(2),
        {"event": "AliasMoved", "alias": "best", "version": 2, "previous_version": 1},
    ),
    "roll the alias back": (
        lambda client, model: client.post(f"{model}/aliases/best/rollback"),
        {"event": "AliasMoved", "alias": "best", "version": 1, "previous_version": 2},
    ),
    "delete the alias": (
        delete("/aliases/best"),
        {"event": "AliasMoved", "alias": "best", "version": None, "previous_version": 1},
    ),
    "delete the version": (delete("/versions/1"), {"event": "VersionDeleted", "version": 1}),
    "delete the model": (delete(""), {"event": "ModelDeleted"}),
}


def audited(log: str) -> list[dict[str, Any]]:
    """What the lines of the audit trail say."""
    lines = [line for line in log.splitlines() if "modelyard.audit" in line]
    told = []
    for line in lines:
        event, _, document = line.partition(" INFO modelyard.audit: ")[2].partition(" ")
        told.append({"event": event, **json.JSONDecoder().raw_decode(document)[0]})
    return told


@pytest.fixture
def acting(server: Server) -> Iterator[httpx.Client]:
    with server.client(headers={"X-User": ACTOR.encode()}) as opened:
        yield opened


def test_every_change_leaves_one_line_that_names_the_model_and_the_actor(
    server: Server, acting: httpx.Client, name: str
) -> None:
    for change, (make, expected) in CHANGES.items():
        seen = len(server.log)
        reply = make(acting, f"/api/v1/models/{name}")
        assert reply.is_success, (change, reply.text)
        (told,) = audited(server.log[seen:])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", told.pop("at")), change
        assert told == {"model": name, "actor": ACTOR, **expected}, change


def test_a_rename_tells_both_names(server: Server, acting: httpx.Client, model: str) -> None:
    seen = len(server.log)
    assert acting.patch(f"/api/v1/models/{model}", json={"name": f"{model}-eu"}).is_success
    (told,) = audited(server.log[seen:])
    assert told.pop("at")
    assert told == {
        "event": "ModelRenamed",
        "model": f"{model}-eu",
        "previous_name": model,
        "actor": ACTOR,
    }


def test_what_changes_nothing_and_what_is_refused_leaves_no_line(
    server: Server, acting: httpx.Client, model: str
) -> None:
    seen = len(server.log)
    path = f"/api/v1/models/{model}"
    assert acting.patch(path, json={}).is_success
    assert acting.patch(path, json={"name": model}).is_success
    assert acting.patch(path, json={"tags": {"a": 1}}).status_code == 422
    assert acting.get(path).is_success
    assert acting.delete(f"{path}/versions/1").status_code == 404
    assert audited(server.log[seen:]) == []
