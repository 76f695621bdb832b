"""A folder outside the registry: what an export is written to and an import reads from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

PARTIAL = ".modelyard-"
"""Prefix of the temporary files that a killed write leaves behind."""


class Folder(Protocol):
    """Files by relative, ``/``-separated name. A file is there whole or not at all.

    Every method may raise OSError. Nothing outside is ever written, whatever links lie in it.
    """

    def names(self) -> AsyncGenerator[str, None]:
        """Every file in it and below, in no particular order, in bounded memory."""
        ...

    async def size(self, name: str) -> int | None:
        """In bytes; None where there is no such file."""
        ...

    def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """The bytes, in chunks of at most 1 MiB.

        Raises:
            FileNotFoundError: on the first step.
        """
        ...

    async def write(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Makes or replaces a file, durably; after a failure the old one is untouched."""
        ...

    async def remove(self, name: str) -> None:
        """Removes a file if it is there."""
        ...
