"""What every Folder must do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from application.ports.folder import Folder
from tests.support.aio import collect

MEBIBYTE = 1 << 20


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ConnectionError


@pytest.mark.anyio
class FolderContract:
    async def test_what_was_written_is_read(self, folder: Folder) -> None:
        await folder.write("a/b/é.txt", chunks(b"one", b"", b"two"))
        assert await collect(folder.read("a/b/é.txt")) == [b"onetwo"]
        assert await folder.size("a/b/é.txt") == 6
        assert await collect(folder.names()) == ["a/b/é.txt"]

    async def test_big_files_come_in_chunks(self, folder: Folder) -> None:
        await folder.write("big", chunks(*[b"x" * MEBIBYTE] * 2, b"y"))
        read = await collect(folder.read("big"))
        assert [len(chunk) for chunk in read] == [MEBIBYTE, MEBIBYTE, 1]

    async def test_an_empty_file_is_a_file(self, folder: Folder) -> None:
        await folder.write("empty", chunks())
        assert await folder.size("empty") == 0
        assert await collect(folder.read("empty")) == []

    async def test_an_empty_folder_has_no_names(self, folder: Folder) -> None:
        assert await collect(folder.names()) == []
        assert await folder.size("a") is None

    async def test_what_is_not_there_cannot_be_read(self, folder: Folder) -> None:
        await folder.write("a/b", chunks(b"x"))
        for absent in ("c", "a", "a/c", "a/b/c"):
            assert await folder.size(absent) is None
            with pytest.raises(OSError, match=r".*"):
                await collect(folder.read(absent))

    async def test_writing_replaces(self, folder: Folder) -> None:
        await folder.write("a", chunks(b"longer"))
        await folder.write("a", chunks(b"new"))
        assert await collect(folder.read("a")) == [b"new"]

    async def test_a_write_that_fails_leaves_what_was_there(self, folder: Folder) -> None:
        await folder.write("a", chunks(b"old"))
        for name in ("a", "b"):
            with pytest.raises(ConnectionError):
                await folder.write(name, broken(b"half"))
        assert await collect(folder.read("a")) == [b"old"]
        assert await collect(folder.names()) == ["a"]

    async def test_a_write_that_is_cancelled_leaves_what_was_there(self, folder: Folder) -> None:
        await folder.write("a", chunks(b"old"))
        begun = anyio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"half"
            begun.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(folder.write, "a", slow())
            await begun.wait()
            tasks.cancel_scope.cancel()
        assert await collect(folder.read("a")) == [b"old"]
        assert await collect(folder.names()) == ["a"]

    async def test_of_two_that_write_at_once_one_stays_whole(self, folder: Folder) -> None:
        async with anyio.create_task_group() as tasks:
            for letter in (b"a", b"b", b"c", b"d"):
                tasks.start_soon(folder.write, "x", chunks(*[letter * 1000] * 50))
        content = b"".join(await collect(folder.read("x")))
        assert len(content) == 50_000
        assert len(set(content)) == 1
        assert await collect(folder.names()) == ["x"]

    async def test_removing_what_is_there_or_not(self, folder: Folder) -> None:
        await folder.write("a/b", chunks(b"x"))
        await folder.remove("a/b")
        await folder.remove("a/b")
        assert await collect(folder.names()) == []

    async def test_names_that_lead_out_are_refused(self, folder: Folder) -> None:
        for name in ("../x", "a/../../x", "/x"):
            with pytest.raises(PermissionError):
                await folder.write(name, chunks(b"x"))
