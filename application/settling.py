"""What goes on by itself to its end, whatever happens to the task that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def settle(future: asyncio.Future[T], *, on_cancel: Callable[[], object] = lambda: None) -> T:
    """Waits for its end, also when the waiting task is cancelled, however often.

    Args:
        on_cancel: called once then.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            with CancelScope(shield=cancelled is not None):
                await asyncio.wait([future])
        except asyncio.CancelledError as error:
            if cancelled is None:
                on_cancel()
            cancelled = error
    if cancelled is not None:
        if not future.cancelled():
            future.exception()  # nobody is there to be told of it
        raise cancelled
    return future.result()
