"""From two settings to everything that lies in an object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


def open_stores(method: Method, path: str) -> Stores:
    """Opens nothing yet: the first request does; credentials come from the cloud's environment.

    Args:
        path: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.

    Raises:
        InvalidSettings: the path is not one, or a credential that must be there is missing.
    """
    raise NotImplementedError(method, path)
