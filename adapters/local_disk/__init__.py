"""Blobs as files in a folder of a POSIX file system."""

from adapters.local_disk.segments import LocalDiskSegmentStore
from adapters.local_disk.store import LocalDiskArtifactStore

__all__ = ["LocalDiskArtifactStore", "LocalDiskSegmentStore"]
