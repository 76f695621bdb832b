"""Multipart bodies that mean harm: each time a clear problem, and nothing left behind."""

from __future__ import annotations

import itertools
import os
import time

import httpx
import pytest

from tests.http.conftest import eventually_unstaged
from tests.http.wire import (
    BOUNDARY,
    MULTIPART,
    connect,
    exchange,
    exchange_all,
    head,
    multipart,
    part,
    post_parts,
    problem_of,
    request,
)
from tests.support.publishing import safetensors
from tests.support.server import Server

WEIGHTS = safetensors("weights")
MIB = 1 << 20
FILE = part('; name="file"; filename="m.safetensors"', WEIGHTS)
LARGE = part('; name="file"; filename="large.bin"', os.urandom(3 * MIB))
"""So large that it is staged on disk before the request turns out to be wrong."""


def target(model: str) -> str:
    return f"/api/v1/models/{model}/versions"


BAD_NAMES = {
    "parent": "../m.txt",
    "parent inside": "a/../m.txt",
    "parent at the end": "a/..",
    "dot": "./m.txt",
    "only dots": "..",
    "absolute": "/etc/passwd",
    "a drive": "C:/m.txt",
    "a drive and backslashes": "C:\\models\\m.txt",
    "a share": "\\\\server\\share\\m.txt",
    "backslash": "a\\m.txt",
    "backslash parent": "..\\m.txt",
    "empty segment": "a//m.txt",
    "a folder": "a/",
    "NUL": "a\0.txt",
    "control": "a\x1b[31m.txt",
    "delete": "a\x7f.txt",
    "C1 control": "a\x85.txt",
    "escaped newline": "a%0Ab.txt",
    "escaped return": "a%0D%0AX-Injected: 1",
    "line separator": "a\u2028b.txt",
    "right to left": "a\u202egnp.txt",
    "isolate": "a\u2066b.txt",
    "too long": "a" * 513,
    "a segment too long": "a" * 256,
    "a segment too long in bytes": "模" * 86,
}


