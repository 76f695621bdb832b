"""The blobs that versions name, from their rows."""

from __future__ import annotations

from collections.abc import Collection

import orjson
from sqlalchemy import bindparam, func, select

from adapters.sql.database import Database
from adapters.sql.tables import models, registry, version_blobs, versions
from application.ports.blob_references import NAMED_AT_MOST, BlobReferences, FileOfVersion
from domain.values import Digest, FilePath, ModelName, VersionNumber

REGISTRY = select(registry.c.id)
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
NAMING = (
    select(models.c.name, versions.c.number, versions.c.files)
    .join_from(version_blobs, versions, versions.c.id == version_blobs.c.version_id)
    .join(models, models.c.id == versions.c.model_id)
    .where(version_blobs.c.sha256 == bindparam("digest"))
    .order_by(version_blobs.c.size, version_blobs.c.version_id)
    .limit(NAMED_AT_MOST)
)


class SqlBlobReferences(BlobReferences):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def registry(self) -> str:
        return await self._database.point(lambda db: str(db.execute(REGISTRY).scalar_one()))

    async def referenced(self, digests: Collection[Digest]) -> set[Digest]:
        """A point read, so that a connection is free: who sweeps asks while all others wait for
        its transaction to end, each in one of its own."""
        values = {"digests": list(digests)}
        rows = await self._database.point(lambda db: db.execute(REFERENCED, values).all())
        return {Digest(row.sha256) for row in rows}

    async def naming(self, digest: Digest) -> list[FileOfVersion]:
        rows = await self._database.search(lambda db: db.execute(NAMING, {"digest": digest}).all())
        found = [
            FileOfVersion(ModelName(row.name), VersionNumber(row.number), FilePath(path))
            for row in rows
            for path, _, sha256, *_ in orjson.loads(row.files)
            if sha256 == digest
        ]
        return found[:NAMED_AT_MOST]

    async def page(self, after: Digest | None, limit: int) -> list[tuple[Digest, int]]:
        values = {"after": after or "", "most": limit}
        rows = await self._database.search(lambda db: db.execute(PAGE, values).all())
        return [(Digest(row.sha256), row.size) for row in rows]
