"""Stores, locks and the validator, telling how long each call took, and how it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from time import perf_counter
from types import TracebackType

from application.ports.artifact_store import ArtifactStore, StagedBlob
from application.ports.direct_uploads import DirectUpload, DirectUploads
from application.ports.file_validator import FileSource, FileValidator
from application.ports.lock_manager import Fence, LockManager
from application.ports.segment_store import SegmentStore, StoredSegment
from application.ports.store_upkeep import BlobInfo
from domain.validation import FileReport
from domain.values import Digest, FilePath

Report = Callable[[str, float, float, BaseException | None], None]
"""Takes a call that has ended: its operation, when it began (as ``time.perf_counter`` tells), the
seconds that it took of these, and the error that it ended with."""


class _Stopwatch:
    """Runs while the part has the call; between, where a call has several turns, it stands."""

    def __init__(self) -> None:
        self.began = self._turn = perf_counter()
        self.spent = 0.0
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        self._turn = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.spent += perf_counter() - self._turn
        self.error = self.error or error

    async def without(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks; the time that they take to come is not the part's."""
        while True:
            asked = perf_counter()
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            finally:
                self.spent -= perf_counter() - asked
            yield chunk


class _Observed:
    def __init__(self, report: Report) -> None:
        self._report = report

    @contextmanager
    def _in_turns(self, operation: str) -> Iterator[_Stopwatch]:
        """Several turns of one call; whoever makes it has the time between them."""
        watch = _Stopwatch()
        try:
            yield watch
        finally:
            self._report(operation, watch.began, watch.spent, watch.error)

    @contextmanager
    def _at_once(self, operation: str) -> Iterator[None]:
        with self._in_turns(operation) as watch, watch:
            yield

    async def _stream(
        self, operation: str, chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        with self._in_turns(operation) as watch:
            async with aclosing(chunks):
                while True:
                    with watch:
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    yield chunk


class _ObservedBlob(_Observed, StagedBlob):
    def __init__(self, blob: StagedBlob, writing: _Stopwatch, report: Report) -> None:
        super().__init__(report)
        self._blob = blob
        self._writing = writing

    async def write(self, chunk: bytes) -> None:
        with self._writing:
            await self._blob.write(chunk)

    async def finish(self) -> tuple[Digest, int]:
        with self._writing:
            return await self._blob.finish()

    @property
    def source(self) -> FileSource:
        return self._blob.source

    async def commit(self) -> BlobInfo:
        with self._at_once("commit"):
            return await self._blob.commit()


class ObservedArtifactStore(_Observed, ArtifactStore):
    """Another store. Listings are not told of: they take as long as what is done to their items."""

    def __init__(self, store: ArtifactStore, report: Report) -> None:
        super().__init__(report)
        self._store = store

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[StagedBlob]:
        with self._in_turns("write") as watch:
            async with AsyncExitStack() as stack:
                with watch:
                    blob = await stack.enter_async_context(self._store.stage())
                yield _ObservedBlob(blob, watch, self._report)

    async def put(
        self, digest: Digest, chunks: AsyncIterator[bytes], *, size: int | None = None
    ) -> BlobInfo:
        with self._in_turns("put") as watch, watch:
            return await self._store.put(digest, watch.without(chunks), size=size)

    async def renew(self, digest: Digest) -> BlobInfo | None:
        with self._at_once("renew"):
            return await self._store.renew(digest)

    async def stat(self, digest: Digest) -> BlobInfo | None:
        with self._at_once("stat"):
            return await self._store.stat(digest)

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        with self._at_once("absent"):
            return await self._store.absent(digests)

    def read(
        self, digest: Digest, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._stream("read", self._store.read(digest, start=start, stop=stop))

    async def link(
        self, digest: Digest, *, filename: str, media_type: str, lifetime: float
    ) -> str | None:
        with self._at_once("link"):
            return await self._store.link(
                digest, filename=filename, media_type=media_type, lifetime=lifetime
            )

    def source(self, digest: Digest, size: int) -> FileSource:
        return self._store.source(digest, size)

    async def check(self) -> None:
        with self._at_once("check"):
            await self._store.check()

    def list(self) -> AsyncGenerator[BlobInfo, None]:
        return self._store.list()

    async def discard(self, digest: Digest, *, unless_renewed_since: datetime) -> bool:
        with self._at_once("discard"):
            return await self._store.discard(digest, unless_renewed_since=unless_renewed_since)

    async def sweep_staging(self, *, older_than: datetime, dry_run: bool) -> tuple[int, int]:
        with self._at_once("sweep_staging"):
            return await self._store.sweep_staging(older_than=older_than, dry_run=dry_run)

    async def claim(self, registry: str) -> str:
        with self._at_once("claim"):
            return await self._store.claim(registry)


class ObservedSegmentStore(_Observed, SegmentStore):
    """Another store of segments; see :class:`ObservedArtifactStore`."""

    def __init__(self, segments: SegmentStore, report: Report) -> None:
        super().__init__(report)
        self._segments = segments

    async def write(self, upload: str, content: bytes) -> str:
        with self._at_once("segment_write"):
            return await self._segments.write(upload, content)

    def read(self, name: str) -> AsyncGenerator[bytes, None]:
        return self._stream("segment_read", self._segments.read(name))

    async def remove(self, names: Collection[str]) -> None:
        with self._at_once("segment_remove"):
            await self._segments.remove(names)

    def list(self) -> AsyncGenerator[StoredSegment, None]:
        return self._segments.list()


class ObservedDirectUploads(_Observed, DirectUploads):
    """Other direct uploads."""

    def __init__(self, direct: DirectUploads, report: Report) -> None:
        super().__init__(report)
        self._direct = direct

    async def begin(self, digest: Digest, size: int) -> DirectUpload:
        with self._at_once("direct_begin"):
            return await self._direct.begin(digest, size)

    async def complete(
        self, digest: Digest, size: int, upload: str, etags: Sequence[str]
    ) -> BlobInfo:
        with self._at_once("direct_complete"):
            return await self._direct.complete(digest, size, upload, etags)


class ObservedLockManager(_Observed, LockManager):
    """Other locks. The operation that is told is the kind of the lock, what was waited for it."""

    def __init__(self, locks: LockManager, report: Report) -> None:
        super().__init__(report)
        self._locks = locks

    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[Fence | None]:  # noqa: ASYNC109
        async with AsyncExitStack() as stack:
            with self._at_once(name.partition(":")[0]):
                lock = self._locks.hold(name, timeout=timeout)
                fence = await stack.enter_async_context(lock)
            yield fence

    async def check(self) -> None:
        await self._locks.check()


class ObservedFileValidator(_Observed, FileValidator):
    """Another validator."""

    def __init__(self, validator: FileValidator, report: Report) -> None:
        super().__init__(report)
        self._validator = validator

    @property
    def engine(self) -> str:
        return self._validator.engine

    @property
    def ruleset(self) -> str:
        return self._validator.ruleset

    async def sniff(self, head: bytes, path: FilePath) -> FileReport:
        with self._at_once("sniff"):
            return await self._validator.sniff(head, path)

    async def validate(self, source: FileSource, path: FilePath) -> FileReport:
        with self._at_once("validate"):
            return await self._validator.validate(source, path)
