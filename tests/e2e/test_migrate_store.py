"""``migrate-store`` as people run it, also when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from entrypoints.settings import Settings
from tests.e2e.test_cli import Cli
from tests.integration.test_exchange import content
from tests.support.publishing import publish
from tests.support.server import environment_for, running_server

if TYPE_CHECKING:
    from tests.support.services.buckets import Place

# Runs the command line; before the n-th step of a kind it kills itself, or another command runs.
_HOOKED = """
import os, signal, subprocess, sys
from sqlalchemy import Engine, event
from adapters.local_disk import LocalDiskArtifactStore
from entrypoints.cli.app import run

kind, left, meanwhile, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]

def step():
    global left
    left -= 1
    if left == 0 and meanwhile:
        command = [sys.executable, "-m", "entrypoints.cli", *meanwhile.split()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    elif left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

if kind == "put":
    put = LocalDiskArtifactStore.put
    def stepped(*args, **options):
        step()
        return put(*args, **options)
    LocalDiskArtifactStore.put = stepped
else:
    @event.listens_for(Engine, "before_cursor_execute")
    def look(db, cursor, statement, *more):
        if statement.startswith(kind):
            step()

sys.exit(run(arguments))
"""


def hooked(
    cli: Cli, kind: str, *arguments: str, at: int = 1, meanwhile: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _HOOKED, kind, str(at), meanwhile, *arguments],
        env=environment_for(cli.root),
        cwd=cli.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """On a registry with two models, six versions and five blobs."""
    for name in (*Settings.model_fields, "modelyard_to_database"):
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment_for(tmp_path, validation_policy="report").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    filled = Cli(tmp_path, capsys)
    for number in range(5):
        filled.file("model/config.json", b'{"a": %d}' % number)
        filled("publish", "churn", "model", "--alias", "champion", "--create-model")
    filled("publish", "frauds", "model", "--create-model", "--idempotency-key", "once")
    return filled


def target_of(cli: Cli) -> tuple[str, ...]:
    url = f"sqlite:///{cli.root / 'target' / 'rows.db'}"
    return ("--to-database", url, "--to-storage-path", str(cli.root / "target" / "artifacts"))


def settle(monkeypatch: pytest.MonkeyPatch, target: tuple[str, ...]) -> None:
    """From now on commands work on the target."""
    names = {
        "--to-database": "DATABASE_URL",
        "--to-storage-path": "MODEL_STORAGE_PATH",
        "--to-storage-method": "MODEL_STORAGE_METHOD",
    }
    for option, value in zip(target[::2], target[1::2], strict=True):
        monkeypatch.setenv(names[option], value)


def exported(cli: Cli, name: str) -> dict[str, bytes]:
    cli("export", cli.root / name)
    return content(cli.root / name)


def test_it_says_what_it_did(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(cli)
    told = cli("migrate-store", *target).out
    assert f"{target[3]}: copied 5 blobs (40 B); 0 were there before." in told
    assert "2 models, 6 versions; " in told
    assert "All of it is there" in told
    document = cli.json("migrate-store", *target, "--verify")
    assert (document["copied"], document["present"], document["blobs"]) == (0, 5, 5)
    assert (document["size"], document["copied_size"]) == (40, 0)
    assert document["tables"]["versions"]["rows"] == 6
    assert len(document["tables"]["versions"]["digest"]) == 64
    assert document["verified"] is document["complete"] is document["reread"] is True
    assert document["seconds"] > 0
    assert (document["database"], document["store"]) == (
        str(cli.root / "target/rows.db"),
        target[3],
    )
    before = exported(cli, "one")
    settle(monkeypatch, target)
    assert exported(cli, "two") == before
    assert cli.json("verify")["clean"]
    replayed = cli("publish", "frauds", "model", "--create-model", "--idempotency-key", "once")
    assert "published before" in replayed.out


def test_killed_while_it_copies_blobs_it_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    before = exported(cli, "one")
    died = hooked(cli, "put", "migrate-store", *target_of(cli), at=4)
    assert died.returncode == -signal.SIGKILL
    document = cli.json("migrate-store", *target_of(cli))
    assert document["copied"] + document["present"] == 5
    assert document["complete"]
    settle(monkeypatch, target_of(cli))
    assert exported(cli, "two") == before
    assert cli.json("verify")["clean"]


def test_killed_while_it_copies_rows_it_goes_on(
    cli: Cli, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exported(cli, "one")
    target = ("--to-database", postgres_url, *target_of(cli)[2:])
    died = hooked(cli, "SELECT setval", "migrate-store", *target)
    assert died.returncode == -signal.SIGKILL
    document = cli.json("migrate-store", *target)
    assert (document["copied"], document["present"], document["complete"]) == (0, 5, True)
    settle(monkeypatch, target)
    assert exported(cli, "two") == before


def test_what_changes_meanwhile_is_told_and_comes_with_the_next_run(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = hooked(
        cli, "INSERT INTO sqlite_sequence", "migrate-store", *target_of(cli), "--json",
        meanwhile="register late",
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    document = json.loads(done.stdout)
    assert (document["changed"], document["complete"]) == (["models"], False)
    assert document["verified"]
    assert cli.json("migrate-store", *target_of(cli))["complete"]
    settle(monkeypatch, target_of(cli))
    assert cli.json("show", "late")["name"] == "late"


def test_damage_is_told_with_the_files_that_need_it(cli: Cli) -> None:
    record = cli.json("show", "churn@2")
    digest = record["files"][0]["sha256"]
    (cli.root / "artifacts" / "blobs" / digest[:2] / digest).unlink()
    document = cli.json("migrate-store", *target_of(cli), code=7)
    assert (document["lost"], document["copied"]) == ([digest], 4)
    named = {"model": "churn", "version": 2, "path": "config.json"}
    assert document["named_by"] == {digest: [named]}
    told = cli("migrate-store", *target_of(cli), code=7).out
    assert f"lost     {digest}  churn@2/config.json" in told
    assert "All of it is there" not in told


def test_what_cannot_be_is_refused_with_an_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.environ["DATABASE_URL"]
    for options in ((), ("--to-database", here)):
        assert "name another place" in cli("migrate-store", *options, code=2).err
    refused = cli.json("migrate-store", "--to-storage-path", "s3://bucket/models", code=2)
    assert refused["code"] == "settings.invalid"
    assert refused["detail"].startswith("The place to copy to: MODEL_STORAGE_METHOD: ")
    nowhere = "postgresql://nobody:secret@127.0.0.1:1/nothing"
    monkeypatch.setenv("MODELYARD_TO_DATABASE", nowhere)
    refused = cli.json("migrate-store", code=6)
    assert refused["code"] == "database.unavailable"
    assert "secret" not in str(refused)
    monkeypatch.delenv("MODELYARD_TO_DATABASE")
    with monkeypatch.context() as elsewhere:
        settle(elsewhere, target_of(cli))
        cli("register", "mine")
    refused = cli.json("migrate-store", *target_of(cli), code=4)
    assert refused["code"] == "database.of_another"
    assert not (cli.root / "target" / "artifacts" / "registry").exists()


def test_a_move_with_little_downtime(
    cli: Cli, postgres_url: str, s3_bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_bucket.environ.items():
        monkeypatch.setenv(name, value)
    target = (
        "--to-database", postgres_url,
        "--to-storage-method", "s3", "--to-storage-path", s3_bucket.path,
    )  # fmt: skip
    here = running_server(cli.root, validation_policy="report")
    with here as server, server.client() as client:
        assert cli.json("migrate-store", *target)["copied"] == 5
        publish(client, "churn", {"late.json": b'{"late": true}'}).raise_for_status()
    document = cli.json("migrate-store", *target)
    assert (document["copied"], document["present"], document["complete"]) == (1, 5, True)
    settings = {
        "database_url": postgres_url,
        "model_storage_method": "s3",
        "model_storage_path": s3_bucket.path,
    }
    new_home = cli.root / "new"
    new_home.mkdir()
    with (
        running_server(new_home, **settings, **s3_bucket.environ) as server,
        server.client() as client,
    ):
        latest = f"{server.api}/models/churn/versions/latest/files/late.json"
        assert client.get(latest).raise_for_status().content == b'{"late": true}'
        assert client.get(f"{server.api}/models/churn").json()["latest_version"] == 6
