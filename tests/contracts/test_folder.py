"""Folders of every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.local_folder import LocalFolder
from adapters.memory.folder import MemoryFolder
from application.ports.folder import Folder
from tests.contracts.folder import FolderContract, chunks
from tests.support.registry import full_disk


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


class TestMemoryFolder(FolderContract):
    @pytest.fixture
    def folder(self) -> Folder:
        return MemoryFolder()


class TestLocalFolder(FolderContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Folder:
        return LocalFolder(tmp_path / "folder")

    async def test_a_full_disk_leaves_nothing(self, tmp_path: Path) -> None:
        folder = LocalFolder(tmp_path)
        with full_disk(), pytest.raises(OSError, match="File too large"):
            await folder.write("a", chunks(b"x" * 100))
        assert _entries(tmp_path) == []

    async def test_links_that_lead_out_are_not_followed_when_writing(self, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "inside").mkdir()
        (tmp_path / "inside" / "folder").symlink_to(tmp_path / "outside")
        (tmp_path / "inside" / "file").symlink_to(tmp_path / "outside" / "file")
        folder = LocalFolder(tmp_path / "inside")
        with pytest.raises(PermissionError):
            await folder.write("folder/x", chunks(b"x"))
        await folder.write("file", chunks(b"x"))
        assert _entries(tmp_path / "outside") == []
