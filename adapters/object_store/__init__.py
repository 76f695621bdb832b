"""Blobs in an object store: S3, Google Cloud Storage or Azure Blob."""

from adapters.object_store.direct_uploads import NoDirectUploads
from adapters.object_store.stores import Method, Stores, open_stores

__all__ = ["Method", "NoDirectUploads", "Stores", "open_stores"]
