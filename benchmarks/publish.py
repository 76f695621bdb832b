"""Publishes per second: eight clients at once, a 4 KiB file with parameters, metrics and tags."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial

from benchmarks.contenders import create_model, modelyard
from benchmarks.load import writes_per_second
from benchmarks.mlflow import MLflow, Run, mlflow
from benchmarks.payload import METADATA, publish_frame, small_file
from benchmarks.plan import Plan
from benchmarks.report import Line, Samples, Target, interleave, ratio
from benchmarks.servers import Server
from benchmarks.wire import Connection

CLIENTS = 8
PATIENCE = 30
_serial = itertools.count()


def measure(plan: Plan) -> list[Line]:
    """Two workers each; every client has a model of its own, then all share one."""
    own = [f"own-{client}" for client in range(CLIENTS)]
    shared = ["shared"] * CLIENTS
    with modelyard(plan.workdir, workers=2) as ours, mlflow(plan.workdir) as theirs:
        for model in (*own, "shared"):
            create_model(ours, model)
        runs: dict[str, Callable[[], float]] = {
            "own": partial(_rate, plan, ours, own),
            "shared": partial(_rate, plan, ours, shared),
        }
        if theirs:
            prepared = [theirs.prepare(model) for model in own]
            runs["mlflow"] = partial(_mlflow_rate, plan, theirs, prepared)
        results = interleave(plan.rounds, runs)
    samples = {name: Samples(name, "publishes/s", values) for name, values in results.items()}
    lines = [ratio("publish to one model, 8 clients", samples["shared"], samples["own"])]
    if theirs:
        target = Target(6, at_least=True)
        lines.insert(
            0, ratio("publish 4 KiB, 8 clients", samples["own"], samples["mlflow"], target)
        )
    return lines


def publish_small(connection: Connection, model: str) -> None:
    """Publish a 4 KiB file that no store has seen; an honest 503 is tried again."""
    data = small_file(b"%d" % next(_serial))
    before, after = publish_frame(model, len(data), METADATA)
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = connection.exchange(before + data + after)
        if answer.status != 503 or time.monotonic() > deadline:
            answer.expect(201)
            return
        time.sleep(float(answer.headers.get("retry-after", "1")))


def _rate(plan: Plan, server: Server, models: list[str]) -> float:
    def write(connection: Connection, client: int) -> None:
        publish_small(connection, models[client])

    return writes_per_second(server, CLIENTS, plan.seconds, write)


def _mlflow_rate(plan: Plan, theirs: MLflow, runs: list[Run]) -> float:
    def write(connection: Connection, client: int) -> None:
        serial = next(_serial)
        theirs.publish(connection, runs[client], f"v{serial}", small_file(b"%d" % serial))

    return writes_per_second(theirs.server, CLIENTS, plan.seconds, write)
