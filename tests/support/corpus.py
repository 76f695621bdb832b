"""The corpus: real model files, attacks on whoever loads them, and files that are no models.

``python -m tests.support.corpus [PART OF A NAME]`` judges them and prints what is not as it should
be, or with ``-v`` everything.
"""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import FileReport, Judgement, ValidationPolicy
from domain.values import FilePath

CORPUS = Path(__file__).parents[1] / "corpus"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the manifest. ``verdicts`` are right for the file alone, under the standard
    policy; ``fires`` tells whether loading it was seen to run its payload."""

    name: str
    verdicts: frozenset[str]
    benign: bool
    fires: bool

    @property
    def path(self) -> Path:
        return CORPUS / self.name

    def __str__(self) -> str:
        return self.name


def samples() -> list[Sample]:
    """All of them."""
    with (CORPUS / "manifest.csv").open(newline="") as manifest:
        return [
            Sample(
                row["file"],
                frozenset(row["verdict"].split("|")),
                row["kind"] == "model",
                row["load_fires"].startswith("yes"),
            )
            for row in csv.DictReader(manifest)
        ]


def inspect_path(path: Path, name: str | None = None) -> FileReport:
    """The report on a local file, in this process."""
    size = path.stat().st_size
    with path.open("rb") as file:
        stream = Stream(file, size, seekable=True, reopen=lambda: path.open("rb"))
        return inspect_file(stream, FilePath(name or path.name))


def judge_path(path: Path) -> Judgement:
    """The judgement of the standard policy on a local file, alone."""
    return ValidationPolicy().judge({FilePath(path.name): inspect_path(path)})


def _main() -> None:
    options = [each for each in sys.argv[1:] if each != "-v"]
    started, wrong, seen = time.perf_counter(), 0, 0
    for sample in samples():
        if options and options[0] not in sample.name:
            continue
        seen += 1
        begun = time.perf_counter()
        judgement = judge_path(sample.path)
        took = time.perf_counter() - begun
        right = judgement.verdict in sample.verdicts
        wrong += not right
        if "-v" in sys.argv or not right:
            print(
                f"{sample.name}: {judgement.verdict} (right: {'|'.join(sample.verdicts)})", end=""
            )
            print(f" {took * 1000:.1f} ms {judgement.facts}")
            for finding in judgement.findings:
                print(f"    {finding.severity} {finding.code}: {finding.message}")
    print(f"{wrong} of {seen} are wrong; {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    _main()
