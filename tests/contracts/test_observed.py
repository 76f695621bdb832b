"""Stores and locks that are observed keep their contracts; and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from time import perf_counter

import pytest

from adapters.memory.artifact_store import MemoryArtifactStore
from adapters.memory.locks import MemoryLockManager
from adapters.memory.segments import MemorySegmentStore
from adapters.memory.validator import MemoryFileValidator
from adapters.observed import (
    ObservedArtifactStore,
    ObservedFileValidator,
    ObservedLockManager,
    ObservedSegmentStore,
)
from domain.errors import BlobNotFound, LockTimeout, StoreFull
from domain.values import FilePath
from tests.contracts.artifact_store import (
    ABSENT,
    MIB,
    ArtifactStoreContract,
    content_of,
    digest_of,
    download,
    upload,
)
from tests.contracts.file_validator import GGUF, BytesSource, FileValidatorContract
from tests.contracts.lock_manager import LockManagerContract
from tests.contracts.segment_store import SegmentStoreContract

pytestmark = pytest.mark.anyio

Told = list[tuple[str, str | None]]


def nobody(*_: object) -> None:
    """Listens to no report."""


@pytest.fixture
def told() -> Told:
    """Operations and the names of the errors that ended them."""
    return []


def into(told: Told) -> Callable[[str, float, float, BaseException | None], None]:
    def report(operation: str, _began: float, seconds: float, error: BaseException | None) -> None:
        assert seconds >= 0
        told.append((operation, type(error).__name__ if error else None))

    return report


class TestObservedArtifactStore(ArtifactStoreContract):
    @pytest.fixture
    def within(self) -> MemoryArtifactStore:
        return MemoryArtifactStore()

    @pytest.fixture
    def store(self, within: MemoryArtifactStore) -> ObservedArtifactStore:
        return ObservedArtifactStore(within, nobody)

    @pytest.fixture
    def small_store(self) -> tuple[ObservedArtifactStore, type[Exception]]:
        return ObservedArtifactStore(MemoryArtifactStore(capacity=MIB), nobody), StoreFull

    @pytest.fixture
    def leftovers(self, within: MemoryArtifactStore) -> Callable[[], int]:
        return lambda: len(within._staged)

    async def test_an_upload_is_a_write_and_a_commit(self, told: Told) -> None:
        store = ObservedArtifactStore(MemoryArtifactStore(), into(told))
        await upload(store, content_of(3 * MIB))
        assert told == [("commit", None), ("write", None)]

    async def test_an_upload_that_finds_no_room_is_told_with_its_error(self, told: Told) -> None:
        store = ObservedArtifactStore(MemoryArtifactStore(capacity=MIB), into(told))
        with pytest.raises(StoreFull):
            await upload(store, content_of(2 * MIB))
        assert told == [("write", "StoreFull")]

    async def test_what_the_client_does_wrong_is_no_error_of_the_store(self, told: Told) -> None:
        store = ObservedArtifactStore(MemoryArtifactStore(), into(told))

        async def go_away() -> None:
            async with store.stage() as blob:
                await blob.write(b"x")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await go_away()
        assert told == [("write", None)]

    async def test_a_download_is_a_read_also_where_its_reader_leaves(self, told: Told) -> None:
        store = ObservedArtifactStore(MemoryArtifactStore(), into(told))
        info = await upload(store, content_of(3 * MIB))
        told.clear()
        await download(store, info.digest)
        async with aclosing(store.read(info.digest)) as chunks:
            await anext(chunks)
        with pytest.raises(BlobNotFound):
            await download(store, ABSENT)
        assert told == [("read", None), ("read", None), ("read", "BlobNotFound")]

    async def test_the_time_that_chunks_take_to_come_is_not_that_of_the_store(self) -> None:
        seconds: list[float] = []
        store = ObservedArtifactStore(
            MemoryArtifactStore(), lambda _operation, _began, spent, _error: seconds.append(spent)
        )
        content = content_of(100)
        waited = 0.0

        async def slowly() -> AsyncIterator[bytes]:
            nonlocal waited
            asked = perf_counter()
            await asyncio.sleep(0.05)
            waited = perf_counter() - asked
            yield content

        began = perf_counter()
        await store.put(digest_of(content), slowly())
        assert 0 <= seconds[0] <= perf_counter() - began - waited


class TestObservedSegmentStore(SegmentStoreContract):
    @pytest.fixture
    def segments(self) -> ObservedSegmentStore:
        return ObservedSegmentStore(MemorySegmentStore(), nobody)


class TestObservedLockManager(LockManagerContract):
    @pytest.fixture
    def locks(self) -> ObservedLockManager:
        return ObservedLockManager(MemoryLockManager(), nobody)

    async def test_the_wait_is_told_by_the_kind_of_the_lock(self, told: Told) -> None:
        locks = ObservedLockManager(MemoryLockManager(), into(told))
        async with locks.hold("publish:churn", timeout=1):
            assert told == [("publish", None)]
            with pytest.raises(LockTimeout):
                await locks.hold("publish:churn", timeout=0).__aenter__()
        assert told == [("publish", None), ("publish", "LockTimeout")]


class TestObservedFileValidator(FileValidatorContract):
    @pytest.fixture
    def validator(self) -> ObservedFileValidator:
        return ObservedFileValidator(MemoryFileValidator(), nobody)


async def test_what_a_validator_was_asked_is_told(told: Told) -> None:
    validator = ObservedFileValidator(MemoryFileValidator(), into(told))
    await validator.sniff(GGUF, FilePath("m.gguf"))
    await validator.validate(BytesSource(GGUF), FilePath("m.gguf"))
    assert told == [("sniff", None), ("validate", None)]
