"""Bytes in and out: uploading a blob ahead of a publish, and reading the files of a version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from application.ports import (
    ArtifactStore,
    BlobInfo,
    DirectUpload,
    DirectUploads,
    RegistryReader,
)
from application.records import FileRecord, VersionRecord
from application.streams import ByteStream, open_blob
from domain.errors import FileNotFound, RequestTooLarge
from domain.values import MAX_PATH, Digest, ModelName, Reference, composed
from domain.version import check_ready


@dataclass(frozen=True, slots=True)
class UploadBlob:
    """``size`` is what the client announces, None if it does not."""

    digest: Digest
    chunks: AsyncIterator[bytes]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class UploadBlobHandler:
    store: ArtifactStore
    max_size: int

    async def __call__(self, command: UploadBlob) -> tuple[BlobInfo, bool]:
        """Stores a blob; returns it and whether it is new. If it exists, the chunks are not read.

        One that exists with another size than announced is damaged, and replaced.

        Raises:
            DigestMismatch: the bytes have another digest; nothing was kept.
            RequestTooLarge: more than ``max_size`` bytes.
            StoreFull, StoreUnavailable: try again later.
        """
        present = await self.store.renew(command.digest)
        if present is not None and command.size in {None, present.size}:
            return present, False
        chunks = self._limited(command.chunks)
        return await self.store.put(command.digest, chunks, size=command.size), True

    async def _limited(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self.max_size:
                raise RequestTooLarge(f"A blob has at most {self.max_size} bytes.")
            yield chunk


@dataclass(frozen=True, slots=True)
class BeginDirectUpload:
    """``size`` in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class BeginDirectUploadHandler:
    store: ArtifactStore
    direct: DirectUploads
    max_size: int

    async def __call__(self, command: BeginDirectUpload) -> BlobInfo | DirectUpload:
        """Says how to upload a blob past the service; the blob itself where it is there already.

        Raises:
            DirectUploadUnsupported: the store takes none.
            RequestTooLarge: more than ``max_size`` bytes.
            StoreUnavailable
        """
        if command.size > self.max_size:
            raise RequestTooLarge(f"A blob has at most {self.max_size} bytes.")
        present = await self.store.renew(command.digest)
        if present is not None and present.size == command.size:
            return present
        return await self.direct.begin(command.digest, command.size)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """``held``: also of a version that is held, for whoever reviews it at the server."""

    model: ModelName
    reference: Reference
    path: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file of a version, found but not yet read."""

    version: VersionRecord
    file: FileRecord
    store: ArtifactStore

    async def read(self, start: int = 0, stop: int | None = None) -> ByteStream:
        """The bytes from ``start`` to ``stop`` (exclusive); close it when done early.

        Raises:
            BlobCorrupt: here already, before the first byte, when the store lost the blob.
            StoreUnavailable
        """
        return await open_blob(self.store, Digest(self.file.sha256), start, stop)

    async def link(self, lifetime: float) -> str | None:
        """A URL of the store's own, good for so many seconds; None where it gives none.

        Raises:
            StoreUnavailable
        """
        return await self.store.link(
            Digest(self.file.sha256),
            filename=self.file.path.rsplit("/", 1)[-1],
            media_type=self.file.media_type,
            lifetime=lifetime,
        )


@dataclass(frozen=True, slots=True)
class OpenFileHandler:
    reader: RegistryReader
    store: ArtifactStore

    async def __call__(self, command: OpenFile) -> OpenedFile:
        """Finds a file of a version.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound
            FileNotFound: the version has no file at this path.
            VersionQuarantined: it is held.
        """
        version = (await self.reader.version(command.model, command.reference)).record
        path = composed(command.path, MAX_PATH)  # as FilePath is: macOS sends NFD
        for file in version.files:
            if file.path == path:
                if not command.held:
                    check_ready(version.status, version.version)
                return OpenedFile(version, file, self.store)
        raise FileNotFound(
            f"Version {version.version} of {version.model!a} has no file "
            f"{command.path[:200]!a}; it has {_some([file.path for file in version.files])}."
        )


def _some(paths: list[str]) -> str:
    shown = ", ".join(repr(path) for path in paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"
