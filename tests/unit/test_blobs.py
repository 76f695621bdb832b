"""Uploading blobs ahead of a publish, and reading the files of a version."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from application.blobs import OpenFile, UploadBlob, UploadBlobHandler
from domain.errors import (
    AliasNotFound,
    BlobCorrupt,
    DigestMismatch,
    FileNotFound,
    ModelNotFound,
    RequestTooLarge,
    StoreFull,
    VersionNotFound,
)
from domain.values import Digest, ModelName, parse_reference
from tests.unit.in_memory import CAPACITY, Registry, a_file, digest_of, in_chunks

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Registry:
    return Registry()


async def read(
    registry: Registry,
    path: str,
    reference: str = "latest",
    *,
    start: int = 0,
    stop: int | None = None,
) -> bytes:
    wanted = OpenFile(ModelName("churn"), parse_reference(reference), path)
    opened = await registry.open_file(wanted)
    return b"".join([chunk async for chunk in await opened.read(start, stop)])


# --- uploading ----------------------------------------------------------------------------------


async def test_a_blob_is_stored_under_the_digest_of_its_bytes(registry: Registry) -> None:
    assert await registry.upload(b"one ", b"two")
    assert await registry.blobs() == {digest_of(b"one two")}


async def test_a_blob_of_no_bytes_is_a_blob(registry: Registry) -> None:
    assert await registry.upload(digest=digest_of(b""))
    assert await registry.blobs() == {digest_of(b"")}


async def test_a_blob_that_is_there_is_not_read_again_but_made_young(registry: Registry) -> None:
    await registry.upload(b"x")
    later = registry.clock.advance(timedelta(hours=1))

    async def never() -> AsyncIterator[bytes]:
        yield pytest.fail("the bytes are there already")

    handle = UploadBlobHandler(registry.store, CAPACITY)
    info, created = await handle(UploadBlob(digest_of(b"x"), never()))
    assert not created
    assert (info.size, info.renewed_at) == (1, later)


async def test_a_blob_that_was_cut_is_replaced_when_its_size_is_announced(
    registry: Registry,
) -> None:
    handle = UploadBlobHandler(registry.store, CAPACITY)
    digest = digest_of(b"bytes")
    for size, mended in ((5, True), (None, False)):
        registry.store.keep(digest, b"byt")
        info, created = await handle(UploadBlob(digest, in_chunks(b"bytes"), size))
        assert (created, info.size) == ((True, 5) if mended else (False, 3))
        assert (registry.store.content(digest) == b"bytes") is mended


async def test_a_size_that_is_a_lie_changes_nothing(registry: Registry) -> None:
    await registry.upload(b"bytes")
    handle = UploadBlobHandler(registry.store, CAPACITY)
    with pytest.raises(DigestMismatch):
        await handle(UploadBlob(digest_of(b"bytes"), in_chunks(b"byt"), 3))
    assert registry.store.content(digest_of(b"bytes")) == b"bytes"


async def test_bytes_with_another_digest_are_not_stored(registry: Registry) -> None:
    with pytest.raises(DigestMismatch, match=digest_of(b"other bytes")):
        await registry.upload(b"other bytes", digest=digest_of(b"bytes"))
    registry.check_nothing_is_held()


async def test_a_blob_has_at_most_the_greatest_size() -> None:
    registry = Registry(max_size=3)
    assert await registry.upload(b"12", b"3")
    with pytest.raises(RequestTooLarge):
        await registry.upload(b"12", b"34")
    assert await registry.blobs() == {digest_of(b"123")}


async def test_a_blob_that_does_not_fit_leaves_nothing() -> None:
    registry = Registry(max_size=2 * CAPACITY)
    with pytest.raises(StoreFull):
        await registry.upload(b"x" * CAPACITY, b"x")
    registry.check_nothing_is_held()


# --- reading ------------------------------------------------------------------------------------


async def test_a_file_is_read_whole_or_in_part(registry: Registry) -> None:
    await registry.register()
    await registry.publish(a_file("dir/a", b"0123456789"), a_file("b", b""))
    assert await read(registry, "dir/a") == b"0123456789"
    assert await read(registry, "dir/a", start=3) == b"3456789"
    assert await read(registry, "dir/a", start=3, stop=5) == b"34"
    assert await read(registry, "b") == b""


async def test_a_file_is_found_by_number_latest_and_alias(registry: Registry) -> None:
    await registry.register()
    await registry.publish(a_file("a", b"one"))
    await registry.publish(a_file("a", b"two"))
    await registry.set_alias("champion", 1)
    assert await read(registry, "a", "1") == b"one"
    assert await read(registry, "a", "latest") == b"two"
    assert await read(registry, "a", "@champion") == b"one"


async def test_what_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(ModelNotFound):
        await read(registry, "a")
    await registry.register()
    with pytest.raises(VersionNotFound):
        await read(registry, "a")
    await registry.publish(*(a_file(f"f{index}") for index in range(7)))
    with pytest.raises(AliasNotFound):
        await read(registry, "f0", "@champion")
    with pytest.raises(FileNotFound, match=r"'f4' and 2 more"):
        await read(registry, "F0")


async def test_a_file_is_found_however_its_path_is_composed(registry: Registry) -> None:
    await registry.register()
    await registry.publish(a_file("modèle/\u1faf" + "é" * 100, b"bytes"))
    path = unicodedata.normalize("NFD", "modèle/\u1faf" + "é" * 100)
    assert await read(registry, path) == b"bytes"


_ENDLESS = """
import asyncio

from domain.errors import FileNotFound
from tests.unit.in_memory import Registry, a_file
from tests.unit.test_blobs import read

async def main():
    registry = Registry()
    await registry.register()
    await registry.publish(a_file("a"))
    try:
        await read(registry, "a" + "\\u0316\\u0301" * 500_000)
    except FileNotFound:
        return
    raise AssertionError

asyncio.run(main())
"""


def test_an_endless_path_is_not_found_before_it_is_composed() -> None:
    """Composing takes a time that is quadratic in combining marks: for these, many minutes."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _ENDLESS], cwd=root, timeout=15, check=True)


async def test_a_lost_blob_is_told_of_before_the_first_byte(registry: Registry) -> None:
    await registry.register()
    await registry.publish(a_file("a", b"bytes"))
    later = registry.clock.advance(timedelta(days=1))
    await registry.store.discard(Digest(digest_of(b"bytes")), unless_renewed_since=later)
    opened = await registry.open_file(OpenFile(ModelName("churn"), parse_reference("latest"), "a"))
    with pytest.raises(BlobCorrupt, match=digest_of(b"bytes")):
        await opened.read()
