"""Big files through the service into an object store and out of it, against the store's client."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from benchmarks import own_clients
from benchmarks.contenders import modelyard
from benchmarks.own_clients import OwnClient
from benchmarks.plan import GIB, Plan
from benchmarks.report import Line, Samples, Target, interleave, ratio
from benchmarks.servers import MIB
from benchmarks.transfer import Transfers, memory_lines
from benchmarks.wire import WireError

UPLOAD = Target(1.25)
MEMORY = Target(100)
_ROUNDS = 3
"""At most: nothing that an object store deletes leaves its disk at once."""


def s3(plan: Plan) -> list[Line]:
    """SeaweedFS against obstore."""
    return _compare(plan, "S3", own_clients.s3, UPLOAD)


def gcs(plan: Plan) -> list[Line]:
    """fake-gcs-server against google-cloud-storage."""
    return _compare(plan, "GCS", own_clients.gcs)


def azure(plan: Plan) -> list[Line]:
    """Azurite against obstore."""
    return _compare(plan, "Azure", own_clients.azure)


def memory(plan: Plan) -> list[Line]:
    """How much the service grows while 5 GiB go through it to S3, both ways, and come back."""
    huge = replace(plan, big=plan.huge)
    with (
        own_clients.s3() as own,
        modelyard(plan.workdir, workers=1, settings=own.settings) as server,
    ):
        big = Transfers(huge, server, own.clear)
        big.put()
        big.multipart()
        big.download_and_hash()
    return memory_lines(big, MEMORY, f"S3: memory growth with {plan.huge / GIB:g} GiB")


def _compare(
    plan: Plan,
    name: str,
    store: Callable[[], AbstractContextManager[OwnClient]],
    target: Target | None = None,
) -> list[Line]:
    """Uploads by PUT and by multipart, and downloads; both sides hash what they move."""
    rounds = min(_ROUNDS, plan.rounds)
    with (
        store() as own,
        modelyard(plan.workdir, workers=1, settings=own.settings) as server,
    ):
        big = Transfers(plan, server, own.clear)

        def upload() -> float:
            big.fresh()
            start = time.perf_counter()
            _hash(big)
            own.upload(big.file.path)
            return time.perf_counter() - start

        def download() -> float:
            start = time.perf_counter()
            if own.download() != big.file.sha256:
                raise WireError(f"{name} sent other bytes than were uploaded")
            return time.perf_counter() - start

        uploads = interleave(rounds, {"own": upload, "PUT": big.put, "multipart": big.multipart})
        big.multipart()
        own.upload(big.file.path)
        downloads = interleave(rounds, {"own": download, "ours": big.download_and_hash})
    size = f"{plan.big / MIB:g} MiB"
    theirs = Samples("own client + hash", "s", uploads.pop("own"))
    lines = [
        ratio(f"{name}: upload {size} by {how}", Samples(how, "s", values), theirs, target)
        for how, values in uploads.items()
    ]
    ours, own_download = (Samples(who, "s", downloads[who]) for who in ("ours", "own"))
    return [
        *lines,
        ratio(f"{name}: download {size}", ours, replace(own_download, name=theirs.name)),
        *memory_lines(big, MEMORY, f"{name}: memory growth"),
    ]


def _hash(big: Transfers) -> None:
    command = ["openssl", "dgst", "-sha256", str(big.file.path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
