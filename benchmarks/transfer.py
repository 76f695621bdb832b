"""Big files in and out: seconds for 1 GiB, and how much the server's memory grows meanwhile."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks.contenders import MODELS, create_model, modelyard, nginx
from benchmarks.mlflow import MLflow, Run, mlflow
from benchmarks.payload import METADATA, BigFile, publish_frame, small_file
from benchmarks.plan import Plan
from benchmarks.report import Line, Samples, Target, interleave, ratio
from benchmarks.servers import MIB, Server, peak_memory, tree_rss
from benchmarks.wire import Connection, WireError, request_head

MODEL = "big"
MEMORY = Target(64)


class Transfers:
    """One service, one big file, and the timed ways to move it; each returns seconds.

    Args:
        drop: removes big files from where the service keeps them; else it is its own folder.
    """

    def __init__(self, plan: Plan, server: Server, drop: Callable[[], None] | None = None) -> None:
        self.server = server
        self._drop = drop or partial(drop_big_files, plan.workdir / server.name / "blobs")
        folder = plan.workdir / "source"
        folder.mkdir(exist_ok=True)
        self.file = BigFile(folder / "model.safetensors", plan.big)
        self.copy = plan.workdir / "copy"
        create_model(server, MODEL)
        self._warm_up()
        self.idle = tree_rss(server.pid)
        self.growth: dict[str, list[float]] = {}

    def _warm_up(self) -> None:
        """Each kind of transfer once, small: code that is loaded on first use is not growth."""
        data = small_file(b"warm-up")
        digest = hashlib.sha256(data).hexdigest()
        before, after = publish_frame(MODEL, len(data), METADATA)
        with Connection(self.server.port) as connection:
            head = request_head("PUT", f"/api/v1/blobs/{digest}", len(data))
            connection.exchange(head + data).expect(201)
            connection.exchange(before + data + after).expect(201)
            connection.request("GET", file_path("1")).expect(200)

    def hash_and_copy(self, *, durable: bool = False) -> float:
        """``openssl dgst -sha256`` and ``cp``; ``durable`` also waits for the disk, as we do."""
        self.fresh()
        start = time.perf_counter()
        silent = subprocess.DEVNULL
        subprocess.run(["openssl", "dgst", "-sha256", self.file.path], check=True, stdout=silent)
        subprocess.run(["cp", self.file.path, self.copy], check=True)
        if durable:
            subprocess.run(["sync", self.copy], check=True)
        elapsed = time.perf_counter() - start
        self.copy.unlink()
        return elapsed

    def put(self) -> float:
        """``PUT /api/v1/blobs/{sha256}``."""
        self.fresh()
        head = request_head("PUT", f"/api/v1/blobs/{self.file.sha256}", self.file.size)
        return self._upload("PUT", head)

    def multipart(self) -> float:
        """A whole publish in one request."""
        self.fresh()
        return self._upload("multipart", *publish_frame(MODEL, self.file.size, METADATA))

    def download(self) -> float:
        """The file of the latest version; needs a multipart before it."""
        with self._memory("download"):
            return timed_download(self.server, file_path("latest"), self.file.size)

    def download_and_hash(self) -> float:
        """The same, for whoever looks whether it is what was published."""
        digest = hashlib.sha256()
        with self._memory("download"), Connection(self.server.port) as connection:
            start = time.perf_counter()
            connection.download(file_path("latest"), digest.update)
            elapsed = time.perf_counter() - start
        if digest.hexdigest() != self.file.sha256:
            raise WireError("the service sent other bytes than were published")
        return elapsed

    def _upload(self, kind: str, head: bytes, tail: bytes = b"") -> float:
        with Connection(self.server.port) as connection, self._memory(kind):
            start = time.perf_counter()
            connection.upload(head, self.file.path, tail).expect(201)
            return time.perf_counter() - start

    def _memory(self, kind: str) -> AbstractContextManager[None]:
        return peak_memory(self.server, self.idle, self.growth.setdefault(kind, []))

    def fresh(self) -> None:
        """A file nobody has seen, and the earlier ones gone from the disk."""
        self._drop()
        self.file.renew()


def file_path(ref: str) -> str:
    """Where the bytes of a version of the big model are."""
    return f"{MODELS}/{MODEL}/versions/{ref}/files/model.safetensors"


def drop_big_files(folder: Path) -> None:
    """Delete files of 16 MiB and more, so that a run leaves neither disk full nor writes due."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size >= 16 * MIB:
            path.unlink()


