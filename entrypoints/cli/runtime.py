"""Opening the registry that the settings name, and running work on it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from application.ports import Page, PageRequest
from domain.errors import DatabaseUnavailable
from entrypoints.cli.output import plain

if TYPE_CHECKING:
    from entrypoints.container import Container
else:
    Container = Any  # the database, the server's settings: half a second that --help does without

__all__ = [
    "Container",
    "all_items",
    "build",
    "open_container",
    "prepare",
    "run_with",
    "tell_of_new",
    "with_registry",
]
T = TypeVar("T")
_PAGE = 1000


def open_container(*, create: bool) -> Container:
    """The registry of the settings, its database ready: SQLite migrates itself.

    Args:
        create: begin a registry where there is none, and say so.

    Raises:
        InvalidSettings: a setting is wrong.
        DatabaseMissing: there is no registry, and none is to be created.
        DatabaseBehind: another database needs ``migrate`` first.
        DatabaseUnavailable
    """
    container = build()
    prepare(container, create=create)
    return container


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def prepare(container: Container, *, create: bool, tell: Callable[[str], object] = _tell) -> None:
    """What :func:`open_container` does with a container, and raises."""
    from entrypoints.container import migrate  # noqa: PLC0415

    try:
        if migrate.prepare(container.database(), create=create):
            tell_of_new(container, tell)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"DATABASE_URL: {error.detail}") from None


def tell_of_new(container: Container, tell: Callable[[str], object] = _tell) -> None:
    """Says where a registry has been created: a wrong setting should not go unnoticed."""
    tell(f"Created a new registry in {plain(container.database().place)}")


def build() -> Container:
    """The registry of the settings, nothing of it opened.

    Raises:
        InvalidSettings: a setting is wrong.
    """
    from entrypoints.container import build_container  # noqa: PLC0415
    from entrypoints.settings import load_settings  # noqa: PLC0415

    return build_container(load_settings())


def with_registry(work: Callable[[Container], Awaitable[T]], *, create: bool = False) -> T:
    """Does the work on the registry that the settings name, and closes it.

    Raises:
        InvalidSettings, DatabaseMissing, DatabaseBehind: see :func:`open_container`.
    """
    container = open_container(create=create)

    async def closing(container: Container) -> T:
        try:
            return await work(container)
        finally:
            with anyio.CancelScope(shield=True):
                await container.database().close()

    return run_with(container, closing)


def run_with(container: Container, work: Callable[[Container], Awaitable[T]]) -> T:
    """Does work that needs no registry, and ends what reads files for it."""

    async def scoped() -> T:
        try:
            return await work(container)
        finally:
            with anyio.CancelScope(shield=True):
                await container.sandbox().close()

    return anyio.run(scoped)


async def all_items(
    fetch: Callable[[PageRequest], Awaitable[Page[T]]],
    asked: PageRequest | None = None,
    most: int = sys.maxsize,
) -> Sequence[T]:
    """The items of a list, page by page: all that are asked for, or the first of them."""
    items: list[T] = []
    request = asked or PageRequest()
    while True:
        page = await fetch(replace(request, size=min(_PAGE, most - len(items))))
        items += page.items
        if page.next_page_token is None or len(items) >= most:
            return items
        request = replace(request, token=page.next_page_token)
