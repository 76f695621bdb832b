"""Any order of operations leaves an artifact store as a dictionary would be."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from adapters.local_disk import LocalDiskArtifactStore
from adapters.memory.artifact_store import MemoryArtifactStore
from application.ports import ArtifactStore
from domain.errors import BlobNotFound
from domain.values import Digest
from tests.contracts.artifact_store import content_of, digest_of, download, upload, write
from tests.contracts.object_stores import artifacts
from tests.support.aio import Loop, collect
from tests.support.services.buckets import Place

CONTENTS = [content_of(size, size) for size in (0, 1, 5_000, 20_000, (1 << 20) + 1)]
contents = st.sampled_from(CONTENTS)
cuts = st.lists(st.integers(1, 300_000), min_size=1, max_size=3)
HOUR = timedelta(hours=1)


class StoreMachine(RuleBasedStateMachine):
    """Ages are told apart by an hour, so that the machine's own speed does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.store = self.make_store()
        self.model: dict[Digest, bytes] = {}

    def make_store(self) -> ArtifactStore:
        raise NotImplementedError

    def teardown(self) -> None:
        self.loop.close()

    @rule(content=contents, cuts=cuts)
    def publish(self, content: bytes, cuts: list[int]) -> None:
        info = self.loop.run(
            upload(self.store, content, *(max(cut, len(content) // 50) for cut in cuts))
        )
        assert (info.digest, info.size) == (digest_of(content), len(content))
        self.model[info.digest] = content

    @rule(content=contents, finish=st.booleans())
    def break_off(self, content: bytes, finish: bool) -> None:
        async def upload_without_commit() -> None:
            async with self.store.stage() as blob:
                await write(blob, content)
                if finish:
                    await blob.finish()

        self.loop.run(upload_without_commit())

    @rule(content=contents)
    def renew(self, content: bytes) -> None:
        info = self.loop.run(self.store.renew(digest_of(content)))
        assert (info is not None) == (digest_of(content) in self.model)

    @rule(content=contents, old=st.booleans())
    def sweep(self, content: bytes, old: bool) -> None:
        since = datetime.now(UTC) + (HOUR if old else -HOUR)
        gone = self.loop.run(self.store.discard(digest_of(content), unless_renewed_since=since))
        assert gone == (old and digest_of(content) in self.model)
        if gone:
            del self.model[digest_of(content)]

    @rule(content=contents, start=st.integers(0, 30_000), length=st.integers(0, 30_000))
    def read(self, content: bytes, start: int, length: int) -> None:
        digest = digest_of(content)
        work = download(self.store, digest, start, start + length)
        if digest in self.model:
            assert self.loop.run(work) == content[start : start + length]
        else:
            with pytest.raises(BlobNotFound):
                self.loop.run(work)

    @rule(dry_run=st.booleans())
    def sweep_leftovers(self, dry_run: bool) -> None:
        old = datetime.now(UTC) + HOUR
        swept = self.loop.run(self.store.sweep_staging(older_than=old, dry_run=dry_run))
        assert swept == (0, 0)

    @invariant()
    def it_lists_what_is_there(self) -> None:
        listed = {info.digest: info.size for info in self.loop.run(collect(self.store.list()))}
        assert listed == {digest: len(content) for digest, content in self.model.items()}


class MemoryStoreMachine(StoreMachine):
    def make_store(self) -> ArtifactStore:
        return MemoryArtifactStore()


class LocalDiskStoreMachine(StoreMachine):
    def make_store(self) -> ArtifactStore:
        memory = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        return LocalDiskArtifactStore(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


def run_at(place: Place) -> None:
    """Few examples: every step is several requests."""

    class ObjectStoreMachine(StoreMachine):
        def make_store(self) -> ArtifactStore:
            return artifacts(replace(place, path=f"{place.path}/{uuid4().hex}"))

    run_state_machine_as_test(
        ObjectStoreMachine,
        settings=settings(max_examples=4, stateful_step_count=15, deadline=None),
    )


def test_any_order_of_operations_on_s3(s3_bucket: Place) -> None:
    run_at(s3_bucket)


def test_any_order_of_operations_on_gcs(gcs_bucket: Place) -> None:
    run_at(gcs_bucket)


def test_any_order_of_operations_on_azure(azure_container: Place) -> None:
    run_at(azure_container)


TestMemoryStore = MemoryStoreMachine.TestCase
TestMemoryStore.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestLocalDiskStore = LocalDiskStoreMachine.TestCase
TestLocalDiskStore.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
