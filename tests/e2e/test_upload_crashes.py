"""``kill -9`` at every step of a request to an upload: it goes on from where it says it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from application.maintenance import CollectGarbage
from application.uploads import AppendToUpload, CreateUpload
from domain.upload import Upload
from entrypoints.container import Container
from tests.support.dying_server import Undertaker
from tests.support.publishing import safetensors
from tests.support.soundness import on
from tests.unit.in_memory import in_chunks

FIRST = 30_000
"""Bytes that are there before the request whose steps are walked."""
MOST_STEPS = 100
HEADERS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def undertaker() -> Iterator[Undertaker]:
    undertaker = Undertaker()
    yield undertaker
    undertaker.close()


def begin(folder: Path, content: bytes) -> Upload:
    async def work(container: Container) -> Upload:
        upload = await container.create_upload()(CreateUpload("ada", len(content)))
        first = AppendToUpload(upload.id, 0, in_chunks(content[:FIRST]))
        return await container.append_to_upload()(first)

    return on(folder, work)


def find(folder: Path, upload: Upload) -> Upload:
    return on(folder, lambda container: container.find_upload()(upload.id))


def append(upload: Upload, content: bytes) -> httpx.Request:
    """All of the content that it does not have."""
    url = f"http://service/api/v1/uploads/{upload.id}"
    headers = {**HEADERS, "Upload-Offset": str(upload.received)}
    return httpx.Request("PATCH", url, content=content[upload.received :], headers=headers)


async def check_tidy(container: Container) -> None:
    """A garbage collection without any grace leaves only segments that uploads have."""
    await container.collect_garbage()(CollectGarbage(timedelta(0), force=True))
    assert (await container.verify()()).clean
    segments = {segment.name async for segment in container.segments().list()}
    async with container.uow() as uow:
        assert await uow.uploads.named(segments) == segments


def walk(undertaker: Undertaker, folder: Path, size: int) -> set[str]:
    """Dies at every step of a request that brings ``size`` bytes more, until one survives."""
    deaths: set[str] = set()
    for step in range(MOST_STEPS):
        content = safetensors(step, 3 * FIRST)
        digest = hashlib.sha256(content).hexdigest()
        upload = begin(folder, content)
        until = min(FIRST + size, len(content))
        outcome = undertaker.carry_out(folder, append(upload, content[:until]), at=step)
        if outcome.died is None:
            assert outcome.status == 204
            return deaths
        deaths.add(outcome.died.partition(" ")[2])
        if step % 2:  # every other time what is in no row is there still
            on(folder, check_tidy)
        left = find(folder, upload)
        assert left.received in {FIRST, until}, outcome.died
        assert (left.sha256 is not None) is (left.received == len(content)), outcome.died
        again = undertaker.carry_out(folder, append(left, content), at=None)
        assert again.status == 204, (outcome.died, again)
        assert find(folder, upload).sha256 == digest
    raise AssertionError("still dying")


def test_killed_at_any_step_of_the_bytes_in_between_an_upload_goes_on(
    undertaker: Undertaker, tmp_path: Path
) -> None:
    assert walk(undertaker, tmp_path, FIRST) >= {
        "os.open",
        "half os.write",
        "os.fsync",
        "os.rename",
        "before UPDATE uploads",
        "before INSERT INTO upload_segments",
        "before COMMIT",
        "after COMMIT",
    }
    on(tmp_path, check_tidy)


def test_killed_at_any_step_of_the_last_bytes_an_upload_is_finished_later(
    undertaker: Undertaker, tmp_path: Path
) -> None:
    assert walk(undertaker, tmp_path, 3 * FIRST) >= {
        "half os.write",
        "os.rename",
        "os.unlink",
        "flock",
        "before UPDATE uploads",
        "after UPDATE uploads",
        "after DELETE FROM upload_segments",
        "before COMMIT",
        "after COMMIT",
    }
    on(tmp_path, check_tidy)
