"""SIGTERM is told to load balancers first: for a while the service still serves, but is not ready.

Replies end their connections meanwhile, so that those which proxies keep are given up in order.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Draining:
    """Whether this process is about to end."""

    def __init__(self) -> None:
        self.begun = False

    @contextmanager
    def on_sigterm(self, seconds: float) -> Iterator[None]:
        """Lets what SIGTERM did before happen ``seconds`` after it, or with a second one."""
        if not seconds or threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, end = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

        def begin(number: int, frame: FrameType | None) -> None:
            if not callable(end):
                raise SystemExit(128 + number)
            if self.begun:
                end(number, frame)
            else:
                self.begun = True
                loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)

        signal.signal(signal.SIGTERM, begin)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, end)
