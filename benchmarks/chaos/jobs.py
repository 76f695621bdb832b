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

_SIZES = {(2_048, 65_536): 0.97, (MIB, 4 * MIB): 0.02, (9 * MIB, 20 * MIB): 0.01}
"""From and to, in bytes, and how many of all files are so big. S3 gets the biggest in parts."""
_SHARED_FILES = 20


@dataclass(frozen=True, slots=True)
class Job:
    """One version to be published, known by its key.

    Attributes:
        ahead: its files are uploaded as blobs first, and the publish names them.
        forgotten: a file that is uploaded too, and that no version names.
        broken_off: the client breaks its first attempt off half-way.
    """

    key: str
    model: str
    files: Mapping[str, bytes]
    ahead: bool
    forgotten: bytes | None
    broken_off: bool

    @property
    def digests(self) -> dict[str, str]:
        """Each file's sha256."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}

    def uploads(self) -> list[bytes]:
        """A request for each file that goes ahead."""
        files = [*self.files.values()] if self.ahead else []
        files += [self.forgotten] if self.forgotten else []
        return [
            request_bytes("PUT", f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}", data)
            for data in files
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
    """One of the jobs of a run: each with files of its own, some with what else clients do."""
    dice = random.Random(f"{plan.seed}/{serial}")
    nonce = b"%d/%d" % (plan.seed, serial)
    (sizes,) = dice.choices(list(_SIZES), list(_SIZES.values()))
    files = {"model.safetensors": small_file(nonce, dice.randrange(*sizes))}
    if dice.random() < 0.3:
        files["shared.safetensors"] = small_file(b"shared %d" % dice.randrange(_SHARED_FILES))
    return Job(
        key=f"job-{plan.seed}-{serial}",
        model=dice.choice(plan.model_names),
        files=files,
        ahead=dice.random() < 0.33,
        forgotten=small_file(nonce + b" forgotten") if dice.random() < 0.05 else None,
        broken_off=dice.random() < 0.05,
    )
