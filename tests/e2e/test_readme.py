"""The README's tour does what it says, and its lists are whole."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from entrypoints.settings import Settings
from tests.support.server import ROOT, running_server

README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = re.findall(r"<!-- tour -->\n```sh\n(.*?)```", README, re.DOTALL)


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
def test_every_command_of_the_tour_works(tmp_path: Path) -> None:
    assert len(TOUR) == 5
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
    model, version, alias, fetched, found, patched, history, refusal = documents
    assert (model["name"], model["creator"]) == ("churn", "ada")
    assert (version["version"], version["metrics"]) == (1, {"auc": 0.91})
    assert (alias["alias"], alias["version"]) == ("champion", 1)
    assert fetched["aliases"] == ["champion"]
    assert [item["version"] for item in found["items"]] == [1]
    assert patched["metrics"] == {"auc": 0.91, "auc_eu": 0.88}
    assert [move["actor"] for move in history["items"]] == ["ada"]
    assert refusal["code"] == "file.not_a_model"
    assert "cat.jpg is JPEG image data, not a model" in refusal["detail"]


def test_the_table_of_settings_is_the_settings() -> None:
    table = README.split("<!-- settings -->", 1)[1]
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \| (.*?) \|$", table, re.MULTILINE)
    declared = [
        (name.upper(), str(getattr(field.default, "value", field.default)), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert rows == declared


def test_the_make_targets_that_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make\s([a-z-]+)", README, re.MULTILINE))
    assert {"run", "test", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
