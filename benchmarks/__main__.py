"""``make bench``: measure the service beside its yardsticks and print the ratios."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import growth, mlflow, publish, resolve, scaling, stores, transfer, validation
from benchmarks.plan import Plan
from benchmarks.report import Line, machine, table, write_json
from benchmarks.servers import ServerFailed
from benchmarks.wire import WireError
from tests.support.services import processes

FAILURES = (ServerFailed, WireError, OSError, processes.ServerFailed)
RESULTS = Path(__file__).parent / "results" / "latest.json"
SECTIONS: dict[str, Callable[[Plan], list[Line]]] = {
    "resolve": resolve.measure,
    "publish": publish.measure,
    "upload": transfer.upload,
    "download": transfer.download,
    "validation": validation.measure,
    "growth": growth.measure,
    "replicas": scaling.measure,
    "s3": stores.s3,
    "gcs": stores.gcs,
    "azure": stores.azure,
    "s3-memory": stores.memory,
}
ON_REQUEST = {"s3-memory"}
"""Takes too long to be part of every run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen sections; 0 when all ran, whether or not their targets were met."""
    options = _options(argv)
    facts = machine() | {"mlflow": mlflow.PINNED if mlflow.wanted() else "not asked for"}
    print("  ".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    lines: list[Line] = []
    failed = []
    for name in options.only:
        start = time.monotonic()
        try:
            found = _section(name, options)
            took = time.monotonic() - start
            print(f"\n{name}, {took:.0f} s\n{table(found)}", flush=True)
            lines += found
        except processes.ServerMissing as missing:
            print(f"\n{name} is left out: {missing}", flush=True)
        except FAILURES as error:
            failed.append(name)
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
    if len(options.only) > 1:
        print(f"\nall\n{table(lines)}")
    write_json(options.json, facts, lines)
    return 1 if failed else 0


def _section(name: str, options: argparse.Namespace) -> list[Line]:
    """One section in a folder of its own that does not outlive it."""
    workdir = Path(tempfile.mkdtemp(prefix="modelyard-bench-"))
    try:
        plan = Plan.quick(workdir) if options.quick else Plan(workdir)
        if options.rounds:
            plan = replace(plan, rounds=options.rounds)
        return SECTIONS[name](plan)
    finally:
        if options.keep:
            print(f"kept {workdir}")
        else:
            shutil.rmtree(workdir, ignore_errors=True)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual = [name for name in SECTIONS if name not in ON_REQUEST]
    parser.add_argument("--only", type=_names, default=usual, help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean little")
    parser.add_argument("--rounds", type=int, help="repetitions of each measurement (5)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the samples are written")
    parser.add_argument("--keep", action="store_true", help="keep the data and the servers' logs")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
