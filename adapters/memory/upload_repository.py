"""Uploads in dictionaries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from application.ports.uploads import UploadRepository
from domain.errors import UploadConflict, UploadNotFound
from domain.upload import Segment, Upload


@dataclass(frozen=True, slots=True)
class MemoryUploadRepository(UploadRepository):
    """``uploads`` and ``held``, the segments in their order, are by id."""

    uploads: dict[str, Upload]
    held: dict[str, tuple[Segment, ...]]

    async def get(self, upload: str) -> Upload:
        if upload not in self.uploads:
            raise UploadNotFound(f"There is no upload {upload}.")
        return self.uploads[upload]

    async def add(self, upload: Upload) -> None:
        self.uploads[upload.id] = upload

    async def move(self, upload: Upload, segments: Sequence[Segment] = (), *, before: int) -> None:
        current = self.uploads.get(upload.id)
        if (
            current is None
            or current.sha256 is not None
            or current.received != before
            or current.length not in {None, upload.length}
        ):
            raise UploadConflict(f"The upload {upload.id} has moved; ask how far it is.")
        self.uploads[upload.id] = upload
        if upload.sha256 is not None:
            self.held.pop(upload.id, None)
        elif segments:
            self.held[upload.id] = (*self.held.get(upload.id, ()), *segments)

    async def segments(self, upload: str) -> list[Segment]:
        return list(self.held.get(upload, ()))

    async def remove(self, upload: str, *, unless_complete: bool = False) -> bool:
        current = self.uploads.get(upload)
        if current is None or (unless_complete and current.sha256 is not None):
            return False
        del self.uploads[upload]
        self.held.pop(upload, None)
        return True

    async def expired(self, at: datetime, *, after: str = "", limit: int) -> list[str]:
        over = (each.id for each in self.uploads.values() if each.expires_at <= at)
        return sorted(each for each in over if each > after)[:limit]

    async def named(self, names: Collection[str]) -> set[str]:
        held = {segment.name for segments in self.held.values() for segment in segments}
        return held & set(names)
