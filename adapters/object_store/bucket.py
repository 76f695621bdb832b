"""What an object store is to this package: keys with bytes, and when they were written.

All clouds promise that whoever looks at a key, or lists keys, sees every write that was answered
before: the rest of the package rests on that.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from domain.errors import InvalidSettings

CHUNK = 1 << 20
"""Bytes that are read, hashed or handed on at once."""
_SCHEMES = {"s3": "s3", "gcs": "gs", "azure": "az"}
_LOCATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}(/[A-Za-z0-9._=+-]+)*/?")


class ObjectMissing(Exception):
    """There is nothing under this key."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """``modified``: by the store's clock, and rounded up to its next tick, so that nothing seems
    older than it is. One that came in parts may seem as old as its first."""

    key: str
    size: int
    modified: datetime


class Bucket(Protocol):
    """Every method may raise StoreUnavailable, those that write StoreFull too."""

    async def put(self, key: str, content: bytes) -> None:
        """Writes these few bytes."""
        ...

    async def create(self, key: str, content: bytes) -> bool:
        """Writes them if there is nothing under the key; False if there is. Atomic."""
        ...

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes | bytearray], part_size: int
    ) -> None:
        """Writes a stream in parts of so many bytes, in bounded memory.

        What ``chunks`` raises goes through, and nothing has been written then. To be cancelled
        leaves parts behind, which :meth:`sweep_parts` finds.
        """
        ...

    def read(self, key: str, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """From ``start`` to ``stop`` (exclusive), which may both lie beyond the end.

        Raises:
            ObjectMissing: on the first step.
        """
        ...

    async def read_at(self, key: str, offset: int, length: int) -> bytes:
        """So many bytes at once, all of which are there.

        Raises:
            ObjectMissing
        """
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """None if there is nothing."""
        ...

    def list(self, folder: str) -> AsyncGenerator[ObjectInfo, None]:
        """What lies below ``folder/``, by key."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes those of them that are there."""
        ...

    async def copy(self, source: str, target: str, size: int) -> None:
        """Lets the store copy an object of ``size`` bytes.

        Raises:
            ObjectMissing
        """
        ...

    async def link(
        self, key: str, *, filename: str, media_type: str, lifetime: float
    ) -> str | None:
        """See :meth:`ArtifactStore.link`."""
        ...

    async def sweep_parts(
        self, folder: str, older_than: datetime, *, dry_run: bool
    ) -> tuple[int, int]:
        """Removes parts of uploads that will not end; how many uploads, and their bytes.

        Nothing where the store does so by itself.
        """
        ...


@dataclass(frozen=True, slots=True)
class Location:
    """``prefix`` is empty or ends with a slash."""

    bucket: str
    prefix: str


def parse_location(method: str, path: str) -> Location:
    """Reads a path such as ``s3://bucket/prefix``.

    Raises:
        InvalidSettings: it is not one of this method.
    """
    scheme, _, place = path.partition("://")
    bucket, _, prefix = place.partition("/")
    segments = prefix.rstrip("/").split("/")
    if (
        scheme != _SCHEMES[method]
        or not _LOCATION.fullmatch(place)
        or any(segment.strip(".") == "" for segment in segments if prefix)
    ):
        raise InvalidSettings(
            f"MODEL_STORAGE_PATH: {path[:200]!a} is not a place for MODEL_STORAGE_METHOD={method}; "
            f"it looks like {_SCHEMES[method]}://bucket/prefix, and the prefix has letters, "
            "digits and ._=+- between its slashes."
        )
    return Location(bucket, f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else "")


def attachment(filename: str) -> str:
    """A Content-Disposition that is safe whatever the name holds (RFC 6266, RFC 8187)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-+()") else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
