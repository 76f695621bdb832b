"""Aliases over HTTP: set, move, look back, go back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.http.wire import problem_of
from tests.support.publishing import publish, safetensors
from tests.support.server import Server


@pytest.fixture
def aliases(client: httpx.Client, model: str) -> str:
    """The path of the aliases of a model with three versions."""
    for seed in range(3):
        assert publish(client, model, {"m.safetensors": safetensors(seed)}).status_code == 201
    return f"/api/v1/models/{model}/aliases"


def put(client: httpx.Client, url: str, version: int, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.put(url, json={"version": version}, headers=sent)


def moves(client: httpx.Client, url: str) -> list[tuple[int | None, int | None, str]]:
    items = client.get(f"{url}/history").json()["items"]
    return [(move["version"], move["previous_version"], move["actor"]) for move in items]


def test_an_alias_is_created_moved_and_deleted(
    client: httpx.Client, model: str, aliases: str
) -> None:
    url = f"{aliases}/champion"
    created = put(client, url, 1, X_User="ada")
    assert (created.status_code, created.headers["location"]) == (201, url)
    at = created.json()["updated_at"]
    assert created.json() == {
        "model": model,
        "alias": "champion",
        "version": 1,
        "updated_at": at,
        "updated_by": "ada",
    }
    moved = put(client, url, 2, X_User="bob")
    assert (moved.status_code, moved.json()["version"]) == (200, 2)
    assert "location" not in moved.headers
    assert client.get(url).json() == moved.json()
    assert client.get(f"/api/v1/models/{model}/versions/@champion").json()["version"] == 2
    assert client.get(f"/api/v1/models/{model}").json()["aliases"] == {"champion": 2}
    deleted = client.delete(url, headers={"X-User": "eve"})
    assert (deleted.status_code, deleted.content) == (204, b"")
    problem_of(client.get(url), 404, "alias.not_found")
    problem_of(client.delete(url), 404, "alias.not_found")
    put(client, url, 3)
    assert moves(client, url) == [
        (3, None, "anonymous"),
        (None, 2, "eve"),
        (2, 1, "bob"),
        (1, None, "ada"),
    ]


def test_setting_it_where_it_is_changes_nothing(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    first = put(client, url, 1)
    again = put(client, url, 1)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    assert len(moves(client, url)) == 1


def test_rolling_back_goes_to_the_version_before(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    put(client, url, 1)
    problem_of(client.post(f"{url}/rollback"), 409, "alias.no_previous")
    put(client, url, 3)
    back = client.post(f"{url}/rollback", headers={"X-User": "ada"})
    assert (back.status_code, back.json()["version"], back.json()["updated_by"]) == (200, 1, "ada")
    assert client.post(f"{url}/rollback").json()["version"] == 3
    assert [move[:2] for move in moves(client, url)] == [(3, 1), (1, 3), (3, 1), (1, None)]


def test_rolling_back_to_a_deleted_version_is_refused(
    client: httpx.Client, model: str, aliases: str
) -> None:
    url = f"{aliases}/champion"
    put(client, url, 1)
    put(client, url, 2)
    client.delete(f"/api/v1/models/{model}/versions/1")
    problem_of(client.post(f"{url}/rollback"), 404, "version.not_found")
    assert client.get(url).json()["version"] == 2


def test_aliases_are_listed_by_name_in_pages(client: httpx.Client, aliases: str) -> None:
    assert client.get(aliases).json() == {"items": [], "next_page_token": None}
    for name in ("b", "a", "ä", "c.d-e_f"):
        put(client, f"{aliases}/{name}", 1)
    names: list[str] = []
    token: str | None = ""
    while token is not None:
        page = client.get(aliases, params={"page_size": 3, "page_token": token}).json()
        assert len(page["items"]) <= 3
        names += [item["alias"] for item in page["items"]]
        token = page["next_page_token"]
    assert names == ["a", "b", "c.d-e_f", "ä"]


def test_history_comes_in_pages_too(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    for version in (1, 2, 3, 1, 2):
        put(client, url, version)
    seen: list[int] = []
    token: str | None = ""
    while token is not None:
        page = client.get(f"{url}/history", params={"page_size": 2, "page_token": token}).json()
        seen += [move["version"] for move in page["items"]]
        token = page["next_page_token"]
        put(client, url, 3)  # what is added meanwhile is not in the pages that follow
    assert seen == [2, 1, 3, 2, 1]


def test_an_alias_that_is_not_there_is_answered_with_those_that_are(
    client: httpx.Client, aliases: str
) -> None:
    for count, name in enumerate(("champion", "b", "c", "d", "e", "f")):
        assert put(client, f"{aliases}/{name}", 1).status_code == 201
        versions = aliases.removesuffix("aliases") + "versions"
        for url in (f"{versions}/@champoin", f"{aliases}/champoin"):
            detail = problem_of(client.get(url), 404, "alias.not_found")["detail"]
            assert "has no alias 'champoin'; there is " in detail
            assert detail.count("'") == 2 * (2 + min(count + 1, 5))


def test_what_is_not_there(client: httpx.Client, name: str, aliases: str) -> None:
    problem_of(put(client, f"{aliases}/champion", 4), 404, "version.not_found")
    problem_of(client.get(f"{aliases}/champion"), 404, "alias.not_found")
    problem_of(client.get(f"{aliases}/champion/history"), 404, "alias.not_found")
    problem_of(client.post(f"{aliases}/champion/rollback"), 404, "alias.not_found")
    nowhere = "/api/v1/models/not-here/aliases"
    for reply in (
        client.get(nowhere),
        client.get(f"{nowhere}/a"),
        client.get(f"{nowhere}/a/history"),
        client.delete(f"{nowhere}/a"),
        client.post(f"{nowhere}/a/rollback"),
        put(client, f"{nowhere}/a", 1),
    ):
        problem_of(reply, 404, "model.not_found")


@pytest.mark.parametrize(
    "body",
    [
        *({"version": wrong} for wrong in (0, -1, "1", 1.0, True, None, 2**31, 2**70, [1])),
        *({}, {"version": 1, "x": 1}, [], 1, "1"),
    ],
)
def test_a_target_that_is_no_number(client: httpx.Client, aliases: str, body: object) -> None:
    problem_of(client.put(f"{aliases}/champion", json=body), 422, "request.invalid")
    problem_of(client.get(f"{aliases}/champion"), 404, "alias.not_found")


@pytest.mark.parametrize(
    "alias",
    [
        *("latest", "LATEST", "v1", "V22", "12", "٣", "a" * 251, "0" * 40, "aB" * 32),
        *("a b", "a:b", "a%40b", "%00", "%0A", "%F0%9F%98%80", "%FF", "%E2%80%8B", "%25", "a%2Bb"),
    ],
)
def test_names_that_no_alias_may_have(client: httpx.Client, aliases: str, alias: str) -> None:
    url = f"{aliases}/{alias}"
    for reply in (put(client, url, 1), client.get(url), client.delete(url)):
        problem_of(reply, 422, "alias.invalid_name")
    assert client.get(aliases).json()["items"] == []


@pytest.mark.parametrize("alias", ["vé", "v1x", "prod.eu-1_a", "模型", "a" * 250, "0" * 38 + "a"])
def test_names_that_an_alias_may_have(
    client: httpx.Client, model: str, aliases: str, alias: str
) -> None:
    assert put(client, f"{aliases}/{alias}", 2).status_code == 201
    assert client.get(f"/api/v1/models/{model}/versions/@{alias}").json()["version"] == 2


# --- conditions ---------------------------------------------------------------------------------


def test_a_known_etag_saves_the_body(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    etag = put(client, url, 1).headers["etag"]
    reply = client.get(url, headers={"If-None-Match": etag})
    assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)
    put(client, url, 2)
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 200


def test_if_match_makes_it_compare_and_swap(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    problem_of(put(client, url, 1, If_Match="*"), 412, "precondition.failed")
    problem_of(put(client, url, 1, If_Match='"x"'), 412, "precondition.failed")
    etag = put(client, url, 1, If_None_Match="*").headers["etag"]
    problem_of(put(client, url, 2, If_None_Match="*"), 412, "precondition.failed")
    problem_of(put(client, url, 2, If_None_Match='"x"'), 422, "request.invalid")
    moved = put(client, url, 2, If_Match=etag)
    assert moved.status_code == 200
    stale = {"If-Match": etag}
    problem_of(put(client, url, 3, If_Match=etag), 412, "precondition.failed")
    problem_of(client.post(f"{url}/rollback", headers=stale), 412, "precondition.failed")
    problem_of(client.delete(url, headers=stale), 412, "precondition.failed")
    assert client.get(url).json()["version"] == 2
    fresh = {"If-Match": moved.headers["etag"]}
    back = client.post(f"{url}/rollback", headers=fresh)
    assert back.json()["version"] == 1
    assert client.delete(url, headers={"If-Match": back.headers["etag"]}).status_code == 204


def test_conditions_may_come_on_several_lines(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    for order in (1, -1):
        etag = put(client, url, 1).headers["etag"]
        lines = [etag, '"x"'][::order]
        known = client.get(url, headers=[("If-None-Match", line) for line in lines])
        assert known.status_code == 304
        headers = [("If-Match", line) for line in lines]
        assert client.put(url, json={"version": 2}, headers=headers).status_code == 200
    headers = [("If-None-Match", "*"), ("If-None-Match", '"x"')]
    problem_of(client.put(url, json={"version": 1}, headers=headers), 422)


def test_an_etag_never_comes_back(client: httpx.Client, aliases: str) -> None:
    url = f"{aliases}/champion"
    seen = [put(client, url, version).headers["etag"] for version in (1, 2, 1)]
    client.delete(url)
    seen.append(put(client, url, 1).headers["etag"])
    assert len(set(seen)) == 4


def test_of_many_that_swap_at_once_one_wins(
    server: Server, client: httpx.Client, aliases: str
) -> None:
    url = f"{aliases}/champion"
    etag = put(client, url, 1).headers["etag"]
    barrier = threading.Barrier(6)

    def one(number: int) -> int:
        with server.client() as own:
            barrier.wait()
            return put(own, url, 2 + number % 2, If_Match=etag).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(one, range(6))) == [200] + [412] * 5
    assert len(moves(client, url)) == 2
