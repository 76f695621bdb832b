"""All rows of a registry at once, to be moved to another database as they are."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self


class TableSum(NamedTuple):
    """What a table holds: its number of rows, and a digest of them, whatever their order."""

    rows: int
    digest: str


class RegistryRows(Protocol):
    """Everything that lasts: models and what belongs to them, retired names, receipts, the numbers
    of fences, the registry's id. Uploads in several requests do not.

    Every method may raise DatabaseUnavailable.
    """

    async def same(self, other: Self) -> bool:
        """Whether both are the very same database, however they are called."""
        ...

    async def check(self, target: Self) -> None:
        """Whether :meth:`copy` may replace what the target has.

        Raises:
            DatabaseOfAnother: it has rows of another registry; or of this one, as far as can be
                told by what was published or aliased last, which this one never had.
        """
        ...

    async def copy(self, target: Self) -> dict[str, TableSum]:
        """Replaces everything in the target, whole or not at all, in bounded memory.

        What is copied was there at one moment; others go on writing here meanwhile. Numbers that
        this registry has given out are not given out by the target.

        Returns:
            the sums of what was copied, by table.

        Raises:
            DatabaseOfAnother: see :meth:`check`; nothing has happened then.
        """
        ...

    async def sums(self) -> dict[str, TableSum]:
        """What is there now, by table; of one moment."""
        ...

    async def uploads(self) -> int:
        """How many uploads in several requests are under way."""
        ...
