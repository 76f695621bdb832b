"""The object stores, each against the contracts of artifacts and segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import httpx
import obstore
import pytest

from adapters.object_store.incoming import Sizes
from adapters.object_store.obstore_bucket import ObstoreBucket
from adapters.object_store.store import ObjectArtifactStore
from application.ports import ArtifactStore, SegmentStore
from domain.errors import StoreFull
from tests.contracts.artifact_store import MIB, ArtifactStoreContract
from tests.contracts.object_stores import (
    KIB,
    address_of,
    artifacts,
    bucket_of,
    s3_leftovers,
    segments,
)
from tests.contracts.segment_store import SegmentStoreContract
from tests.support.front import front, quota
from tests.support.services.buckets import Place

pytestmark = pytest.mark.anyio


class ObjectStoreContract(ArtifactStoreContract):
    """Ages in whole seconds, as S3 and Azure tell them, make each round of a race take one."""

    rounds = 4
    commits = 3
    many = 60
    no_room = 403, b"<Error><Code>QuotaExceeded</Code><Message>no room</Message></Error>"

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    @pytest.fixture
    def store(self, place: Place) -> ObjectArtifactStore:
        return artifacts(place)

    @pytest.fixture
    def small_store(self, place: Place) -> Iterator[tuple[ArtifactStore, type[Exception]]]:
        """A quota in front of the store."""
        sizes = Sizes(small=512 * KIB, part=256 * KIB)
        with front(address_of(place), quota(MIB + 100 * KIB, self.no_room)) as server:
            yield artifacts(place, sizes, server=server), StoreFull


class TestS3ArtifactStore(ObjectStoreContract):
    @pytest.fixture
    def place(self, s3_bucket: Place) -> Place:
        return s3_bucket

    @pytest.fixture
    def leftovers(self, place: Place) -> Iterator[Callable[[], int]]:
        with s3_leftovers(place) as count:
            yield count


class TestGcsArtifactStore(ObjectStoreContract):
    rounds = 30
    commits = 20
    no_room = 507, b""

    @pytest.fixture
    def place(self, gcs_bucket: Place) -> Place:
        return gcs_bucket

    @pytest.fixture
    def leftovers(self, place: Place) -> Iterator[Callable[[], int]]:
        api = httpx.Client(base_url=address_of(place), trust_env=False)

        def count() -> int:
            prefix = f"{place.prefix}/staging/"
            found = api.get(f"/storage/v1/b/{place.bucket}/o", params={"prefix": prefix})
            return len(found.json().get("items", []))

        yield count
        api.close()


class TestAzureArtifactStore(ObjectStoreContract):
    @pytest.fixture
    def place(self, azure_container: Place) -> Place:
        return azure_container

    @pytest.fixture
    def leftovers(self, place: Place) -> Callable[[], int]:
        container = cast(ObstoreBucket, bucket_of(place))._quick
        return lambda: len(obstore.list(container, f"{place.prefix}/staging").collect())


class TestS3SegmentStore(SegmentStoreContract):
    @pytest.fixture
    def segments(self, s3_bucket: Place) -> SegmentStore:
        return segments(s3_bucket)


class TestGcsSegmentStore(SegmentStoreContract):
    @pytest.fixture
    def segments(self, gcs_bucket: Place) -> SegmentStore:
        return segments(gcs_bucket)


class TestAzureSegmentStore(SegmentStoreContract):
    @pytest.fixture
    def segments(self, azure_container: Place) -> SegmentStore:
        return segments(azure_container)
