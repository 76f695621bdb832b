"""The command line, on a real SQLite file and folder.

Where a process of its own adds nothing (what is printed, the exit code) the same entry point runs
in this one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from domain.errors import Kind
from entrypoints.cli.app import run
from entrypoints.cli.exits import EXIT_CODES
from entrypoints.settings import Settings
from tests.support.publishing import safetensors
from tests.support.server import environment_for, running_server


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stdout holds: exactly one document."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs commands on the registry in ``root``, which is the working directory too."""

    root: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path, code: int = 0) -> Result:
        """In this process; the exit code must be the one expected."""
        self.capture.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = self.capture.readouterr()
        assert status == code, err
        return Result(status, out, err)

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        """The document that the command prints with ``--json``."""
        return self(*arguments, "--json", code=code).json

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """As a process of its own."""
        settings = {"validation_policy": "report"}
        if "port" in options:
            settings["port"] = options.pop("port")
        defaults: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", *map(str, arguments)],
            env=environment_for(self.root, **settings),
            cwd=self.root,
            **{**defaults, **options},
        )

    def file(self, name: str, content: bytes = b'{"a": 1}') -> Path:
        """A file to publish."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    loggers = [logging.getLogger(name) for name in (None, "modelyard", "uvicorn")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    # Most of them publish companions alone, which are easier to read than models.
    for name, value in environment_for(tmp_path, validation_policy="report").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("LOGNAME", "ann")
    monkeypatch.chdir(tmp_path)
    yield Cli(tmp_path, capsys)
    for logger, level, handlers in before:  # "serve" begins its log, on what pytest closes
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def churn(cli: Cli) -> Cli:
    """With ``churn@1`` published, and ``champion`` pointing at it."""
    cli.file("model/config.json")
    cli.file("model/sub/notes.txt", b"hello")
    cli("publish", "churn", "model", "--alias", "champion", "--create-model")
    return cli


# --- the everyday verbs -------------------------------------------------------------------------


def test_a_first_day_with_the_registry_in_processes_of_its_own(cli: Cli) -> None:
    def call(*arguments: str, told: str = "") -> str:
        process = cli.start(*arguments)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, told)
        return out

    cli.file("model/config.json")
    cli.file("model/m.safetensors", safetensors(1, 8))
    told = f"Created a new registry in {cli.root / 'modelyard.db'}\n"
    published = call("publish", "churn", "model", "--create-model", told=told)
    assert published == "Published churn@1: 2 files, 90 B.\n"
    call("alias", "set", "churn", "champion", "1")
    call("download", "churn@champion")
    assert (cli.root / "churn-1" / "config.json").read_bytes() == b'{"a": 1}'


def test_register_keeps_what_is_said(cli: Cli) -> None:
    record = cli.json("register", "ünï (1)", "--description", "# T", "--tag", "a=b=c")
    assert record["name"] == "ünï (1)"
    assert (record["description"], record["tags"]) == ("# T", {"a": "b=c"})
    assert (record["creator"], record["latest_version"]) == ("ann", None)
    assert record["created_at"].endswith("Z")
    assert cli.json("register", "other", "--user", "bob")["creator"] == "bob"


def test_publish_keeps_what_is_said(churn: Cli) -> None:
    options = '--param n=3 --param r=0.5 --param t=abc --param q="3" --param b=true --param z=null'
    record = churn.json(
        "publish", "churn", "model/config.json", *options.split(),
        "--metric", "auc=0.93", "--tag", "k=v", "--description", "d", "--source", "s3://x",
        "--parent", "churn@champion", "--alias", "canary", "--user", "bob",
    )  # fmt: skip
    assert record["version"] == 2
    assert record["parameters"] == {
        "n": 3, "r": 0.5, "t": "abc", "q": "3", "b": True, "z": None
    }  # fmt: skip
    assert (record["metrics"], record["tags"]) == ({"auc": 0.93}, {"k": "v"})
    assert (record["description"], record["source"]) == ("d", "s3://x")
    assert record["parents"] == [{"model": "churn", "version": 1}]
    assert (record["aliases"], record["creator"]) == (["canary"], "bob")
    digest = hashlib.sha256(b'{"a": 1}').hexdigest()
    assert [(f["path"], f["size"], f["sha256"]) for f in record["files"]] == [
        ("config.json", 8, digest)
    ]


def test_a_folder_is_published_without_hidden_files(churn: Cli) -> None:
    churn.file("model/.git/config", b"secret")
    churn.file("model/.hidden", b"secret")
    files = churn.json("publish", "churn", "model", "model/../model/config.json", code=2)
    assert files["code"] == "usage.invalid"
    files = churn.json("publish", "churn", "model")["files"]
    assert [file["path"] for file in files] == ["config.json", "sub/notes.txt"]


def test_files_keep_the_names_they_are_given_also_as_links(churn: Cli) -> None:
    blob = churn.file("blobs/5891b5b522d5df08", b'{"b": 2}')  # as the caches of Hugging Face are
    for name in ("link.json", "snapshot/config.json", "snapshot/sub/model.json"):
        (churn.root / name).parent.mkdir(parents=True, exist_ok=True)
        (churn.root / name).symlink_to(blob)
    published = churn.json("publish", "churn", "link.json")
    assert [file["path"] for file in published["files"]] == ["link.json"]
    published = churn.json("publish", "churn", "snapshot")
    assert [file["path"] for file in published["files"]] == ["config.json", "sub/model.json"]


def test_publish_tells_of_aliases_and_of_what_was_found(
    churn: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("publish", "churn", "model/config.json", "--idempotency-key", "k")
    told = churn(*command, "--alias", "champion", "--alias", "canary")
    assert told.out == "Published churn@2 (@champion, @canary): 1 file, 8 B.\n"
    assert told.err.startswith("critical: config.json is not a model")
    churn("alias", "set", "churn", "champion", "1")
    told = churn(*command, "--alias", "champion", "--alias", "canary")
    assert told.out == "Published churn@2 (@canary): 1 file, 8 B (published before).\n"
    churn.file("cat.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6" + b"\0" * 50)
    told = churn("publish", "churn", "cat.png", "--json")
    assert told.err.startswith("critical: cat.png is PNG image data")
    assert told.json["validation"]["verdict"] == "reject"


def test_publish_to_an_unknown_model_names_the_option(churn: Cli) -> None:
    told = churn("publish", "new", "model", code=3)
    assert "There is no model 'new'; register it first, or publish with --create-model." in told.err


def test_an_idempotency_key_publishes_once(churn: Cli) -> None:
    command = ("publish", "churn", "model", "--idempotency-key", "k1")
    assert "Published churn@2" in churn(*command).out
    assert "(published before)" in churn(*command).out
    churn("publish", "churn", "model/config.json", "--idempotency-key", "k1", code=4)


def test_a_picture_is_refused_and_takes_no_number(
    churn: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALIDATION_POLICY", "standard")
    churn.file("cat.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6" + b"\0" * 50)
    problem = churn.json("publish", "churn", "cat.png", code=5)
    assert (problem["code"], problem["exit_code"]) == ("file.not_a_model", 5)
    churn.file("m.safetensors", safetensors(1))
    assert churn.json("publish", "churn", "model", "m.safetensors")["version"] == 2


def test_show_tells_of_a_model_and_of_a_version_by_any_reference(churn: Cli) -> None:
    assert churn.json("show", "churn")["aliases"] == {"champion": 1}
    for reference in ("1", "latest", "champion", "@champion"):
        assert churn.json("show", f"churn@{reference}")["version"] == 1
    assert "champion" in churn("show", "churn@1").out
    for absent in ("churn@2", "churn@absent", "absent"):
        assert churn("show", absent, code=3).out == ""


def test_list_filters_orders_and_ends(churn: Cli) -> None:
    for auc in ("0.1", "0.9", "0.5"):
        churn("publish", "churn", "model", "--metric", f"auc={auc}")
    listed = churn.json("list", "churn", "--order-by", "metrics.auc desc", "--limit", "2")
    assert [item["version"] for item in listed["items"]] == [3, 4]
    assert listed["more"] is True
    listed = churn.json("list", "--versions", "--filter", "metrics.auc > 0.4", "--limit", "0")
    assert ({item["version"] for item in listed["items"]}, listed["more"]) == ({3, 4}, False)
    assert churn("list").out.startswith("churn\t4\t4\tchampion=1\t")
    problem = churn.json("list", "--filter", "nope = 1", code=5)
    assert problem["code"] == "filter.invalid"
    churn("list", "absent", code=3)


def test_aliases_are_set_moved_rolled_back_and_deleted(churn: Cli) -> None:
    churn("publish", "churn", "model")
    assert churn.json("alias", "set", "churn", "champion", "latest")["version"] == 2
    assert churn.json("alias", "rollback", "churn", "champion")["version"] == 1
    assert churn.json("alias", "set", "churn", "canary", "champion")["version"] == 1
    aliases = churn.json("alias", "list", "churn")["items"]
    assert [(item["alias"], item["version"]) for item in aliases] == [
        ("canary", 1),
        ("champion", 1),
    ]
    assert churn.json("alias", "set", "churn@2", "next")["version"] == 2
    assert churn.json("alias", "set", "churn@champion", "next")["version"] == 1
    problem = churn.json("alias", "set", "churn", "canary", code=5)
    assert problem["detail"].startswith("Say which version of 'churn'")
    churn("alias", "delete", "churn", "champion")
    history = churn.json("alias", "history", "churn", "champion")["items"]
    assert [move["version"] for move in history] == [None, 1, 2, 1]
    churn("alias", "set", "churn", "champion", "9", code=3)
    churn("alias", "set", "churn", "v3", "1", code=5)
    churn("alias", "rollback", "churn", "canary", code=4)


def test_delete_asks_for_force_where_an_alias_points(churn: Cli) -> None:
    churn("publish", "churn", "model")
    problem = churn.json("delete", "churn@1", code=4)
    assert problem["code"] == "version.in_use"
    assert problem["detail"].endswith("or force the deletion.")
    churn("delete", "churn@2")
    churn("delete", "churn@latest", code=5)
    assert churn.json("delete", "churn", code=4)["code"] == "model.in_use"
    churn("delete", "churn", "--force")
    churn("show", "churn", code=3)
    assert churn.json("publish", "churn", "model", "--create-model")["version"] == 3


# --- download -----------------------------------------------------------------------------------


def test_download_takes_single_files_and_keeps_what_is_there(churn: Cli) -> None:
    got = churn.json("download", "churn@1", "sub/notes.txt", "-o", "out")
    assert got["folder"] == str(churn.root / "out")
    assert (churn.root / "out" / "sub" / "notes.txt").read_bytes() == b"hello"
    assert not (churn.root / "out" / "config.json").exists()
    before = (churn.root / "out" / "sub" / "notes.txt").stat()
    churn("download", "churn@champion", "-o", "out")
    assert (churn.root / "out" / "sub" / "notes.txt").stat().st_ino == before.st_ino
    assert churn.json("download", "churn@1", "nope", code=3)["code"] == "file.not_found"
    assert churn.json("download", "churn", code=5)["code"] == "reference.invalid"


def test_download_overwrites_other_content_only_when_forced(churn: Cli) -> None:
    churn.file("out/config.json", b"mine")
    told = churn("download", "churn@1", "-o", "out", code=4)
    sentence = "out/config.json has other content; --force overwrites it"
    assert told.err == f"error: {sentence} (io.failed)\n"
    assert (churn.root / "out" / "config.json").read_bytes() == b"mine"
    churn("download", "churn@1", "-o", "out", "--force")
    assert (churn.root / "out" / "config.json").read_bytes() == b'{"a": 1}'


def test_download_never_leaves_its_folder(churn: Cli) -> None:
    (churn.root / "elsewhere").mkdir()
    (churn.root / "out").mkdir()
    (churn.root / "out" / "sub").symlink_to(churn.root / "elsewhere")
    churn("download", "churn@1", "-o", "out", code=1)
    assert list((churn.root / "elsewhere").iterdir()) == []


def test_download_of_damaged_bytes_leaves_no_file(churn: Cli) -> None:
    _damage(churn, b"hello", b"jello")
    problem = churn.json("download", "churn@1", "sub/notes.txt", "-o", "out", code=7)
    assert problem["code"] == "blob.corrupt"
    assert [path for path in (churn.root / "out").rglob("*") if path.is_file()] == []


# --- upkeep -------------------------------------------------------------------------------------


def _damage(cli: Cli, content: bytes, other: bytes | None) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = next((cli.root / "artifacts").rglob(digest))
    path.chmod(0o644)
    path.unlink() if other is None else path.write_bytes(other)
    return digest


def test_verify_names_what_is_missing_or_corrupt(churn: Cli) -> None:
    assert churn.json("verify") == {
        "blobs": 2, "size": 13, "missing": [], "corrupt": [], "unreferenced": 0, "clean": True,
        "named_by": {},
    }  # fmt: skip
    corrupt = _damage(churn, b"hello", b"jello")
    missing = _damage(churn, b'{"a": 1}', None)
    found = churn.json("verify", code=7)
    assert (found["missing"], found["corrupt"]) == ([missing], [corrupt])
    assert found["named_by"] == {
        missing: [{"model": "churn", "version": 1, "path": "config.json"}],
        corrupt: [{"model": "churn", "version": 1, "path": "sub/notes.txt"}],
    }
    assert f"corrupt  {corrupt}  churn@1/sub/notes.txt\n" in churn("verify", code=7).out


def test_gc_removes_what_no_version_names(churn: Cli) -> None:
    churn.file("other.json", b"[]")
    churn("publish", "other", "other.json", "--create-model")
    churn("delete", "churn", "--force")
    assert churn.json("gc")["blobs"] == 0
    dry = churn.json("gc", "--dry-run", "--grace", "0s")
    assert (dry["blobs"], dry["size"], dry["dry_run"]) == (2, 13, True)
    assert churn.json("gc", "--grace", "0")["blobs"] == 2
    assert churn.json("verify")["blobs"] == 1
    churn("gc", "--grace", "soon", code=2)


def test_gc_with_another_database_removes_nothing_unless_forced(
    churn: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = churn.root / "empty.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{empty}")
    assert churn.json("gc", "--grace", "0", code=6)["code"] == "database.missing"
    assert not empty.exists()
    churn("migrate")
    assert churn.json("gc", "--grace", "0", code=4)["code"] == "gc.refused"
    assert churn.json("verify")["blobs"] == 2
    assert churn.json("gc", "--grace", "0", "--force")["blobs"] == 2


def test_stats_counts_and_says_where(churn: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    churn("publish", "churn", "model/config.json")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///modelyard.db")
    monkeypatch.setenv("MODEL_STORAGE_PATH", "artifacts")
    database, store = (str(churn.root / name) for name in ("modelyard.db", "artifacts"))
    assert churn.json("stats") == {
        "models": 1, "versions": 2, "aliases": 1, "files": 3, "blobs": 2,
        "size": 21, "distinct_size": 13, "database": database, "store": store,
    }  # fmt: skip
    assert churn("stats").out.startswith(f"database  {database}\nstore     {store}\n")


def test_a_registry_moves_by_export_and_import(
    churn: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = churn.json("export", "export")
    assert (exported["models"], exported["versions"], exported["blobs"]) == (1, 1, 2)
    before = churn.json("show", "churn@1")
    other = tmp_path / "other"
    other.mkdir()
    for name, value in environment_for(other).items():
        monkeypatch.setenv(name, value)
    assert churn.json("import", "export")["versions"] == 1
    assert churn.json("show", "churn@champion") == before
    assert churn.json("import", "export")["present"] == 1
    assert churn.json("export", "model", code=5)["code"] == "export.invalid"
    assert churn.json("import", "model", code=5)["code"] == "export.invalid"


# --- the database -------------------------------------------------------------------------------


def test_migrate_creates_and_checks(cli: Cli) -> None:
    assert cli.json("migrate", "--check", code=6)["code"] == "database.behind"
    assert not (cli.root / "modelyard.db").exists()
    assert cli.json("migrate")["changed"] is True
    assert cli.json("migrate", "--check")["changed"] is False


READING = [
    ["list"], ["show", "m"], ["stats"], ["verify"], ["gc"], ["export", "out"], ["delete", "m"],
    ["download", "m@1"], ["publish", "m", "f"],
    ["alias", "list", "m"], ["alias", "history", "m", "a"],
    ["alias", "set", "m", "a", "1"], ["alias", "rollback", "m", "a"], ["alias", "delete", "m", "a"],
]  # fmt: skip


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_command_that_needs_a_registry_creates_none(cli: Cli, command: list[str]) -> None:
    cli.file("f")
    result = cli(*command, code=6)
    missing = f"error: There is no registry at {cli.root / 'modelyard.db'}; "
    assert result.err.startswith(missing)
    assert result.err.count("\n") == 1
    assert {path.name for path in cli.root.iterdir()} == {"f"}


def test_a_file_without_a_schema_is_no_registry(cli: Cli) -> None:
    (cli.root / "modelyard.db").touch()
    assert cli.json("list", code=6)["code"] == "database.missing"


@pytest.mark.parametrize("command", [["register", "m"], ["migrate"], ["import", "out"]])
def test_a_command_that_creates_a_registry_says_so_once(
    churn: Cli, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    churn("export", "out")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///new.db")
    told = f"Created a new registry in {churn.root / 'new.db'}\n"
    assert [churn(*command).err, churn("list").err] == [told, ""]


def test_a_database_of_a_newer_release_is_refused(cli: Cli) -> None:
    import sqlite3

    cli("migrate")
    with sqlite3.connect(cli.root / "modelyard.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'future'")
        connection.execute("UPDATE registry SET serves_from = 'future'")
    connection.close()
    for command in (("list",), ("migrate",), ("serve",)):
        assert "(database.behind)" in cli(*command, code=6).err


def test_eight_processes_may_start_at_once_on_a_fresh_file(cli: Cli) -> None:
    processes = [cli.start("register", f"model {number}") for number in range(8)]
    told = ""
    for process in processes:
        told += process.communicate()[1]
        assert process.returncode == 0
    assert told == f"Created a new registry in {cli.root / 'modelyard.db'}\n"
    assert len(cli.json("list")["items"]) == 8


# --- serve --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_finishes_an_upload_before_it_ends(tmp_path: Path, workers: int) -> None:
    content = os.urandom(4 << 20)
    digest = hashlib.sha256(content).hexdigest()
    length = f"Content-Length: {len(content)}"
    head = f"PUT /api/v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
    with running_server(tmp_path, workers=workers) as server:
        pids = server.pids
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(head.encode() + content[: 3 << 20])
            _wait(lambda: bool(server.staged))
            server.process.send_signal(signal.SIGTERM)
            _wait(lambda: not _accepts(server.host, server.port))
            connection.sendall(content[3 << 20 :])
            assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
        assert server.stop() in {0, -signal.SIGTERM}
        assert "Traceback" not in server.log
    _wait(lambda: not any(map(_runs, pids)))


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_serve_tells_of_an_address_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serving = cli.start("serve", port=taken.getsockname()[1])
        assert "choose another with HOST and PORT" in serving.communicate(timeout=60)[1]
    assert serving.returncode == 1


def test_the_help_of_serve_lists_every_setting(cli: Cli) -> None:
    text = cli("serve", "--help").out
    for name, field in Settings.model_fields.items():
        assert name.upper() in text
        assert str(field.description) in text


# --- errors, and who reads the output -----------------------------------------------------------


def test_every_kind_of_error_has_an_exit_code() -> None:
    assert EXIT_CODES.keys() == set(Kind)
    assert not set(EXIT_CODES.values()) & {0, 1, 2, 130}


def test_errors_are_one_line_and_with_json_one_document_too(cli: Cli) -> None:
    cli("migrate")
    result = cli("show", "absent", code=3)
    assert result.out == ""
    assert result.err == "error: There is no model 'absent'. (model.not_found)\n"
    result = cli("show", "absent", "--json", code=3)
    assert result.json == {
        "title": "There is no such model",
        "detail": "There is no model 'absent'.",
        "code": "model.not_found",
        "exit_code": 3,
        "errors": [],
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["show"],
        ["list", "--limit", "x"],
        ["list", "--nope"],
        ["publish", "m", "f", "--param", "k"],
        ["publish", "m", "f", "--param", "k=1", "--param", "k=2"],
        ["publish", "m", "f", "--metric", "k=high"],
    ],
)
def test_wrong_usage_is_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments, "--json", code=2)
    assert result.json["code"] == "usage.invalid"
    assert "--help" in result.err
    assert "Traceback" not in result.err


def test_a_wrong_setting_is_one_line_and_exit_code_2(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "many")
    for command in ("serve", "migrate", "list"):
        result = cli(command, code=2)
        assert result.err.startswith("error: PORT: ")
        assert result.err.count("\n") == 1


def test_what_is_not_there_is_told_without_a_traceback(cli: Cli) -> None:
    result = cli("publish", "churn", "absent.bin", "--create-model", code=1)
    assert result.err == "error: no such file or folder: absent.bin (io.failed)\n"


def test_text_cannot_steer_the_terminal(cli: Cli) -> None:
    cli("register", "churn", "--description", "\x1b[2Jcleared\u202e")
    assert "\x1b" not in cli("show", "churn").out
    assert cli.json("show", "churn")["description"] == "\x1b[2Jcleared\u202e"


def test_help_needs_neither_settings_nor_a_database(cli: Cli) -> None:
    code = (
        "import sys; from entrypoints.cli.app import run; run(['--help']);"
        "heavy = {'sqlalchemy', 'fastapi', 'pydantic_settings', 'uvicorn', 'alembic'};"
        "sys.exit(bool(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_for(cli.root, port="many"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Exit codes" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(churn: Cli) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = churn.start("list", "--json", stdout=writer)
    os.close(writer)
    _, err = process.communicate()
    assert (process.returncode, err) == (141, "")


@pytest.mark.parametrize("arguments", [["show", "nope"], ["frobnicate"], ["list"]])
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_stdout_that_takes_nothing_costs_no_traceback(
    churn: Cli, arguments: list[str], json: list[str]
) -> None:
    reader, gone = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full, os.fdopen(gone, "wb") as closed:
        for stdout in (full, closed):
            process = churn.start(*arguments, *json, stdout=stdout)
            _, err = process.communicate()
            wrote = bool(json) or arguments == ["list"]
            status = {"show": 3, "frobnicate": 2}.get(arguments[0])
            assert process.returncode == ((141 if stdout is closed else 1) if wrote else status)
            assert sum(line.startswith("error: ") for line in err.splitlines()) == (
                0 if arguments == ["list"] and stdout is closed else 1
            )
            assert "Traceback" not in err
            assert "Exception" not in err


def test_without_any_stdout_a_command_does_its_work(churn: Cli) -> None:
    command = f"exec {sys.executable} -m entrypoints.cli register other --json >&- 2>&-"
    environment = environment_for(churn.root)
    subprocess.run(["sh", "-c", command], env=environment, cwd=churn.root, check=True)
    assert churn.json("show", "other")["name"] == "other"


def test_the_release_is_told(cli: Cli) -> None:
    assert cli("--version").out.startswith("modelyard-server ")


def test_the_examples_of_the_help_of_list_work(churn: Cli) -> None:
    text = " ".join(churn("list", "--help").out.replace("│", "").split())
    of_models, of_versions = "tags.team = 'risk'", "metrics.auc > 0.9"
    assert f"Such as: {of_models}. With NAME or --versions also: {of_versions}" in text
    churn("list", "--filter", of_models)
    churn("list", "churn", "--filter", f"{of_models} AND {of_versions}")
    churn("list", "--versions", "--filter", f"{of_models} AND {of_versions}")


def test_progress_is_shown_on_a_terminal_and_nowhere_else(churn: Cli) -> None:
    leader, follower = pty.openpty()
    process = churn.start("publish", "churn", "model", stderr=follower)
    os.close(follower)
    shown = b"".join(_read_all(leader))
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "Published churn@2: 2 files, 13 B.\n")
    assert b"Publishing churn" in shown
    churn.file("model/m.safetensors", safetensors(1))
    assert churn("publish", "churn", "model").err == ""
    assert churn("export", "export").err == ""


def _read_all(descriptor: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(descriptor, 4096):
            yield chunk
    except OSError:
        return
    finally:
        os.close(descriptor)


def test_ctrl_c_leaves_nothing_half_done(churn: Cli) -> None:
    with (churn.root / "huge.bin").open("wb") as file:
        file.truncate(1 << 40)
    command = ("publish", "churn", "huge.bin", "--alias", "next")
    process = churn.start(*command)
    staging = churn.root / "artifacts" / "staging"
    _wait(lambda: any(path.stat().st_size for path in staging.iterdir()))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "error: Interrupted (interrupted)\n")
    assert list(staging.iterdir()) == []
    assert churn.json("show", "churn")["latest_version"] == 1


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.01)
