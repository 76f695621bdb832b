"""What goes wrong, one after another."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.chaos.cluster import Cluster
from benchmarks.chaos.plan import Plan
from benchmarks.replicas import command

_UNAVAILABLE = 6
"""The exit code of a command that could not be carried out now."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``inject`` returns when all is well again."""

    what: str
    inject: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault was, in seconds since the start."""

    what: str
    begin: float
    end: float


def faults(plan: Plan, cluster: Cluster) -> list[Fault]:
    """All of them, in the order in which they happen; the seed says which replica fails."""
    dice = random.Random(f"{plan.seed}/faults")
    killed, frozen = dice.sample(range(len(cluster.replicas)), 2)
    beyond = plan.lease + plan.frozen

    def kill() -> None:
        cluster.replicas[killed].kill()
        time.sleep(plan.down)
        cluster.replicas[killed].start()

    def stop_redis() -> None:
        assert cluster.redis is not None
        cluster.redis.stop()
        time.sleep(plan.down)
        cluster.redis.start()

    def fail_store() -> None:
        cluster.store.fail()
        time.sleep(plan.failing)
        cluster.store.recover()

    def freeze() -> None:
        cluster.replicas[frozen].freeze()
        time.sleep(beyond)
        cluster.replicas[frozen].thaw()

    found = [Fault(f"replica {killed + 1} killed (-9), away for {plan.down:g} s", kill)]
    if cluster.redis is not None:
        found.append(Fault(f"Redis stopped for {plan.down:g} s", stop_redis))
    return [
        *found,
        Fault("PostgreSQL restarted (immediate shutdown)", cluster.postgres.restart),
        Fault(f"S3 answers 500 for {plan.failing:g} s", fail_store),
        Fault(
            f"replica {frozen + 1} frozen for {beyond:g} s, its lease is {plan.lease:g} s", freeze
        ),
    ]


class Collections:
    """Collects garbage now and then, through the command line, with half a pause as its grace."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self.outcomes: Counter[str] = Counter()
        self.defects: list[str] = []
        self._plan = plan
        self._cluster = cluster
        self._done = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block lasts."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _run(self) -> None:
        grace = f"{self._plan.pause / 2:.0f}s"
        while not self._done.wait(self._plan.pause):
            ended = command(self._cluster.settings, "gc", "--grace", grace, "--json")
            if ended.returncode not in {0, _UNAVAILABLE}:
                self.defects.append(f"gc ended with {ended.returncode}: {ended.stderr[-2000:]}")
                continue
            told = json.loads(ended.stdout)
            self.outcomes[told.get("code", "done")] += 1
            self.outcomes["blobs removed"] += told.get("blobs", 0)
            self.outcomes["broken uploads removed"] += told.get("staged", 0)
