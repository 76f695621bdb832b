"""What is found in the files of versions: facts, and whether they are held.

Releases that do not know it would serve the files of versions that are held, so they stop serving.

Revision: 0003, after 0002.
"""

from __future__ import annotations

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
    op.execute("UPDATE registry SET serves_from = '0001'")
    op.execute("DELETE FROM version_labels WHERE scope = 'facts'")
    op.drop_index(op.f("ix_versions_status_id"), "versions")
    op.drop_column("versions", "status")
    op.drop_column("versions", "facts")
