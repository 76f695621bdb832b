"""Many processes of the service on one database and one folder, all asked at once."""

from __future__ import annotations

import hashlib
import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from tests.support.publishing import persistently, publish, safetensors
from tests.support.server import Server, running_server
from tests.support.soundness import assert_sound, assert_tidy, collect, collect_and_look, look

pytestmark = pytest.mark.xdist_group("races")  # the processes are started once

T = TypeVar("T")
SHARED = safetensors("the same in every version", 20_000)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Processes of the service on the registry in one folder."""

    folder: Path
    servers: Sequence[Server]

    @contextmanager
    def clients(self) -> Iterator[list[httpx.Client]]:
        """One client for each process."""
        with ExitStack() as stack:
            limits = httpx.Limits(max_connections=64)
            yield [
                stack.enter_context(server.client(limits=limits, timeout=60))
                for server in self.servers
            ]


@contextmanager
def started_at_once(folder: Path, processes: int, **settings: object) -> Iterator[Fleet]:
    """All of them find no database and no folder, and make them together."""
    with ExitStack() as stack, ThreadPoolExecutor(processes) as starters:
        starting = [running_server(folder, **settings) for _ in range(processes)]
        entered = [starters.submit(server.__enter__) for server in starting]
        for server in starting:
            stack.push(server)
        yield Fleet(folder, [future.result() for future in entered])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with started_at_once(tmp_path_factory.mktemp("fleet"), 8) as started:
        yield started


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The lock grants everybody."""
    folder = tmp_path_factory.mktemp("unlocked")
    with started_at_once(folder, 4, lock_method="none") as started:
        yield started


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Every call in a thread of its own, all released by one barrier."""
    barrier = threading.Barrier(len(calls))

    def released(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(released, calls))


def content(number: int) -> dict[str, bytes]:
    """Files of a publish: one like every other's, and one of its own, small or on disk at once."""
    size = 200_000 if number % 20 == 0 else 1000 + number
    return {"shared.safetensors": SHARED, "model.safetensors": safetensors(number, size)}


def publish_many(fleet: Fleet, model: str, count: int, *, threads: int) -> list[str]:
    """That many publishes by so many clients; returns the codes of the 503s on the way."""
    refused: list[str] = []
    with fleet.clients() as clients, ThreadPoolExecutor(threads) as pool:
        clients[0].post("/api/v1/models", json={"name": model}).raise_for_status()

        def one(number: int) -> tuple[int, int]:
            client = clients[number % len(clients)]
            reply = persistently(
                lambda: publish(client, model, content(number), parameters={"number": number}),
                refused,
            )
            assert reply.status_code == 201, reply.text
            version = reply.json()["version"]
            assert reply.headers["location"] == f"/api/v1/models/{model}/versions/{version}"
            return number, version

        given = dict(pool.map(one, range(count)))
        assert sorted(given.values()) == list(range(1, count + 1))
        for number, version in given.items():
            client = clients[-number % len(clients)]
            for path, expected in content(number).items():
                url = f"/api/v1/models/{model}/versions/{version}/files/{path}"
                assert client.get(url).content == expected, (number, version, path)
    sight = look(fleet.folder)
    assert_sound(sight)
    assert sight.numbers(model) == list(range(1, count + 1))
    assert {v.version: v.parameters["number"] for v in sight.versions[model]} == {
        version: number for number, version in given.items()
    }
    return refused


def test_400_publishes_through_8_processes_get_the_numbers_1_to_400(
    fleet: Fleet,
) -> None:
    refused = publish_many(fleet, "crowded", 400, threads=32)
    print("503s on the way:", dict(Counter(refused)))


def test_numbers_are_right_under_a_lock_that_grants_everybody(unlocked: Fleet) -> None:
    publish_many(unlocked, "crowded", 120, threads=32)


def test_of_swaps_at_once_exactly_one_wins_each_round(fleet: Fleet) -> None:
    with fleet.clients() as clients:
        for _ in clients:
            publish(clients[0], "swapped", {"m.safetensors": SHARED}, create_model=True)
        url = "/api/v1/models/swapped/aliases/champion"
        first = clients[0].put(url, json={"version": 1}, headers={"If-None-Match": "*"})
        etag, version = first.headers["etag"], 1
        for _ in range(15):
            targets = [number for number in range(1, 9) if number != version]
            replies = at_once(
                [
                    partial(client.put, url, json={"version": to}, headers={"If-Match": etag})
                    for client, to in zip(clients, [*targets, targets[0]], strict=True)
                ]
            )
            assert Counter(reply.status_code for reply in replies) == {200: 1, 412: 7}
            (winner,) = [reply for reply in replies if reply.status_code == 200]
            assert clients[0].get(url).json() == winner.json()
            etag, version = winner.headers["etag"], winner.json()["version"]
        history = clients[0].get(f"{url}/history").json()["items"]
        assert len(history) == 16
        for newer, older in itertools.pairwise(history):
            assert newer["previous_version"] == older["version"]


