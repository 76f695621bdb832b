"""From two settings to everything that lies in an object store."""

# The clouds' clients are large, and most registries need none of them.
# ruff: noqa: PLC0415

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.object_store.blobs import Blobs
from adapters.object_store.bucket import parse_location
from adapters.object_store.direct_uploads import NoDirectUploads, S3DirectUploads
from adapters.object_store.segments import ObjectSegmentStore
from adapters.object_store.store import ObjectArtifactStore
from application.ports.artifact_store import ArtifactStore
from application.ports.direct_uploads import DirectUploads
from application.ports.segment_store import SegmentStore

Method = Literal["s3", "gcs", "azure"]


@dataclass(frozen=True, slots=True)
class Stores:
    """What one bucket, below one prefix, is to the core."""

    artifacts: ArtifactStore
    segments: SegmentStore
    direct: DirectUploads


def open_stores(method: Method, path: str, *, public_url: str | None = None) -> Stores:
    """Asks the bucket nothing yet; credentials come from the cloud's own environment.

    Args:
        path: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        public_url: the store's address for clients, where they cannot use that of the service.

    Raises:
        InvalidSettings: the path is not one, or there are no credentials.
    """
    location = parse_location(method, path)
    if method == "s3":
        from adapters.object_store.s3_bucket import open_s3

        s3 = open_s3(location, public_url)
        blobs = Blobs(s3, location.prefix)
        return _stores(blobs, S3DirectUploads(s3, blobs))
    if method == "gcs":
        from adapters.object_store.gcs_bucket import open_gcs

        return _stores(Blobs(open_gcs(location, public_url), location.prefix), NoDirectUploads())
    from adapters.object_store.obstore_bucket import open_azure

    return _stores(Blobs(open_azure(location, public_url), location.prefix), NoDirectUploads())


def _stores(blobs: Blobs, direct: DirectUploads) -> Stores:
    segments = ObjectSegmentStore(blobs.bucket, blobs.prefix)
    return Stores(ObjectArtifactStore(blobs), segments, direct)
