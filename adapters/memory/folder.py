"""A folder in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from application.ports.folder import Folder

_CHUNK = 1 << 20


class MemoryFolder(Folder):
    """Files in a dictionary, by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def names(self) -> AsyncGenerator[str, None]:
        for name in list(self.files):
            yield name

    async def size(self, name: str) -> int | None:
        content = self.files.get(name)
        return None if content is None else len(content)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        if name not in self.files:
            raise FileNotFoundError(name)
        content = self.files[name]
        for offset in range(0, len(content), _CHUNK):
            yield content[offset : offset + _CHUNK]

    async def write(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        if ".." in name.split("/") or name.startswith("/"):
            raise PermissionError(f"{name!a} lies outside the folder")
        self.files[name] = b"".join([chunk async for chunk in chunks])

    async def remove(self, name: str) -> None:
        self.files.pop(name, None)
