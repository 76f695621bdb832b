"""Names, filters, tokens and headers that mean harm."""

from __future__ import annotations

import base64
import json
import sqlite3
from urllib.parse import quote

import httpx
import pytest

from application.page_tokens import write_token
from tests.http.wire import exchange, head, post_json, problem_of, request
from tests.support.publishing import publish, safetensors
from tests.support.server import Server

WEIGHTS = {"m.safetensors": safetensors("weights")}

BAD_MODEL_NAMES = {
    "dot": ".",
    "dots": "..",
    "slash": "a/b",
    "colon": "a:b",
    "at": "a@b",
    "percent": "a%b",
    "percent escape": "a%2Fb",
    "backslash": "a\\b",
    "NUL": "a\0b",
    "newline": "a\nb",
    "return": "a\r\nX-Injected: 1",
    "tab": "a\tb",
    "escape": "\x1b[31mred",
    "delete": "a\x7f",
    "C1": "a\x85b",
    "leading space": " a",
    "trailing space": "a ",
    "spaces": "   ",
    "no-break space": "a\u00a0b",
    "ideographic space": "a\u3000b",
    "quotes": "a'b\"c",
    "angles": "<script>",
    "punctuation": "a,b;c!d?e#f&g=h",
    "emoji": "\U0001f600",
    "zero width space": "a\u200bb",
    "zero width joiner": "a\u200db",
    "right to left": "a\u202eb",
    "isolate": "a\u2066b",
    "byte order mark": "\ufeffa",
    "soft hyphen": "a\u00adb",
    "hangul filler": "a\u3164b",
    "grapheme joiner": "a\u034fb",
    "variation selector": "a\ufe0fb",
    "tags": "a\U000e0041",
    "private": "\ue000",
    "not a character": "\ufffe",
    "unassigned": "\u0378",
    "replacement": "\ufffd",
    "roman number": "\u2167",
    "superscript": "x\u00b2",
    "fullwidth slash": "a\uff0fb",
    "line separator": "a\u2028b",
    "too long": "a" * 251,
}


@pytest.mark.parametrize("bad", BAD_MODEL_NAMES.values(), ids=BAD_MODEL_NAMES.keys())
def test_a_name_that_no_model_may_have(server: Server, bad: str) -> None:
    body = json.dumps({"name": bad}).encode()
    reply = exchange(server, post_json("/api/v1/models", body))
    reply.problem(422, "model.invalid_name")
    assert "x-injected" not in reply.headers
    path = "/api/v1/models/" + quote(bad, safe="")
    for sent in (
        request("GET", path),
        request("DELETE", path + "?force=true"),
        request("GET", path + "/versions"),
        request("GET", path + "/versions/latest/files/a"),
        request(
            "PUT", path + "/aliases/a", "Content-Type: application/json", body=b'{"version":1}'
        ),
    ):
        reply = exchange(server, sent)
        assert reply.status in {404, 405, 422}, reply.body
        reply.problem()


@pytest.mark.parametrize(
    "escaped", ["%FF", "%C0%AF", "%ED%A0%80", "%", "%2", "%zz", "%u002e", "%c3%28", "a%F5%80%80%80"]
)
def test_an_escape_that_is_no_text(server: Server, escaped: str) -> None:
    reply = exchange(server, head("GET", f"/api/v1/models/{escaped}"))
    assert reply.status in {400, 422}
    reply.problem()


@pytest.mark.parametrize(
    "good",
    [
        *(
            "a+b",
            "a b",
            "e\u0301",
            "שלום",
            "مرحبا",
            "ไทย",
            "हिन्दी",
            "ﬁ",
            "ǅ",
            "٣",
            "\U0001e900",
            "İ",
        ),
        *("a" * 250, "DROP TABLE models", "con", "nul", "-rf", "...", "(()", "ℵ", "\U00020000"),
    ],
)
def test_a_name_that_a_model_may_have(client: httpx.Client, good: str) -> None:
    created = client.post("/api/v1/models", json={"name": good})
    assert created.status_code == 201, created.text
    stored = created.json()["name"]
    path = "/api/v1/models/" + quote(good, safe="")
    assert client.get(path).json()["name"] == stored
    assert client.get(created.headers["location"]).json()["name"] == stored
    listed = client.get("/api/v1/models", params={"filter": f"name = '{stored}'"}).json()["items"]
    assert [item["name"] for item in listed] == [stored]
    assert client.delete(path).status_code == 204


def test_a_plus_in_a_path_is_no_space(client: httpx.Client, name: str) -> None:
    client.post("/api/v1/models", json={"name": f"{name}+x"})
    assert client.get(f"/api/v1/models/{name}+x").status_code == 200
    problem_of(client.get(f"/api/v1/models/{name}%20x"), 404, "model.not_found")


# --- filters and orders -------------------------------------------------------------------------

