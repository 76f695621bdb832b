"""Says what a file is, what is in it and what speaks against it. Never loads it."""

from __future__ import annotations

from typing import Protocol

from domain.validation import FileReport
from domain.values import FilePath


class FileSource(Protocol):
    """Bytes that can be read anywhere, wherever they lie."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    async def read_at(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; fewer only at the end of the file.

        Raises:
            StoreUnavailable: reading failed.
        """
        ...


class FileValidator(Protocol):
    @property
    def engine(self) -> str:
        """Names and versions of what reads the files, kept with every verdict."""
        ...

    @property
    def ruleset(self) -> str:
        """The version of the rules, a date: what older rules judged can be judged anew."""
        ...

    async def sniff(self, head: bytes, path: FilePath) -> FileReport:
        """What the first bytes (up to 64 KiB) tell, while the rest is still arriving.

        A critical finding is final; without one, nothing is said yet. Never raises for bad content.
        """
        ...

    async def validate(self, source: FileSource, path: FilePath) -> FileReport:
        """What the whole file tells, after its last byte.

        Never raises for bad content: what cannot be read to its end for want of time or memory has
        a critical finding, ``file.not_checked``.

        Raises:
            StoreUnavailable: the bytes cannot be read.
            ValidationUnavailable: nothing can be checked now, whatever the file.
        """
        ...
