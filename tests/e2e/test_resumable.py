"""Stock clients of tus upload, are cut, and go on at another replica; as docs/uploads.md has it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from adapters.sql import open_database
from adapters.sql.tables import upload_segments
from application.maintenance import CollectGarbage
from entrypoints.container import Container
from tests.support.cable import cable_to
from tests.support.publishing import safetensors
from tests.support.server import ROOT, Server, running_server
from tests.support.services.npm import node_with
from tests.support.soundness import on
from tests.support.waiting import eventually

DOCUMENT = (ROOT / "docs" / "uploads.md").read_text(encoding="utf-8")
MIB = 1 << 20
SIZE = 40 * MIB
CUT = SIZE * 6 // 10
SEGMENT = 16 * MIB
COUNT = select(func.count()).select_from(upload_segments)

pytestmark = pytest.mark.timeout(600)  # npm may have to fetch something first


def documented(name: str, url: str) -> str:
    """What the document shows for this client, for the service at this URL."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1].replace("http://127.0.0.1:8000", url)


def started(command: list[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A client, without proxies of the machine."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(client: subprocess.Popen[str]) -> str:
    """What it printed, once it has ended well."""
    out, err = client.communicate(timeout=300)
    assert client.returncode == 0, (out, err)
    return out.strip()


def by_tuspy(url: str, folder: Path) -> subprocess.Popen[str]:
    return started([sys.executable, "-c", documented("tuspy", url)], folder)


def by_tus_js_client(url: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    node, installed = node_with("tus")
    script = documented("tus-js-client", url)
    added = "".join(f"{name}: {json.dumps(value)},\n" for name, value in options.items())
    script = script.replace("onError:", f"{added}onError:")
    if "uploadLengthDeferred" in options:  # for streams whose end nobody knows
        stream = 'fs.createReadStream("model.safetensors")'
        script = script.replace(stream, f'{stream}.pipe(new (require("stream").PassThrough)())')
    return started([node, "-e", script], folder, NODE_PATH=str(installed / "node_modules"))


def acknowledged(server: Server) -> int:
    """Segments that the rows know."""
    database = open_database(server.environment["DATABASE_URL"])
    try:
        return database.read(lambda db: db.execute(COUNT).scalar_one())
    finally:
        database.dispose()


async def left_behind(container: Container) -> list[str]:
    """Segments after a garbage collection without any grace, in a sound registry."""
    await container.collect_garbage()(CollectGarbage(timedelta(0)))
    assert (await container.verify()()).clean
    return [segment.name async for segment in container.segments().list()]


def check_published(server: Server, sha256: str, content: bytes) -> None:
    """A publish names the digest, and gives the same bytes back."""
    assert sha256 == hashlib.sha256(content).hexdigest()
    with server.client() as client:
        body = {"create_model": True, "files": [{"path": "m.safetensors", "sha256": sha256}]}
        reply = client.post("/api/v1/models/resumed/versions", json=body)
        assert reply.status_code == 201, reply.text
        fetched = client.get("/api/v1/models/resumed/versions/latest/files/m.safetensors")
        assert fetched.content == content


@pytest.fixture(params=["SQLite and a folder", "PostgreSQL and S3"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Where the replicas keep their registry."""
    if request.param == "SQLite and a folder":
        return {}
    url, place = map(request.getfixturevalue, ("migrated_postgres_url", "s3_bucket"))
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)
    return {
        "database_url": url,
        "model_storage_method": "s3",
        "model_storage_path": place.path,
        **place.environ,
    }


@pytest.mark.parametrize("begin", [by_tuspy, by_tus_js_client])
def test_an_upload_cut_at_60_percent_goes_on_at_another_replica(
    tmp_path: Path,
    settings: dict[str, Any],
    begin: Callable[[str, Path], subprocess.Popen[str]],
) -> None:
    content = safetensors("resumed", SIZE)
    (tmp_path / "model.safetensors").write_bytes(content)
    with (
        running_server(tmp_path, **settings) as first,
        cable_to(first, limit=CUT) as cable,
        begin(cable.url, tmp_path) as client,
    ):
        try:
            assert cable.choked.wait(120), told(client)
            eventually(lambda: acknowledged(first) == CUT // SEGMENT)
            first.kill()
            with running_server(tmp_path, **settings) as second:
                cable.lead_to(second)
                sha256 = told(client)
                # What had been acknowledged was not sent again.
                assert cable.passed < SIZE + CUT % SEGMENT + 2 * MIB
                check_published(second, sha256, content)
        finally:
            client.kill()
    assert on(tmp_path, left_behind, **settings) == []


def test_tus_js_client_in_its_other_ways(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        for options in (
            {"parallelUploads": 3},
            {"uploadDataDuringCreation": True},
            {"uploadLengthDeferred": True, "chunkSize": 1_000_000},
            {"overridePatchMethod": True, "chunkSize": 2_000_000},
        ):
            content = safetensors(options, 5_000_000)
            (tmp_path / "model.safetensors").write_bytes(content)
            client = by_tus_js_client(server.base_url, tmp_path, **options)
            check_published(server, told(client), content)


def test_the_commands_for_curl_upload_and_go_on(tmp_path: Path) -> None:
    content = safetensors("curl", 3 * MIB)
    (tmp_path / "model.safetensors").write_bytes(content)
    with running_server(tmp_path) as server, server.client() as client:
        beginning, rest = documented("curl", server.base_url).split("\n\n", 1)
        beginning += "\necho $url"
        url = told(started(["bash", "-euo", "pipefail", "-c", beginning], tmp_path))
        upload = httpx.URL(url).path
        headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
        headers["Content-Type"] = "application/offset+octet-stream"
        assert client.patch(upload, content=content[:MIB], headers=headers).status_code == 204
        script = f"url={url}\n{rest}"
        document = json.loads(told(started(["bash", "-euo", "pipefail", "-c", script], tmp_path)))
        assert document["offset"] == document["length"] == len(content)
        check_published(server, document["sha256"], content)
