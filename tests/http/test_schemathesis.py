"""schemathesis reads the served OpenAPI document and tries what it allows, and what it does not.

It finds no failure of the service, no status that the document does not tell of, and no reply
unlike its schema. Two of its checks are left out: that whatever fits the schemas is accepted (the
rules for names and filters go beyond JSON Schema), and the reverse, which takes a PUT without a
body for an error, where it is an empty blob.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.publishing import publish, safetensors
from tests.support.server import Server

_LEFT_OUT = "positive_data_acceptance,negative_data_rejection"


def schemathesis(server: Server, folder: Path, *options: str, config: str = "") -> None:
    """Runs it, the same way each time."""
    file = folder / "schemathesis.toml"
    file.write_text(config, encoding="utf-8")
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(file), "run", f"{server.base_url}/openapi.json"]
    command += ["--generation-deterministic", "--continue-on-failure", "--no-color"]
    command += ["--exclude-checks", _LEFT_OUT, *options]
    environment = {"PATH": "", "HOME": str(folder), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, timeout=100, check=False
    )
    output = (run.stdout + run.stderr).decode(errors="replace")
    assert run.returncode == 0, output
    assert re.search(r"[1-9]\d* generated, [1-9]\d* passed", output), output


def counts(client: httpx.Client) -> dict[str, set[int]]:
    """The statuses that each operation has answered with."""
    found = defaultdict(set)
    line = r'modelyard_http_requests_total\{method="\w+",operation="(\w+)",status="(\d+)"\}'
    for operation, status in re.findall(line, client.get("/metrics").text):
        found[operation].add(int(status))
    return found


def test_every_operation_with_whatever_values(
    server: Server, client: httpx.Client, tmp_path: Path
) -> None:
    schemathesis(server, tmp_path, "--max-examples", "20")
    for operation, statuses in counts(client).items():
        assert max(statuses) < 500, operation


@pytest.mark.parametrize("reference", ["1", "@champion"])
def test_every_operation_on_what_is_there(
    server: Server, client: httpx.Client, tmp_path: Path, model: str, reference: str
) -> None:
    files = {"model.safetensors": safetensors(model), "a.txt": b"text"}
    metadata: dict[str, Any] = {
        "metrics": {"auc": 0.5},
        "parameters": {"p": None, "q": 1.5, "r": "x", "s": True},
        "tags": {"t": "u"},
        "aliases": ["champion"],
    }
    for parents in ([], [{"model": model, "version": 1}]):
        assert publish(client, model, files, parents=parents, **metadata).status_code == 201
    config = f"""
        [parameters]
        "path.name" = "{model}"
        "path.alias" = "champion"
        "path.ref" = "{reference}"
        "path.path" = "a.txt"
    """
    schemathesis(
        server,
        tmp_path,
        *("--max-examples", "15", "--phases", "examples,fuzzing"),
        *("--exclude-method", "DELETE", "--exclude-operation-id", "update_model"),
        config=config,
    )
    seen = counts(client)
    for operation in ("get_version", "get_manifest", "download_file", "stat_file", "get_model"):
        assert 200 in seen[operation], operation
    assert {"download_archive", "get_alias", "get_alias_history", "list_aliases"} <= set(seen)
