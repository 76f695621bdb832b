"""Byte ranges of one representation (RFC 9110, section 14)."""

from __future__ import annotations

import re

from domain.errors import RangeNotSatisfiable

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The half-open range [start, stop) that a Range header asks of ``size`` bytes.

    None where the whole should be sent: another unit, a broken header, or several ranges, all of
    which a server may ignore; and the last bytes of an empty file, which no 206 can tell of.

    Raises:
        RangeNotSatisfiable: it is well-formed and outside the file.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", "") or len(header) > 100:
        return None
    first, last = match.groups()
    if not first and size == 0 and int(last) > 0:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes; the range begins later.", size=size)
    return start, stop
