"""Uploads in several requests over HTTP: the tus protocol, and clients that do not keep to it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
import time
from base64 import b64encode
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrypoints.container import build_container, migrate
from entrypoints.http.app import create_app
from tests.http.conftest import stored
from tests.http.wire import connect, exchange, head, problem_of, request
from tests.support.publishing import safetensors
from tests.support.server import Server
from tests.support.soundness import settings_for
from tests.support.waiting import eventually

URL = "/api/v1/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
TEXT = b"The quick brown fox jumps over the lazy dog"
MIB = 1 << 20


def encoded(value: bytes | str) -> str:
    return b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def tus(server: Server) -> Iterator[httpx.Client]:
    """A client that says the version."""
    with server.client(headers=TUS) as client:
        yield client


def create(tus: httpx.Client, length: int | None, **headers: str) -> str:
    """The URL of a new upload; headers by their names with underscores."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    if length is not None:
        said["Upload-Length"] = str(length)
    reply = tus.post(URL, headers=said)
    assert reply.status_code == 201, reply.text
    return reply.headers["location"]


def append(
    tus: httpx.Client, url: str, offset: int, content: Any, **headers: str
) -> httpx.Response:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    said = {**BYTES, "Upload-Offset": str(offset), **said}
    return tus.patch(url, content=content, headers=said)


def offset_of(tus: httpx.Client, url: str) -> int:
    reply = tus.head(url)
    assert reply.status_code == 200
    return int(reply.headers["upload-offset"])


def segments(server: Server) -> list[str]:
    folder = server.storage / "segments"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


# --- the protocol -------------------------------------------------------------------------------


def test_what_is_spoken_is_told_to_whoever_asks(client: httpx.Client) -> None:
    for url in (URL, f"{URL}/{'0' * 32}"):
        reply = client.options(url)
        assert reply.status_code == 204
        assert reply.headers["tus-version"] == reply.headers["tus-resumable"] == "1.0.0"
        assert int(reply.headers["tus-max-size"]) == 1 << 40
        assert "sha1" in reply.headers["tus-checksum-algorithm"].split(",")
        assert {"creation", "checksum", "concatenation"} < set(
            reply.headers["tus-extension"].split(",")
        )
    assert "tus" in client.get("/api/v1/info").json()["features"]


def test_an_upload_in_three_requests_is_published_and_fetched(
    tus: httpx.Client, versions: str, name: str
) -> None:
    content = safetensors(name, 100_000)
    size = len(content)
    metadata = f"filename {encoded('modèle.safetensors')},draft"
    reply = tus.post(
        URL, headers={"Upload-Length": str(size), "Upload-Metadata": metadata, "X-User": "ada"}
    )
    assert reply.status_code == 201
    assert reply.headers["upload-offset"] == "0"
    url = reply.headers["location"]
    assert url.startswith(f"{URL}/")
    for start, stop in ((0, 10), (10, 70_000)):
        assert offset_of(tus, url) == start
        reply = append(tus, url, start, content[start:stop])
        assert (reply.status_code, reply.content) == (204, b"")
        assert reply.headers["upload-offset"] == str(stop)
        assert "upload-sha256" not in reply.headers
        expires = parsedate_to_datetime(reply.headers["upload-expires"])
        assert expires.timestamp() > time.time() + 3600
    reply = append(tus, url, 70_000, content[70_000:])
    for done in (reply, tus.head(url)):
        assert done.headers["upload-offset"] == done.headers["upload-length"] == str(size)
        assert done.headers["upload-sha256"] == sha256(content)
        raw = hashlib.sha256(content).digest()
        assert done.headers["repr-digest"] == f"sha-256=:{encoded(raw)}:"
        assert done.headers["cache-control"] == "no-store"
        assert done.headers["upload-metadata"] == metadata
        assert "upload-expires" not in done.headers
    document = tus.get(url, headers={"Tus-Resumable": ""}).json()
    assert document["id"] == url.rsplit("/", 1)[1]
    assert (document["offset"], document["length"]) == (size, size)
    assert document["sha256"] == sha256(content)
    assert document["metadata"] == {"filename": "modèle.safetensors", "draft": ""}
    assert (document["creator"], document["concat"]) == ("ada", None)
    assert document["created_at"] < document["expires_at"]
    files = [{"path": "model.safetensors", "sha256": document["sha256"]}]
    assert tus.post(versions, json={"files": files}).status_code == 201
    assert tus.get(f"{versions}/1/files/model.safetensors").content == content


