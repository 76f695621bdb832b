"""A folder on a local disk that exports and downloads are written to."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from io import RawIOBase
from itertools import islice
from pathlib import Path

from anyio.to_thread import run_sync

from application.ports.folder import PARTIAL, Folder

_CHUNK = 1 << 20
_LISTED = 500


class LocalFolder(Folder):
    """Files are written under a temporary name in their folder, synced, and renamed.

    Args:
        root: the folder; made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    async def names(self) -> AsyncGenerator[str, None]:
        walk = self._walk()
        while batch := await run_sync(lambda: list(islice(walk, _LISTED))):
            for name in batch:
                yield name

    def _walk(self) -> Iterator[str]:
        if not self._root.exists():
            return
        for folder, _, files in os.walk(self._root, onerror=_fail):
            for file in files:
                yield Path(folder, file).relative_to(self._root).as_posix()

    async def size(self, name: str) -> int | None:
        def look() -> int | None:
            try:
                path = self._inside(name)
                return path.stat().st_size if path.is_file() else None
            except FileNotFoundError:
                return None

        return await run_sync(look)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        offset = 0
        while chunk := await run_sync(_read, self._inside(name), offset):
            offset += len(chunk)
            yield chunk

    async def write(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        target = self._inside(name)
        await run_sync(lambda: target.parent.mkdir(parents=True, exist_ok=True))
        partial = target.parent / f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            with partial.open("xb", buffering=0) as file:
                async for chunk in chunks:
                    await run_sync(_write_all, file, chunk)
                await run_sync(os.fsync, file.fileno())
            await run_sync(_rename, partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    async def remove(self, name: str) -> None:
        await run_sync(lambda: self._inside(name).unlink(missing_ok=True))

    def _inside(self, name: str) -> Path:
        path = self._root / name
        root = self._root.resolve()
        if ".." in Path(name).parts or not path.parent.resolve().is_relative_to(root):
            raise PermissionError(f"{name!a} lies outside the folder")
        return path


def _fail(error: OSError) -> None:
    raise error


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(_CHUNK) or b""


def _write_all(file: RawIOBase, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _rename(partial: Path, target: Path) -> None:
    partial.replace(target)
    fd = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
