"""Bytes on their way in: collected to batches, hashed and written while more arrive."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio

from adapters.local_disk.files import (
    CHUNK,
    BlobFolder,
    as_store_errors,
    read_range,
    sync,
    write_all,
)
from application.ports.artifact_store import StagedBlob
from application.ports.file_validator import FileSource
from application.ports.store_upkeep import BlobInfo
from domain.errors import StoreUnavailable
from domain.values import Digest

P = ParamSpec("P")
T = TypeVar("T")
Chunks = Sequence[bytes | bytearray]

_SMALL = 16 * 1024
"""A file of so many bytes at most stays in memory until it is committed, and costs one hop."""
_CRUMB = 4 * 1024
"""Smaller chunks are merged as they come: a list of single bytes would take 40 times the room."""
_WRITEBACK = 8 << 20
"""How often the kernel is asked to begin writing, so that the sync at the end has little to do."""


class Threads:
    """A bounded pool for blocking work."""

    def __init__(self, most: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Starts it."""
        return self._pool.submit(work, *args, **kwargs)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Starts it and waits; a cancelled waiter does not stop work that has begun."""
        return await asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))


@dataclass(frozen=True, slots=True)
class ThreadedSource(FileSource):
    """Bytes that ``fetch(offset, length)`` reads, in a thread."""

    length: int
    threads: Threads
    fetch: Callable[[int, int], bytes]

    @property
    def size(self) -> int:
        return self.length

    async def read_at(self, offset: int, length: int) -> bytes:
        return await self.threads.run(self.fetch, offset, length)


@dataclass(frozen=True, slots=True)
class MemorySource(FileSource):
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    async def read_at(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


class StagedFile:
    """The file behind a staged blob; not made before the first byte is written.

    Every method blocks and excludes the others, so that abandoning it waits for a write that a
    cancelled task left running. After a failure, or once abandoned, it takes nothing more. All
    raise StoreFull and StoreUnavailable.
    """

    def __init__(self, folder: BlobFolder) -> None:
        self._folder = folder
        self._path = folder.new_staging_path()
        self._made = False
        self._fd = -1
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._written = 0
        self._flushed = 0
        self._usable = True

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._lock:
            if not self._usable:
                raise StoreUnavailable("Writing these bytes has failed before.")
            try:
                with as_store_errors():
                    yield
            except BaseException:
                self._usable = False
                raise

    def append(self, chunks: Chunks) -> None:
        """Hashes and writes."""
        with self._working():
            self._append(chunks)

    def seal(self, chunks: Chunks) -> Digest:
        """Appends the last chunks. Leaves no descriptor open: a version may have many files."""
        with self._working():
            self._append(chunks)
            self._close()
            return Digest(self._hash.hexdigest())

    def read_at(self, offset: int, length: int) -> bytes:
        """From what was sealed."""
        with as_store_errors():
            fd = os.open(self._path, os.O_RDONLY)
            try:
                return read_range(fd, offset, length)
            finally:
                os.close(fd)

    def commit(self, digest: Digest, size: int, content: bytes) -> BlobInfo:
        """Makes the bytes visible; ``content`` are those of a file that is not on disk yet."""

        def durable() -> Path:
            if self._made:
                sync(self._path)
            else:
                self._append([content])
                os.fsync(self._fd)
                self._close()
            return self._path

        with self._working():
            info = self._folder.adopt(digest, size, durable)
            self._usable = False
            self._remove()
            return info

    def abandon(self) -> None:
        """Leaves nothing behind, in whatever state it is; never raises."""
        with self._lock:
            self._usable = False
            with contextlib.suppress(OSError):
                self._close()
            with contextlib.suppress(OSError):
                self._remove()

    def _append(self, chunks: Chunks) -> None:
        if not self._made:
            self._folder.prepare()
            self._made = True
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        batch = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._hash.update(batch)
        write_all(self._fd, batch)
        self._written += len(batch)
        if self._written - self._flushed >= _WRITEBACK:
            _begin_writeback(self._fd, self._flushed, self._written)
            self._flushed = self._written

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _remove(self) -> None:
        if self._made:
            self._path.unlink(missing_ok=True)


def _begin_writeback(fd: int, start: int, stop: int) -> None:
    """Asks for these pages to be written, without waiting.

    The advice is named after dropping pages, but it writes dirty ones first and drops only what
    is clean already, which pages that were just written are not.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, start, stop - start, os.POSIX_FADV_DONTNEED)


class LocalStagedBlob(StagedBlob):
    """One batch of about 1 MiB is being collected while the one before is hashed and written."""

    def __init__(self, folder: BlobFolder, writers: Threads, lookers: Threads) -> None:
        self._file = StagedFile(folder)
        self._writers = writers
        self._lookers = lookers
        self._chunks: list[bytes | bytearray] = []
        self._collected = 0
        self._size = 0
        self._content = b""
        self._batch: Future[None] | None = None
        self._digest: Digest | None = None
        self._on_disk = False

    async def write(self, chunk: bytes) -> None:
        """See the port; holds at most 3 MiB and one chunk."""
        self._size += len(chunk)
        self._collected += len(chunk)
        if len(chunk) >= _CRUMB:
            self._chunks.append(chunk)
        elif self._chunks and isinstance(self._chunks[-1], bytearray):
            self._chunks[-1] += chunk
        else:
            self._chunks.append(bytearray(chunk))
        if self._collected >= CHUNK:
            await self._batch_written()
            self._on_disk = True
            self._batch = self._writers.submit(self._file.append, self._take())

    def _take(self) -> Chunks:
        chunks, self._chunks, self._collected = self._chunks, [], 0
        return chunks

    async def _batch_written(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            await asyncio.wrap_future(batch)

    async def finish(self) -> tuple[Digest, int]:
        if self._digest is None:
            await self._batch_written()
            if self._on_disk or self._size > _SMALL:
                self._on_disk = True
                self._digest = await self._writers.run(self._file.seal, self._take())
            else:
                self._content = b"".join(self._take())
                self._digest = Digest(hashlib.sha256(self._content).hexdigest())
        return self._digest, self._size

    @property
    def source(self) -> FileSource:
        if self._on_disk:
            return ThreadedSource(self._size, self._lookers, self._file.read_at)
        return MemorySource(self._content)

    async def commit(self) -> BlobInfo:
        digest, size = await self.finish()
        content, self._content = self._content, b""
        self._on_disk = True
        info = await self._writers.run(self._file.commit, digest, size, content)
        self._on_disk = False
        return info

    async def aclose(self) -> None:
        """Drops what was not committed. The dropping happens also if this is cancelled."""
        if not self._on_disk:
            return
        dropped = asyncio.wrap_future(self._writers.submit(self._file.abandon))
        with anyio.CancelScope(shield=True):
            await asyncio.shield(dropped)
