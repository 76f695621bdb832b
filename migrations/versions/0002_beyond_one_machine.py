"""Beyond one machine: the id of the registry, fences of leases, turns of tasks, uploads in pieces.

Only adds tables: releases that know 0001 alone go on working beside it.

Revision: 0002, after 0001.
"""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    registry = op.create_table(
        "registry",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("serves_from", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry")),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(registry, [{"id": uuid4().hex, "serves_from": "0001"}])
    op.create_table(
        "fences",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_fences")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "turns",
        sa.Column("task", _TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_turns")),
        sqlite_with_rowid=False,
    )
    _create_uploads()


def downgrade() -> None:
    for table in ("upload_segments", "uploads", "turns", "fences", "registry"):
        op.drop_table(table)


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("creator", _TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("concat", _TEXT, nullable=False),
        sa.Column("metadata", _TEXT, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"])
    op.create_table(
        "upload_segments",
        sa.Column("upload_id", sa.String(length=32), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["uploads.id"],
            name=op.f("fk_upload_segments_uploads"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_upload_segments")),
        sqlite_with_rowid=False,
    )
