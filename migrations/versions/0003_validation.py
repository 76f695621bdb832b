"""What is found in the files of versions: facts, and whether they are held.

Releases that do not know it would serve the files of versions that are held, so they stop serving,
and there is no way back while a version is held.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    facts = sa.Column("facts", _TEXT, nullable=False, server_default="{}")
    status = sa.Column("status", sa.String(length=20), nullable=False, server_default="ready")
    op.add_column("versions", facts)
    op.add_column("versions", status)
    op.create_index(op.f("ix_versions_status_id"), "versions", ["status", "id"])
    op.execute("UPDATE registry SET serves_from = '0003'")


def downgrade() -> None:
    _judge_as_before()
    op.execute("UPDATE registry SET serves_from = '0001'")
    op.execute("DELETE FROM version_labels WHERE scope = 'facts'")
    op.drop_index(op.f("ix_versions_status_id"), "versions")
    op.drop_column("versions", "status")
    op.drop_column("versions", "facts")


def _judge_as_before() -> None:
    """Verdicts in the form of 0002, which knew "accept", "warn" and "unchecked" and no reviews.

    Raises:
        RuntimeError: versions are held.
    """
    db = op.get_bind()
    held = db.scalar(sa.text("SELECT count(*) FROM versions WHERE status != 'ready'"))
    if held:
        raise RuntimeError(
            f"{held} versions are held, and the release before would serve their files: "
            "delete or accept them first."
        )
    last = 0
    page = sa.text("SELECT id, validation FROM versions WHERE id > :last ORDER BY id LIMIT 1000")
    change = sa.text("UPDATE versions SET validation = :validation WHERE id = :id")
    while rows := db.execute(page, {"last": last}).all():
        last = rows[-1].id
        changes = [
            {"id": row.id, "validation": json.dumps(_as_before(json.loads(row.validation)))}
            for row in rows
        ]
        db.execute(change, changes)


def _as_before(stored: object) -> object:
    if not isinstance(stored, dict):  # it is
        return stored
    verdict = stored["verdict"] if stored["verdict"] in {"accept", "unchecked"} else "warn"
    return [verdict, stored["scanner"], [finding[:4] for finding in stored["findings"]]]