@pytest.mark.parametrize("how", ["fleet", "unlocked"])
def test_one_key_through_many_processes_publishes_one_version(
    how: str, request: pytest.FixtureRequest
) -> None:
    fleet: Fleet = request.getfixturevalue(how)
    with fleet.clients() as clients:
        for turn in range(1, 6):
            send = partial(publish, model="keyed", files=content(1000 + turn))
            keyed = partial(send, key=str(uuid.uuid4()), create_model=True)
            refused: list[str] = []
            replies = at_once(
                [partial(persistently, partial(keyed, c), refused) for c in clients * 2]
            )
            assert {reply.json().get("version") for reply in replies} == {turn}, [
                reply.text for reply in replies
            ]
            statuses = Counter(reply.status_code for reply in replies)
            assert statuses == {201: 1, 200: len(replies) - 1}


@pytest.mark.parametrize("how", ["fleet", "unlocked"])
def test_one_name_is_registered_once_whoever_asks(how: str, request: pytest.FixtureRequest) -> None:
    fleet: Fleet = request.getfixturevalue(how)
    with fleet.clients() as clients:
        for turn in range(10):
            name = f"wanted {turn}"
            replies = at_once(
                [partial(client.post, "/api/v1/models", json={"name": name}) for client in clients]
            )
            statuses = Counter(reply.status_code for reply in replies)
            assert statuses == {201: 1, 409: len(clients) - 1}
            (created,) = [reply for reply in replies if reply.status_code == 201]
            assert clients[0].get(created.headers["location"]).json() == created.json()


def test_publishes_that_create_their_model_at_once_all_get_through(fleet: Fleet) -> None:
    with fleet.clients() as clients:
        refused: list[str] = []
        for turn in range(5):
            calls = [
                partial(publish, client, f"made {turn}", content(n), create_model=True)
                for n, client in enumerate(clients)
            ]
            replies = at_once([partial(persistently, call, refused) for call in calls])
            assert sorted(reply.json()["version"] for reply in replies) == list(range(1, 9))


@contextmanager
def collecting(folder: Path) -> Iterator[list[int]]:
    """Garbage collections without grace or lock, two at a time, over and over; what each took."""
    taken: list[int] = []
    done = threading.Event()

    def forever() -> None:
        while not done.is_set():
            taken.append(collect(folder, lock_method="none").blobs)

    with ThreadPoolExecutor(2) as threads:
        collectors = [threads.submit(forever) for _ in range(2)]
        try:
            yield taken
        finally:
            done.set()
        for collector in collectors:
            collector.result()


def test_a_sweep_never_takes_the_bytes_of_a_version(fleet: Fleet) -> None:
    refused: list[str] = []

    def by_blob(client: httpx.Client, number: int) -> httpx.Response:
        """Uploads and names it; begins anew when a sweep came between."""
        blob = safetensors(("swept", number // 4), 30_000)
        sha256 = hashlib.sha256(blob).hexdigest()
        body = {"files": [{"path": "m.safetensors", "sha256": sha256}], "create_model": True}
        while True:
            persistently(lambda: client.put(f"/api/v1/blobs/{sha256}", content=blob), refused)
            reply = persistently(
                lambda: client.post("/api/v1/models/swept/versions", json=body), refused
            )
            if reply.status_code == 201:
                return reply
            assert reply.json()["code"] == "blob.not_uploaded", reply.text
            refused.append(reply.json()["code"])

    def by_form(client: httpx.Client, number: int) -> httpx.Response:
        blob = safetensors(("swept", number // 4), 30_000 if number % 3 else 3000)
        files = {"m.safetensors": blob}
        return persistently(lambda: publish(client, "swept", files, create_model=True), refused)

    def one(number: int) -> int:
        send = by_blob if number % 2 else by_form
        reply = send(clients[number % len(clients)], number)
        assert reply.status_code == 201, reply.text
        version: int = reply.json()["version"]
        return version

    with (
        fleet.clients() as clients,
        ThreadPoolExecutor(16) as threads,
        collecting(fleet.folder) as taken,
    ):
        given = list(threads.map(one, range(160)))
    assert sorted(given) == list(range(1, 161))
    assert taken, "no collection came to its end"
    assert_tidy(collect_and_look(fleet.folder))


def test_a_sweep_tells_bytes_published_again_from_those_of_deleted_versions(fleet: Fleet) -> None:
    refused: list[str] = []

    def one(number: int) -> int:
        client = clients[number % len(clients)]
        files = {"m.safetensors": safetensors(("churned", number % 5), 2000)}
        send = partial(publish, client, "churned", files, create_model=True)
        reply = persistently(send, refused)
        assert reply.status_code == 201, reply.text
        version: int = reply.json()["version"]
        if number < 100:
            url = f"/api/v1/models/churned/versions/{version}"
            persistently(partial(client.delete, url), refused).raise_for_status()
        return version

    with fleet.clients() as clients:
        with ThreadPoolExecutor(12) as threads, collecting(fleet.folder) as taken:
            given = list(threads.map(one, range(120)))
        assert sorted(given) == list(range(1, 121))
        assert taken, "no collection came to its end"
        sight = look(fleet.folder)
        kept = set(given[100:])
        assert set(sight.numbers("churned")) == kept
        assert sight.verified.clean
        for number in kept:
            url = f"/api/v1/models/churned/versions/{number}/files/m.safetensors"
            assert clients[0].get(url).status_code == 200
        clients[0].delete("/api/v1/models/churned").raise_for_status()
    assert_tidy(collect_and_look(fleet.folder))