def test_the_bytes_may_come_with_the_beginning(tus: httpx.Client) -> None:
    for stop in (10, len(TEXT)):
        headers = {**BYTES, "Upload-Length": str(len(TEXT))}
        reply = tus.post(URL, content=TEXT[:stop], headers=headers)
        assert (reply.status_code, reply.headers["upload-offset"]) == (201, str(stop))
        if stop == len(TEXT):
            assert reply.headers["upload-sha256"] == sha256(TEXT)
        else:
            reply = append(tus, reply.headers["location"], stop, TEXT[stop:])
            assert reply.headers["upload-sha256"] == sha256(TEXT)


def test_an_empty_upload_is_complete_at_once(tus: httpx.Client) -> None:
    reply = tus.head(create(tus, 0))
    assert reply.headers["upload-offset"] == reply.headers["upload-length"] == "0"
    assert reply.headers["upload-sha256"] == sha256(b"")


def test_the_length_may_come_later(tus: httpx.Client) -> None:
    url = create(tus, None, Upload_Defer_Length="1")
    reply = append(tus, url, 0, iter([TEXT[:10], TEXT[10:20]]))
    assert reply.headers["upload-offset"] == "20"
    reply = tus.head(url)
    assert reply.headers["upload-defer-length"] == "1"
    assert "upload-length" not in reply.headers
    reply = append(tus, url, 20, TEXT[20:], Upload_Length=str(len(TEXT)))
    assert reply.headers["upload-sha256"] == sha256(TEXT)
    assert "upload-defer-length" not in tus.head(url).headers


