"""The table that a run prints, and the JSON it leaves: figures, ratios, targets, the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at least, or at most, ``limit``."""

    limit: float
    at_least: bool = False

    def met_by(self, figure: float) -> bool:
        """Whether ``figure`` is on the right side of the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one thing, in one unit."""

    name: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median, in ``unit``."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:,.4g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: ours, what it is held against, and the figure that results."""

    what: str
    ours: Samples
    other: Samples | None
    figure: float
    target: Target | None

    @property
    def verdict(self) -> str:
        """``pass``, ``FAIL``, or nothing where there is no target."""
        if self.target is None:
            return ""
        return "pass" if self.target.met_by(self.figure) else "FAIL"


def ratio(what: str, ours: Samples, other: Samples, target: Target | None = None) -> Line:
    """Ours divided by the other, by their medians."""
    return Line(what, ours, other, ours.median / other.median, target)


def interleave(rounds: int, runs: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run A, B, C, then C, B, A, and so on, ``rounds`` times in all.

    So a slow minute hits them all, and none always follows the same one.
    """
    results: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            results[name].append(runs[name]())
        order.reverse()
    return results


def table(lines: Sequence[Line]) -> str:
    """All lines as plain text."""
    rows = [("what", "ours", "against", "", "figure", "target", "")]
    for line in lines:
        other = (line.other.name, str(line.other)) if line.other else ("", "")
        figure = f"{line.figure:.3g} {'' if line.other else line.ours.unit}".strip()
        target = str(line.target) if line.target else ""
        rows.append((line.what, str(line.ours), *other, figure, target, line.verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def machine() -> dict[str, str | int | float]:
    """What was measured on: processor, cores, memory (GiB), load before, versions."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpus if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / (1 << 30), 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def write_json(path: Path, facts: Mapping[str, object], lines: Sequence[Line]) -> None:
    """Leave everything, each sample included, for a program to read."""
    items = [{**asdict(line), "verdict": line.verdict} for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"facts": facts, "lines": items}, indent=1) + "\n")
