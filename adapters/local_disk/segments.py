"""Segments of incomplete uploads, as files beside the blobs.

::

    <root>/segments/<upload>-<segment>        the bytes, read-only, never changed
    <root>/segments/<upload>-<segment>.part   on their way in

A segment gets its name by a rename, after its bytes are on the disk; so one that is seen is whole.
What is left of a write that died is listed like a segment, and goes as one that no upload has.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Collection, Iterator
from pathlib import Path

from adapters.local_disk.files import CHUNK, as_store_errors, sync, write_all
from adapters.local_disk.staging import Threads
from application.ports.segment_store import SegmentStore, StoredSegment
from application.times import moment
from domain.errors import BlobNotFound, StoreUnavailable

_WRITERS = 8
_READERS = 4
_LISTED = 500


class LocalDiskSegmentStore(SegmentStore):
    """Segments in the folder of the artifact store; several processes may use it at once.

    Args:
        root: the folder; made when first needed, not before.
    """

    def __init__(self, root: Path | str) -> None:
        self._segments = Path(root).absolute() / "segments"
        self._ready = False
        self._preparing = threading.Lock()
        self._writers = Threads(_WRITERS, "segment-writer")
        self._readers = Threads(_READERS, "segment-reader")

    async def write(self, upload: str, content: bytes) -> str:
        return await self._writers.run(self._write, upload, content)

    def _write(self, upload: str, content: bytes) -> str:
        self._prepare()
        name = f"{upload}/{secrets.token_hex(16)}"
        staged = self._path(f"{name}.part")
        with as_store_errors():
            try:
                fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
                try:
                    write_all(fd, content)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                staged.rename(self._path(name))
            except BaseException:
                with contextlib.suppress(OSError):
                    staged.unlink()
                raise
            sync(self._segments, os.O_DIRECTORY)
        return name

    def _prepare(self) -> None:
        """Makes the folder, once; where it vanishes, a volume has been unmounted."""
        with self._preparing, as_store_errors():
            if not self._ready:
                self._segments.mkdir(parents=True, exist_ok=True)
                sync(self._segments.parent, os.O_DIRECTORY)
                self._ready = True

    def _check_present(self) -> None:
        """Distinguishes an absent segment from an absent store."""
        if self._ready and not self._segments.is_dir():
            raise StoreUnavailable("The folder of the artifact store has gone.")

    def _path(self, name: str) -> Path:
        return self._segments / name.replace("/", "-")

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """Opens the file anew for each chunk: nothing has to be closed when the reader leaves."""
        offset = 0
        while chunk := await self._readers.run(self._read, name, offset):
            yield chunk
            offset += len(chunk)

    def _read(self, name: str, offset: int) -> bytes:
        with as_store_errors():
            try:
                fd = os.open(self._path(name), os.O_RDONLY)
            except FileNotFoundError:
                self._check_present()
                raise BlobNotFound(f"There is no segment {name}.") from None
            try:
                return os.pread(fd, CHUNK, offset)
            finally:
                os.close(fd)

    async def remove(self, names: Collection[str]) -> None:
        await self._writers.run(self._remove, names)

    def _remove(self, names: Collection[str]) -> None:
        with as_store_errors():
            for name in names:
                self._path(name).unlink(missing_ok=True)

    async def list(self) -> AsyncGenerator[StoredSegment, None]:
        walk = self._walk()
        while batch := await self._readers.run(_next, walk):
            for segment in batch:
                yield segment

    def _walk(self) -> Iterator[StoredSegment]:
        with as_store_errors():
            try:
                entries = os.scandir(self._segments)
            except FileNotFoundError:
                self._check_present()
                return
            with entries:
                for entry in entries:
                    upload, separator, segment = entry.name.partition("-")
                    if not separator:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        at = moment(status.st_mtime_ns // 1000)
                        yield StoredSegment(f"{upload}/{segment}", status.st_size, at)


def _next(walk: Iterator[StoredSegment]) -> list[StoredSegment]:
    return list(itertools.islice(walk, _LISTED))
