"""What is published: each job is one version, the same one at every run with the same seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.chaos.plan import Plan
from benchmarks.payload import BOUNDARY, small_file
from benchmarks.wire import MIB, request_bytes

_SMALL = (2_048, 65_536)
_SHARED_FILES = 20


@dataclass(frozen=True, slots=True)
class Job:
    """One version to be published, known by its key.

    Attributes:
        ahead: its files are uploaded as blobs first, and the publish names them.
    """

    key: str
    model: str
    files: Mapping[str, bytes]
    ahead: bool

    @property
    def digests(self) -> dict[str, str]:
        """Each file's sha256."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}

    def uploads(self) -> list[bytes]:
        """A request for each file that goes ahead."""
        return [
            request_bytes("PUT", f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}", data)
            for data in self.files.values()
        ]

    def publish(self) -> bytes:
        """The request that publishes it."""
        kind, body = self._named() if self.ahead else self._multipart()
        headers = {"Content-Type": kind, "Idempotency-Key": self.key}
        return request_bytes("POST", f"/api/v1/models/{self.model}/versions", body, headers)

    def _named(self) -> tuple[str, bytes]:
        files = [{"path": path, "sha256": digest} for path, digest in self.digests.items()]
        return "application/json", json.dumps({**self._metadata, "files": files}).encode()

    def _multipart(self) -> tuple[str, bytes]:
        parts = [("metadata", "application/json", json.dumps(self._metadata).encode())]
        parts += [
            (f'file; filename="{path}"', "application/octet-stream", data)
            for path, data in self.files.items()
        ]
        body = b"".join(
            b"--%b\r\nContent-Disposition: form-data; name=%b\r\nContent-Type: %b\r\n\r\n%b\r\n"
            % (BOUNDARY.encode(), name.encode(), kind.encode(), data)
            for name, kind, data in parts
        )
        return f"multipart/form-data; boundary={BOUNDARY}", body + b"--%b--\r\n" % BOUNDARY.encode()

    @property
    def _metadata(self) -> dict[str, object]:
        return {"tags": {"job": self.key}, "metrics": {"auc": 0.91}}


def job(plan: Plan, serial: int) -> Job:
    """One of the jobs of a run: every third goes ahead, some share a file, some have megabytes."""
    dice = random.Random(f"{plan.seed}/{serial}")
    size = dice.randrange(MIB, 4 * MIB) if dice.random() < 0.03 else dice.randrange(*_SMALL)
    files = {"model.safetensors": small_file(b"%d/%d" % (plan.seed, serial), size)}
    if dice.random() < 0.3:
        files["shared.safetensors"] = small_file(b"shared %d" % dice.randrange(_SHARED_FILES))
    model = dice.choice(plan.model_names)
    return Job(f"job-{plan.seed}-{serial}", model, files, ahead=dice.random() < 0.33)
