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
_PROGRAM = """
import schemathesis
from schemathesis.cli import schemathesis as main
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
main()
"""
_CONFIG = """
[checks.missing_required_header]  # 412 without Tus-Resumable, as tus has it
expected-statuses = [400, 401, 403, 406, 412, 415, 422]
"""


def schemathesis(server: Server, folder: Path, *options: str, config: str = "") -> None:
    """Runs it, the same way each time."""
    file = folder / "schemathesis.toml"
    file.write_text(_CONFIG + config, encoding="utf-8")
    command = [sys.executable, "-c", _PROGRAM]
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
    upload = client.post(
        "/api/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
    ).headers["location"]
    config = f"""
        [parameters]
        "path.upload" = "{upload.rsplit("/", 1)[1]}"
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
    found = ["get_version", "get_manifest", "download_file", "stat_file", "get_model"]
    for operation in (*found, "get_upload", "stat_upload"):
        assert 200 in seen[operation], operation
    assert {"download_archive", "get_alias", "get_alias_history", "list_aliases"} <= set(seen)