@pytest.mark.parametrize("filename", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_a_filename_that_is_no_path_in_a_version(
    server: Server, untouched: str, filename: str
) -> None:
    bad = part(b'; name="file"; filename="%s"' % filename.encode(), b"x")
    for parts in ([bad], [LARGE, bad]):
        reply = exchange(server, post_parts(target(untouched), *parts))
        reply.problem(422, "file.invalid_path")
        assert "x-injected" not in reply.headers


BAD_PARTS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "no name": (part('; filename="a.txt"', b"x"), (422,)),
    "an empty name": (part('; name=""; filename="a.txt"', b"x"), (422,)),
    "an unknown name": (part('; name="model"; filename="a.txt"', b"x"), (422,)),
    "a name in another case": (part('; name="File"; filename="a.txt"', b"x"), (422,)),
    "a file without filename": (part('; name="file"', b"x"), (422,)),
    "an empty filename": (part('; name="file"; filename=""', b""), (422,)),
    "an extended filename only": (part("; name=\"file\"; filename*=UTF-8''a.txt", b"x"), (422,)),
    "a filename not in UTF-8": (part(b'; name="file"; filename="\xff\xfe.txt"', b"x"), (400,)),
    "base64": (
        part('; name="file"; filename="a.txt"', b"eA==", "Content-Transfer-Encoding: base64"),
        (400,),
    ),
    "quoted-printable": (
        part('; name="metadata"', b"{=7D", "Content-Transfer-Encoding: Quoted-Printable"),
        (400,),
    ),
    "no disposition": (f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n".encode(), (400,)),
    "an attachment": (
        f'--{BOUNDARY}\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n'.encode(),
        (400,),
    ),
    "no headers": (f"--{BOUNDARY}\r\n\r\nx\r\n".encode(), (400,)),
    "a header without colon": (part('; name="file"; filename="a.txt"', b"x", "odd"), (400,)),
    "a header with an odd name": (part('; name="file"; filename="a"', b"x", "a b: c"), (400,)),
    "bare line feeds": (
        f'--{BOUNDARY}\nContent-Disposition: form-data; name="file"\n\nx\n'.encode(),
        (400,),
    ),
    "a long header": (part('; name="file"; filename="a"', b"x", "X: " + "a" * 10_000), (422,)),
    "an endless header": (part('; name="file"; filename="a"', b"x", "X: " + "a" * MIB), (422,)),
    "many headers": (
        part('; name="file"; filename="a"', b"x", *(f"X-{n}: a" for n in range(100))),
        (422,),
    ),
    "a length too small": (
        part('; name="file"; filename="a"', b"xyz", "Content-Length: 2"),
        (400,),
    ),
    "a length too large": (
        part('; name="file"; filename="a"', b"xyz", "Content-Length: 9"),
        (400,),
    ),
    "a length below zero": (part('; name="file"; filename="a"', b"", "Content-Length: -1"), (400,)),
    "metadata twice": (part('; name="metadata"', b"{}") * 2, (422,)),
    "metadata that is no object": (part('; name="metadata"', b"[]"), (422,)),
    "a path twice": (FILE, (422,)),
    "a path in another case": (
        part('; name="file"; filename="M.SAFETENSORS"', WEIGHTS),
        (422,),
    ),
    "a folded twin": (
        part('; name="file"; filename="stra\u00dfe"', b"x")
        + part('; name="file"; filename="STRASSE"', b"x"),
        (422,),
    ),
    "a decomposed twin": (
        part('; name="file"; filename="\u00e9"', b"x")
        + part('; name="file"; filename="e\u0301"', b"y"),
        (422,),
    ),
    "a file below a file": (part('; name="file"; filename="m.safetensors/x"', b"x"), (422,)),
}


@pytest.mark.parametrize(("bad", "statuses"), BAD_PARTS.values(), ids=BAD_PARTS.keys())
def test_a_part_that_is_wrong(
    server: Server, untouched: str, bad: bytes, statuses: tuple[int, ...]
) -> None:
    for parts in ((FILE, bad), (FILE, LARGE, bad)):
        reply = exchange(server, post_parts(target(untouched), *parts))
        assert reply.status in statuses, reply.body
        reply.problem()
        assert len(reply.body) < 2_000


def test_neither_files_nor_metadata(server: Server, untouched: str) -> None:
    for body in (multipart(), multipart(part('; name="metadata"', b"{}"))):
        kind = f"Content-Type: {MULTIPART}"
        reply = exchange(server, request("POST", target(untouched), kind, body=body))
        reply.problem(422, "version.invalid_manifest")


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "multipart/form-data",
            "multipart/form-data; boundary=",
            'multipart/form-data; boundary=""',
        ),
        *("multipart/form-data; boundary=" + "b" * 71, "multipart/form-data; charset=utf-8"),
        *("multipart/form-data; boundary=other", "multipart/form-data; boundary=b\xfc"),
    ],
)
def test_a_boundary_that_is_missing_or_another(server: Server, untouched: str, kind: str) -> None:
    line = b"Content-Type: " + kind.encode("latin-1")
    body = multipart(FILE)
    exchange(server, request("POST", target(untouched), line, body=body)).problem(400)


@pytest.mark.parametrize(
    "kind",
    [
        *("multipart/mixed; boundary=b0undary", "multipart/related; boundary=b0undary", "*/*"),
        *(
            "application/x-www-form-urlencoded",
            "text/plain",
            "application/octet-stream",
            ";",
            "x" * 9000,
        ),
    ],
)
def test_a_content_type_that_publishes_nothing(server: Server, untouched: str, kind: str) -> None:
    sent = request("POST", target(untouched), f"Content-Type: {kind}", body=multipart(FILE))
    exchange(server, sent).problem(415, "request.unsupported_media_type")
    without = request("POST", target(untouched), body=multipart(FILE))
    exchange(server, without).problem(415, "request.unsupported_media_type")


