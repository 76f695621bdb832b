"""Work in threads: always waited for, and searches that end when they are told to."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from adapters.sql.errors import is_interrupted, too_costly, translate_outages
from application.settling import settle

T = TypeVar("T")

_STEPS = 20_000
"""Instructions of SQLite's between two looks at the clock: mostly less than a millisecond."""


def new_threads() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    """For searches and for the writer, who holds the lock and must not queue behind searches."""
    return ThreadPoolExecutor(4, "sqlite-read"), ThreadPoolExecutor(1, "sqlite-write")


async def finish(
    executor: ThreadPoolExecutor,
    function: Callable[[], T],
    *,
    on_cancel: Callable[[], object] = lambda: None,
) -> T:
    """Runs the function in a thread and waits for its end, also when the task is cancelled.

    So nothing uses a connection any more once the task that asked for it is gone.

    Raises:
        DatabaseUnavailable
    """
    future = asyncio.get_running_loop().run_in_executor(executor, function)
    with translate_outages():
        return await settle(future, on_cancel=on_cancel)


class Search:
    """A search that ends when its time is over or when it is told to stop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = math.inf
        self._stopped = False

    def stop(self) -> None:
        """Interrupts the search, now or when it begins; from any thread."""
        self._stopped = True

    @contextmanager
    def watching(self, connection: Connection) -> Iterator[None]:
        """Lets SQLite ask every now and then whether to go on with a statement.

        Raises:
            SearchTooCostly
        """
        driver: Any = connection.connection.driver_connection
        self._deadline = time.monotonic() + self._seconds
        driver.set_progress_handler(self._is_over, _STEPS)
        try:
            yield
        except DBAPIError as error:
            if is_interrupted(error) and not self._stopped:
                raise too_costly(self._seconds) from error
            raise
        finally:
            driver.set_progress_handler(None, 0)

    def _is_over(self) -> bool:
        return self._stopped or time.monotonic() > self._deadline
