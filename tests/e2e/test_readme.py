"""What the README shows is what one sees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.corpus import CORPUS
from tests.support.server import ROOT, running_server
from tests.support.tiny_onnx import onnx_model

README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = re.findall(r"<!-- tour -->\n```sh\n(.*?)```", README, re.DOTALL)


SESSION = re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
STEP = re.compile(r"^\$ (.+)\n((?:[^$\n].*\n)*)", re.MULTILINE)
SIZE = 48213  # is 47.1 KiB


def _run(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


@pytest.mark.xdist_group("readme")
def test_the_session_at_the_top_prints_what_it_shows(tmp_path: Path) -> None:
    (session,) = SESSION
    steps = STEP.findall(session)
    assert "".join(f"$ {command}\n{shown}\n" for command, shown in steps) == f"{session}\n"
    (tmp_path / "model.onnx").write_bytes(onnx_model(SIZE))
    (tmp_path / "cat.jpg").write_bytes(bytes.fromhex("ffd8ffe000104a46494600010100000100010000"))
    trap = CORPUS / "attacks/torch_zip_payload.pt"
    (tmp_path / "downloaded.pt").write_bytes(trap.read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with running_server(tmp_path) as server:
        programs = f"{Path(sys.executable).parent}:{server.environment['PATH']}"
        for command, shown in steps:
            told = subprocess.run(
                ["bash", "-c", command.replace("localhost:8000", server.base_url)],
                cwd=elsewhere if command.startswith("curl") else tmp_path,
                env={**server.environment, "PATH": programs},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=60,
            )
            assert told.stdout == shown
    assert (elsewhere / "model.onnx").read_bytes() == onnx_model(SIZE)


@pytest.mark.xdist_group("readme")
def test_every_command_of_the_tour_works(tmp_path: Path) -> None:
    assert len(TOUR) == 7
    with running_server(tmp_path) as server:
        script = "\n".join(TOUR).replace("http://127.0.0.1:8000", server.base_url)
        script = script.replace("curl ", "curl --noproxy '*' ")
        answers = _run(script, tmp_path)
    assert (tmp_path / "fetched.safetensors").read_bytes() == (
        tmp_path / "churn.safetensors"
    ).read_bytes()
    documents, decoder = [], json.JSONDecoder()
    while answers:
        document, end = decoder.raw_decode(answers)
        documents.append(document)
        answers = answers[end:].lstrip()
    model, version, alias, fetched, found, patched, history, refusal, *more = documents
    held, quarantined, reviewed, described = more
    assert (model["name"], model["creator"]) == ("churn", "ada")
    assert (version["version"], version["metrics"]) == (1, {"auc": 0.91})
    assert (alias["alias"], alias["version"]) == ("champion", 1)
    assert fetched["aliases"] == ["champion"]
    assert [item["version"] for item in found["items"]] == [1]
    assert patched["metrics"] == {"auc": 0.91, "auc_eu": 0.88}
    assert [move["actor"] for move in history["items"]] == ["ada"]
    assert refusal["code"] == "file.not_a_model"
    assert "cat.jpg is JPEG image data, not a model" in refusal["detail"]
    assert (held["version"], held["status"]) == (2, "quarantined")
    assert held["validation"]["findings"][0]["subject"] == "acme.Net"
    assert [item["version"] for item in quarantined["items"]] == [2]
    assert (reviewed["status"], reviewed["validation"]["reviews"][0]["reviewer"]) == (
        "ready",
        "eve",
    )
    assert [item["version"] for item in described["items"]] == [1]
