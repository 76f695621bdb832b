"""A process that publishes versions: ``python -m tests.support.racing_publisher DATABASE COUNT``.

Says "ready", waits for a line on its input, and prints the numbers it got.
"""

from __future__ import annotations

import sys

import anyio

from adapters.sql.sqlite import SqliteDatabase
from adapters.sql.unit_of_work import SqlUnitOfWork
from domain.values import ModelName
from tests.support.registry import EPOCH, a_version


async def main(path: str, count: int) -> None:
    database = SqliteDatabase(f"sqlite:///{path}", timeout=60)
    print("ready", flush=True)
    sys.stdin.readline()

    async def publish() -> None:
        async with SqlUnitOfWork(database, lambda _: None) as uow:
            model = await uow.models.get(ModelName("churn"))
            number = await uow.models.allocate(model, EPOCH)
            await uow.versions.add(a_version(model, number, tags={"a": "b"}))
            await uow.commit()
        print(number, flush=True)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(publish)
    await database.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
