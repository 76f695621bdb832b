"""Uploads in several requests, inside a transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from adapters.sql.database import Transaction
from adapters.sql.mapping import segment_values, to_segment, to_upload, upload_values
from adapters.sql.tables import fences, upload_segments, uploads
from application.ports.uploads import UploadRepository
from application.times import micros
from domain.errors import UploadConflict, UploadNotFound
from domain.upload import Segment, Upload

_THIS = uploads.c.id == bindparam("this")
UPLOAD = select(uploads).where(_THIS)
UPLOAD_MOVE = (
    update(uploads)
    .where(
        _THIS,
        uploads.c.received == bindparam("before"),
        uploads.c.sha256.is_(None),
        or_(uploads.c.length.is_(None), uploads.c.length == bindparam("length_now")),
    )
    .values(
        received=bindparam("received_now"),
        length=bindparam("length_now"),
        expires_at=bindparam("expires_at_now"),
        sha256=bindparam("sha256_now"),
    )
)
UPLOAD_DELETE = delete(uploads).where(_THIS)
UNFINISHED_DELETE = UPLOAD_DELETE.where(uploads.c.sha256.is_(None))
FENCE_DELETE = delete(fences).where(fences.c.name == bindparam("name"))
UPLOADS_EXPIRED = (
    select(uploads.c.id)
    .where(uploads.c.expires_at <= bindparam("at"), uploads.c.id > bindparam("after"))
    .order_by(uploads.c.id)
    .limit(bindparam("most"))
    .with_for_update()
)
SEGMENTS = (
    select(upload_segments)
    .where(upload_segments.c.upload_id == bindparam("this"))
    .order_by(upload_segments.c.start)
)
SEGMENTS_DELETE = delete(upload_segments).where(upload_segments.c.upload_id == bindparam("this"))
SEGMENTS_NAMED = select(upload_segments.c.name).where(
    upload_segments.c.upload_id.in_(bindparam("uploads", expanding=True)),
    upload_segments.c.name.in_(bindparam("names", expanding=True)),
)


class SqlUploadRepository(UploadRepository):
    def __init__(self, transaction: Transaction) -> None:
        self._run = transaction.run

    async def get(self, upload: str) -> Upload:
        row = await self._run(lambda db: db.execute(UPLOAD, {"this": upload}).first())
        if row is None:
            raise UploadNotFound(f"There is no upload {upload}.")
        return to_upload(row)

    async def add(self, upload: Upload) -> None:
        await self._run(lambda db: db.execute(insert(uploads), upload_values(upload)))

    async def move(self, upload: Upload, segments: Sequence[Segment] = (), *, before: int) -> None:
        values = {
            "this": upload.id,
            "before": before,
            "received_now": upload.received,
            "length_now": upload.length,
            "expires_at_now": micros(upload.expires_at),
            "sha256_now": upload.sha256,
        }

        def work(db: Connection) -> None:
            if db.execute(UPLOAD_MOVE, values).rowcount != 1:
                raise UploadConflict(f"The upload {upload.id} has moved; ask how far it is.")
            if upload.sha256 is not None:
                db.execute(SEGMENTS_DELETE, {"this": upload.id})
            elif segments:
                db.execute(
                    insert(upload_segments), [segment_values(upload.id, s) for s in segments]
                )

        await self._run(work, bulk=len(segments) > 100)

    async def segments(self, upload: str) -> list[Segment]:
        rows = await self._run(lambda db: db.execute(SEGMENTS, {"this": upload}).all(), bulk=True)
        return [to_segment(row) for row in rows]

    async def remove(self, upload: str, *, unless_complete: bool = False) -> bool:
        delete_it, this = UNFINISHED_DELETE if unless_complete else UPLOAD_DELETE, {"this": upload}

        def work(db: Connection) -> bool:
            removed = db.execute(delete_it, this).rowcount == 1
            if removed:  # nobody asks for its lock any more
                db.execute(FENCE_DELETE, {"name": f"upload:{upload}"})
            return removed

        return await self._run(work, bulk=True)

    async def expired(self, at: datetime, *, after: str = "", limit: int) -> list[str]:
        values = {"at": micros(at), "after": after, "most": limit}
        return await self._run(lambda db: list(db.execute(UPLOADS_EXPIRED, values).scalars()))

    async def named(self, names: Collection[str]) -> set[str]:
        ids = {name.partition("/")[0] for name in names}
        values = {"uploads": list(ids), "names": list(names)}
        return await self._run(lambda db: set(db.execute(SEGMENTS_NAMED, values).scalars()))
