"""JSON that means harm: each time a clear problem, and nothing left behind."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest

from tests.http.wire import exchange, exchange_all, head, post_json, problem_of
from tests.support.publishing import publish, safetensors
from tests.support.server import Server

WEIGHTS = {"m.safetensors": safetensors("weights")}

NOT_JSON = {
    "nothing": b"",
    "a word": b"hello",
    "NaN": b'{"name": "x", "tags": NaN}',
    "Infinity": b'{"name": "x", "tags": {"a": -Infinity}}',
    "a number beyond": b'{"name": "x", "tags": {"a": 1e999}}',
    "half": b'{"name": "x"',
    "two": b'{"name": "x"}{"name": "y"}',
    "a comment": b'{"name": "x" /* y */}',
    "single quotes": b"{'name': 'x'}",
    "a last comma": b'{"name": "x",}',
    "a leading zero": b'{"name": "x", "tags": {"a": 01}}',
    "a bare tab": b'{"name": "a\tb"}',
    "a bare NUL": b'{"name": "a\x00b"}',
    "bad UTF-8": b'{"name": "\xff\xfe"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "surrogates in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "half a surrogate pair": b'{"name": "x", "description": "\\ud800"}',
    "half a pair in a key": b'{"name": "x", "tags": {"\\udfff": "y"}}',
    "a name twice": b'{"name": "x", "name": "y"}',
    "a name twice inside": b'{"name": "x", "tags": {"a": "1", "a": "2"}}',
    "a name twice, escaped": b'{"name": "x", "n\\u0061me": "y"}',
    "10,000 levels of lists": b'{"name": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 levels of objects": b'{"a": ' * 10_000 + b"1" + b"}" * 10_000,
    "1,000 levels": b'{"name": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "a million brackets": b"[" * 1_000_000,
    "an integer of 5,000 digits": b'{"name": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_is_not_json(server: Server, untouched: str, body: bytes) -> None:
    targets = ("/api/v1/models", f"/api/v1/models/{untouched}/versions")
    for target in targets:
        reply = exchange(server, post_json(target, body))
        assert reply.status in {400, 422}, reply.body
        reply.problem()
        assert len(reply.body) < 2_000


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_metadata_that_is_not_json(client: httpx.Client, untouched: str, body: bytes) -> None:
    for first in (True, False):
        parts = [("metadata", (None, body)), ("file", ("m.safetensors", WEIGHTS["m.safetensors"]))]
        url = f"/api/v1/models/{untouched}/versions"
        reply = client.post(url, files=parts if first else parts[::-1])
        assert reply.status_code in {400, 422}, reply.text
        problem_of(reply)


def test_a_name_twice_among_half_a_million(server: Server) -> None:
    names = b",".join(b'"%d":0' % number for number in range(500_000))
    reply = exchange(server, post_json("/api/v1/models", b'{%s,"499999":0}' % names))
    assert "two members '499999'" in reply.problem(400, "request.malformed")["detail"]


def test_metadata_that_is_not_json_is_told_from_a_body(client: httpx.Client, model: str) -> None:
    parts = [("metadata", (None, b"{'a': 1}")), ("file", ("m.safetensors", b""))]
    reply = client.post(f"/api/v1/models/{model}/versions", files=parts)
    detail = problem_of(reply, 400, "request.malformed")["detail"]
    assert detail.startswith("The 'metadata' part is not JSON: ")


MANY = {str(number): number for number in range(200_000)}


@pytest.mark.parametrize(
    ("member", "value", "most"),
    [
        ("tags", MANY, 1000),
        ("metrics", dict.fromkeys(MANY, "x"), 1000),
        ("parameters", {key: [] for key in MANY}, 1000),
        ("aliases", [1] * 200_000, 100),
        ("parents", [1] * 200_000, 1000),
        ("files", [1] * 200_000, 1000),
    ],
)
def test_more_entries_than_are_allowed_are_not_looked_at(
    client: httpx.Client, versions: str, member: str, value: Any, most: int
) -> None:
    body = {"files": [{"path": "m", "sha256": "0" * 64}], member: value}
    problem = problem_of(client.post(versions, json=body), 422, "request.invalid")
    message = f"it has 200000 entries; at most {most} are allowed"
    assert problem["errors"] == [{"pointer": f"/{member}", "message": message}]


def test_a_patch_may_replace_as_many_entries_as_there_can_be(
    client: httpx.Client, model: str
) -> None:
    url = f"/api/v1/models/{model}"
    old, new = ({f"{age}{number}": "x" for number in range(1000)} for age in ("old", "new"))
    assert client.patch(url, json={"tags": old}).status_code == 200
    replaced = client.patch(url, json={"tags": {**dict.fromkeys(old), **new}})
    assert replaced.json()["tags"] == new
    problem = problem_of(client.patch(url, json={"tags": MANY}), 422, "request.invalid")
    assert [error["pointer"] for error in problem["errors"]] == ["/tags"]


def test_unknown_members_are_answered_with_the_known_ones(
    client: httpx.Client, versions: str, name: str
) -> None:
    body = {"name": name, "tag": {}, "Name": 1}
    problem = problem_of(client.post("/api/v1/models", json=body), 422)
    message = "unknown; there are name, description, tags"
    assert problem["errors"] == [
        {"pointer": f"/{unknown}", "message": message} for unknown in ("Name", "tag")
    ]
    assert len(problem_of(client.post("/api/v1/models", json=MANY), 422)["errors"]) < 10
    parents = [{"model": name, "version": 1, "v": 2}]
    problem = problem_of(client.post(versions, json={"files": [], "parents": parents}), 422)
    message = "unknown; there are model, version"
    assert {"pointer": "/parents/0/v", "message": message} in problem["errors"]


def test_what_should_be_an_object_is_told_with_its_shape(
    client: httpx.Client, versions: str, model: str
) -> None:
    def told(reply: httpx.Response) -> list[tuple[str, str]]:
        errors = problem_of(reply, 422, "request.invalid")["errors"]
        return [(error["pointer"], error["message"]) for error in errors]

    files = [{"path": "m", "sha256": "0" * 64}, "m"]
    assert told(client.post(versions, json={"files": files, "parents": ["churn@1"]})) == [
        ("/parents/0", 'an object is expected: {"model": ..., "version": ...}'),
        ("/files/1", 'an object is expected: {"path": ..., "sha256": ...}'),
    ]
    for reply in (
        client.post("/api/v1/models", json=["x"]),
        client.patch(f"/api/v1/models/{model}", json=1),
    ):
        ((_, message),) = told(reply)
        assert message.startswith('an object is expected: {"name": ...')


WRONG = [None, True, 1, 1.5, "x", [], {}, [1], {"a": 1}]


@pytest.mark.parametrize(
    ("field", "fitting"),
    [
        ("name", (str,)),
        ("description", (str,)),
        ("tags", (dict,)),
        ("unknown", ()),
    ],
)
def test_wrong_types_in_a_model(
    client: httpx.Client, name: str, field: str, fitting: tuple[type, ...]
) -> None:
    for wrong in WRONG:
        if type(wrong) in fitting and wrong != {"a": 1}:
            continue
        problem = problem_of(
            client.post("/api/v1/models", json={"name": name, field: wrong}),
            422,
            "request.invalid",
        )
        assert problem["errors"][0]["pointer"].startswith(f"/{field}")
    problem_of(client.get(f"/api/v1/models/{name}"), 404)


WRONG_METADATA = [
    ("/description", {"description": 1}),
    ("/parameters", {"parameters": []}),
    ("/parameters/a", {"parameters": {"a": []}}),
    ("/parameters/a", {"parameters": {"a": {}}}),
    ("/parameters/a", {"parameters": {"a": 2**63}}),
    ("/parameters/a", {"parameters": {"a": 2**64}}),
    ("/parameters/a", {"parameters": {"a": -(10**300)}}),
    ("/metrics", {"metrics": "x"}),
    ("/metrics/a", {"metrics": {"a": "0.5"}}),
    ("/metrics/a", {"metrics": {"a": None}}),
    ("/metrics/a", {"metrics": {"a": True}}),
    ("/metrics/a", {"metrics": {"a": [0.5]}}),
    ("/metrics/a~1b~0", {"metrics": {"a/b~": {}}}),
    ("/tags/a", {"tags": {"a": 1}}),
    ("/tags/a", {"tags": {"a": None}}),
    ("/tags/", {"tags": {"": "x"}}),
    ("/tags/a\x00", {"tags": {"a\0": "x"}}),
    ("/tags/a", {"tags": {"a": "x\0y"}}),
    ("/tags/" + "k" * 250, {"tags": {"k" * 251: "x"}}),
    ("/tags/a", {"tags": {"a": "x" * 100_001}}),
    ("/parameters/a", {"parameters": {"a": "x" * 100_001}}),
    ("/tags", {"tags": {f"k{n}": "" for n in range(1001)}}),
    ("/metrics", {"metrics": {f"k{n}": 0 for n in range(1001)}}),
    ("/parameters", {"parameters": {f"k{n}": 0 for n in range(1001)}}),
    ("/description", {"description": "x" * 100_001}),
    ("/description", {"description": "\0"}),
    ("/source", {"source": ["git"]}),
    ("/source", {"source": "\0"}),
    ("/parents", {"parents": {}}),
    ("/parents/0", {"parents": ["x"]}),
    ("/parents/0/version", {"parents": [{"model": "a", "version": 0}]}),
    ("/parents/0/version", {"parents": [{"model": "a", "version": "1"}]}),
    ("/parents/0/model", {"parents": [{"model": "../x", "version": 1}]}),
    ("/parents/0/model", {"parents": [{"version": 1}]}),
    ("/parents/1/x", {"parents": [{"model": "a", "version": 1}] * 1 + [{"model": "a", "x": 1}]}),
    ("/parents", {"parents": [{"model": "a", "version": 1}] * 1001}),
    ("/aliases", {"aliases": "champion"}),
    ("/aliases/0", {"aliases": [1]}),
    ("/aliases/1", {"aliases": ["a", "latest"]}),
    ("/aliases/1", {"aliases": ["a", "a"]}),
    ("/aliases", {"aliases": [f"a{n}" for n in range(101)]}),
    ("/create_model", {"create_model": "yes"}),
    ("/create_model", {"create_model": 1}),
    ("/colour", {"colour": "red"}),
]


@pytest.mark.parametrize(("pointer", "metadata"), WRONG_METADATA)
def test_wrong_metadata_is_pointed_at(
    client: httpx.Client, untouched: str, pointer: str, metadata: dict[str, Any]
) -> None:
    problem = problem_of(publish(client, untouched, WEIGHTS, **metadata), 422)
    assert pointer in {error["pointer"] for error in problem["errors"]}


@pytest.mark.parametrize(
    ("pointer", "files"),
    [
        ("/files", None),
        ("/files", []),
        ("/files", "x"),
        ("/files/0", ["x"]),
        ("/files/0/sha256", [{"path": "a"}]),
        ("/files/0/path", [{"sha256": "0" * 64}]),
        ("/files/0/path", [{"path": "../a", "sha256": "0" * 64}]),
        ("/files/0/path", [{"path": 1, "sha256": "0" * 64}]),
        ("/files/0/sha256", [{"path": "a", "sha256": "A" * 64}]),
        ("/files/0/sha256", [{"path": "a", "sha256": "\0"}]),
        ("/files/0/size", [{"path": "a", "sha256": "0" * 64, "size": 1}]),
        ("/files", [{"path": f"f{n}", "sha256": "0" * 64} for n in range(10_000)]),
    ],
)
def test_a_wrong_list_of_files_is_pointed_at(
    client: httpx.Client, untouched: str, pointer: str, files: object
) -> None:
    url = f"/api/v1/models/{untouched}/versions"
    problem = problem_of(client.post(url, json={"files": files}), 422)
    assert pointer in {error["pointer"] for error in problem["errors"]}


def test_numbers_at_the_edge_are_kept_exactly(client: httpx.Client, model: str) -> None:
    parameters = {"most": 2**63 - 1, "least": -(2**63), "third": 1 / 3, "tiny": 5e-324, "nil": -0.0}
    metrics = {"most": 1.7976931348623157e308, "third": 1 / 3, "whole": 3}
    reply = publish(client, model, WEIGHTS, parameters=parameters, metrics=metrics)
    assert reply.json()["parameters"] == parameters
    assert type(reply.json()["parameters"]["most"]) is int
    assert reply.json()["metrics"] == metrics


def test_texts_at_the_edge_are_kept_exactly(client: httpx.Client, model: str) -> None:
    text = "\u202e\u200b\ufeff\U0001f600\x7f\x01 e\u0301 \u2028"
    tags = {text: text, "k" * 250: "v" * 100_000, "'; DROP TABLE models; --": "`\"'"}
    reply = publish(client, model, WEIGHTS, tags=tags, description=text)
    assert reply.status_code == 201, reply.text
    assert reply.json()["tags"] == tags
    assert reply.json()["description"] == text


# --- too much of it -----------------------------------------------------------------------------

MUCH = 100 << 20
MIB = 1 << 20


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("where", ["json", "json of a version", "metadata"])
def test_100_mb_of_metadata_cost_nothing(
    server: Server, untouched: str, announced: bool, where: str
) -> None:
    target = "/api/v1/models"
    if where != "json":
        target = f"/api/v1/models/{untouched}/versions"
    kind, start = "application/json", b'{"name": "'
    if where == "metadata":
        kind = "multipart/form-data; boundary=b"
        start = b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{"description": "'
    length = f"Content-Length: {len(start) + MUCH}" if announced else "Transfer-Encoding: chunked"
    piece = b"x" * MIB
    if not announced:
        start = b"%x\r\n%s\r\n" % (len(start), start)
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    server.reset_peak()
    before = server.memory()
    request = head("POST", target, f"Content-Type: {kind}", length)
    reply = exchange_all(
        server, itertools.chain([request, start], itertools.repeat(piece, MUCH // MIB))
    )
    reply.problem(413, "request.too_large")
    assert reply.sent < 40 * MIB
    assert server.memory(peak=True) - before < 48 * MIB


def test_the_most_metadata_there_may_be(client: httpx.Client, untouched: str) -> None:
    body = json.dumps({"description": "x" * (8 * MIB)})
    assert len(body) > 8 * MIB
    parts: list[Any] = [("metadata", (None, body)), ("file", ("m.safetensors", b"x"))]
    url = f"/api/v1/models/{untouched}/versions"
    problem_of(client.post(url, files=parts), 413, "request.too_large")
    below = json.dumps({"description": "x" * (8 * MIB - 100)})
    problem_of(client.post(url, files=[("metadata", (None, below))]), 422, "request.invalid")
