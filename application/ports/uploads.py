"""The rows of uploads that arrive in several requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from domain.upload import Segment, Upload


class UploadRepository(Protocol):
    """Inside a transaction. Reading locks nothing: :meth:`move` finds out what has changed."""

    async def get(self, upload: str) -> Upload:
        """Raises: UploadNotFound."""
        ...

    async def add(self, upload: Upload) -> None: ...

    async def move(self, upload: Upload, segments: Sequence[Segment] = (), *, before: int) -> None:
        """Writes an upload that is further than ``before`` now, and the segments that it gained.

        One that has become a blob loses all its segments. Of several that move it from the same
        offset one succeeds, whatever locks are held.

        Raises:
            UploadConflict: it is not at ``before`` any more, is a blob already, has been given
                another length, or is gone.
        """
        ...

    async def segments(self, upload: str) -> list[Segment]:
        """The segments of an upload that is no blob, from its start on; none where it is gone."""
        ...

    async def remove(self, upload: str, *, unless_complete: bool = False) -> bool:
        """Deletes it with the rows of its segments; whether it was there.

        Args:
            unless_complete: one that has become a blob is left alone, as if it were not there.
        """
        ...

    async def expired(self, at: datetime, *, after: str = "", limit: int) -> list[str]:
        """The ids of those whose time is over, ascending from above ``after``.

        Nobody moves these before the transaction ends.
        """
        ...

    async def named(self, names: Collection[str]) -> set[str]:
        """Those of the given segments (at most 500) that an upload has."""
        ...
