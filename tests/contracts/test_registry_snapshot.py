"""Snapshots of every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.sql.postgres import PostgresDatabase
from adapters.sql.sqlite import SqliteDatabase
from tests.contracts.registry_snapshot import RegistrySnapshotContract
from tests.support.registry import Registry, postgres_registry, sqlite_registry


class TestSqliteRegistrySnapshot(RegistrySnapshotContract):
    @pytest.fixture
    def registry(self, in_sqlite: Registry) -> Registry:
        return in_sqlite

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Registry:
        return sqlite_registry(SqliteDatabase(f"sqlite:///{tmp_path / 'absent.db'}"))


class TestPostgresRegistrySnapshot(RegistrySnapshotContract):
    @pytest.fixture
    def registry(self, in_postgres: Registry) -> Registry:
        return in_postgres

    @pytest.fixture
    def unreachable(self) -> Registry:
        url = "postgresql://nobody@127.0.0.1:1/none"
        return postgres_registry(url, PostgresDatabase(url))


class TestMemoryRegistrySnapshot(RegistrySnapshotContract):
    @pytest.fixture
    def registry(self, in_memory: Registry) -> Registry:
        return in_memory

    @pytest.fixture
    def unreachable(self, in_memory: Registry) -> Registry:
        in_memory.failing().__enter__()
        return in_memory
