"""A file is judged the same by ``inspect`` and by the service, over a local disk and over S3."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.corpus import CORPUS, Sample, samples
from tests.support.publishing import publish
from tests.support.server import environment_for, running_server
from tests.support.services.buckets import Place

pytestmark = pytest.mark.timeout(300)
SAMPLES = samples()


def inspected(folder: Path) -> dict[str, Any]:
    """What ``inspect`` says of every file of the corpus, in one run."""
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", "inspect", "--json"]
        + [str(sample.path) for sample in SAMPLES],
        env=environment_for(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    return {item["file"]: item for item in json.loads(done.stdout)["items"]}


def published(client: httpx.Client, sample: Sample, *, ahead: bool) -> Any:
    """The judgement of the service on one file, which comes with the request or before it."""
    content, name = sample.path.read_bytes(), f"m{SAMPLES.index(sample)}{'-ahead' * ahead}"
    if not ahead:
        return publish(client, name, {sample.path.name: content}, create_model=True).json()
    digest = hashlib.sha256(content).hexdigest()
    assert client.put(f"/api/v1/blobs/{digest}", content=content).status_code in {200, 201}
    files = [{"path": sample.path.name, "sha256": digest}]
    body = {"files": files, "create_model": True}
    return client.post(f"/api/v1/models/{name}/versions", json=body).json()


@pytest.mark.parametrize("store", ["local", "s3"])
def test_the_corpus_has_the_same_verdicts_everywhere(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    settings: dict[str, Any] = {}
    if store == "s3":
        place: Place = request.getfixturevalue("s3_bucket")
        settings = {"model_storage_method": "s3", "model_storage_path": place.path, **place.environ}
    expected = inspected(tmp_path)
    with running_server(tmp_path, **settings) as server, server.client() as client:
        for sample in SAMPLES:
            item = expected[str(sample.path)]
            assert item["verdict"] in sample.verdicts, sample.name
            critical = [f["message"] for f in item["findings"] if f["severity"] == "critical"]
            for ahead in (False, True):
                reply = published(client, sample, ahead=ahead)
                if item["verdict"] == "reject":
                    told = [error["message"] for error in reply["errors"]]
                    assert set(told) <= set(critical) or len(told) == 1, (sample.name, told)
                    assert reply["status"] in {415, 422}
                else:
                    assert reply["validation"]["verdict"] == item["verdict"], sample.name
                    assert reply["validation"]["findings"] == item["findings"]
                    assert reply["facts"] == item["facts"]
    assert len(expected) == len(SAMPLES) == 189
    assert str(CORPUS) in next(iter(expected))
