"""Locks as any process opens them: ``python -m tests.support.locking LOCKING DEED [ARGUMENT]``.

Says "ready" and waits for a line on its input before it begins; LOCKING is a :class:`Locking` in
JSON. The deeds: ``count FILE`` adds to a number 5 times in each of 5 tasks; ``hold`` holds the lock
"model", tells its number, waits for another line and tells whether a transaction takes it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from application.ports import Fence, LockManager
from domain.errors import LockLost

PATIENCE = 60.0


@dataclass(frozen=True)
class Locking:
    """
    Attributes:
        place: a folder, or the URL of a server.
        rows: URL of the database that has the numbers.
        lease: seconds.
    """

    method: str
    place: str
    rows: str = ""
    lease: float = 15.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LockManager]:
        """Closed at the end."""
        from adapters.memory.locks import MemoryLockManager

        if self.method == "file":
            from adapters.file_lock import FileLockManager

            yield FileLockManager(self.place)
            return
        if self.method == "postgres":
            from adapters.postgres_lock import PostgresLockManager

            yield PostgresLockManager(self.place, queue=MemoryLockManager())
            return
        from adapters.redis_lock import RedisLockManager
        from adapters.sql import open_database
        from adapters.sql.fences import SqlFences

        database = open_database(self.rows)
        in_redis = RedisLockManager(
            self.place,
            queue=MemoryLockManager(),
            issue=SqlFences(database).issue,
            lease=self.lease,
        )
        yield in_redis
        await database.close()

    async def takes(self, fence: Fence | None) -> bool:
        """Whether a transaction may go on that shows this fence."""
        from adapters.sql import open_database
        from adapters.sql.unit_of_work import SqlUnitOfWork

        database = open_database(self.rows)
        try:
            async with SqlUnitOfWork(database, lambda _: None) as uow:
                await uow.check_fence(fence)
                await uow.commit()
        except LockLost:
            return False
        finally:
            await database.close()
        return True


class Other:
    """Another process."""

    def __init__(self, locking: Locking, *deed: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(locking)), *deed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def says(self) -> str:
        """Its next line, once it is there."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self) -> None:
        """Lets it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """To the process alone, not to what it started."""
        self._process.send_signal(number)

    def ends(self) -> int:
        """Its exit status, once it is there."""
        return self._process.wait(PATIENCE)

    def clear_away(self) -> None:
        """Ends it, with what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@contextmanager
def others(locking: Locking, *deed: str, count: int = 1) -> Iterator[list[Other]]:
    """So many processes, all of them ready."""
    started = [Other(locking, *deed) for _ in range(count)]
    try:
        for other in started:
            assert other.says() == "ready"
        yield started
    finally:
        for other in started:
            other.clear_away()


async def _count(locks: LockManager, counter: Path) -> None:
    async def add() -> None:
        for _ in range(5):
            async with locks.hold("counter", timeout=PATIENCE):
                number = int(counter.read_text())  # noqa: ASYNC240
                await asyncio.sleep(0.0005)
                counter.write_text(str(number + 1))  # noqa: ASYNC240

    await asyncio.gather(*(add() for _ in range(5)))


async def _hold(locking: Locking, locks: LockManager) -> None:
    async with locks.hold("model", timeout=PATIENCE) as fence:
        if os.fork() == 0:
            os.execlp("sleep", "sleep", "60")
        print(fence and fence.number, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if fence:
            print(await locking.takes(fence), flush=True)


async def _main(locking: Locking, deed: str, *arguments: str) -> None:
    async with locking.open() as locks:
        await locks.check()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await (_hold(locking, locks) if deed == "hold" else _count(locks, Path(arguments[0])))


if __name__ == "__main__":
    asyncio.run(_main(Locking(**json.loads(sys.argv[1])), *sys.argv[2:]))
