"""Files of the corpus, broken in every way that a seed leads to, and read in the sandbox.

``python -m tests.support.mutations --count 20000 --seed 1`` (``make fuzz``) tells of every file
that was not judged: what read it crashed, hung, or took too much memory. A file is made from the
seed and its number alone: ``--only NUMBER --keep FILE`` makes it again.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import gzip
import io
import random
import re
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapters.inspection.validator import SandboxedFileValidator
from domain.validation import NOT_CHECKED, FileReport, Severity
from domain.values import FilePath
from tests.contracts.file_validator import BytesSource
from tests.support.corpus import Sample, samples

PATIENCE = 20
"""Seconds after which a file hangs; the slowest of the corpus takes a fraction of one."""
MOST_RESIDENT = 256 << 20
_WORKERS = 2
_EXCEPTION = re.compile(r"\((\w*(?:Error|Exception|Iteration))(?:: .*)?\)\.")
_SURPRISES = {"AssertionError", "AttributeError", "NameError", "TypeError", "UnboundLocalError"}
"""They refuse the file, as any exception does; but it was our code that was not up to it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken file, what it was made of, and how."""

    number: int
    name: str
    content: bytes
    how: str

    def __str__(self) -> str:
        return f"number {self.number}, {self.name} ({len(self.content)} bytes): {self.how}"


# --- how files are broken -------------------------------------------------------------------------

Change = Callable[[random.Random, bytearray], None]


def _flip(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _overwrite(chance: random.Random, data: bytearray) -> None:
    place = _place(chance, data)
    data[place : place + chance.randint(1, 16)] = chance.randbytes(chance.randint(1, 16))


def _edit_length(chance: random.Random, data: bytearray) -> None:
    """A number that may say how much follows, or where it lies, in either order of bytes."""
    width, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    place = _place(chance, data)
    there = int.from_bytes(data[place : place + width], order)  # type: ignore[arg-type]
    most = 1 << (8 * width)
    value = chance.choice(
        (0, 1, most - 1, most // 2, most // 2 - 1, len(data), len(data) - place, there + 1,
         there - 1, there * 2, there + len(data), chance.randrange(most))
    )  # fmt: skip
    data[place : place + width] = (value % most).to_bytes(width, order)  # type: ignore[arg-type]


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[
        chance.choice((chance.randrange(len(data)), max(1, len(data) - chance.randint(1, 40)))) :
    ]


def _remove(chance: random.Random, data: bytearray) -> None:
    start, end = _chunk(chance, data)
    del data[start:end]


def _repeat(chance: random.Random, data: bytearray) -> None:
    start, end = _chunk(chance, data)
    times = chance.choice((1, 1, 2, 50))
    data[start:start] = data[start:end][: (1 << 20) // times] * times


def _move(chance: random.Random, data: bytearray) -> None:
    start, end = _chunk(chance, data)
    part = data[start:end]
    del data[start:end]
    place = chance.randint(0, len(data))
    data[place:place] = part


_CHANGES: Sequence[Change] = (
    *(_flip, _flip, _overwrite, _edit_length, _edit_length, _edit_length),
    *(_cut, _remove, _repeat, _move),
)


def _place(chance: random.Random, data: bytearray) -> int:
    """Often near the beginning or the end, where headers and directories lie."""
    near = min(len(data), 512)
    return chance.choice(
        (
            chance.randrange(near),
            len(data) - 1 - chance.randrange(near),
            chance.randrange(len(data)),
        )
    )


def _chunk(chance: random.Random, data: bytearray) -> tuple[int, int]:
    start = _place(chance, data)
    return start, start + chance.choice((1, 4, 8, 64, 512, 4096, 65536))


def _broken(chance: random.Random, content: bytes) -> tuple[bytes, str]:
    data, names = bytearray(content), []
    for _ in range(chance.choice((1, 1, 2, 3))):
        if not data:
            break
        change = chance.choice(_CHANGES)
        change(chance, data)
        names.append(change.__name__.lstrip("_"))
    return bytes(data), ", ".join(names)


def _spliced(chance: random.Random, content: bytes, other: bytes) -> tuple[bytes, str]:
    start = content[: chance.randint(0, len(content))]
    return start + other[chance.randint(0, len(other)) :], "the end of another file"


def _inside(chance: random.Random, content: bytes, other: bytes) -> tuple[bytes, str] | None:
    """A container that is sound, around what is not; None where there is no container."""
    with contextlib.suppress(Exception):
        if content.startswith(b"PK\3\4"):
            return _in_zip(chance, content, other)
        if content.startswith(b"\x1f\x8b"):
            broken, how = _broken(chance, _unpacked(31, content))
            return gzip.compress(broken, 1, mtime=0), f"in gzip: {how}"
        if content.startswith((b"x\1", b"x\x5e", b"x\x9c", b"x\xda")):
            broken, how = _broken(chance, _unpacked(15, content))
            return zlib.compress(broken, 1), f"in zlib: {how}"
    return None


def _unpacked(bits: int, content: bytes) -> bytes:
    return zlib.decompressobj(bits).decompress(content, 4 << 20)


def _in_zip(chance: random.Random, content: bytes, other: bytes) -> tuple[bytes, str] | None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos = archive.infolist()
        if not infos or len(infos) > 200 or sum(info.file_size for info in infos) > 4 << 20:
            return None
        members = [(info.filename, archive.read(info)) for info in infos]
    index = chance.randrange(len(members))
    name, inner = members[index]
    if chance.random() < 0.2:
        members[index], how = (name, other), f"{name} is another file"
    elif chance.random() < 0.2:
        swapped = chance.randrange(len(members))
        members[index], members[swapped] = (name, members[swapped][1]), (members[swapped][0], inner)
        how = f"{name} and {members[swapped][0]} swapped"
    else:
        broken, how = _broken(chance, inner)
        members[index], how = (name, broken), f"in {name}: {how}"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", chance.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for member, data in members:
            archive.writestr(zipfile.ZipInfo(member), data)
    return target.getvalue(), how


class Breeder:
    """Makes broken files of the corpus; the same for the same seed and number."""

    def __init__(self, seed: int, among: Sequence[Sample] | None = None) -> None:
        self._seed = seed
        self._samples = list(among or samples())
        self._contents = [sample.path.read_bytes() for sample in self._samples]

    def mutant(self, number: int) -> Mutant:
        """The broken file of this number."""
        chance = random.Random(f"{self._seed}/{number}")
        index, other = (chance.randrange(len(self._samples)) for _ in range(2))
        sample, content = self._samples[index], self._contents[index]
        made: tuple[bytes, str] | None = None
        match chance.randrange(10):
            case 0:
                made = _spliced(chance, content, self._contents[other])
            case 1 | 2 | 3 | 4:
                made = _inside(chance, content, self._contents[other])
        broken, how = made or _broken(chance, content)
        named = self._samples[other if chance.random() < 0.05 else index]
        return Mutant(number, named.path.name, broken, f"{sample.name}: {how}")


# --- what becomes of them -------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """What was seen. ``failures`` is empty if all is well; ``peak`` is in bytes; ``surprises``
    are exceptions that refused a file although they speak of our own code."""

    verdicts: collections.Counter[str] = field(default_factory=collections.Counter)
    exceptions: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0, "")
    peak: tuple[int, str] = (0, "")

    def add(self, mutant: Mutant, report: FileReport, seconds: float, peak: int) -> None:
        """Notes one file."""
        severities = {finding.severity for finding in report.findings}
        worst = next((each for each in reversed(Severity) if each in severities), "nothing")
        self.verdicts[worst] += 1
        self.slowest = max(self.slowest, (seconds, str(mutant)))
        self.peak = max(self.peak, (peak, str(mutant)))
        if peak > MOST_RESIDENT:
            self.failures.append(f"{mutant}: {peak >> 20} MiB of memory")
        for finding in report.findings:
            if finding.code == NOT_CHECKED:
                self.failures.append(f"{mutant}: {finding.message}")
            if found := _EXCEPTION.search(finding.message):
                self.exceptions[found[1]] += 1
                if found[1] in _SURPRISES:
                    self.surprises.append(f"{mutant}: {finding.message}")

    def __str__(self) -> str:
        lines = [f"most severe finding: {dict(self.verdicts)}"]
        lines += [f"exceptions that refused a file: {dict(self.exceptions)}"]
        lines += [f"slowest: {self.slowest[0]:.2f} s, {self.slowest[1]}"]
        lines += [f"most memory: {self.peak[0] >> 20} MiB, {self.peak[1]}"]
        lines += [f"SURPRISE {each}" for each in self.surprises[:50]]
        lines += [f"FAILURE {each}" for each in self.failures[:50]]
        return "\n".join(lines)


async def fuzz(numbers: range, seed: int) -> Outcome:
    """Has these broken files read, and gathers what became of them."""
    breeder, outcome, queue = Breeder(seed), Outcome(), iter(numbers)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for _ in range(_WORKERS):
            validator = SandboxedFileValidator(timeout=PATIENCE, workers=1)
            await stack.enter_async_context(validator)
            group.create_task(_read(validator, breeder, queue, outcome))
    return outcome


async def _read(
    validator: SandboxedFileValidator, breeder: Breeder, queue: Iterator[int], outcome: Outcome
) -> None:
    await validator.start()
    for number in queue:
        mutant = breeder.mutant(number)
        started = time.perf_counter()
        report = await validator.validate(BytesSource(mutant.content), FilePath(mutant.name))
        took = time.perf_counter() - started
        outcome.add(mutant, report, took, _peak(validator))
        if outcome.verdicts.total() % 1_000 == 0:
            print(f"{outcome.verdicts.total():,}", file=sys.stderr, flush=True)


def _peak(validator: SandboxedFileValidator) -> int:
    """Most bytes of memory that the process had since it started; 0 where it was replaced."""
    for child in validator._idle:
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{child.pid}/status").read_text())
            return int(found[1]) << 10 if found else 0
    return 0


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one file")
    parser.add_argument("--keep", type=Path, help="where to write that file")
    options = parser.parse_args()
    numbers = range(options.count)
    if options.only is not None:
        numbers = range(options.only, options.only + 1)
        mutant = Breeder(options.seed).mutant(options.only)
        print(mutant)
        if options.keep:
            options.keep.write_bytes(mutant.content)
    started = time.perf_counter()
    outcome = asyncio.run(fuzz(numbers, options.seed))
    print(f"{len(numbers):,} files in {time.perf_counter() - started:.0f} s\n{outcome}")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(_main())
