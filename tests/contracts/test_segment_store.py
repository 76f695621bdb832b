"""The stores of segments, each against the contract and then in what only it can get wrong."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.local_disk import LocalDiskArtifactStore, LocalDiskSegmentStore
from adapters.memory.clock import FixedClock
from adapters.memory.segments import MemorySegmentStore
from application.ports import SegmentStore
from domain.errors import StoreFull, StoreUnavailable
from tests.contracts.artifact_store import MIB, content_of
from tests.contracts.segment_store import UPLOAD, SegmentStoreContract, names, read
from tests.support.aio import collect

pytestmark = pytest.mark.anyio


class TestMemorySegmentStore(SegmentStoreContract):
    @pytest.fixture
    def segments(self) -> MemorySegmentStore:
        return MemorySegmentStore()

    async def test_a_full_store_says_so_and_keeps_nothing_of_it(self) -> None:
        segments = MemorySegmentStore(clock=FixedClock(), capacity=10)
        name = await segments.write(UPLOAD, b"123456")
        with pytest.raises(StoreFull):
            await segments.write(UPLOAD, b"12345")
        assert await names(segments) == {name}


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestLocalDiskSegmentStore(SegmentStoreContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "store"

    @pytest.fixture
    def segments(self, root: Path) -> LocalDiskSegmentStore:
        return LocalDiskSegmentStore(root)

    async def test_a_failed_write_leaves_nothing(self, segments: SegmentStore, root: Path) -> None:
        name = await segments.write(UPLOAD, b"before")
        with no_file_above(MIB), pytest.raises(StoreUnavailable):
            await segments.write(UPLOAD, content_of(MIB + 1))
        assert await names(segments) == {name}
        assert len(os.listdir(root / "segments")) == 1
        later = await segments.write(UPLOAD, content_of(MIB + 1))
        assert await read(segments, later) == content_of(MIB + 1)

    async def test_a_store_that_was_only_asked_makes_no_folder(
        self, segments: SegmentStore, tmp_path: Path
    ) -> None:
        assert await collect(segments.list()) == []
        await segments.remove([f"{UPLOAD}/absent"])
        assert os.listdir(tmp_path) == []

    async def test_a_segment_is_durable_before_it_is_named(
        self, segments: SegmentStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await segments.write(UPLOAD, b"the folders are there")
        steps = []
        fsync, rename = os.fsync, Path.rename

        def remember_fsync(fd: int) -> None:
            steps.append(Path(os.readlink(f"/proc/self/fd/{fd}")).relative_to(root).parts[0])
            fsync(fd)

        def remember_rename(path: Path, target: Path) -> Path:
            steps.append("rename")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", remember_fsync)
        monkeypatch.setattr(Path, "rename", remember_rename)
        await segments.write(UPLOAD, b"x")
        assert steps == ["segments", "rename", "segments"]

    async def test_what_is_left_of_a_write_that_died_can_be_removed(
        self, segments: SegmentStore, root: Path
    ) -> None:
        name = await segments.write(UPLOAD, b"x")
        (root / "segments" / f"{UPLOAD}-died.part").write_bytes(b"half")
        (left,) = await names(segments) - {name}
        await segments.remove([left])
        assert os.listdir(root / "segments") == [name.replace("/", "-")]

    async def test_segments_lie_beside_the_blobs_and_are_none(
        self, segments: SegmentStore, root: Path
    ) -> None:
        name = await segments.write(UPLOAD, b"x")
        (root / "segments" / "stray").write_text("?")
        assert await collect(LocalDiskArtifactStore(root).list()) == []
        assert await names(LocalDiskSegmentStore(root)) == {name}

    async def test_a_name_leads_nowhere_else(self, segments: SegmentStore, root: Path) -> None:
        await segments.write(UPLOAD, b"x")
        secret = root / "registry"
        secret.write_text("secret")
        await segments.remove(["../registry"])
        assert secret.read_text() == "secret"

    async def test_a_folder_that_has_gone_is_not_made_again(
        self, segments: SegmentStore, root: Path
    ) -> None:
        name = await segments.write(UPLOAD, b"x")
        os.rename(root, root.with_name("unmounted"))
        with pytest.raises(StoreUnavailable):
            await segments.write(UPLOAD, b"y")
        with pytest.raises(StoreUnavailable):
            await read(segments, name)
        with pytest.raises(StoreUnavailable):
            await collect(segments.list())
        assert os.listdir(root.parent) == ["unmounted"]
