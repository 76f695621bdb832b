"""The object stores that contracts are tested on, at an empty place of a real server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import cast
from unittest.mock import patch
from urllib.parse import urlsplit

from adapters.object_store import Method, Stores, open_stores
from adapters.object_store.blobs import Blobs
from adapters.object_store.bucket import Bucket
from adapters.object_store.incoming import Sizes
from adapters.object_store.segments import ObjectSegmentStore
from adapters.object_store.store import ObjectArtifactStore
from tests.support.services.buckets import Place, s3_client

KIB = 1 << 10
SMALL = Sizes(small=256 * KIB, part=5 << 20)
_METHODS: dict[str, Method] = {"s3": "s3", "gs": "gcs", "az": "azure"}
_ADDRESSES = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "STORAGE_EMULATOR_HOST",
    "az": "AZURE_STORAGE_ENDPOINT",
}


def address_of(place: Place) -> str:
    """The URL of its server."""
    return place.environ[_ADDRESSES[_scheme(place)]]


def _scheme(place: Place) -> str:
    return place.path.partition(":")[0]


def open_place(place: Place, *, server: str | None = None, public_url: str | None = None) -> Stores:
    """Opens it as the service does; by way of another server, if one is given."""
    environ = dict(place.environ)
    if server is not None:
        environ[_ADDRESSES[_scheme(place)]] = server + urlsplit(address_of(place)).path
    with patch.dict(os.environ, environ):
        return open_stores(_METHODS[_scheme(place)], place.path, public_url=public_url)


def artifacts(
    place: Place, sizes: Sizes = SMALL, *, server: str | None = None
) -> ObjectArtifactStore:
    """The artifact store of a place."""
    if server is not None:
        opened = cast(ObjectArtifactStore, open_place(place, server=server).artifacts)
        return ObjectArtifactStore(opened.blobs, sizes)
    return ObjectArtifactStore(Blobs(bucket_of(place), f"{place.prefix}/"), sizes)


def segments(place: Place) -> ObjectSegmentStore:
    """The store of segments at a place."""
    return ObjectSegmentStore(bucket_of(place), f"{place.prefix}/")


def bucket_of(place: Place) -> Bucket:
    """The clients of a bucket are made once: for S3 that takes a while."""
    return _opened(f"{_scheme(place)}://{place.bucket}/", tuple(sorted(place.environ.items())))


@cache
def _opened(bucket: str, environ: tuple[tuple[str, str], ...]) -> Bucket:
    opened = open_place(Place(f"{bucket}any", dict(environ))).artifacts
    return cast(ObjectArtifactStore, opened).bucket


@contextmanager
def s3_leftovers(place: Place) -> Iterator[Callable[[], int]]:
    """Counts staged objects and unfinished multipart uploads."""
    client = s3_client(place.environ)

    def count() -> int:
        staged = client.list_objects_v2(Bucket=place.bucket, Prefix=f"{place.prefix}/staging/")
        parts = client.list_multipart_uploads(Bucket=place.bucket)
        return len(staged.get("Contents", [])) + len(parts.get("Uploads", []))

    try:
        yield count
    finally:
        client.close()
