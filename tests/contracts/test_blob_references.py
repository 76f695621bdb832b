"""References to blobs, of every adapter."""

from __future__ import annotations

import pytest

from tests.contracts.blob_references import BlobReferencesContract
from tests.support.registry import Registry


class TestSqliteBlobReferences(BlobReferencesContract):
    @pytest.fixture
    def registry(self, in_sqlite: Registry) -> Registry:
        return in_sqlite


class TestPostgresBlobReferences(BlobReferencesContract):
    @pytest.fixture
    def registry(self, in_postgres: Registry) -> Registry:
        return in_postgres


class TestMemoryBlobReferences(BlobReferencesContract):
    @pytest.fixture
    def registry(self, in_memory: Registry) -> Registry:
        return in_memory
