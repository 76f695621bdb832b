"""The first schema: models, versions, aliases, receipts and the indexes over them.

Revision: 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_models()
    _create_versions()
    _create_version_details()
    _create_aliases()
    _create_receipts()


def downgrade() -> None:
    for table in (
        "receipts",
        "alias_moves",
        "aliases",
        "version_blobs",
        "version_labels",
        "versions",
        "model_labels",
        "retired_names",
        "models",
    ):
        op.drop_table(table)


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("creator", _TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.Column("version_count", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("tags", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "retired_names",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_retired_names")),
    )
    op.create_table(
        "model_labels",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=True),
        sa.Column("rest", _TEXT, nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_labels_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "scope", "key", name=op.f("pk_model_labels")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_model_labels_scope_key_number_model_id"),
        "model_labels",
        ["scope", "key", "number", "model_id"],
        sqlite_where=sa.text("number IS NOT NULL"),
        postgresql_where=sa.text("number IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_model_labels_scope_key_value_model_id"),
        "model_labels",
        ["scope", "key", "value", "model_id"],
        sqlite_where=sa.text("value IS NOT NULL"),
        postgresql_where=sa.text("value IS NOT NULL"),
    )


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("creator", _TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("format", _TEXT, nullable=True),
        sa.Column("source", _TEXT, nullable=True),
        sa.Column("description", _TEXT, nullable=False),
        sa.Column("parameters", _TEXT, nullable=False),
        sa.Column("metrics", _TEXT, nullable=False),
        sa.Column("tags", _TEXT, nullable=False),
        sa.Column("files", _TEXT, nullable=False),
        sa.Column("parents", _TEXT, nullable=False),
        sa.Column("validation", _TEXT, nullable=False),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_versions_model_id_number")),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_versions_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_versions_created_at_id"), "versions", ["created_at", "id"])
    op.create_index(op.f("ix_versions_creator_id"), "versions", ["creator", "id"])
    op.create_index(op.f("ix_versions_updated_at_id"), "versions", ["updated_at", "id"])


def _create_version_details() -> None:
    op.create_table(
        "version_labels",
        sa.Column("version_id", _SERIAL, nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("value", _TEXT, nullable=True),
        sa.Column("rest", _TEXT, nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["versions.id"],
            name=op.f("fk_version_labels_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("version_id", "scope", "key", name=op.f("pk_version_labels")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_version_labels_scope_key_number_version_id"),
        "version_labels",
        ["scope", "key", "number", "version_id"],
        sqlite_where=sa.text("number IS NOT NULL"),
        postgresql_where=sa.text("number IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_version_labels_scope_key_value_version_id"),
        "version_labels",
        ["scope", "key", "value", "version_id"],
        sqlite_where=sa.text("value IS NOT NULL"),
        postgresql_where=sa.text("value IS NOT NULL"),
    )
    op.create_table(
        "version_blobs",
        sa.Column("version_id", _SERIAL, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["versions.id"],
            name=op.f("fk_version_blobs_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("version_id", "sha256", name=op.f("pk_version_blobs")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_version_blobs_sha256_size"), "version_blobs", ["sha256", "size"])


def _create_aliases() -> None:
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("previous_version", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", _TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "version"],
            ["versions.model_id", "versions.number"],
            name=op.f("fk_aliases_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_aliases_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_aliases")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_aliases_model_id_version"), "aliases", ["model_id", "version"])
    op.create_index(op.f("ix_aliases_name"), "aliases", ["name"])
    op.create_table(
        "alias_moves",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("alias", _TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("previous_version", sa.BigInteger(), nullable=True),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_alias_moves_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_moves")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_alias_moves_model_id_alias_id"), "alias_moves", ["model_id", "alias", "id"]
    )


def _create_receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_receipts")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_receipts_at"), "receipts", ["at"])
