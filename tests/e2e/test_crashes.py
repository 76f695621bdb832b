"""``kill -9`` at every step of a publish: nothing is lost, nothing stays that gc cannot take."""

from __future__ import annotations

import functools
import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.dying_server import Outcome, Undertaker, dying_server
from tests.support.publishing import safetensors
from tests.support.soundness import assert_sound, assert_tidy, collect, collect_and_look, look

MODEL = "mortal"
URL = f"http://service/api/v1/models/{MODEL}/versions"
SHARED = safetensors("in every version", 30_000)
MOST_STEPS = 400


@pytest.fixture(scope="module")
def undertaker() -> Iterator[Undertaker]:
    undertaker = Undertaker()
    yield undertaker
    undertaker.close()


def by_form(number: int) -> httpx.Request:
    """A file small enough to stay in memory, one that goes to disk, and one that is there."""
    files = {
        "config.safetensors": safetensors(number, 500),
        "model.safetensors": safetensors(number, 50_000),
        "shared.safetensors": SHARED,
    }
    metadata = {"aliases": ["champion"], "create_model": True}
    parts: list[tuple[str, tuple[str | None, bytes]]] = [
        ("file", (path, content)) for path, content in files.items()
    ]
    parts.append(("metadata", (None, json.dumps(metadata).encode())))
    headers = {"Idempotency-Key": f"form-{number}"}
    return httpx.Request("POST", URL, files=parts, headers=headers)


def by_blobs(number: int) -> httpx.Request:
    """Files that were uploaded before."""
    body = {
        "create_model": True,
        "metrics": {"number": number},
        "files": [
            {"path": f"{n}.safetensors", "sha256": hashlib.sha256(blob).hexdigest()}
            for n, blob in enumerate(uploads(number))
        ],
    }
    return httpx.Request("POST", URL, json=body, headers={"Idempotency-Key": f"blobs-{number}"})


def uploads(number: int) -> list[bytes]:
    return [SHARED, safetensors(("upload", number), 40_000)]


def upload(blob: bytes) -> httpx.Request:
    sha256 = hashlib.sha256(blob).hexdigest()
    return httpx.Request("PUT", f"http://service/api/v1/blobs/{sha256}", content=blob)


def survived(outcome: Outcome, *statuses: int) -> Outcome:
    assert outcome.died is None
    assert outcome.status in statuses, outcome
    return outcome


def in_vain(_: int) -> None:
    """Nothing has to be there before the request."""


def die_and_recover(
    undertaker: Undertaker,
    folder: Path,
    request: httpx.Request,
    step: int,
    *,
    before: int,
    prepare: Callable[[], None],
) -> Outcome:
    """Dies at this step of the next publish and checks what is left; then the client retries."""
    outcome = undertaker.carry_out(folder, request, at=step)
    sight = look(folder)
    assert_sound(sight)
    committed = len(sight.numbers(MODEL)) - before
    if outcome.died is None:
        survived(outcome, 201)
        assert committed == 1
        return outcome
    assert committed in {0, 1}, outcome.died
    if step % 2:  # every other time the retry finds no orphans to adopt
        assert_tidy(collect_and_look(folder))
        prepare()
    retried = survived(undertaker.carry_out(folder, request, at=None), 200 if committed else 201)
    assert retried.document["version"] == before + 1, outcome.died
    sight = collect_and_look(folder)
    assert_tidy(sight)
    assert len(sight.numbers(MODEL)) == before + 1, outcome.died
    return outcome


def walk(
    undertaker: Undertaker,
    folder: Path,
    request: Callable[[int], httpx.Request],
    *,
    steps: range = range(MOST_STEPS),
    prepare: Callable[[int], None] = in_vain,
) -> set[str]:
    """Dies at these steps in turn, until one survives; the names of the steps."""
    deaths: set[str] = set()
    for before, step in enumerate(steps):
        prepare(step)
        again = functools.partial(prepare, step)
        outcome = die_and_recover(
            undertaker, folder, request(step), step, before=before, prepare=again
        )
        if outcome.died is None:
            assert abs(step - len(outcome.passed)) < 10
            break
        deaths.add(outcome.died.partition(" ")[2])
    else:
        assert steps.stop < MOST_STEPS, "still dying"
    return deaths


