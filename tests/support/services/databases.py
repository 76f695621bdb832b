"""Databases of their own for tests, on one PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]

from tests.support.aio import Loop


class Databases:
    """Makes and drops databases.

    Args:
        url: of a database of the server, as one who may make others.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = Loop()
        self._connection = self._loop.run(asyncpg.connect(url))

    @contextmanager
    def new(self, template: str = "template0") -> Iterator[str]:
        """The URL of a new database, a copy of the template; dropped at the end."""
        name = f"modelyard_test_{uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield urlsplit(self._url)._replace(path=f"/{name}").geturl()
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def template(self, fill: Callable[[str], None]) -> Iterator[str]:
        """The name of a database, once filled, to be given to ``new``."""
        with self.new() as url:
            fill(url)
            yield urlsplit(url).path.removeprefix("/")

    def close(self) -> None:
        """Ends its connection."""
        self._loop.run(self._connection.close())
        self._loop.close()

    def _execute(self, statement: str) -> None:
        self._loop.run(self._connection.execute(statement))
