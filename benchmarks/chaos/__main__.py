"""``make chaos``: publish while servers fail, then look whether all is as it was acknowledged."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.chaos.checks import faults_found
from benchmarks.chaos.clients import Clients
from benchmarks.chaos.cluster import Cluster, running_cluster
from benchmarks.chaos.faults import Collections, Window, faults
from benchmarks.chaos.plan import Plan
from benchmarks.wire import Connection
from tests.support.services.processes import ServerFailed, ServerMissing

QUICK: Mapping[str, Any] = {
    "versions": 200,
    "clients": 8,
    "failing": 3,
    "down": 1,
    "frozen": 2,
    "pause": 4,
    "aging": 0,
}


def main(argv: Sequence[str] | None = None) -> int:
    """0 when everything is right, 1 when anything is wrong."""
    plan = _plan(argv)
    print(f"{plan}\nThe same again: --seed {plan.seed}", flush=True)
    try:
        with running_cluster(plan) as cluster:
            wrong = _run(plan, cluster)
            if wrong:
                kept = Path(tempfile.mkdtemp(prefix="modelyard-chaos-logs-"))
                cluster.save_logs(kept)
                wrong.append(f"the logs are in {kept}")
    except ServerFailed as error:
        wrong = [str(error)]
    for line in wrong:
        print(f"WRONG: {line}")
    if not wrong:
        print("Every acknowledged version is there with its bytes, and nothing else.")
    return 1 if wrong else 0


def _run(plan: Plan, cluster: Cluster) -> list[str]:
    """Publishes, with all that goes wrong meanwhile; returns what is wrong at the end."""
    if not cluster.balanced:
        print("nginx is not installed, so the clients ask one replica after another themselves: "
              "apt-get install nginx-light")  # fmt: skip
    with Connection(cluster.ports[0]) as connection:
        for model in plan.model_names:
            connection.request("POST", "/api/v1/models", {"name": model}).expect(201)
    collections = Collections(plan, cluster)
    with Clients(plan, cluster.ports) as clients, collections.running():
        windows = _inject(plan, cluster, clients)
    took = clients.clock
    _tell(took, clients, windows, collections.outcomes)
    start = time.monotonic()
    wrong = clients.defects + collections.defects + _unexpected(clients.retries, cluster)
    wrong += faults_found(plan, cluster, clients.acknowledged)
    print(f"Looked at everything in {time.monotonic() - start:.0f} s.")
    return wrong


def _inject(plan: Plan, cluster: Cluster, clients: Clients) -> list[Window]:
    """One fault after another, each in the midst of its share of the publishes."""
    windows = []
    planned = faults(plan, cluster)
    share = plan.versions / (len(planned) + 1)
    clients.allow(round(share))
    for index, fault in enumerate(planned, 1):
        clients.wait_for(round(share * (index - 0.5)))
        clients.allow(round(share * (index + 1)))
        begin = clients.clock
        fault.inject()
        windows.append(Window(fault.what, begin, clients.clock))
        print(f"{begin:6.1f} to {windows[-1].end:6.1f} s: {fault.what}", flush=True)
    return windows


def _tell(
    took: float, clients: Clients, windows: Sequence[Window], collections: Counter[str]
) -> None:
    done = clients.acknowledged
    again = sum(one.again for one in done)
    print(f"\n{len(done)} publishes acknowledged in {took:.1f} s, {again} of them only when asked "
          "again: an earlier attempt had succeeded.")  # fmt: skip
    for window in windows:
        count = sum(window.begin <= one.at < window.end for one in done)
        print(f"  {window.end - window.begin:5.1f} s  {count:5} acknowledged  {window.what}")
    length, begin = clients.longest_silence()
    print(f"The longest time without an acknowledgement: {length:.1f} s, from {begin:.1f} s on.")
    print(f"{sum(clients.retries.values())} retries:")
    for cause, count in clients.retries.most_common():
        print(f"  {count:5}  {cause}")
    print("gc: " + ", ".join(f"{what} {count}" for what, count in sorted(collections.items())))


def _unexpected(retries: Counter[str], cluster: Cluster) -> list[str]:
    """Answers and log lines of the service that no fault excuses."""
    wrong = [f"{count} answers: {cause}" for cause, count in retries.items() if cause[:3] == "500"]
    for number, replica in enumerate(cluster.replicas, 1):
        if count := replica.log.count("Traceback"):
            last = replica.log.rpartition("Traceback")[2][-1500:]
            wrong.append(f"replica {number} logged {count} tracebacks; the last: {last}")
    return wrong


def _plan(argv: Sequence[str] | None) -> Plan:
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--versions", type=int, help=f"to publish ({usual.versions})")
    parser.add_argument("--clients", type=int, help=f"at once ({usual.clients})")
    parser.add_argument("--models", type=int, help=f"to publish to ({usual.models})")
    parser.add_argument("--lock", choices=["redis", "postgres", "none"], help="LOCK_METHOD (redis)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="of a run")
    parser.add_argument("--quick", action="store_true", help="200 versions, and shorter faults")
    options = vars(parser.parse_args(argv))
    chosen = QUICK if options.pop("quick") else {}
    return replace(
        Plan(),
        **{**chosen, **{name: value for name, value in options.items() if value is not None}},
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerMissing as missing:
        sys.exit(str(missing))
