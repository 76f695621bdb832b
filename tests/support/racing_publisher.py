"""A process that publishes versions: ``python -m tests.support.racing_publisher URL COUNT``.

Says "ready", waits for a line on its input, and prints the numbers it got.
"""

from __future__ import annotations

import subprocess
import sys

import anyio

from adapters.sql import open_database
from adapters.sql.unit_of_work import SqlUnitOfWork
from domain.values import ModelName
from tests.support.registry import EPOCH, a_version


async def main(url: str, count: int) -> None:
    database = open_database(url)
    print("ready", flush=True)
    sys.stdin.readline()

    few = anyio.CapacityLimiter(3)

    async def publish() -> None:
        async with few, SqlUnitOfWork(database, lambda _: None) as uow:
            model = await uow.models.get(ModelName("churn"))
            number = await uow.models.allocate(model, EPOCH)
            await uow.versions.add(a_version(model, number, tags={"a": "b"}))
            await uow.commit()
        print(number, flush=True)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(publish)
    await database.close()


def race(url: str, *, racers: int, publishes: int) -> list[int]:
    """The numbers that so many processes get which publish at once, each so many times."""
    command = [sys.executable, "-m", __name__, url, str(publishes)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(racers)
    ]
    numbers: list[int] = []
    try:
        for racer in running:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in running:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in running:
            output, _ = racer.communicate(timeout=100)
            assert racer.returncode == 0
            numbers += map(int, output.split())
    finally:
        for racer in running:
            racer.kill()
            racer.communicate()
    return numbers


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
