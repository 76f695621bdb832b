"""Opening the registry that the settings name, and running work on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import anyio

from domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from entrypoints.container import Container

T = TypeVar("T")


def open_container() -> Container:
    """The registry of the settings, its database ready: SQLite migrates itself.

    Raises:
        InvalidSettings: a setting is wrong.
        DatabaseBehind: another database needs ``migrate`` first.
        DatabaseUnavailable
    """
    from entrypoints.container import prepare_database  # noqa: PLC0415 - --help does without

    container = build()
    try:
        prepare_database(container)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"DATABASE_URL: {error.detail}") from None
    return container


def build() -> Container:
    """The registry of the settings, nothing of it opened.

    Raises:
        InvalidSettings: a setting is wrong.
    """
    from entrypoints.container import build_container  # noqa: PLC0415
    from entrypoints.settings import load_settings  # noqa: PLC0415

    return build_container(load_settings())


def with_registry(work: Callable[[Container], Awaitable[T]]) -> T:
    """Does the work on the registry that the settings name, and closes it.

    Raises:
        InvalidSettings, DatabaseBehind: see :func:`open_container`.
    """
    container = open_container()

    async def scoped() -> T:
        try:
            return await work(container)
        finally:
            with anyio.CancelScope(shield=True):
                await container.database().close()

    return anyio.run(scoped)
