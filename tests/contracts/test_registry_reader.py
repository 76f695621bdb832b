"""Registry readers of every adapter."""

from __future__ import annotations

import pytest

from tests.contracts.registry_reader import RegistryReaderContract
from tests.support.registry import Registry


class TestSqliteRegistryReader(RegistryReaderContract):
    @pytest.fixture
    def registry(self, in_sqlite: Registry) -> Registry:
        return in_sqlite


class TestPostgresRegistryReader(RegistryReaderContract):
    @pytest.fixture
    def registry(self, in_postgres: Registry) -> Registry:
        return in_postgres


class TestMemoryRegistryReader(RegistryReaderContract):
    @pytest.fixture
    def registry(self, in_memory: Registry) -> Registry:
        return in_memory