def first_publish(undertaker: Undertaker, folder: Path) -> None:
    """To another model; ``SHARED`` is in the store from now on."""
    url = URL.replace(MODEL, "other")
    files = [("file", ("m.safetensors", SHARED)), ("metadata", (None, b'{"create_model":true}'))]
    request = httpx.Request("POST", url, files=files)
    survived(undertaker.carry_out(folder, request, at=None, prepared=False), 201)


STORED = 36
"""Steps of ``by_form`` until about all its bytes are in the store; so the walk has two halves."""


def test_killed_while_its_bytes_are_stored_a_publish_loses_nothing(
    undertaker: Undertaker, tmp_path: Path
) -> None:
    first_publish(undertaker, tmp_path)
    assert walk(undertaker, tmp_path, by_form, steps=range(STORED)) >= {
        "os.open",
        "os.write",
        "half os.write",
        "os.fsync",
        "os.rename",
        "os.utime",
        "os.unlink",
        "flock",
    }


def test_killed_while_its_rows_are_written_a_publish_loses_nothing(
    undertaker: Undertaker, tmp_path: Path
) -> None:
    first_publish(undertaker, tmp_path)
    assert walk(undertaker, tmp_path, by_form, steps=range(STORED, MOST_STEPS)) >= {
        "os.unlink",
        "flock",
        "before BEGIN IMMEDIATE",
        "before INSERT INTO versions",
        "after INSERT INTO versions",
        "before INSERT INTO version_blobs",
        "before INSERT INTO receipts",
        "before INSERT INTO alias_moves",
        "before COMMIT",
        "after COMMIT",
    }


def test_killed_at_any_step_a_publish_of_uploaded_blobs_loses_nothing(
    undertaker: Undertaker, tmp_path: Path
) -> None:
    def prepare(number: int) -> None:
        request = upload(uploads(number)[-1])
        survived(undertaker.carry_out(tmp_path, request, at=None), 200, 201)

    first_publish(undertaker, tmp_path)
    steps = walk(undertaker, tmp_path, by_blobs, prepare=prepare)
    assert steps >= {"os.utime", "os.fsync", "flock", "before COMMIT", "after COMMIT"}


def test_killed_at_any_step_an_upload_leaves_a_whole_blob_or_none(
    undertaker: Undertaker, tmp_path: Path
) -> None:
    """Of several batches."""
    first_publish(undertaker, tmp_path)
    for step in range(MOST_STEPS):
        request = upload(safetensors(step, 1_200_000))
        outcome = undertaker.carry_out(tmp_path, request, at=step)
        sight = look(tmp_path)
        assert_sound(sight)
        assert sight.verified.unreferenced in {0, 1}
        if outcome.died is None:
            break
        there = sight.verified.unreferenced == 1
        survived(undertaker.carry_out(tmp_path, request, at=None), 200 if there else 201)
        assert collect(tmp_path).blobs == 1
        assert_tidy(look(tmp_path))
    assert step > 10


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 100, *range(256, 276, 3)])
def test_killed_in_the_first_publish_of_all_nothing_is_in_the_way_of_the_next(
    undertaker: Undertaker, tmp_path: Path, step: int
) -> None:
    request = by_form(step)
    outcome = undertaker.carry_out(tmp_path, request, at=step, prepared=False)
    assert outcome.died is not None
    assert_sound(look(tmp_path))
    assert survived(undertaker.carry_out(tmp_path, request, at=None), 201).document["version"] == 1
    assert_tidy(collect_and_look(tmp_path))


def test_a_server_killed_in_a_publish_comes_back_and_takes_the_retry(tmp_path: Path) -> None:
    def send(client: httpx.Client, number: int, **headers: str) -> httpx.Response:
        prepared = by_form(number)
        return client.post(
            prepared.url.path, content=prepared.read(), headers={**prepared.headers, **headers}
        )

    steps = ["half os.write", "os.rename", "before INSERT INTO versions", "after COMMIT"]
    for number, step in enumerate([*steps, None], start=1):
        with dying_server(tmp_path) as (process, client):
            if number > 1:
                retried = send(client, number - 1)
                assert retried.status_code == (200 if steps[number - 2] == "after COMMIT" else 201)
                assert retried.json()["version"] == number - 1
            if step is None:
                break
            with pytest.raises(httpx.TransportError):
                send(client, number, **{"X-Die-At": step})
            assert process.wait(30) == -signal.SIGKILL
    sight = collect_and_look(tmp_path)
    assert_tidy(sight)
    assert sight.numbers(MODEL) == list(range(1, len(steps) + 1))
