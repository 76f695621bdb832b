"""A start that cannot succeed: one clear line, a fitting exit code, no traceback, no secret."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import environment_for, running_server

SECRET = "hunter2"
USAGE, UNAVAILABLE, UNEXPECTED = 2, 6, 1


def serve(folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "serve"],
        cwd=folder,
        env=environment_for(folder, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    *told, line = ended.stderr.splitlines()
    assert all(before.startswith("Created a new registry in ") for before in told)
    assert len(told) <= 1
    assert line.startswith("error: ")
    assert len(line) < 400
    for word in words:
        assert word in line, line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("database_url", f"mysql://modelyard:{SECRET}@db/modelyard", "postgresql://"),
        ("database_url", f"modelyard:{SECRET}", "sqlite:///"),
        ("database_url", "sqlite:///:memory:", "file"),
        ("database_url", "sqlite://", "file"),
        ("model_storage_method", SECRET, "'local'"),
        ("model_storage_method", "s3", "s3://bucket/prefix"),
        ("model_storage_path", "s3://bucket/prefix", "MODEL_STORAGE_METHOD"),
        ("downloads", SECRET, "'proxy'"),
        ("lock_method", SECRET, "'none'"),
        ("lock_method", "postgres", "DATABASE_URL"),
        ("redis_url", f"http://:{SECRET}@host", "redis://"),
        ("lock_timeout", "0", "greater than 0"),
        ("port", SECRET, "integer"),
        ("port", "65536", "65535"),
        ("workers", "0", "greater than or equal to 1"),
        ("validation_policy", SECRET, "'standard'"),
        ("validation_allow", "mycompany", "mycompany.models.*"),
        ("max_upload_size", "-1", "greater"),
        ("max_metadata_size", "12", "1024"),
        ("graceful_timeout", SECRET, "integer"),
        ("log_level", SECRET, "'info'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(
    tmp_path: Path, name: str, value: str, hint: str
) -> None:
    ended = serve(tmp_path, **{name: value})
    assert_refused(ended, USAGE, name.upper(), hint, "settings.invalid")
    assert list(tmp_path.iterdir()) == [], "something was made before the settings were read"


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    ended = serve(tmp_path, port=SECRET, workers=SECRET, validation_policy=SECRET)
    assert_refused(ended, USAGE, "PORT: ", "WORKERS: ", "VALIDATION_POLICY: ")


def test_a_wrong_setting_in_a_file_counts_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"WORKERS={SECRET}\n", encoding="utf-8")
    assert_refused(serve(tmp_path), USAGE, "WORKERS: ")


@pytest.mark.parametrize("revision", ["9999", "a1b2c3d4e5f6"])
def test_a_database_of_an_unknown_release_is_refused_and_not_touched(
    tmp_path: Path, revision: str
) -> None:
    with running_server(tmp_path) as server, server.client() as client:
        publish(client, "m", {"m.safetensors": safetensors(1)}, create_model=True)
    with sqlite3.connect(tmp_path / "modelyard.db") as rows:
        (known,) = rows.execute("SELECT version_num FROM alembic_version").fetchone()
        rows.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        rows.execute("UPDATE registry SET serves_from = ?", (revision,))
    rows.close()
    assert_refused(serve(tmp_path), UNAVAILABLE, revision, "database.behind")
    with sqlite3.connect(tmp_path / "modelyard.db") as rows:
        assert rows.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]
        rows.execute("UPDATE alembic_version SET version_num = ?", (known,))
    rows.close()
    with running_server(tmp_path) as server, server.client() as client:
        assert client.get("/api/v1/models/m/versions/latest").json()["version"] == 1


@pytest.mark.parametrize("revision", [None, "a1b2c3d4e5f6"])
def test_a_server_that_is_run_past_the_command_line_checks_the_database_too(
    tmp_path: Path, revision: str | None
) -> None:
    path = tmp_path / "modelyard.db"
    if revision is not None:
        with closing(sqlite3.connect(path)) as rows, rows:
            rows.execute("CREATE TABLE alembic_version (version_num TEXT)")
            rows.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    command = "-m uvicorn --factory entrypoints.http.app:create_app_from_environment --port 0"
    ended = subprocess.run(
        [sys.executable, *command.split()],
        cwd=tmp_path,
        env=environment_for(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert f"The database is at {revision or 'no revision'}" in ended.stderr
    assert "modelyard-server migrate" in ended.stderr
    assert path.exists() == (revision is not None)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no database at all, only text\n" * 200, id="text"),
        pytest.param(safetensors("no database", 8000), id="binary"),
        pytest.param(b"SQLite format 3\0" + bytes(5000), id="only the head of one"),
    ],
)
def test_a_file_that_is_no_database_is_refused_and_not_touched(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "modelyard.db"
    path.write_bytes(content)
    assert_refused(serve(tmp_path), UNAVAILABLE, "DATABASE_URL", "database.unavailable")
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modelyard.db").mkdir()
    assert_refused(serve(tmp_path), UNAVAILABLE, "DATABASE_URL", "database.unavailable")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_is_told(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve(tmp_path, port=port, workers=workers)
    assert_refused(ended, UNEXPECTED, "127.0.0.1", str(port), "in use", "PORT")


def test_a_host_that_is_none_is_told(tmp_path: Path) -> None:
    ended = serve(tmp_path, host="256.1.1.1")
    assert_refused(ended, UNEXPECTED, "256.1.1.1", "HOST")


def test_a_file_in_the_place_of_the_storage_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "artifacts"
    path.write_bytes(b"not a folder")
    ended = serve(tmp_path)
    assert_refused(ended, USAGE, "MODEL_STORAGE_PATH", str(path), "Not a directory")
    assert path.read_bytes() == b"not a folder"


def test_a_storage_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.geteuid() == 0:  # whom modes do not stop; nobody makes folders in /proc
        closed = Path("/proc/modelyard")
    ended = serve(tmp_path, model_storage_path=closed)
    assert_refused(ended, USAGE, "MODEL_STORAGE_PATH", str(closed), "settings.invalid")


def test_a_folder_of_the_database_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    ended = serve(tmp_path, database_url=f"sqlite:///{tmp_path / 'file' / 'modelyard.db'}")
    assert_refused(ended, UNAVAILABLE, "DATABASE_URL", "database.unavailable")
