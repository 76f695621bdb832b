"""Which blobs the registry's versions name: what garbage collection and verification ask."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol

from domain.values import Digest, FilePath, ModelName, VersionNumber

NAMED_AT_MOST = 5


class FileOfVersion(NamedTuple):
    """A file that has the bytes of a blob."""

    model: ModelName
    version: VersionNumber
    path: FilePath


class BlobReferences(Protocol):
    async def registry(self) -> str:
        """The id of the registry, 32 hex digits; it goes where its rows go.

        Raises:
            DatabaseUnavailable
        """
        ...

    async def referenced(self, digests: Collection[Digest]) -> set[Digest]:
        """Those of the given digests (at most 500) that some version names.

        Raises:
            DatabaseUnavailable: the answer is not known; assume all are.
        """
        ...

    async def naming(self, digest: Digest) -> list[FileOfVersion]:
        """Files with these bytes: :data:`NAMED_AT_MOST`, those published first.

        Raises:
            DatabaseUnavailable
        """
        ...

    async def page(self, after: Digest | None, limit: int) -> list[tuple[Digest, int]]:
        """Distinct referenced digests above ``after`` with their sizes, ascending.

        Raises:
            DatabaseUnavailable
        """
        ...
