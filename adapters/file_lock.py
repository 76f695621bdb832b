"""Locks between the processes of one machine, by flock on files in a folder.

The kernel frees a lock when its holder dies, however it dies. Names of a kind ("publish:churn" is
of the kind "publish") share 256 files, so nothing has to be cleaned up and no kind waits for
another. Not for a network file system whose flock is only local.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import portalocker

from application.os_errors import reason_of
from application.ports.lock_manager import Fence, LockManager
from domain.errors import LockTimeout, LockUnavailable

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.020
_KIND = re.compile(r"[a-z]{1,20}")


class FileLockManager(LockManager):
    """Within a process contenders queue up, in order; between processes one of each tries.

    Trying costs microseconds and happens on the event loop; the pauses between are short and
    random, so that processes do not keep in step.

    Args:
        folder: for the lock files; made when first needed. Not made again: where it vanishes, a
            volume has been unmounted.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder).absolute()
        self._made = False
        self._queues: WeakKeyDictionary[
            asyncio.AbstractEventLoop, defaultdict[str, asyncio.Lock]
        ] = WeakKeyDictionary()

    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[Fence | None]:  # noqa: ASYNC109
        """See the port."""
        deadline = time.monotonic() + timeout
        file = _file(name)
        queue = self._queues.setdefault(asyncio.get_running_loop(), defaultdict(asyncio.Lock))[file]
        try:
            async with asyncio.timeout(timeout):
                await queue.acquire()
        except TimeoutError:
            raise _timed_out(timeout) from None
        try:
            fd = self._open(file)
            try:
                await self._lock(fd, deadline, timeout)
                yield None
            finally:
                _release(fd)
        finally:
            queue.release()

    async def check(self) -> None:
        """Takes a lock; one that others hold will do."""
        fd = self._open("check.lock")
        try:
            _try(fd)
        finally:
            _release(fd)

    def _open(self, file: str) -> int:
        try:
            if not self._made:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._made = True
            return os.open(self._folder / file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LockUnavailable(
                f"A lock file cannot be opened ({reason_of(error)}); try again later."
            ) from error

    @staticmethod
    async def _lock(fd: int, deadline: float, timeout: float) -> None:  # noqa: ASYNC109
        pause = _FIRST_PAUSE
        while not _try(fd):
            left = deadline - time.monotonic()
            if left <= 0:
                raise _timed_out(timeout)
            await asyncio.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311
            pause = min(pause * 1.5, _LONGEST_PAUSE)


def _file(name: str) -> str:
    kind = name.partition(":")[0]
    stripe = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:2]
    return f"{kind if _KIND.fullmatch(kind) else '_'}-{stripe}.lock"


def _try(fd: int) -> bool:
    try:
        portalocker.lock(fd, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise LockUnavailable("Lock files cannot be locked on this file system.") from error
    return True


def _release(fd: int) -> None:
    """Unlocks by name: closing would not free it where a forked child inherited the file."""
    try:
        portalocker.unlock(fd)
    finally:
        os.close(fd)


def _timed_out(timeout: float) -> LockTimeout:
    return LockTimeout(
        f"Others were working on this for all of the {timeout:g} seconds waited; try again."
    )
