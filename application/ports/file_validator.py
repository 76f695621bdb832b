"""Says what a file is and whether it looks like a model. Never loads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from domain.values import FilePath
from domain.version import Finding


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


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """What a validator says of one file; a critical finding means it should not enter.

    Attributes:
        media_type: RFC 6838 type.
        format: model format, None when it is none that is known.
    """

    media_type: str
    format: str | None
    findings: tuple[Finding, ...] = ()


class FileValidator(Protocol):
    @property
    def engine(self) -> str:
        """Name and version of what judges, kept with every verdict."""
        ...

    async def sniff(self, head: bytes, path: FilePath) -> FileVerdict:
        """Judges by the first bytes (up to 64 KiB), while the rest is still arriving.

        Never raises for bad content.
        """
        ...

    async def validate(self, source: FileSource, path: FilePath) -> FileVerdict:
        """Judges the whole file, after its last byte.

        Never raises for bad content.

        Raises:
            StoreUnavailable: the bytes cannot be read.
        """
        ...
