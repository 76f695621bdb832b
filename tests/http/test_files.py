"""Bytes out over HTTP: files with ranges and conditions, archives."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sqlite3
import tarfile
import zipfile

import httpx
import pytest

from tests.http.wire import exchange, problem_of, request
from tests.support.publishing import publish, safetensors
from tests.support.server import Server

CONTENT = safetensors("content", size=300_000)
SIZE = len(CONTENT)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def version(client: httpx.Client) -> str:
    """The path of a version with a file in a folder; ``champion`` points at it."""
    name = f"files-{id(client)}"
    files = {"weights/m.safetensors": CONTENT, "empty.txt": b"", "nötes 1.txt": b"x\n"}
    reply = publish(client, name, files, create_model=True, aliases=["champion"])
    assert reply.status_code == 201, reply.text
    return str(reply.headers["location"])


@pytest.fixture(scope="module")
def file(version: str) -> str:
    """The path of the large file."""
    return f"{version}/files/weights/m.safetensors"


def test_a_file_comes_with_all_that_is_known_of_it(client: httpx.Client, file: str) -> None:
    reply = client.get(file)
    assert reply.status_code == 200
    assert reply.content == CONTENT
    digest = base64.b64encode(bytes.fromhex(DIGEST)).decode()
    expected = {
        "content-length": str(SIZE),
        "accept-ranges": "bytes",
        "etag": f'"{DIGEST}"',
        "repr-digest": f"sha-256=:{digest}:",
        "x-content-type-options": "nosniff",
        "x-model-version": "1",
    }
    assert expected.items() <= dict(reply.headers).items()
    assert 'filename="m.safetensors"' in reply.headers["content-disposition"]
    assert reply.headers["content-disposition"].startswith("attachment;")
    assert "content-range" not in reply.headers


def test_the_media_type_is_that_of_the_manifest(client: httpx.Client, version: str) -> None:
    for file in client.get(version).json()["files"]:
        reply = client.get(f"{version}/files/{file['path']}")
        assert reply.headers["content-type"] == file["media_type"]


def test_head_has_the_headers_of_get(client: httpx.Client, version: str, file: str) -> None:
    for url in (file, f"{version}/files/empty.txt"):
        got, head = client.get(url), client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        unlike = {"date", "x-request-id"}
        of_get = {key: value for key, value in got.headers.items() if key not in unlike}
        assert of_get == {key: value for key, value in head.headers.items() if key not in unlike}
        etag = {"If-None-Match": got.headers["etag"]}
        assert client.head(url, headers=etag).status_code == 304
        assert client.head(url, headers={"Range": "bytes=0-1"}).status_code == 200


def test_only_what_a_number_names_may_be_kept_for_good(client: httpx.Client, version: str) -> None:
    kept = client.get(f"{version}/files/empty.txt").headers["cache-control"]
    assert "immutable" in kept
    assert "max-age=31536000" in kept
    base = version.rsplit("/", 1)[0]
    for reference in ("latest", "@champion"):
        reply = client.get(f"{base}/{reference}/files/empty.txt")
        assert reply.headers["cache-control"] == "no-cache"
        assert reply.headers["x-model-version"] == "1"


def test_a_known_etag_saves_the_bytes(client: httpx.Client, file: str) -> None:
    for header in (f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"):
        reply = client.get(file, headers={"If-None-Match": header})
        assert (reply.status_code, reply.content) == (304, b""), header
        assert reply.headers["etag"] == f'"{DIGEST}"'
    assert client.get(file, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=-100", SIZE - 100, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=5-{SIZE * 10}", 5, SIZE),
        ("bytes=5-99999999999999999999999999", 5, SIZE),
        ("BYTES=1-2", 1, 3),
    ],
)
def test_a_range(client: httpx.Client, file: str, header: str, start: int, stop: int) -> None:
    reply = client.get(file, headers={"Range": header})
    assert reply.status_code == 206
    assert reply.content == CONTENT[start:stop]
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert reply.headers["content-length"] == str(stop - start)
    assert reply.headers["etag"] == f'"{DIGEST}"'


@pytest.mark.parametrize(
    "header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={'9' * 60}-"]
)
def test_a_range_outside_the_file(client: httpx.Client, file: str, header: str) -> None:
    reply = client.get(file, headers={"Range": header})
    problem_of(reply, 416, "file.range_not_satisfiable")
    assert reply.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "header",
    [
        *("bytes=0-1,5-6", "bytes=0-1, -1", "bytes=5-2", "bytes=", "bytes=-", "bytes", "0-5", ""),
        *("items=0-5", "bytes=a-b", "bytes=0x0-5", "bytes=1-2-3", "bytes=--5", "bytes=1.5-2"),
        *("bytes=" + ",".join(f"{n}-{n}" for n in range(5000)), "bytes=" + "9" * 5000 + "-"),
    ],
)
def test_a_range_that_is_ignored(client: httpx.Client, file: str, header: str) -> None:
    reply = client.get(file, headers={"Range": header})
    assert reply.status_code == 200
    assert reply.content == CONTENT


def test_a_range_only_if_it_is_still_the_same_file(client: httpx.Client, file: str) -> None:
    def status(condition: str) -> int:
        headers = {"Range": "bytes=0-9", "If-Range": condition}
        return client.get(file, headers=headers).status_code

    assert status(f'"{DIGEST}"') == 206
    for other in ('"x"', f'W/"{DIGEST}"', "Tue, 24 Nov 2026 06:00:00 GMT", DIGEST):
        assert status(other) == 200


def test_an_empty_file(client: httpx.Client, version: str) -> None:
    url = f"{version}/files/empty.txt"
    assert (client.get(url).status_code, client.get(url).content) == (200, b"")
    problem_of(client.get(url, headers={"Range": "bytes=0-0"}), 416)


def test_the_manifest(client: httpx.Client, version: str) -> None:
    whole = client.get(version).json()
    assert client.get(f"{version}/files").json() == {
        "items": whole["files"],
        "next_page_token": None,
        "size": whole["size"],
        "digest": whole["digest"],
    }


@pytest.mark.parametrize(
    "path",
    [
        *("nothing.txt", "weights", "weights/", "weights/m.safetensors/", "WEIGHTS/m.safetensors"),
        *("%00", "..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "weights%5Cm.safetensors", "%FF"),
        "a" * 5000,
    ],
)
def test_a_path_without_a_file(client: httpx.Client, version: str, path: str) -> None:
    problem_of(client.get(f"{version}/files/{path}"), 404, "file.not_found")
    assert client.head(f"{version}/files/{path}").status_code == 404


@pytest.mark.parametrize(
    "path", ["../../../../../etc/passwd", "./x", "weights/../nothing.txt", "/"]
)
def test_dots_are_no_way_out(server: Server, version: str, path: str) -> None:
    exchange(server, request("GET", f"{version}/files/{path}")).problem(404, "file.not_found")


def test_a_path_may_be_escaped_or_not(client: httpx.Client, server: Server, version: str) -> None:
    for path in ("nötes 1.txt", "n%C3%B6tes%201.txt", "no%CC%88tes%201.txt"):
        reply = client.get(f"{version}/files/{path}")
        assert (reply.status_code, reply.content) == (200, b"x\n"), path
        disposition = reply.headers["content-disposition"]
        assert disposition == (
            "attachment; filename=\"n_tes 1.txt\"; filename*=UTF-8''n%C3%B6tes%201.txt"
        )
    escaped = exchange(server, request("GET", f"{version}/files/weights%2Fm.safetensors"))
    assert escaped.status == 200


@pytest.mark.parametrize(
    "path",
    ['quo"te.txt', "semi;colon=1.txt", "per%41cent.txt", "a'b*c.txt", "模型.txt", "tab&?#.txt"],
)
def test_a_name_cannot_break_out_of_its_header(
    client: httpx.Client, versions: str, path: str
) -> None:
    model = ("model.safetensors", safetensors(path))
    reply = client.post(versions, files=[("file", (path, b"x")), ("file", model)])
    assert reply.status_code == 201, reply.text
    assert path in [file["path"] for file in reply.json()["files"]]
    url = httpx.URL(f"{client.base_url}{versions}/1/files/").copy_with(
        raw_path=f"{versions}/1/files/".encode()
        + "".join(f"%{b:02X}" for b in path.encode()).encode()
    )
    reply = client.get(url)
    assert (reply.status_code, reply.content) == (200, b"x")
    disposition = reply.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.count('"') == 2
    assert disposition.count(";") == 2
    assert "x-injected" not in reply.headers


# --- archives -----------------------------------------------------------------------------------

TREE = {
    "config.json": b"{}",
    "a/b/c/deep.txt": b"deep",
    "a/empty.txt": b"",
    "weights.safetensors": CONTENT,
    "exactly.txt": b"x" * 512,
    "ünï/模型.txt": b"unicode",
    "long/" + "/".join(["d" * 60] * 6) + "/n.txt": b"long path",
}


@pytest.fixture(scope="module")
def tree(client: httpx.Client) -> str:
    """The path of a version with a tree of files."""
    reply = publish(client, f"tree-{id(client)}", TREE, create_model=True, aliases=["champion"])
    assert reply.status_code == 201, reply.text
    return str(reply.headers["location"])


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def untarred(content: bytes) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            assert member.isfile()
            reader = archive.extractfile(member)
            assert reader is not None
            files[member.name] = reader.read()
    return files


def test_all_files_as_a_zip(client: httpx.Client, tree: str) -> None:
    for params in ({}, {"format": "zip"}):
        reply = client.get(f"{tree}/archive", params=params)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip")
        assert unzipped(reply.content) == TREE
        assert "-1.zip" in reply.headers["content-disposition"]


def test_a_zip_of_what_is_older_than_zip(server: Server, client: httpx.Client, model: str) -> None:
    files = {"m.safetensors": safetensors("old")}
    assert publish(client, model, files).status_code == 201
    database = sqlite3.connect(server.database)
    with database:
        database.execute(
            "UPDATE versions SET created_at = 0"
            " WHERE model_id = (SELECT id FROM models WHERE name = ?)",
            [model],
        )
    database.close()
    path = f"/api/v1/models/{model}/versions/1"
    assert client.get(path).json()["created_at"] == "1970-01-01T00:00:00Z"
    assert unzipped(client.get(f"{path}/archive").content) == files


def test_all_files_as_a_tar(client: httpx.Client, tree: str) -> None:
    reply = client.get(f"{tree}/archive", params={"format": "tar"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-tar")
    assert untarred(reply.content) == TREE
    assert reply.headers["content-length"] == str(len(reply.content))
    assert "-1.tar" in reply.headers["content-disposition"]


def test_an_archive_by_alias(client: httpx.Client, tree: str) -> None:
    reply = client.get(f"{tree.rsplit('/', 1)[0]}/@champion/archive")
    assert unzipped(reply.content) == TREE
    assert reply.headers["x-model-version"] == "1"


@pytest.mark.parametrize("format", ["", "rar", "ZIP", "zip.gz"])
def test_an_archive_of_another_kind(client: httpx.Client, tree: str, format: str) -> None:
    problem_of(client.get(f"{tree}/archive", params={"format": format}), 422, "request.invalid")


def test_as_many_files_as_a_version_may_have(client: httpx.Client, versions: str) -> None:
    files = {f"shard/{n:04}.txt": b"shard %d" % n for n in range(999)}
    files["shard/last.safetensors"] = safetensors("last")
    reply = client.post(versions, files=[("file", item) for item in files.items()])
    assert reply.status_code == 201, reply.text
    assert len(reply.json()["files"]) == 1000
    assert unzipped(client.get(f"{versions}/1/archive").content) == files
    tar = client.get(f"{versions}/1/archive", params={"format": "tar"})
    assert untarred(tar.content) == files
    body = {"files": [{"path": f["path"], "sha256": f["sha256"]} for f in reply.json()["files"]]}
    again = client.post(
        versions, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert again.json()["digest"] == reply.json()["digest"]
    body["files"].append({"path": "one-more.txt", "sha256": body["files"][0]["sha256"]})
    problem_of(client.post(versions, json=body), 422)
