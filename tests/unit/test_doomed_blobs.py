"""Renewing, uploading and collecting one blob, interleaved in every way: docs/decisions/0013.

The bucket here is a dictionary whose requests happen when the test says so, one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.object_store import blobs as module
from adapters.object_store.blobs import Blobs
from adapters.object_store.bucket import Bucket, ObjectInfo
from application.ports import BlobInfo
from domain.errors import StoreUnavailable
from domain.values import Digest
from tests.support.aio import Loop

DIGEST = Digest("a" * 64)
START = datetime(2026, 1, 1, tzinfo=UTC)
OLD, CUTOFF = START, START + timedelta(seconds=1)


class SteppedBucket:
    """Each request waits for its turn, and then happens at once; a tick of the clock each."""

    def __init__(self) -> None:
        self.objects: dict[str, ObjectInfo] = {}
        self.waiting: list[asyncio.Future[None]] = []
        self.now = CUTOFF

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        await turn
        self.now += timedelta(seconds=1)

    async def put(self, key: str, content: bytes) -> None:
        await self._turn()
        self.objects[key] = ObjectInfo(key, len(content), self.now)

    async def create(self, key: str, content: bytes) -> bool:
        await self._turn()
        if key in self.objects:
            return False
        self.objects[key] = ObjectInfo(key, len(content), self.now)
        return True

    async def head(self, key: str) -> ObjectInfo | None:
        await self._turn()
        return self.objects.get(key)

    async def delete(self, keys: Sequence[str]) -> None:
        """One after another, as a store may take them."""
        for key in keys:
            await self._turn()
            self.objects.pop(key, None)

    async def list(self, folder: str) -> AsyncGenerator[ObjectInfo, None]:
        await self._turn()
        for key in sorted(self.objects):
            if key.startswith(f"{folder}/"):
                yield self.objects[key]


async def interleave(
    bucket: SteppedBucket, works: Sequence[Awaitable[object]], choices: Sequence[int]
) -> list[object]:
    """Runs them; each choice says whose request is next, and at the end they take turns."""
    tasks = [asyncio.ensure_future(work) for work in works]
    step = 0
    while not all(task.done() for task in tasks):
        for _ in range(20):  # until everybody waits for a turn, or is done
            await asyncio.sleep(0)
        if bucket.waiting:
            chosen = choices[step] if step < len(choices) else 0
            bucket.waiting.pop(chosen % len(bucket.waiting)).set_result(None)
            step += 1
    return await asyncio.gather(*tasks, return_exceptions=True)


Work = Callable[[Blobs], Awaitable[object]]


async def upload(blobs: Blobs) -> BlobInfo:
    return await blobs.adopt(DIGEST, lambda: blobs.bucket.put(blobs.key(DIGEST), b"x"), mark=False)


async def upload_that_looks_old(blobs: Blobs) -> BlobInfo:
    """As S3 dates what came in parts: by its first."""
    bucket = cast(SteppedBucket, blobs.bucket)

    async def write() -> None:
        await bucket.put(blobs.key(DIGEST), b"x")
        bucket.objects[blobs.key(DIGEST)] = ObjectInfo(blobs.key(DIGEST), 1, OLD)

    return await blobs.adopt(DIGEST, write, mark=True)


def renew(blobs: Blobs) -> Awaitable[object]:
    return blobs.renew(DIGEST)


def discard(blobs: Blobs) -> Awaitable[object]:
    return blobs.discard(DIGEST, CUTOFF)


def sweep(blobs: Blobs) -> Awaitable[object]:
    return blobs.sweep_marks(CUTOFF)


writers = st.sampled_from([renew, upload, upload_that_looks_old])
collectors = st.sampled_from([discard, sweep])


@pytest.mark.usefixtures("impatient")
@settings(max_examples=400)
@given(
    works=st.tuples(
        st.lists(writers, min_size=1, max_size=2), st.lists(collectors, min_size=1, max_size=2)
    ),
    choices=st.lists(st.integers(0, 7), max_size=60),
    present=st.booleans(),
    marked=st.booleans(),
)
def test_who_was_told_that_a_blob_is_there_finds_it(
    works: tuple[list[Work], list[Work]], choices: list[int], present: bool, marked: bool
) -> None:
    loop = Loop()
    try:
        loop.run(_check(*works, choices, present, marked))
    finally:
        loop.close()


@pytest.fixture(scope="module")
def impatient() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "_POLL", 0)
    yield
    patch.undo()


async def _check(
    writing: list[Work], collecting: list[Work], choices: list[int], present: bool, marked: bool
) -> None:
    bucket = SteppedBucket()
    blobs = Blobs(cast(Bucket, bucket), "")
    key = blobs.key(DIGEST)
    if present:
        bucket.objects[key] = ObjectInfo(key, 1, OLD)
    if marked:
        bucket.objects[f"renewals/{DIGEST}"] = ObjectInfo(f"renewals/{DIGEST}", 0, OLD)
    works = [work(blobs) for work in (*writing, *collecting)]
    results = await interleave(bucket, works, choices)
    told = [result for result in results[: len(writing)] if isinstance(result, BlobInfo)]
    failed = [result for result in results if isinstance(result, Exception)]
    assert all(isinstance(error, StoreUnavailable) for error in failed), failed
    if told:
        assert key in bucket.objects
        again = await interleave(bucket, [discard(blobs)], [])
        assert again == [False], "the next collection takes what was just renewed"
    gone = results.count(True)
    assert gone <= int(present) + len(writing)
    assert not [name for name in bucket.objects if name.startswith("dooms/")]