BAD_FILTERS = [
    "'",
    "''",
    "' OR '1'='1",
    "1=1",
    "1",
    "name",
    "name =",
    "= 'a'",
    "name = a",
    "name = 'a' --",
    "name = 'a'; DROP TABLE models",
    "name = 'a' UNION SELECT * FROM models",
    "name = 'a' OR 1=1",
    "name = (SELECT name FROM models)",
    "name = 'a' AND",
    "AND name = 'a'",
    "NOT",
    "(name = 'a'",
    "name = 'a')",
    "()",
    "name = 'unclosed",
    'name = "unclosed',
    "tags.`unclosed = 'a'",
    "tags.`` = 'a'",
    "tags. = 'a'",
    "tags = 'a'",
    "tags.a.b.= 'a'",
    "name IN ()",
    "name IN ('a',)",
    "name IN 'a'",
    "name IN ('a'",
    "name IS 'a'",
    "name IS NOT",
    "name LIKE 1",
    "name LIKE",
    "name = NULL",
    "name = 1",
    "name == 'a'",
    "name => 'a'",
    "creator ~ 'a'",
    "id = 'a'",
    "rowid = 1",
    "models.name = 'a'",
    "sqlite_version() = 1",
    "name = 'a\0b'",
    "name = char(97)",
    "created_at > 'yesterday'",
    "created_at > 5",
    "created_at > '2020-13-45'",
    "created_at LIKE '2020%'",
    "metrics.auc > 1",
    "name = ?",
    "name = :name",
    "name = 'a' AND AND name = 'b'",
    "\U0001f600 = 'a'",
    "（name = 'a'）",
    "a" * 4096,
    "(" * 100 + "name = 'a'" + ")" * 100,
    "(" * 4000,
    "NOT " * 1000 + "name = 'a'",
    " OR ".join(["name = 'a'"] * 51),
    "name = '" + "a" * 4096,
]


@pytest.mark.parametrize("bad", BAD_FILTERS, ids=range(len(BAD_FILTERS)))
def test_a_filter_that_is_none_says_where(client: httpx.Client, bad: str) -> None:
    reply = client.get("/api/v1/models", params={"filter": bad})
    if len(bad) > 4096:
        problem_of(reply, 422, "request.invalid")
        return
    problem = problem_of(reply, 400, "filter.invalid")
    assert "(at position " in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/filter"
    assert len(reply.content) < 2_000


def test_filters_of_5000_characters_are_refused(client: httpx.Client) -> None:
    long = "name IN (" + ", ".join(["'aaa'"] * 800) + ")"
    assert len(long) > 5000
    for params in ({"filter": long}, {"order_by": "name" + " " * 5000}, {"page_token": "x" * 9000}):
        reply = client.get("/api/v1/models", params=params)
        assert reply.status_code in {400, 422}
        problem_of(reply)


INJECTIONS = [
    "'; DROP TABLE models; --",
    "' OR '1'='1",
    "\\",
    "\\'",
    "%",
    "_",
    "\\%",
    '"',
    "`",
    "\u2028",
]


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("form", ["= {}", "!= {}", "LIKE {}", "ILIKE {}", "IN ({}, 'x')", "< {}"])
def test_a_value_is_only_a_value(client: httpx.Client, model: str, text: str, form: str) -> None:
    client.patch(f"/api/v1/models/{model}", json={"tags": {"t": text, text: "key"}})
    quoted = "'" + text.replace("'", "''") + "'"
    asked = f"name = '{model}' AND tags.t {form.format(quoted)}"
    reply = client.get("/api/v1/models", params={"filter": asked})
    assert reply.status_code == 200, reply.text
    if form[0] in "=I":
        exact = "\\" not in text or not form.startswith("ILIKE")
        assert len(reply.json()["items"]) == 1 or not exact
    key = text.replace("`", "``")
    asked = f"name = '{model}' AND tags.`{key}` = 'key'"
    reply = client.get("/api/v1/models", params={"filter": asked})
    assert len(reply.json()["items"]) == 1


def test_a_filter_may_be_as_large_as_the_grammar_allows(client: httpx.Client, model: str) -> None:
    publish(client, model, WEIGHTS, metrics={"auc": 0.5})
    url = f"/api/v1/models/{model}/versions"
    for asked in (
        " OR ".join(f"metrics.m{n} > 0 AND tags.t{n} != 'x'" for n in range(24))
        + " OR version = 1",
        "version IN (" + ",".join(map(str, range(1, 900))) + ")",
        "(" * 30 + "version = 1" + ")" * 30,
        "NOT " * 30 + "version = 1",
        "metrics.auc < 1e308 AND metrics.auc > -1e308",
        "version < 999999999999999999",
        "version < 9999999999999999999999",
        "size > -9999999999999999999999",
    ):
        reply = client.get(url, params={"filter": asked})
        assert reply.status_code == 200, (asked, reply.text)
        assert len(reply.json()["items"]) == 1, asked


@pytest.mark.parametrize(
    "order",
    [
        *(
            "nothing",
            "name;",
            "name desc desc",
            "name,",
            ",name",
            "name name",
            "1",
            "'name'",
            "(name)",
        ),
        *("name, name", "tags.team", "alias", "name DESC; DROP TABLE models", "name\0", "random()"),
        *("name desc nulls last", "creator,name,created_at,updated_at,name", "-name", "`name`"),
    ],
)
def test_an_order_that_is_none(client: httpx.Client, order: str) -> None:
    problem_of(client.get("/api/v1/models", params={"order_by": order}), 400, "order_by.invalid")


