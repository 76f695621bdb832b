"""Spellings of PostgreSQL URLs."""

from __future__ import annotations

import pytest

from adapters.sql import open_database
from adapters.sql.postgres_url import read_url
from domain.errors import InvalidSettings
from entrypoints.settings import Settings


@pytest.mark.parametrize(
    ("url", "dsn", "place"),
    [
        (
            "postgresql://ada:secret@db:5432/rows",
            "postgresql://ada:secret@db:5432/rows",
            "postgresql://ada@db:5432/rows",
        ),
        ("postgres://db/rows", "postgresql://db/rows", "postgresql://db/rows"),
        ("postgresql+asyncpg://db/rows", "postgresql://db/rows", "postgresql://db/rows"),
        ("postgresql+psycopg://db/rows", "postgresql://db/rows", "postgresql://db/rows"),
        ("postgresql+psycopg2://db/rows", "postgresql://db/rows", "postgresql://db/rows"),
        (
            "postgresql://ada:se%2Fcr%40et@db/rows",
            "postgresql://ada:se%2Fcr%40et@db/rows",
            "postgresql://ada@db/rows",
        ),
        (
            "postgresql://ada:secr@et@db/rows",
            "postgresql://ada:secr%40et@db/rows",
            "postgresql://ada@db/rows",
        ),
        (
            "postgresql://a:5432,b:5433/rows?target_session_attrs=read-write",
            "postgresql://a:5432,b:5433/rows?target_session_attrs=read-write",
            "postgresql://a:5432,b:5433/rows",
        ),
        (
            "postgresql://ada:secret@/rows?host=a:5432&host=b:5433",
            "postgresql://ada:secret@/rows?host=a%3A5432%2Cb%3A5433",
            "postgresql://ada@/rows?host=a:5432,b:5433",
        ),
        (
            "postgresql:///rows?host=/var/run/postgresql&user=ada&password=secret",
            "postgresql:///rows?host=%2Fvar%2Frun%2Fpostgresql&user=ada&password=secret",
            "postgresql://ada@/rows?host=/var/run/postgresql",
        ),
        ("postgresql://[::1]:5432/rows", "postgresql://[::1]:5432/rows", "postgresql://[::1]:5432/rows"),
        (
            "postgresql://db/rows?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgresql://db/rows?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem",
            "postgresql://db/rows",
        ),
        ("postgresql://db/rows?ssl=require", "postgresql://db/rows?sslmode=require", None),
        (
            "postgresql://db/rows?application_name=my%20registry",
            "postgresql://db/rows?application_name=my%20registry",
            None,
        ),
        (
            "postgresql://db/rows?keepalives=1&keepalives_idle=30&gssencmode=disable",
            "postgresql://db/rows",
            None,
        ),
    ],
)  # fmt: skip
def test_a_url_is_understood(url: str, dsn: str, place: str | None) -> None:
    address = read_url(url)
    assert address.dsn == dsn
    assert place is None or address.place == place
    assert "secret" not in repr(address)
    assert open_database(url).place == address.place
    assert Settings(_env_file=None, database_url=url).database_url == url


def test_the_time_to_connect_in_can_be_given() -> None:
    assert read_url("postgresql://db/rows?connect_timeout=3").connect_timeout == 3
    assert read_url("postgresql://db/rows?connect_timeout=0").connect_timeout is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (
            "postgresql://db/rows?channel_binding=require",
            "channel_binding=require is not supported",
        ),
        ("postgresql://db/rows?gssencmode=require", "gssencmode=require is not supported"),
        ("postgresql://db/rows?client_encoding=latin1", "client_encoding=latin1 is not supported"),
        ("postgresql://db/rows?async_fallback=true", "'async_fallback' is not supported"),
        ("postgresql://db/rows?connect_timeout=soon", "connect_timeout is a number of seconds"),
        ("postgresql://db/rows?host", "cannot be read"),
        ("postgresql://ada:s3cret#x@db/rows", "in a password"),
        ("postgresql://ada:s3cret/x@db/rows", "in a password"),
        ("postgresql://ada:12/s3cret@db/rows", "in a password"),
        ("postgresql://ada:s3cret?x@db/rows", "in a password|cannot be read"),
        ("postgresql://db:port/rows", "in a password"),
        ("postgresql://[::1/rows", "cannot be read"),
        ("postgresql:///rows?host=a:x", "host and port cannot be read"),
        ("postgresql:///rows?host=a&port=x", "host and port cannot be read"),
    ],
)
def test_what_is_not_supported_is_named_without_what_may_be_a_password(
    url: str, fault: str
) -> None:
    with pytest.raises(InvalidSettings, match=fault) as refused:
        read_url(url)
    assert "s3cret" not in str(refused.value)
    assert str(refused.value).startswith("DATABASE_URL: ")
