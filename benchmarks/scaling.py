"""One replica and three on PostgreSQL behind nginx: does the service grow with its processes?

Files go to one folder, so that the two cores of a small machine are left to what is measured.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.bare import PATH as BARE
from benchmarks.contenders import MODELS, bare_route, create_model
from benchmarks.load import reads_per_second, writes_per_second
from benchmarks.plan import Plan
from benchmarks.publish import publish_small
from benchmarks.replicas import balancer, command, nginx_program, replicas
from benchmarks.report import Line, Samples, Target, interleave, ratio
from benchmarks.resolve import CHAMPION, publish_champion
from benchmarks.servers import Server, ServerFailed, process_tree
from benchmarks.wire import Connection
from tests.support.services.launchers import postgres_server
from tests.support.services.processes import ServerProcess

REPLICAS = 3
CONNECTIONS = 16
CLIENTS = 12
PAGE = f"{MODELS}/churn/versions?page_size=50"
VERSIONS = 200
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Rig:
    """What is measured: one replica by itself, and behind nginx one and all of them."""

    alone: Server
    one: Server
    all: Server
    processes: Mapping[str, Sequence[int]]


def measure(plan: Plan) -> list[Line]:
    """Resolve, list and publish; what resolving costs each process."""
    with _rig(plan.workdir) as rig:
        body = publish_champion(rig.alone)
        with Connection(rig.alone.port) as connection:
            for _ in range(VERSIONS):
                publish_small(connection, "churn")
        for client in range(CLIENTS):
            create_model(rig.alone, f"own-{client}")
        with bare_route(plan.workdir, body, workers=1) as bare:
            lines = [_against_bare(plan, rig, bare)]
        shares: dict[str, dict[str, list[float]]] = {}
        lines.append(
            _scale(
                plan,
                "resolve an alias",
                {
                    name: _shared(rig, shares.setdefault(name, {}), _reads(plan, server, CHAMPION))
                    for name, server in _sides(rig).items()
                },
                Target(1.6, at_least=True),
            )
        )
        lists = {name: _reads(plan, server, PAGE) for name, server in _sides(rig).items()}
        lines.append(_scale(plan, "list a page", lists))
        writes = {name: partial(_publishes, plan, server) for name, server in _sides(rig).items()}
        lines.append(_scale(plan, "publish 4 KiB", writes))
    return lines + [line for name, found in shares.items() for line in _share_lines(name, found)]


@contextmanager
def _rig(workdir: Path) -> Iterator[Rig]:
    nginx = nginx_program()
    if nginx is None:
        raise ServerFailed("nginx is not installed: apt-get install nginx-light")
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(durable=True))
        settings = {
            "DATABASE_URL": postgres.url,
            "MODEL_STORAGE_PATH": str(workdir / "blobs"),
            "GC_INTERVAL": "0",
        }
        if (migrated := command(settings, "migrate")).returncode:
            raise ServerFailed(f"modelyard-server migrate: {migrated.stderr}")
        running = stack.enter_context(replicas(REPLICAS, settings))
        one = stack.enter_context(balancer(nginx, [running[0].url]))
        every = stack.enter_context(balancer(nginx, [each.url for each in running]))
        processes = {
            "replicas": [each.pid for each in running],
            "postgres": [postgres.pid],
            "nginx": [one.pid, every.pid],
        }
        yield Rig(
            _server("replica", running[0]),
            _server("1 replica", one),
            _server(f"{REPLICAS} replicas", every),
            processes,
        )


def _server(name: str, process: ServerProcess) -> Server:
    port = urlsplit(process.url).port
    assert port is not None
    return Server(name, port, process.pid)


def _sides(rig: Rig) -> dict[str, Server]:
    return {"one": rig.one, "all": rig.all}


def _reads(plan: Plan, server: Server, path: str) -> Callable[[], float]:
    return partial(reads_per_second, server, path, connections=CONNECTIONS, seconds=plan.seconds)


def _publishes(plan: Plan, server: Server) -> float:
    """By clients with a model of their own each."""

    def write(connection: Connection, client: int) -> None:
        publish_small(connection, f"own-{client}")

    return writes_per_second(server, CLIENTS, plan.seconds, write)


def _against_bare(plan: Plan, rig: Rig, bare: Server) -> Line:
    runs = {"ours": _reads(plan, rig.alone, CHAMPION), "bare": _reads(plan, bare, BARE)}
    for run in runs.values():
        run()  # warms up
    results = interleave(plan.rounds, runs)
    return ratio(
        "resolve an alias on PostgreSQL, 1 replica",
        Samples("modelyard", "req/s", results["ours"]),
        Samples("bare route", "req/s", results["bare"]),
        Target(0.3, at_least=True),
    )


def _scale(
    plan: Plan, what: str, runs: Mapping[str, Callable[[], float]], target: Target | None = None
) -> Line:
    for run in runs.values():
        run()  # warms up
    results = interleave(plan.rounds, runs)
    return ratio(
        f"{what}, {REPLICAS} replicas behind nginx",
        Samples(f"{REPLICAS} replicas", "/s", results["all"]),
        Samples("1 replica", "/s", results["one"]),
        target,
    )


# --- who works ----------------------------------------------------------------------------------


def _shared(
    rig: Rig, found: dict[str, list[float]], run: Callable[[], float]
) -> Callable[[], float]:
    """The same run, which adds each group's share of a core to ``found``, in percent."""

    def measured() -> float:
        before, start = _cpu_seconds(rig), time.perf_counter()
        rate = run()
        elapsed = time.perf_counter() - start
        for name, seconds in _cpu_seconds(rig).items():
            found.setdefault(name, []).append(100 * (seconds - before[name]) / elapsed)
        return rate

    return measured


def _cpu_seconds(rig: Rig) -> dict[str, float]:
    """What each group of processes has used so far, the load generator, and nobody."""
    used = {
        name: sum(_process_seconds(pid) for root in roots for pid in process_tree(root))
        for name, roots in rig.processes.items()
    }
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    idle = sum(map(int, Path("/proc/stat").read_text().split()[4:6])) / _TICKS
    return {
        **used,
        "load generator": sum(each.ru_utime + each.ru_stime for each in own),
        "nobody (idle)": idle,
    }


def _process_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _share_lines(side: str, found: Mapping[str, list[float]]) -> list[Line]:
    count = {"one": "1 replica", "all": f"{REPLICAS} replicas"}[side]
    samples = [Samples(name, "% of a core", values) for name, values in found.items()]
    return [
        Line(f"CPU while {count} resolve: {each.name}", each, None, each.median, None)
        for each in samples
    ]
