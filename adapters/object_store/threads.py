"""A bounded pool for what blocks: hashing, and the clients that are not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Its threads begin when there is work."""

    def __init__(self, most: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Starts it; to be cancelled does not stop work that has begun."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, partial(work, *args, **kwargs))
