"""All files of a version as one zip or tar, streamed without ever being whole anywhere."""

from __future__ import annotations

import io
import tarfile
import zipfile
from contextlib import aclosing
from typing import Any, cast

from anyio.to_thread import run_sync

from application.ports import ArtifactStore
from application.records import FileRecord, VersionRecord
from application.streams import ByteStream, open_blob
from domain.values import Digest

_ZIP_BEGINS = (1980, 1, 1, 0, 0, 0)
_END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


class _Sink(io.RawIOBase):
    """What zipfile writes to: it cannot seek, and is emptied after every step."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def zip_stream(version: VersionRecord, store: ArtifactStore) -> ByteStream:
    """A zip with its files stored uncompressed (models do not shrink), ZIP64 where needed.

    Raises:
        BlobCorrupt, StoreUnavailable: also halfway, which cuts the stream.
    """
    sink = _Sink()
    moment = max(version.created_at.timetuple()[:6], _ZIP_BEGINS)
    with zipfile.ZipFile(cast(io.BufferedWriter, sink), "w", zipfile.ZIP_STORED) as archive:
        for file in version.files:
            info = zipfile.ZipInfo(file.path, moment)
            info.external_attr = 0o100644 << 16
            with archive.open(info, "w", force_zip64=file.size >= zipfile.ZIP64_LIMIT) as member:
                async with aclosing(await open_blob(store, Digest(file.sha256))) as chunks:
                    async for chunk in chunks:
                        await run_sync(member.write, chunk)
                        yield sink.take()
            yield sink.take()
    yield sink.take()


def _tar_header(version: VersionRecord, file: FileRecord) -> bytes:
    info = tarfile.TarInfo(file.path)
    info.size, info.mode, info.mtime = file.size, 0o644, int(version.created_at.timestamp())
    return info.tobuf(tarfile.PAX_FORMAT)


def tar_size(version: VersionRecord) -> int:
    """Bytes of the tar that :func:`tar_stream` makes."""
    blocks = sum(-(-file.size // tarfile.BLOCKSIZE) for file in version.files)
    headers = sum(len(_tar_header(version, file)) for file in version.files)
    return headers + blocks * tarfile.BLOCKSIZE + len(_END_OF_TAR)


async def tar_stream(version: VersionRecord, store: ArtifactStore) -> ByteStream:
    """A POSIX (pax) tar of the files.

    Raises:
        BlobCorrupt, StoreUnavailable: also halfway, which cuts the stream.
    """
    for file in version.files:
        async with aclosing(await open_blob(store, Digest(file.sha256))) as chunks:
            yield _tar_header(version, file)
            async for chunk in chunks:
                yield chunk
        if rest := -file.size % tarfile.BLOCKSIZE:
            yield bytes(rest)
    yield _END_OF_TAR
