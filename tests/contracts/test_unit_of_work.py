"""Units of work of every adapter."""

from __future__ import annotations

import pytest

from tests.contracts.unit_of_work import UnitOfWorkContract
from tests.support.registry import Registry


class TestSqliteUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def registry(self, in_sqlite: Registry) -> Registry:
        return in_sqlite


class TestPostgresUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def registry(self, in_postgres: Registry) -> Registry:
        return in_postgres


class TestMemoryUnitOfWork(UnitOfWorkContract):
    @pytest.fixture
    def registry(self, in_memory: Registry) -> Registry:
        return in_memory
