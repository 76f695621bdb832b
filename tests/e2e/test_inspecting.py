"""The command line tells what files are, lets people decide, and judges anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.corpus import CORPUS
from tests.support.server import environment_for

ATTACK = CORPUS / "attacks/p4_posix_system.pkl"
UNKNOWN = CORPUS / "attacks/main_class.pkl"
MODEL = CORPUS / "models/model.safetensors"
CAT = CORPUS / "notmodels/cat.onnx"


def call(
    root: Path, *arguments: str | Path, code: int = 0, **settings: object
) -> subprocess.CompletedProcess[str]:
    """In a process of its own; the exit code must be the one expected."""
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", *map(str, arguments)],
        env=environment_for(root, **settings),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def document(root: Path, *arguments: str | Path, code: int = 0, **settings: object) -> Any:
    return json.loads(call(root, *arguments, "--json", code=code, **settings).stdout)


@pytest.mark.parametrize(
    ("file", "code", "told"),
    [
        (MODEL, 0, "accept  "),
        (UNKNOWN, 9, "__main__.MyModel"),
        (ATTACK, 5, "posix.system('true')"),
        (CAT, 5, "cat.onnx is JPEG image data, not a model."),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_inspect_needs_no_registry_and_ends_with_the_verdict(
    tmp_path: Path, file: Path, code: int, told: str
) -> None:
    assert told in call(tmp_path, "inspect", file, code=code).stdout
    assert list(tmp_path.iterdir()) == []


def test_inspect_gives_machines_the_verdict_the_findings_and_the_facts(tmp_path: Path) -> None:
    told = document(tmp_path, "inspect", MODEL, ATTACK, code=5)
    model, attack = told["items"]
    assert (told["verdict"], model["verdict"], attack["verdict"]) == ("reject", "accept", "reject")
    assert (model["file"], model["format"]) == (str(MODEL), "safetensors")
    assert (model["facts"]["parameters"], model["facts"]["tensors"]) == (516, 2)
    assert (model["policy"], model["coverage"], model["findings"]) == ("standard", "complete", [])
    (finding, *_) = (f for f in attack["findings"] if f["severity"] == "critical")
    assert "posix.system" in finding["message"]


def test_inspect_takes_a_folder_or_several_files_as_one_version(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(MODEL.read_bytes())
    (folder / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (item,) = document(tmp_path, "inspect", folder)["items"]
    assert [file["path"] for file in item["files"]] == ["config.json", "model.safetensors"]
    assert item["facts"]["parameters"] == 516
    files = sorted(folder.iterdir())
    assert document(tmp_path, "inspect", "--together", *files)["verdict"] == "accept"
    assert document(tmp_path, "inspect", *files, code=5)["verdict"] == "reject"


def test_the_policy_and_what_is_trusted_can_be_chosen(tmp_path: Path) -> None:
    call(tmp_path, "inspect", UNKNOWN, "--allow", "__main__.*")
    call(tmp_path, "inspect", UNKNOWN, validation_allow="__main__.MyModel")
    told = call(tmp_path, "inspect", UNKNOWN, "--policy", "strict", code=5).stdout
    assert "The strict policy takes no file that can" in told
    assert "reject" in call(tmp_path, "inspect", ATTACK, "--policy", "report").stdout
    operator = CORPUS / "models/custom_op.onnx"
    call(tmp_path, "inspect", operator, validation_allow="mycompany.*, com.evil.custom::Relu")
    call(tmp_path, "inspect", CORPUS / "models/pipeline.skops", "--policy", "strict")
    pickle = CORPUS / "models/sklearn_proto5.pkl"
    call(tmp_path, "inspect", pickle)
    call(tmp_path, "inspect", pickle, code=5, validation_policy="strict")


def test_a_missing_file_is_named_before_the_first_is_read(tmp_path: Path) -> None:
    problem = document(tmp_path, "inspect", MODEL, "nowhere.onnx", code=1)
    assert "nowhere.onnx" in problem["detail"]


def test_a_held_version_is_accepted_and_then_downloaded(tmp_path: Path) -> None:
    published = document(tmp_path, "publish", "net", UNKNOWN, "--create-model", code=9)
    assert published["status"] == "quarantined"
    assert document(tmp_path, "download", "net@1", code=4)["code"] == "version.quarantined"
    problem = document(tmp_path, "alias", "set", "net", "champion", "1", code=4)
    assert problem["code"] == "version.quarantined"
    told = call(tmp_path, "publish", "net", UNKNOWN, code=9).stdout
    assert "modelyard-server review net@2 accept --reason" in told
    call(tmp_path, "download", "net@1", "--held", "--output", "looked-at")
    assert (tmp_path / "looked-at" / UNKNOWN.name).read_bytes() == UNKNOWN.read_bytes()
    command = ("review", "net@1", "accept", "--user", "eve", "--reason", "We wrote it.")
    assert call(tmp_path, *command).stdout == "net@1 is ready.\n"
    shown = call(tmp_path, "show", "net@1").stdout
    assert "accept by eve" in shown
    assert "We wrote it." in shown
    call(tmp_path, "download", "net@1")
    assert (tmp_path / "net-1" / UNKNOWN.name).read_bytes() == UNKNOWN.read_bytes()
    assert document(tmp_path, "review", "net@latest", "accept", "--reason", "x", code=5)


def test_rescan_tells_what_a_new_policy_makes_of_stored_versions(tmp_path: Path) -> None:
    report: dict[str, Any] = {"validation_policy": "report"}
    document(tmp_path, "publish", "net", ATTACK, "--create-model", "--alias", "prod", **report)
    document(tmp_path, "publish", "net", MODEL, **report)
    told = call(tmp_path, "rescan", "--dry-run", code=9).stdout
    assert "net@1 @prod: reject -> reject, ready -> quarantined" in told
    assert "posix.system('true')" in told
    rescanned = document(tmp_path, "rescan", code=9)
    assert (rescanned["versions"], len(rescanned["changes"])) == (2, 1)
    assert document(tmp_path, "rescan")["versions"] == 0
    assert document(tmp_path, "show", "net@1")["status"] == "quarantined"
    listed = document(tmp_path, "list", "net", "--filter", "status = 'quarantined'")["items"]
    assert [version["version"] for version in listed] == [1]
    found = document(tmp_path, "list", "net", "--filter", "facts.parameters > 500")["items"]
    assert [version["version"] for version in found] == [2]


def test_an_export_of_strangers_is_held_until_it_is_judged_here(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    for file in (ATTACK, MODEL):
        call(there, "publish", "net", file, "--create-model", validation_policy="report")
    call(there, "export", tmp_path / "export")
    call(here, "import", tmp_path / "export", "--distrust")

    def statuses() -> list[tuple[int, str]]:
        items = document(here, "list", "net")["items"]
        return [(version["version"], version["status"]) for version in items]

    assert statuses() == [(2, "quarantined"), (1, "quarantined")]
    assert "net@1: review -> reject" in call(here, "rescan", code=9).stdout
    assert statuses() == [(2, "ready"), (1, "quarantined")]
