"""Does a call take longer in a registry of 100,000 versions than in one of 1,000?"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from benchmarks import seed
from benchmarks.contenders import MODELS, modelyard
from benchmarks.plan import Plan
from benchmarks.publish import publish_small
from benchmarks.report import Line, Samples, Target, interleave, ratio
from benchmarks.wire import Connection, WireError

ALL = "/api/v1/versions"
BIG = f"{MODELS}/{seed.BIG_MODEL}/versions"
TARGET = Target(1.5)
PAGE = 50


def measure(plan: Plan) -> list[Line]:
    """Latencies of one client, by turns in a small and in a large registry: their ratios."""
    sizes = {"few": plan.few, "many": plan.many}
    for name, versions in sizes.items():
        with modelyard(plan.workdir, workers=1, name=name) as server:
            seed.publish_template(server)
        start = time.monotonic()
        seed.fill(plan.workdir / name, versions)
        print(f"seeded {versions:,} versions in {time.monotonic() - start:.1f} s", flush=True)
    with (
        modelyard(plan.workdir, workers=1, name="few") as few,
        modelyard(plan.workdir, workers=1, name="many") as many,
        Connection(few.port) as to_few,
        Connection(many.port) as to_many,
    ):
        connections = {"few": to_few, "many": to_many}
        lines = [_line(plan, what, connections, paths) for what, paths in _reads(plan).items()]
        deep = {
            name: _middle(connection, sizes[name] // 2) for name, connection in connections.items()
        }
        lines.append(_line(plan, "list a page, middle of the big model", connections, deep))
        writes: dict[str, Callable[[], float]] = {
            name: partial(_timed_publish, connection) for name, connection in connections.items()
        }
        lines.append(_compare(plan, "publish 4 KiB", writes, sizes))
    return lines


def _reads(plan: Plan) -> dict[str, dict[str, str]]:
    """What is asked for, and the path that asks each registry for equally many items.

    A batch has 50 versions, a team one in a hundred, a stage every second one; the metrics are
    spread evenly over 0 to 1.
    """
    reads = {
        "get by alias": (f"{BIG}/@champion",) * 2,
        "list a page of the big model": (f"{BIG}?page_size={PAGE}",) * 2,
        "list a page of all versions": (f"{ALL}?page_size={PAGE}",) * 2,
    }
    filters = {
        "tag, rare": ("tags.batch = 'batch-3'", "tags.batch = 'batch-3'", PAGE),
        "tag, 1 %": ("tags.team = 'team-7'", "tags.team = 'team-7'", 5),
        "tag, 50 %": ("tags.stage = 'staging'", "tags.stage = 'staging'", PAGE),
        "metric, rare": (
            f"metrics.auc < {PAGE / plan.few:.6f}",
            f"metrics.auc < {PAGE / plan.many:.6f}",
            PAGE,
        ),
        "metric, 1 %": ("metrics.auc >= 0.99", "metrics.auc >= 0.99", 5),
        "metric, 50 %": ("metrics.auc >= 0.5", "metrics.auc >= 0.5", PAGE),
    }
    for scope, base in {"all versions": ALL, "the big model": BIG}.items():
        for what, (few, many, page) in filters.items():
            reads[f"filter {scope}: {what}"] = (_query(base, few, page), _query(base, many, page))
    return {what: {"few": few, "many": many} for what, (few, many) in reads.items()}


def _query(base: str, expression: str, page: int) -> str:
    return f"{base}?{urlencode({'filter': expression, 'page_size': page})}"


def _middle(connection: Connection, versions: int) -> str:
    """The address of the page in the middle of the big model, found by turning pages."""
    path = f"{BIG}?page_size={PAGE}"
    for _ in range(max(1, versions // PAGE // 2)):
        token = connection.request("GET", path).expect(200).json()["next_page_token"]
        path = f"{BIG}?{urlencode({'page_size': PAGE, 'page_token': token})}"
    return path


def _line(plan: Plan, what: str, connections: dict[str, Connection], paths: dict[str, str]) -> Line:
    counts = {}
    for name, connection in connections.items():
        for _ in range(3):
            counts[name] = _items(connection.request("GET", paths[name]).expect(200).json())
    if "big model: " not in what and counts["few"] != counts["many"]:
        raise WireError(f"{what}: the two registries answer with {counts} items")
    reads: dict[str, Callable[[], float]] = {
        name: partial(_timed_get, connection, paths[name])
        for name, connection in connections.items()
    }
    return _compare(plan, what, reads, {"few": plan.few, "many": plan.many})


def _items(answer: Any) -> int:
    return len(answer.get("items", [answer]))


def _compare(
    plan: Plan, what: str, runs: dict[str, Callable[[], float]], sizes: dict[str, int]
) -> Line:
    results = interleave(plan.requests, runs)
    few, many = (Samples(f"at {sizes[name]:,}", "ms", results[name]) for name in ("few", "many"))
    return ratio(what, many, few, TARGET)


def _timed_get(connection: Connection, path: str) -> float:
    start = time.perf_counter()
    connection.request("GET", path).expect(200)
    return (time.perf_counter() - start) * 1e3


def _timed_publish(connection: Connection) -> float:
    start = time.perf_counter()
    publish_small(connection, seed.BIG_MODEL)
    return (time.perf_counter() - start) * 1e3
