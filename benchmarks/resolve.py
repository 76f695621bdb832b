"""A version by its alias, the most frequent call: requests per second."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.bare import PATH as BARE
from benchmarks.contenders import MODELS, bare_route, create_model, modelyard
from benchmarks.load import reads_per_second
from benchmarks.mlflow import mlflow
from benchmarks.payload import METADATA, publish_frame, small_file
from benchmarks.plan import Plan
from benchmarks.report import Line, Samples, Target, interleave, ratio
from benchmarks.servers import Server
from benchmarks.wire import Connection

CHAMPION = f"{MODELS}/churn/versions/@champion"
CONNECTIONS = 8


def measure(plan: Plan) -> list[Line]:
    """Against the bare route with one worker each, against MLflow with two each."""
    lines = []
    with modelyard(plan.workdir, workers=1) as ours:
        body = publish_champion(ours)
        with bare_route(plan.workdir, body, workers=1) as bare:
            here, there = _compare(plan, partial(_rate, ours, CHAMPION), partial(_rate, bare, BARE))
    target = Target(0.3, at_least=True)
    lines.append(
        ratio(
            "resolve an alias, 1 worker",
            Samples("modelyard", "req/s", here),
            Samples("bare route", "req/s", there),
            target,
        )
    )
    with mlflow(plan.workdir) as theirs:
        if theirs is None:
            return lines
        run = theirs.prepare("churn")
        with Connection(theirs.server.port) as connection:
            version = theirs.publish(connection, run, "v1", small_file(b"champion"))
        path = theirs.alias("churn", "champion", version)
        with modelyard(plan.workdir, workers=2) as ours:
            here, there = _compare(
                plan, partial(_rate, ours, CHAMPION), partial(_rate, theirs.server, path)
            )
    target = Target(8, at_least=True)
    lines.append(
        ratio(
            "resolve an alias, 2 workers",
            Samples("modelyard", "req/s", here),
            Samples("mlflow", "req/s", there),
            target,
        )
    )
    return lines


def publish_champion(server: Server) -> bytes:
    """Publish the version that is asked for; returns what asking for it answers."""
    create_model(server, "churn")
    data = small_file(b"champion")
    before, after = publish_frame("churn", len(data), {**METADATA, "aliases": ["champion"]})
    with Connection(server.port) as connection:
        connection.exchange(before + data + after).expect(201)
        return connection.request("GET", CHAMPION).expect(200).body


def _rate(server: Server, path: str, seconds: float) -> float:
    return reads_per_second(server, path, connections=CONNECTIONS, seconds=seconds)


def _compare(
    plan: Plan, ours: Callable[[float], float], theirs: Callable[[float], float]
) -> tuple[list[float], list[float]]:
    """Interleaved rates of both, after a second of warming up each."""
    runs = {"ours": partial(ours, plan.seconds), "theirs": partial(theirs, plan.seconds)}
    ours(1)
    theirs(1)
    results = interleave(plan.rounds, runs)
    return results["ours"], results["theirs"]
