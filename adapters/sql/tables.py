"""The schema.

Times are microseconds since 1970 in UTC. Maps and lists that are only ever read whole are JSON
texts. Texts compare by code point everywhere (SQLite's BINARY, PostgreSQL's "C").

``model_labels`` and ``version_labels`` are the search index over tags, metrics, parameters, facts
and the formats of files: one row for each entry, with ``value`` (the first :data:`HEAD` characters
of the text; PostgreSQL limits what an index entry may hold), ``rest`` (what follows) and
``number``. A metric has only a number, a tag and a format only a text, a numeric parameter both, a
boolean parameter the text ``true`` or ``false``; a parameter that is null has no row. Facts are as
parameters, and a list the text of its entries.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = 200
FORMATS = "format"
"""The scope of the labels that name the formats of a version's files, in ``key`` and ``value``."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
_ID = String(32)
_SHA256 = String(64)
# SQLite numbers rows by itself only where the type is exactly INTEGER.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")

models = Table(
    "models",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("creator", _TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("last_version", BigInteger, nullable=False),
    Column("version_count", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("description", _TEXT, nullable=False),
    Column("tags", _TEXT, nullable=False),
    UniqueConstraint("name"),
)

retired_names = Table(
    "retired_names",
    metadata,
    Column("name", _TEXT, primary_key=True),
    Column("model_id", _ID, nullable=False),
    Column("last_version", BigInteger, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    # In the order of publishing; never used twice (AUTOINCREMENT), so that pages stay stable.
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("model_id", _ID, ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("creator", _TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("file_count", BigInteger, nullable=False),
    Column("digest", _SHA256, nullable=False),
    Column("format", _TEXT, nullable=True),
    Column("source", _TEXT, nullable=True),
    Column("description", _TEXT, nullable=False),
    Column("parameters", _TEXT, nullable=False),
    Column("metrics", _TEXT, nullable=False),
    Column("tags", _TEXT, nullable=False),
    Column("files", _TEXT, nullable=False),
    Column("parents", _TEXT, nullable=False),
    Column("validation", _TEXT, nullable=False),
    Column("facts", _TEXT, nullable=False, server_default="{}"),
    Column("status", String(20), nullable=False, server_default="ready"),
    UniqueConstraint("model_id", "number"),
    Index(None, "created_at", "id"),
    Index(None, "updated_at", "id"),
    Index(None, "creator", "id"),
    Index(None, "status", "id"),
    sqlite_autoincrement=True,
)


def _labels(name: str, owner: Column[int] | Column[str], owner_name: str) -> Table:
    table = Table(
        name,
        metadata,
        Column(owner_name, owner.type, ForeignKey(owner, ondelete="CASCADE"), nullable=False),
        Column("scope", String(10), nullable=False),
        Column("key", _TEXT, nullable=False),
        Column("value", _TEXT, nullable=True),
        Column("rest", _TEXT, nullable=False),
        Column("number", Double, nullable=True),
        PrimaryKeyConstraint(owner_name, "scope", "key"),
        sqlite_with_rowid=False,
    )
    for column in (table.c.value, table.c.number):
        present = column.is_not(None)
        Index(
            None,
            table.c.scope,
            table.c.key,
            column,
            table.c[owner_name],
            sqlite_where=present,
            postgresql_where=present,
        )
    return table


model_labels = _labels("model_labels", models.c.id, "model_id")
version_labels = _labels("version_labels", versions.c.id, "version_id")

version_blobs = Table(
    "version_blobs",
    metadata,
    Column("version_id", _SERIAL, ForeignKey("versions.id", ondelete="CASCADE"), nullable=False),
    Column("sha256", _SHA256, nullable=False),
    Column("size", BigInteger, nullable=False),
    PrimaryKeyConstraint("version_id", "sha256"),
    Index(None, "sha256", "size"),
    sqlite_with_rowid=False,
)

aliases = Table(
    "aliases",
    metadata,
    Column("model_id", _ID, ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("previous_version", BigInteger, nullable=True),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", _TEXT, nullable=False),
    Column("revision", BigInteger, nullable=False),
    PrimaryKeyConstraint("model_id", "name"),
    ForeignKeyConstraint(["model_id", "version"], ["versions.model_id", "versions.number"]),
    Index(None, "model_id", "version"),
    Index(None, "name"),
    sqlite_with_rowid=False,
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("model_id", _ID, ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("alias", _TEXT, nullable=False),
    Column("version", BigInteger, nullable=True),
    Column("previous_version", BigInteger, nullable=True),
    Column("actor", _TEXT, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "model_id", "alias", "id"),
    sqlite_autoincrement=True,
)

receipts = Table(
    "receipts",
    metadata,
    Column("actor", _TEXT, nullable=False),
    Column("key", _TEXT, nullable=False),
    Column("fingerprint", _SHA256, nullable=False),
    Column("model_id", _ID, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("actor", "key"),
    Index(None, "at"),
    sqlite_with_rowid=False,
)

registry = Table(
    "registry",
    metadata,
    # One row, from the migration that makes the table; the id also marks the store as this one's.
    Column("id", _ID, primary_key=True),
    # The oldest revision whose releases can work on this schema: a migration that only adds leaves
    # it, one that takes away what they need raises it.
    Column("serves_from", String(32), nullable=False),
    sqlite_with_rowid=False,
)

fences = Table(
    "fences",
    metadata,
    Column("name", _TEXT, primary_key=True),
    Column("number", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

turns = Table(
    "turns",
    metadata,
    # Tasks that one replica does for all, and when one last did.
    Column("task", _TEXT, primary_key=True),
    Column("at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("creator", _TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=True),
    Column("received", BigInteger, nullable=False),
    Column("concat", _TEXT, nullable=False),
    Column("metadata", _TEXT, nullable=False),
    Column("sha256", _SHA256, nullable=True),
    Index(None, "expires_at"),
    sqlite_with_rowid=False,
)

upload_segments = Table(
    "upload_segments",
    metadata,
    Column("upload_id", _ID, ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("name", _TEXT, nullable=False),
    PrimaryKeyConstraint("upload_id", "start"),
    sqlite_with_rowid=False,
)
