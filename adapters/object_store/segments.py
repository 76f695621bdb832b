"""Segments of unfinished uploads: an object each, never changed.

::

    <prefix>/segments/<upload>/<segment>
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from adapters.object_store.bucket import Bucket, ObjectMissing
from application.ports.segment_store import SegmentStore, StoredSegment
from domain.errors import BlobNotFound

_NAME = re.compile(r"[0-9a-f]{32}/[0-9a-f]{32}")


class ObjectSegmentStore(SegmentStore):
    """Beside the blobs of the same prefix."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._folder = f"{prefix}segments"

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"

    async def write(self, upload: str, content: bytes) -> str:
        name = f"{upload}/{secrets.token_hex(16)}"
        await self._bucket.put(self._key(name), content)
        return name

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        try:
            if not _NAME.fullmatch(name):
                raise ObjectMissing
            async with aclosing(self._bucket.read(self._key(name), 0, None)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ObjectMissing:
            raise BlobNotFound(f"There is no segment {name}.") from None

    async def remove(self, names: Collection[str]) -> None:
        await self._bucket.delete([self._key(name) for name in names if _NAME.fullmatch(name)])

    async def list(self) -> AsyncGenerator[StoredSegment, None]:
        async with aclosing(self._bucket.list(self._folder)) as found:
            async for info in found:
                name = info.key.removeprefix(f"{self._folder}/")
                yield StoredSegment(name, info.size, info.modified)