BROKEN = {
    "no final boundary": FILE,
    "no boundary at all": WEIGHTS,
    "an end in the headers": FILE + f"--{BOUNDARY}\r\nContent-Disp".encode(),
    "an end in a file": FILE + part('; name="file"; filename="b.txt"', b"x" * 100)[:-50],
    "half a final boundary": FILE + f"--{BOUNDARY}".encode(),
    "an odd boundary": FILE + f"--{BOUNDARY}x\r\n".encode(),
    "nothing": b"",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_multipart_body_without_its_end(server: Server, untouched: str, body: bytes) -> None:
    for whole in (body, LARGE + body):
        kind = f"Content-Type: {MULTIPART}"
        reply = exchange(server, request("POST", target(untouched), kind, body=whole))
        reply.problem(400, "request.malformed")


def test_preamble_and_epilogue_are_no_content(
    server: Server, client: httpx.Client, model: str
) -> None:
    body = b"This is multipart.\r\n" + multipart(FILE) + b"And this is the end.\r\n" + FILE
    kind = f"Content-Type: {MULTIPART}"
    reply = exchange(server, request("POST", target(model), kind, body=body))
    assert reply.status == 201, reply.body
    [file] = client.get(f"{target(model)}/1").json()["files"]
    assert (file["path"], file["size"]) == ("m.safetensors", len(WEIGHTS))


def test_content_that_looks_like_a_boundary(
    client: httpx.Client, server: Server, model: str
) -> None:
    content = f"\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY[:-1]}--\r\n\r\n--\r\r\n-".encode() * 20_000
    text = part('; name="file"; filename="a.txt"', content)
    reply = exchange(server, post_parts(target(model), text, FILE))
    assert reply.status == 201, reply.body
    assert client.get(f"{target(model)}/1/files/a.txt").content == content


@pytest.mark.parametrize("count", [1001, 10_000])
def test_more_parts_than_a_version_has_files(server: Server, untouched: str, count: int) -> None:
    server.reset_peak()
    before = server.memory()
    parts = (part(f'; name="file"; filename="f{n}.txt"', b"x") for n in range(count))
    reply = exchange(server, post_parts(target(untouched), *parts))
    reply.problem(422, "version.invalid_manifest")
    assert server.memory(peak=True) - before < 48 * MIB


def test_ten_thousand_parts_of_metadata(server: Server, untouched: str) -> None:
    parts = [part('; name="metadata"', b"{}")] * 10_000
    exchange(server, post_parts(target(untouched), *parts)).problem(422)


# --- bodies that end early, or never ------------------------------------------------------------


def cut(server: Server, model: str, *, after: int, chunked: bool) -> None:
    """Sends so many bytes of a publish, and goes away."""
    body = multipart(LARGE, FILE)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    if chunked:
        body = b"%x\r\n%s" % (len(body), body)
    with connect(server) as connection:
        connection.sendall(head("POST", target(model), f"Content-Type: {MULTIPART}", framing))
        connection.sendall(body[:after])
        wait_until_staging(server) if after >= 2 * MIB else time.sleep(0.05)


def wait_until_staging(server: Server) -> None:
    deadline = time.monotonic() + 10
    while not server.staged and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.staged


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("after", [0, 10, 150, 2 * MIB, 3 * MIB + 200])
def test_a_client_that_goes_away(server: Server, untouched: str, after: int, chunked: bool) -> None:
    cut(server, untouched, after=after, chunked=chunked)
    assert eventually_unstaged(server) == []


@pytest.mark.parametrize(
    "broken",
    [b"ZZ\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloworld\r\n", b"FFFFFFFFFFFFFFFFFFFF\r\n", b"\0"],
)
def test_chunks_that_are_broken(server: Server, untouched: str, broken: bytes) -> None:
    kind = f"Content-Type: {MULTIPART}"
    start = head("POST", target(untouched), kind, "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (len(LARGE), LARGE)
    exchange(server, start + chunk + broken).problem(400, "request.malformed")


def test_a_body_longer_than_its_length(server: Server, untouched: str) -> None:
    body = multipart(FILE)
    kind = f"Content-Type: {MULTIPART}"
    sent = head("POST", target(untouched), kind, f"Content-Length: {len(body) - 10}") + body
    exchange(server, sent).problem(400, "request.malformed")


@pytest.mark.parametrize("close", [True, False])
def test_a_picture_of_a_gigabyte_is_refused_at_its_head(
    server: Server, untouched: str, close: bool
) -> None:
    start = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="cat.onnx"\r\n\r\n'
    )
    picture = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + bytes(MIB)
    length = f"Content-Length: {1 << 30}"
    lines = head("POST", target(untouched), f"Content-Type: {MULTIPART}", length, keep=not close)
    endless = itertools.chain(
        [lines, start.encode(), picture], itertools.repeat(bytes(MIB), 1 << 10)
    )
    reply = exchange_all(server, endless)
    assert "JPEG" in reply.problem(415, "file.not_a_model")["detail"]
    assert reply.sent < 40 * MIB


def test_a_client_that_ignores_the_refusal_still_reads_it(
    client: httpx.Client, untouched: str
) -> None:
    def body() -> itertools.chain[bytes]:
        start = part('; name="file"; filename="cat.onnx"', b"GIF89a")
        return itertools.chain([start], itertools.repeat(bytes(MIB), 64))

    for extra in ({}, {"Connection": "close"}):
        headers = {"Content-Type": MULTIPART, **extra}
        reply = client.post(target(untouched), content=body(), headers=headers)
        problem_of(reply, 415, "file.not_a_model")
