"""Is everything there that was acknowledged, and nothing else?"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

from benchmarks.chaos.clients import Acknowledged
from benchmarks.chaos.cluster import BUCKET, PREFIX, Cluster
from benchmarks.chaos.plan import Plan
from benchmarks.replicas import command
from benchmarks.wire import Connection

_READERS = 8
_SHOWN = 5


def faults_found(plan: Plan, cluster: Cluster, done: Sequence[Acknowledged]) -> Iterator[str]:
    """One line for everything that is wrong; nothing where all is as it should be."""
    by_model: dict[str, list[Acknowledged]] = defaultdict(list)
    for one in done:
        by_model[one.model].append(one)
    for model in plan.model_names:
        yield from _wrong_numbers(cluster, model, by_model[model])
    yield from _wrong_bytes(cluster, done)
    yield from _wrong_store(
        plan, cluster, {digest for one in done for digest in one.digests.values()}
    )


def _wrong_numbers(cluster: Cluster, model: str, done: Sequence[Acknowledged]) -> Iterator[str]:
    """Numbers 1 to n, each the answer to exactly one job, with the files of that job."""
    path = f"/api/v1/models/{model}"
    with Connection(cluster.ports[0]) as connection:
        summary = connection.request("GET", path).expect(200).json()
        listed = list(_pages(connection, f"{path}/versions"))
    numbers = sorted(version["version"] for version in listed)
    if numbers != list(range(1, len(done) + 1)):
        yield f"{model}: {len(done)} publishes were acknowledged, its versions are {_few(numbers)}"
    if (summary["latest_version"], summary["version_count"]) != (len(done), len(done)):
        yield f"{model}: it counts {summary['version_count']}, up to {summary['latest_version']}"
    expected = {one.number: (one.key, dict(one.digests)) for one in done}
    if len(expected) != len(done):
        yield f"{model}: two publishes were acknowledged with the same number"
    found = {
        version["version"]: (
            version["tags"]["job"],
            {file["path"]: file["sha256"] for file in version["files"]},
        )
        for version in listed
    }
    if odd := [number for number in found if found[number] != expected.get(number)]:
        yield f"{model}: other versions than were acknowledged: {_few(odd)}"


def _pages(connection: Connection, path: str) -> Iterator[Mapping[str, Any]]:
    query: dict[str, object] = {"page_size": 1000}
    while True:
        page = connection.request("GET", f"{path}?{urlencode(query)}").expect(200).json()
        yield from page["items"]
        if page["next_page_token"] is None:
            return
        query["page_token"] = page["next_page_token"]


def _wrong_bytes(cluster: Cluster, done: Sequence[Acknowledged]) -> Iterator[str]:
    """Downloads every file of every version."""

    def read(share: Sequence[Acknowledged]) -> list[str]:
        with Connection(cluster.ports[0]) as connection:
            return [fault for one in share for fault in _wrong_files(connection, one)]

    with ThreadPoolExecutor(_READERS) as readers:
        shares = readers.map(read, (done[n::_READERS] for n in range(_READERS)))
        wrong = [fault for share in shares for fault in share]
    if wrong:
        yield f"{len(wrong)} files cannot be had as they were sent: {_few(wrong)}"


def _wrong_files(connection: Connection, one: Acknowledged) -> Iterator[str]:
    for path, digest in one.digests.items():
        address = f"/api/v1/models/{one.model}/versions/{one.number}/files/{path}"
        answer = connection.request("GET", address)
        if answer.status != 200 or hashlib.sha256(answer.body).hexdigest() != digest:
            yield f"{one.model} {one.number} {path}: {answer.status}, {len(answer.body)} bytes"


def _wrong_store(plan: Plan, cluster: Cluster, named: set[str]) -> Iterator[str]:
    """After a collection nothing is left for another one, nor in the store, but what is named."""
    first = _told(cluster, "gc", "--grace", "0")
    print(f"The last collection removed {first['blobs']} blobs and {first['staged']} uploads.")
    doomed = _doomed(cluster)
    if doomed and plan.aging:
        print(f"{len(doomed)} blobs are doomed by a collection that was cut off: {plan.aging:g} s "
              "until another one may have them.", flush=True)  # fmt: skip
        time.sleep(plan.aging)
        for _ in ("the dooms", "their blobs"):
            _told(cluster, "gc", "--grace", "0")
        doomed = _doomed(cluster)
    keys = _keys(cluster)
    blobs = {f"blobs/{digest[:2]}/{digest}" for digest in named}
    if missing := blobs - keys:
        yield f"not in the store: {_few(sorted(missing))}"
    kept = {digest for digest in named | doomed if f"blobs/{digest[:2]}/{digest}" in keys}
    left = keys - blobs - {f"renewals/{digest}" for digest in named} - {"registry"}
    if plan.aging:
        doomed = set()
    if left := {key for key in left if key.rpartition("/")[2] not in doomed}:
        yield f"left in the store: {_few(sorted(left))}"
    for page in _store_pages(cluster, "list_multipart_uploads"):
        if uploads := page.get("Uploads"):
            yield f"{len(uploads)} multipart uploads are left in the store"
    second, verified = _told(cluster, "gc", "--grace", "0"), _told(cluster, "verify")
    if second["blobs"] or second["staged"] or second["kept"] != len(kept):
        yield f"{len(kept)} blobs stay; after one gc another one said {second}"
    if not verified["clean"] or verified["blobs"] != len(kept):
        yield f"verify: {verified}"


def _doomed(cluster: Cluster) -> set[str]:
    """Blobs that a collection was about to delete when it was cut off."""
    return {key.rpartition("/")[2] for key in _keys(cluster) if key.startswith("dooms/")}


def _keys(cluster: Cluster) -> set[str]:
    return {
        found["Key"].removeprefix(f"{PREFIX}/")
        for page in _store_pages(cluster, "list_objects_v2")
        for found in page.get("Contents", [])
    }


def _store_pages(cluster: Cluster, operation: str) -> Iterator[Mapping[str, Any]]:
    yield from cluster.objects.get_paginator(operation).paginate(Bucket=BUCKET)


def _told(cluster: Cluster, *arguments: str) -> Any:
    ended = command(cluster.settings, *arguments, "--json")
    return json.loads(ended.stdout)


def _few(items: Sequence[object]) -> str:
    shown = ", ".join(map(str, items[:_SHOWN]))
    return f"{shown} and {len(items) - _SHOWN} more" if len(items) > _SHOWN else shown