def timed_download(server: Server, path: str, size: int) -> float:
    """Seconds to read a body of ``size`` bytes and drop it."""
    with Connection(server.port) as connection:
        start = time.perf_counter()
        received = connection.download(path)
        elapsed = time.perf_counter() - start
    if received != size:
        raise WireError(f"{server.name} sent {received} bytes of {size}")
    return elapsed


def upload(plan: Plan) -> list[Line]:
    """PUT and multipart against hash plus copy and MLflow; the memory it took."""
    with modelyard(plan.workdir, workers=1) as server, mlflow(plan.workdir) as theirs:
        big = Transfers(plan, server)
        runs: dict[str, Callable[[], float]] = {
            "hash + copy": big.hash_and_copy,
            "hash + copy + sync": partial(big.hash_and_copy, durable=True),
            "PUT": big.put,
            "multipart": big.multipart,
        }
        if theirs:
            runs["mlflow"] = partial(_mlflow_upload, plan, theirs, theirs.prepare(MODEL), big)
        results = interleave(plan.rounds, runs)
    samples = {name: Samples(name, "s", values) for name, values in results.items()}
    size = f"{plan.big / MIB:g} MiB"
    put, multipart = samples["PUT"], samples["multipart"]
    lines = [
        ratio(f"upload {size} by PUT", put, samples["hash + copy"], Target(1.5)),
        ratio(f"upload {size} by PUT", put, samples["hash + copy + sync"]),
        ratio(f"upload {size} by multipart", multipart, samples["hash + copy"], Target(1.5)),
        ratio(f"upload {size} by multipart", multipart, put, Target(1.3)),
    ]
    if theirs:
        lines.append(ratio(f"upload {size} by PUT", put, samples["mlflow"]))
    return lines + memory_lines(big)


def _mlflow_upload(plan: Plan, theirs: MLflow, run: Run, big: Transfers) -> float:
    start = time.perf_counter()
    theirs.upload(run, "big", big.file.path)
    elapsed = time.perf_counter() - start
    drop_big_files(plan.workdir / "mlflow")
    return elapsed


def download(plan: Plan) -> list[Line]:
    """A GET of the file against nginx with sendfile and MLflow; the memory it took."""
    with ExitStack() as stack:
        server = stack.enter_context(modelyard(plan.workdir, workers=1))
        theirs = stack.enter_context(mlflow(plan.workdir))
        big = Transfers(plan, server)
        big.multipart()
        big.download_and_hash()
        big.growth.clear()
        runs = {"modelyard": big.download}
        if static := stack.enter_context(nginx(plan.workdir, big.file.path.parent)):
            runs["nginx"] = partial(timed_download, static, "/model.safetensors", plan.big)
        if theirs:
            run = theirs.prepare(MODEL)
            theirs.upload(run, "big", big.file.path)
            runs["mlflow"] = partial(timed_download, theirs.server, run.path("big"), plan.big)
        results = interleave(plan.rounds, runs)
    samples = {name: Samples(name, "s", values) for name, values in results.items()}
    what = f"download {plan.big / MIB:g} MiB"
    ours = samples.pop("modelyard")
    targets = {"nginx": Target(1.5)}
    lines = [ratio(what, ours, other, targets.get(name)) for name, other in samples.items()]
    return lines + memory_lines(big)


def memory_lines(
    big: Transfers, target: Target = MEMORY, what: str = "memory growth"
) -> list[Line]:
    """How much the server grew in each kind of transfer."""
    samples = [Samples(kind, "MiB", values) for kind, values in big.growth.items()]
    return [Line(f"{what}, {item.name}", item, None, max(item.values), target) for item in samples]
