"""Uploads past the service: to S3, and the answer of stores that take none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from adapters.object_store import NoDirectUploads
from adapters.object_store.direct_uploads import S3DirectUploads
from adapters.object_store.s3_bucket import S3Bucket
from adapters.object_store.store import ObjectArtifactStore
from domain.errors import DirectUploadUnsupported
from tests.contracts.artifact_store import MIB, digest_of
from tests.contracts.direct_uploads import DirectUploadsContract
from tests.contracts.object_stores import artifacts, s3_leftovers
from tests.support.services.buckets import Place

pytestmark = pytest.mark.anyio


class TestS3DirectUploads(DirectUploadsContract):
    @pytest.fixture
    def store(self, s3_bucket: Place) -> ObjectArtifactStore:
        return artifacts(s3_bucket)

    @pytest.fixture
    def direct(self, store: ObjectArtifactStore) -> S3DirectUploads:
        return S3DirectUploads(cast(S3Bucket, store.bucket), store.blobs, part_size=5 * MIB)

    @pytest.fixture
    def leftovers(self, s3_bucket: Place) -> Iterator[Callable[[], int]]:
        with s3_leftovers(s3_bucket) as count:
            yield count


async def test_a_store_without_direct_uploads_says_what_to_do_instead() -> None:
    direct = NoDirectUploads()
    for work in (direct.begin(digest_of(b"x"), 1), direct.complete(digest_of(b"x"), 1, "x", [])):
        with pytest.raises(DirectUploadUnsupported, match=f"PUT .*/api/v1/blobs/{digest_of(b'x')}"):
            await work
