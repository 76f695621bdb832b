"""A second opinion: what picklescan, with a parser and a list of its own, finds dangerous.

It keeps all opcodes of a pickle in memory, so it is asked about small ones only.
"""

from __future__ import annotations

import io
import logging

MOST_BYTES = 8 << 20
MOST_REREAD = 4 << 20
"""Bytes of what has to be decompressed a second time for it."""
MOST_OPCODES = 100_000
BEYOND = 64 << 10
"""Bytes it is given beyond what the machine has read, in case that stopped too early."""


def dangerous_imports(data: bytes) -> list[tuple[str, str]]:
    """Module and name of what picklescan calls dangerous, of all pickles in the bytes; what it
    could not follow is not among them."""
    # Only who checks a pickle pays for it.
    from picklescan.scanner import (  # type: ignore[import-untyped]  # noqa: PLC0415
        SafetyLevel,
        scan_pickle_bytes,
    )

    logging.getLogger("picklescan").disabled = True  # it logs names out of the file
    try:
        found = scan_pickle_bytes(io.BytesIO(data), "pickle").globals
    except Exception:  # noqa: BLE001 - it trips over what the machine has already judged
        return []
    return [
        (each.module, each.name)
        for each in found
        if each.safety is SafetyLevel.Dangerous and "unknown" not in (each.module, each.name)
    ]
