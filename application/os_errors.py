"""How adapters word what the operating system refused."""

from __future__ import annotations

import os


def reason_of(error: OSError) -> str:
    """The system's reason without the path: where on the machine things lie is not for callers."""
    return os.strerror(error.errno) if error.errno else "the reason is not known"
