"""The blobs that versions name, from their rows."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import bindparam, func, select

from adapters.sql.database import Database
from adapters.sql.tables import version_blobs
from application.ports.blob_references import BlobReferences
from domain.values import Digest

REFERENCED = (
    select(version_blobs.c.sha256)
    .where(version_blobs.c.sha256.in_(bindparam("digests", expanding=True)))
    .distinct()
)
PAGE = (
    select(version_blobs.c.sha256, func.max(version_blobs.c.size).label("size"))
    .where(version_blobs.c.sha256 > bindparam("after"))
    .group_by(version_blobs.c.sha256)
    .order_by(version_blobs.c.sha256)
    .limit(bindparam("most"))
)


class SqlBlobReferences(BlobReferences):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def referenced(self, digests: Collection[Digest]) -> set[Digest]:
        values = {"digests": list(digests)}
        rows = await self._database.search(lambda db: db.execute(REFERENCED, values).all())
        return {Digest(row.sha256) for row in rows}

    async def page(self, after: Digest | None, limit: int) -> list[tuple[Digest, int]]:
        values = {"after": after or "", "most": limit}
        rows = await self._database.search(lambda db: db.execute(PAGE, values).all())
        return [(Digest(row.sha256), row.size) for row in rows]