# --- page tokens --------------------------------------------------------------------------------


def sealed(*keys: object) -> str:
    """A token for the list of all models, made by somebody who has read the source."""
    return write_token(("models", None, None, ()), keys)  # type: ignore[arg-type]


def packed(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


CONTENTS: tuple[object, ...] = (None, [], {}, [1], ["a", "b"], "x", 1, [[]], [[], []])
KEYS: tuple[object, ...] = ([], {}, [1], True, 2**63, -(2**70), 10**400)


@pytest.mark.parametrize(
    "token",
    [
        *("x", "!", "=", "a" * 8000, "\0", "ü", "null", "e30", "W10", "../..", "%00", " "),
        *(packed(content) for content in CONTENTS),
        *(sealed(key) for key in KEYS),
        packed("[" * 3000),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
    ],
)
def test_a_token_that_no_list_gave(client: httpx.Client, token: str) -> None:
    problem_of(
        client.get("/api/v1/models", params={"page_token": token}), 400, "page_token.invalid"
    )


def test_a_token_is_good_for_its_list_only(client: httpx.Client, model: str) -> None:
    other = f"{model}-other"
    for name in (model, other):
        for seed in range(3):
            publish(client, name, {"m.safetensors": safetensors(seed)}, create_model=True)
            client.put(f"/api/v1/models/{name}/aliases/a{seed}", json={"version": seed + 1})
            client.put(f"/api/v1/models/{name}/aliases/a0", json={"version": seed + 1})
    lists: list[tuple[str, dict[str, str]]] = [
        ("/api/v1/models", {}),
        ("/api/v1/models", {"order_by": "name"}),
        ("/api/v1/models", {"filter": "name != 'x'"}),
        ("/api/v1/versions", {}),
        ("/api/v1/versions", {"order_by": "size"}),
        (f"/api/v1/models/{model}/versions", {}),
        (f"/api/v1/models/{model}/versions", {"order_by": "metrics.a"}),
        (f"/api/v1/models/{other}/versions", {}),
        (f"/api/v1/models/{model}/aliases", {}),
        (f"/api/v1/models/{other}/aliases", {}),
        (f"/api/v1/models/{model}/aliases/a0/history", {}),
        (f"/api/v1/models/{other}/aliases/a0/history", {}),
    ]
    tokens = []
    for url, params in lists:
        page = client.get(url, params={**params, "page_size": 1}).json()
        tokens.append(page["next_page_token"])
    assert all(tokens)
    for index, (url, params) in enumerate(lists):
        for token in tokens[:index] + tokens[index + 1 :]:
            reply = client.get(url, params={**params, "page_token": token})
            problem_of(reply, 400, "page_token.invalid")
        changed = tokens[index][:-2] + ("AA" if tokens[index][-2:] != "AA" else "BB")
        problem_of(client.get(url, params={**params, "page_token": changed}), 400)


# --- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "user",
    [
        *(
            b"",
            b"   ",
            b"a\tb",
            b"\xff\xfe",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"a" * 251,
            b"a" * 50_000,
        ),
        *(text.encode() for text in ("a\u202eb", "a\u200bb", "\x85", "\ue000")),
    ],
)
def test_a_user_that_is_none(server: Server, name: str, untouched: str, user: bytes) -> None:
    line = b"X-User: " + user
    body = b'{"name": "%s"}' % name.encode()
    reply = exchange(server, post_json("/api/v1/models", body, line))
    reply.problem(422, "request.invalid")
    sent = post_json(f"/api/v1/models/{untouched}/versions", b'{"files": []}', line)
    exchange(server, sent).problem(422, "request.invalid")


@pytest.mark.parametrize("size", [100_000, 1 << 20])
def test_a_user_of_a_megabyte(server: Server, size: int) -> None:
    sent = post_json("/api/v1/models", b'{"name": "x"}', b"X-User: " + b"a" * size)
    assert exchange(server, sent).problem()["status"] in {422, 431}


@pytest.mark.parametrize(
    "condition",
    [b'"', b'W/"', b"\xff", b",,,", b'"' + b"a" * 60_000, b'"a" ' * 5000, b"x" * 9000, b"'a'"],
)
def test_a_condition_that_is_none(
    server: Server, client: httpx.Client, model: str, condition: bytes
) -> None:
    path = f"/api/v1/models/{model}"
    for name in (b"If-None-Match: ", b"If-Range: ", b"If-Modified-Since: ", b"Range: "):
        assert exchange(server, head("GET", path, name + condition)).status == 200
    sent = request("DELETE", path, b"If-Match: " + condition)
    exchange(server, sent).problem(412, "precondition.failed")
    assert client.get(path).status_code == 200


def test_nothing_of_all_this_has_harmed_the_database(server: Server) -> None:
    with sqlite3.connect(f"file:{server.database}?mode=ro", uri=True) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
