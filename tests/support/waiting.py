"""Waiting for what comes true by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

_PATIENCE_SECONDS = 60


def eventually(holds: Callable[[], bool], what: Callable[[], object] = lambda: None) -> None:
    """Waits until it holds.

    Args:
        what: says how it stands, for when it takes too long.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)
