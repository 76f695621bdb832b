"""Upload repositories of every adapter."""

from __future__ import annotations

import pytest

from tests.contracts.uploads import UploadRepositoryContract
from tests.support.registry import Registry


class TestSqliteUploadRepository(UploadRepositoryContract):
    @pytest.fixture
    def registry(self, in_sqlite: Registry) -> Registry:
        return in_sqlite


class TestPostgresUploadRepository(UploadRepositoryContract):
    @pytest.fixture
    def registry(self, in_postgres: Registry) -> Registry:
        return in_postgres


class TestMemoryUploadRepository(UploadRepositoryContract):
    @pytest.fixture
    def registry(self, in_memory: Registry) -> Registry:
        return in_memory
