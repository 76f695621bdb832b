"""Files that a transfer cut short: what their beginning promises is not there."""

from __future__ import annotations

import asyncio
import re

from application.ports.file_validator import FileSource

_MOST_HEADER = 16 << 20
_OFFSETS = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d{1,18}\s*,\s*(\d{1,18})\s*\]')


async def safetensors_fault(source: FileSource) -> str | None:
    """What is wrong with the length of a safetensors file, worded to follow its name.

    Raises:
        StoreUnavailable: the bytes cannot be read.
    """
    length = int.from_bytes(await source.read_at(0, 8), "little")
    start = 8 + length
    if start > source.size:
        return f"ends after {source.size} bytes; its header alone has {start}"
    if length > _MOST_HEADER:
        return None
    header = await source.read_at(8, length)
    last = await asyncio.to_thread(_last, header)
    if last is None or start + last == source.size:
        return None
    return f"has {source.size} bytes; its header promises {start + last}"


def _last(header: bytes) -> int | None:
    """Where the last tensor ends, after the header."""
    return max((int(end[1]) for end in _OFFSETS.finditer(header)), default=None)
