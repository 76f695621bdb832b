"""Async code under tests that are not: a Hypothesis machine, a property, a child process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """One event loop; ``close`` it at the end."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine."""
        return self._runner.run(work)

    def close(self) -> None:
        """Cancels what is left and closes the loop."""
        self._runner.close()


async def collect(items: AsyncIterable[T]) -> list[T]:
    """All of them."""
    return [item async for item in items]
