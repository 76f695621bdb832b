"""What checking a file costs, beside hashing it, which every upload pays anyway."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adapters.inspection.validator import SandboxedFileValidator
from application.ports import FileSource
from benchmarks import model_files
from benchmarks.plan import Plan
from benchmarks.report import Line, Samples, Target, interleave, ratio
from domain.validation import ValidationPolicy
from domain.values import FilePath
from tests.support.aio import Loop
from tests.support.corpus import samples

HEADERS_ONLY = Target(0.3)
MEMORY = Target(150)
SECONDS = Target(5)


@dataclass(frozen=True, slots=True)
class _File(FileSource):
    """A local file, read as the service's store reads it: in a thread."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    async def read_at(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, offset)


class _Bench:
    """Checks files, one at a time, each in a process that has checked nothing before."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.verdict = ""
        self.peaks: list[float] = []

    def check(self, path: Path) -> float:
        """Seconds; sets the verdict, and adds the most memory that the process had, in MB."""
        return self._loop.run(self._check(path))

    async def _check(self, path: Path) -> float:
        async with SandboxedFileValidator() as validator:
            await validator.start()
            (child,) = validator._idle  # noqa: SLF001
            name = FilePath(path.name)
            started = time.perf_counter()
            report = await validator.validate(_File(path), name)
            took = time.perf_counter() - started
            self.verdict = ValidationPolicy().judge({name: report}).verdict
            self.peaks.append(_peak(child.pid))
            return took


def measure(plan: Plan) -> list[Line]:
    """Large files against their hashes; what wants to grow, and the corpus, in seconds."""
    loop = Loop()
    try:
        lines: list[Line] = []
        for path in model_files.large(plan.workdir, 2 * plan.big):
            lines += _compared(plan, loop, path, HEADERS_ONLY)
        for path in model_files.pickles(plan.workdir, plan.big // 4):
            lines += _compared(plan, loop, path, None)
        bombs = [each.path for each in samples() if "bomb" in each.name or "billion" in each.name]
        for path in [*model_files.growing(plan.workdir, 4 * plan.big), *bombs]:
            lines += _bounded(plan, loop, path)
        lines.append(loop.run(_corpus(plan)))
    finally:
        loop.close()
    return lines


def _compared(plan: Plan, loop: Loop, path: Path, target: Target | None) -> list[Line]:
    bench = _Bench(loop)
    runs: dict[str, Callable[[], float]] = {
        "check": partial(bench.check, path),
        "sha256": partial(_hash, path),
    }
    _hash(path)  # so that both find the file in memory
    results = interleave(plan.rounds, runs)
    checked, hashed = (Samples(name, "s", results[name]) for name in ("check", "sha256"))
    what = f"check {path.name}, {path.stat().st_size >> 20:,} MiB: {bench.verdict}"
    memory = _memory(path, bench)
    path.unlink()
    return [ratio(what, checked, hashed, target), memory]


def _bounded(plan: Plan, loop: Loop, path: Path) -> list[Line]:
    bench = _Bench(loop)
    taken = Samples("check", "s", [bench.check(path) for _ in range(min(plan.rounds, 2))])
    what = f"check {path.name}, {path.stat().st_size >> 10:,} KiB: {bench.verdict}"
    return [Line(what, taken, None, taken.median, SECONDS), _memory(path, bench)]


def _memory(path: Path, bench: _Bench) -> Line:
    peaks = Samples("memory", "MB", bench.peaks)
    return Line(f"memory for {path.name}", peaks, None, max(peaks.values), MEMORY)


def _hash(path: Path) -> float:
    started = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - started


def _peak(pid: int) -> float:
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1_000 if found else 0


async def _corpus(plan: Plan) -> Line:
    """All files of the corpus, one after the other, in a process that has seen them before."""
    files = [(FilePath(sample.path.name), _File(sample.path)) for sample in samples()]
    seconds = []
    async with SandboxedFileValidator() as validator:
        for _ in range(plan.rounds + 1):
            started = time.perf_counter()
            for path, source in files:
                await validator.validate(source, path)
            seconds.append(time.perf_counter() - started)
    taken = Samples("corpus", "s", seconds[1:])
    return Line(f"corpus warm: {len(files)} files", taken, None, taken.median, SECONDS)
