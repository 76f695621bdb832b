"""The file as the process that reads it sees it: ranges, asked for one at a time and kept a while.

Over an object store each range costs a round trip, so what is asked for grows while it is read
forward, and what was just read is not asked for again.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Protocol

LEAST = 64 * 1024
MOST = 4 << 20
KEPT = 4
"""Ranges that are kept besides the beginning: archives are read here and there."""


class Fetch(Protocol):
    """Reads a range of the file, wherever it is kept."""

    def __call__(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        ...


class Ranges:
    """The bytes of one file; ``head`` are those that came with the job."""

    def __init__(self, head: bytes, size: int, fetch: Fetch) -> None:
        self.size = size
        self._head = head
        self._fetch = fetch
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._end = len(head)
        self._step = LEAST

    def at(self, place: int, most: int) -> memoryview:
        """Some bytes from ``place``, at most ``most``; none only at the end."""
        if place >= self.size:
            return memoryview(b"")
        start, block = self._holding(place)
        return memoryview(block)[place - start :][:most]

    def _holding(self, place: int) -> tuple[int, bytes]:
        if place < len(self._head):
            return 0, self._head
        for start, block in reversed(self._kept.items()):
            if start <= place < start + len(block):
                self._kept.move_to_end(start)
                return start, block
        return self._ask(place)

    def _ask(self, place: int) -> tuple[int, bytes]:
        """Twice as much as before where the last range ended, else the least, begun a little
        before: directories are read backwards."""
        if place == self._end:
            start, self._step = place, min(self._step * 2, MOST)
        else:
            start, self._step = max(place - place % LEAST, len(self._head)), LEAST
        length = min(self._step, self.size - start)
        if len(self._kept) >= KEPT:
            self._kept.popitem(last=False)
        block = self._fetch(start, length)
        self._kept[start] = block
        self._end = start + length
        return start, block


class RangedFile(io.RawIOBase):
    """A raw file over ranges. It may give fewer bytes than asked for, as raw files do."""

    def __init__(self, ranges: Ranges) -> None:
        super().__init__()
        self._ranges = ranges
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._ranges.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        part = self._ranges.at(self._place, len(view))
        view[: len(part)] = part
        self._place += len(part)
        return len(part)
