"""What the core needs from outside, in its own words.

Every adapter inherits its port and passes the port's suite in ``tests/contracts``; what a method
documents as raised is what callers may rely on.
"""

from application.ports.artifact_store import ArtifactStore, StagedBlob
from application.ports.blob_references import BlobReferences
from application.ports.clock import Clock, IdGenerator
from application.ports.direct_uploads import DirectUpload, DirectUploads, UploadPart
from application.ports.file_validator import FileSource, FileValidator
from application.ports.folder import Folder
from application.ports.lock_manager import Fence, LockManager
from application.ports.registry_reader import Found, Page, PageRequest, RegistryReader
from application.ports.registry_rows import RegistryRows, TableSum
from application.ports.registry_snapshot import RegistrySnapshot
from application.ports.segment_store import SegmentStore, StoredSegment
from application.ports.store_upkeep import BlobInfo, StoreUpkeep
from application.ports.unit_of_work import (
    AliasRepository,
    ModelRepository,
    Receipt,
    ReceiptRepository,
    UnitOfWork,
    VersionRepository,
)
from application.ports.uploads import UploadRepository

__all__ = [
    "AliasRepository",
    "ArtifactStore",
    "BlobInfo",
    "BlobReferences",
    "Clock",
    "DirectUpload",
    "DirectUploads",
    "Fence",
    "FileSource",
    "FileValidator",
    "Folder",
    "Found",
    "IdGenerator",
    "LockManager",
    "ModelRepository",
    "Page",
    "PageRequest",
    "Receipt",
    "ReceiptRepository",
    "RegistryReader",
    "RegistryRows",
    "RegistrySnapshot",
    "SegmentStore",
    "StagedBlob",
    "StoreUpkeep",
    "StoredSegment",
    "TableSum",
    "UnitOfWork",
    "UploadPart",
    "UploadRepository",
    "VersionRepository",
]