def test_a_post_may_stand_for_another_method(tus: httpx.Client, client: httpx.Client) -> None:
    url = create(tus, len(TEXT))
    override = {**BYTES, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    reply = tus.post(url, content=TEXT, headers=override)
    assert (reply.status_code, reply.headers["upload-offset"]) == (204, str(len(TEXT)))
    # A page of another site can have a browser send a GET.
    assert tus.get(url, headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 200
    for method in ("GET", "HEAD", "TRACE", "nonsense"):
        reply = tus.post(url, headers={"X-HTTP-Method-Override": method})
        problem_of(reply, 400, "request.malformed")
    foreign = {"X-HTTP-Method-Override": "DELETE", "Origin": "http://elsewhere.example"}
    problem_of(tus.post(url, headers=foreign), 403, "request.cross_site")
    assert tus.post(url, headers={"X-HTTP-Method-Override": "delete"}).status_code == 204
    assert tus.head(url).status_code == 404
    problem_of(tus.post(url), 405)


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
def test_a_checksum_is_checked(tus: httpx.Client, algorithm: str) -> None:
    def checksum(content: bytes) -> str:
        return f"{algorithm} {encoded(hashlib.new(algorithm, content).digest())}"

    url = create(tus, len(TEXT))
    assert append(tus, url, 0, TEXT[:5], Upload_Checksum=checksum(TEXT[:5])).status_code == 204
    reply = append(tus, url, 5, TEXT[5:], Upload_Checksum=checksum(TEXT))
    problem_of(reply, 460, "upload.checksum_mismatch")
    assert offset_of(tus, url) == 5
    reply = append(tus, url, 5, TEXT[5:], Upload_Checksum=checksum(TEXT[5:]))
    assert reply.headers["upload-sha256"] == sha256(TEXT)


def test_parts_become_one(tus: httpx.Client, server: Server) -> None:
    urls = [create(tus, len(part), Upload_Concat="partial") for part in (TEXT[:20], TEXT[20:])]
    assert append(tus, urls[1], 0, TEXT[20:]).headers["upload-concat"] == "partial"
    named = f"final;{server.base_url}{urls[0]} {urls[1]}"
    problem_of(tus.post(URL, headers={"Upload-Concat": named}), 409, "upload.conflict")
    assert append(tus, urls[0], 0, TEXT[:20]).status_code == 204
    assert "upload-sha256" not in tus.head(urls[0]).headers
    reply = tus.post(URL, headers={"Upload-Concat": named, "Upload-Metadata": "final"})
    assert (reply.status_code, reply.headers["upload-sha256"]) == (201, sha256(TEXT))
    whole = reply.headers["location"]
    reply = tus.head(whole)
    assert reply.headers["upload-concat"] == named
    assert reply.headers["upload-offset"] == reply.headers["upload-length"] == str(len(TEXT))
    assert reply.headers["upload-metadata"] == "final"
    assert tus.get(whole).json()["concat"] == "final"
    problem_of(append(tus, whole, len(TEXT), b""), 403, "upload.sealed")


def test_an_upload_is_given_up(tus: httpx.Client, server: Server) -> None:
    url = create(tus, 100)
    append(tus, url, 0, TEXT)
    (held,) = [name for name in segments(server) if name.startswith(url.rsplit("/", 1)[1])]
    reply = tus.delete(url)
    assert (reply.status_code, reply.content) == (204, b"")
    assert held not in segments(server)
    for reply in (tus.head(url), tus.get(url), tus.delete(url), append(tus, url, 43, b"x")):
        assert reply.status_code == 404
        assert "upload-offset" not in reply.headers
        assert reply.headers["tus-resumable"] == "1.0.0"


def test_an_upload_expires(tus: httpx.Client, server: Server) -> None:
    url = create(tus, 100)
    with sqlite3.connect(server.database, timeout=20) as database:
        database.execute("UPDATE uploads SET expires_at = 1 WHERE id = ?", [url.rsplit("/", 1)[1]])
    database.close()
    assert tus.head(url).status_code == 410
    problem_of(tus.get(url), 410, "upload.expired")
    problem_of(append(tus, url, 0, b"x"), 410, "upload.expired")
    assert tus.delete(url).status_code == 204


def test_a_promised_digest_is_held_to(tus: httpx.Client, server: Server) -> None:
    before = stored(server)
    content, other = random.Random(4).randbytes(1000), random.Random(5).randbytes(1000)
    url = create(tus, 1000, Upload_Metadata=f"sha256 {encoded(hashlib.sha256(content).digest())}")
    append(tus, url, 0, other[:500])
    problem_of(append(tus, url, 500, other[500:]), 422, "blob.digest_mismatch")
    assert tus.head(url).status_code == 404
    assert stored(server) == before
    url = create(tus, 1000, Upload_Metadata=f"sha256 {encoded(sha256(content))}")
    assert append(tus, url, 0, content).headers["upload-sha256"] == sha256(content)
    assert stored(server) - before == {sha256(content)}


# --- clients that break off, or race ------------------------------------------------------------


@pytest.mark.parametrize("sent", [1, 1000, 16 * MIB, 16 * MIB + 1, 33 * MIB])
def test_what_came_before_the_connection_broke_is_kept(
    tus: httpx.Client, server: Server, sent: int
) -> None:
    content = random.Random(sent).randbytes(34 * MIB)
    url = create(tus, len(content))
    start = head(
        *("PATCH", url, "Tus-Resumable: 1.0.0", "Upload-Offset: 0"),
        *("Content-Type: application/offset+octet-stream", f"Content-Length: {len(content)}"),
    )
    with connect(server) as connection:
        connection.sendall(start + content[:sent])
    eventually(lambda: offset_of(tus, url) == sent)
    reply = append(tus, url, sent, content[sent:])
    assert reply.headers["upload-sha256"] == sha256(content)
    assert not [name for name in segments(server) if name.startswith(url.rsplit("/", 1)[1])]


def test_crumbs_are_collected(tus: httpx.Client) -> None:
    content = random.Random(1).randbytes(5000)
    url = create(tus, len(content))
    reply = append(tus, url, 0, (content[start : start + 1] for start in range(5000)))
    assert reply.headers["upload-sha256"] == sha256(content)


def test_an_upload_goes_on_from_where_it_is(tus: httpx.Client) -> None:
    url = create(tus, len(TEXT))
    append(tus, url, 0, TEXT[:10])
    for offset in (0, 9, 11, len(TEXT), 2**63 - 1):
        problem_of(append(tus, url, offset, b"x"), 409, "upload.conflict")
    assert offset_of(tus, url) == 10


def test_more_bytes_than_announced_are_refused_unread(tus: httpx.Client, server: Server) -> None:
    url = create(tus, 10)
    headers = ["Tus-Resumable: 1.0.0", "Upload-Offset: 0"]
    headers += ["Content-Type: application/offset+octet-stream", f"Content-Length: {100 * MIB}"]
    reply = exchange(server, head("PATCH", url, *headers), bytes(100 * MIB))
    reply.problem(413, "request.too_large")
    assert reply.sent < 100 * MIB
    problem_of(append(tus, url, 0, iter([TEXT])), 413, "request.too_large")
    assert offset_of(tus, url) == 0


# --- clients that get it wrong ------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "", "1.0.1", "0.2.2", "1.0.0, 1.0.0", "1", "x" * 5000])
def test_another_version_is_not_spoken(
    tus: httpx.Client, client: httpx.Client, version: str | None
) -> None:
    url = create(tus, 10)
    headers = {} if version is None else {"Tus-Resumable": version}
    for method, target in (("POST", URL), ("PATCH", url), ("HEAD", url), ("DELETE", url)):
        more = {**BYTES, "Upload-Length": "10", "Upload-Offset": "0"}
        reply = client.request(method, target, headers={**more, **headers})
        assert reply.status_code == 412
        assert reply.headers["tus-version"] == reply.headers["tus-resumable"] == "1.0.0"
        if method != "HEAD":
            problem_of(reply, 412, "upload.unsupported_version")
    assert offset_of(tus, url) == 0


NO_NUMBERS = ["", "-1", "+1", "1.0", "1e3", "0x10", "1 1", "1,1", "٣", "9" * 20, "1" * 10_000, "a"]


@pytest.mark.parametrize("number", [*NO_NUMBERS, None])
def test_an_offset_that_is_none(server: Server, tus: httpx.Client, number: str | None) -> None:
    url = create(tus, 10)
    headers = _tus(
        *_lines("Upload-Offset", number), "Content-Type: application/offset+octet-stream"
    )
    reply = exchange(server, request("PATCH", url, *headers, body=b"x"))
    reply.problem(400, "request.malformed")
    assert reply.headers["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize("number", [*NO_NUMBERS, None])
def test_a_length_that_is_none(server: Server, number: str | None) -> None:
    headers = _lines("Upload-Length", number)
    exchange(server, request("POST", URL, *_tus(*headers))).problem(400, "request.malformed")


def _lines(name: str, value: str | None) -> list[bytes]:
    return [] if value is None else [f"{name}: {value}".encode()]


def _tus(*lines: bytes | str) -> list[bytes | str]:
    return ["Tus-Resumable: 1.0.0", *lines]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Upload-Length: 5", "Upload-Length: 5"], 400),
        (["Upload-Length: 5", "Upload-Defer-Length: 1"], 400),
        (["Upload-Defer-Length: 0"], 400),
        (["Upload-Defer-Length: 2"], 400),
        (["Upload-Length: 1099511627777"], 413),
        (["Upload-Length: 9223372036854775807"], 413),
        (["Upload-Length: 5", "Upload-Metadata: a b c"], 400),
        (["Upload-Length: 5", "Upload-Metadata: a YQ==", "Upload-Metadata: a YQ=="], 400),
        (["Upload-Length: 5", "Upload-Metadata: a YQ"], 400),
        (["Upload-Length: 5", b"Upload-Metadata: \xe9 YQ=="], 400),
        (["Upload-Length: 5", f"Upload-Metadata: a {'A' * 8192}"], 400),
        (["Upload-Length: 5", "Upload-Metadata: sha256 YWJj"], 422),
        (["Upload-Length: 5", "Upload-Concat: whole"], 400),
        (["Upload-Length: 5", f"Upload-Concat: final;/api/v1/uploads/{'0' * 32}"], 400),
        (["Upload-Concat: final"], 400),
        (["Upload-Concat: final;"], 400),
        (["Upload-Concat: final;/etc/passwd"], 400),
        (["Upload-Concat: final;/api/v1/uploads/.."], 400),
        ([f"Upload-Concat: final;/api/v1/uploads/{'0' * 32}"], 404),
        (["Upload-Length: 5", "X-User: a\x01"], 400),
    ],
)
def test_a_beginning_that_makes_no_sense(
    server: Server, lines: list[bytes | str], status: int
) -> None:
    reply = exchange(server, request("POST", URL, *_tus(*lines)))
    reply.problem(status)


def test_metadata_may_come_on_several_lines(server: Server, tus: httpx.Client) -> None:
    lines = _tus("Upload-Length: 5", "Upload-Metadata: a YQ==", "Upload-Metadata: b")
    reply = exchange(server, request("POST", URL, *lines))
    assert tus.get(reply.headers["location"]).json()["metadata"] == {"a": "a", "b": ""}


@pytest.mark.parametrize(
    "checksum",
    ["sha1", "sha1 YQ==", "sha1 !!!", "SHA1 x", "crc32 YWJjZA==", "shake_128 YQ=="],
)
def test_a_checksum_that_is_none(tus: httpx.Client, checksum: str) -> None:
    url = create(tus, 10)
    reply = append(tus, url, 0, b"x", Upload_Checksum=checksum)
    problem_of(reply, 400, "request.malformed")
    assert offset_of(tus, url) == 0


@pytest.mark.parametrize(
    "kind", [None, "application/octet-stream", "text/plain", "application/json"]
)
def test_bytes_of_another_type_are_refused(tus: httpx.Client, kind: str | None) -> None:
    url = create(tus, 10)
    headers = {"Upload-Offset": "0"} | ({} if kind is None else {"Content-Type": kind})
    problem_of(tus.patch(url, content=b"x", headers=headers), 415)
    headers = {"Upload-Length": "5"} | ({} if kind is None else {"Content-Type": kind})
    for content in (b"12345", iter([b"12345"])):
        problem_of(tus.post(URL, content=content, headers=headers), 415)
    assert offset_of(tus, url) == 0


@pytest.mark.parametrize("length", [4, 6, 2**40 + 1])
def test_a_length_that_does_not_fit(tus: httpx.Client, length: int) -> None:
    url = create(tus, 5)
    reply = append(tus, url, 0, b"12345", Upload_Length=str(length))
    assert reply.status_code in {409, 413}
    assert offset_of(tus, url) == 0


@pytest.mark.parametrize(
    "id", ["x", "0" * 31, "0" * 33, "A" * 32, "%2e%2e%2f" + "0" * 29, "é" * 32]
)
def test_an_id_that_is_none(tus: httpx.Client, id: str) -> None:
    for method in ("HEAD", "GET", "PATCH", "DELETE"):
        headers = {**BYTES, "Upload-Offset": "0"}
        assert tus.request(method, f"{URL}/{id}", headers=headers).status_code == 404


def test_the_location_leads_here_from_below_a_prefix(tmp_path: Path) -> None:
    """As a proxy in front of the service may have it."""

    async def begin() -> httpx.Response:
        container = build_container(settings_for(tmp_path))
        await asyncio.to_thread(migrate.upgrade, container.database())
        transport = httpx.ASGITransport(create_app(container), root_path="/registry")
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                url = f"/registry{URL}"
                return await client.post(url, headers={**TUS, "Upload-Length": "5"})
        finally:
            await container.database().close()

    reply = asyncio.run(begin())
    assert (reply.status_code, reply.headers["tus-resumable"]) == (201, "1.0.0")
    assert reply.headers["location"].startswith(f"/registry{URL}/")


def test_what_is_not_there_speaks_tus_too(tus: httpx.Client) -> None:
    for method, url, status in (("GET", URL, 405), ("PUT", URL, 405), ("GET", f"{URL}/a/b", 404)):
        reply = tus.request(method, url)
        assert (reply.status_code, reply.headers["tus-resumable"]) == (status, "1.0.0")
    assert "tus-resumable" not in tus.get("/api/v1/info").headers
