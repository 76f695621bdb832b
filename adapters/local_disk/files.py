"""The folder of blobs, seen by the threads that do the blocking work.

::

    <root>/blobs/<2 hex>/<sha256>   a blob, read-only, never changed
    <root>/staging/<random>         bytes on their way in
    <root>/registry                 the id of the registry whose blobs these are
    <root>/sweep.lock               keeps renewing and sweeping apart, between processes too

A blob becomes visible by a rename within the file system, after its bytes are on the disk; the
rename itself is made durable before anybody is told. Paths are built from digests and random
names only. Errors never tell where on the machine the folder lies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path

import portalocker

from application.os_errors import reason_of
from application.ports.store_upkeep import BlobInfo
from application.times import micros, moment
from domain.errors import BlobNotFound, InvalidDigest, StoreFull, StoreUnavailable
from domain.values import Digest

CHUNK = 1 << 20
_SWEEP_LOCK_PATIENCE = 30.0


@contextlib.contextmanager
def as_store_errors() -> Iterator[None]:
    """Translates the operating system's errors into those of the port."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull(
                "The artifact store has no room left; free some, or try again later."
            ) from error
        raise StoreUnavailable(
            f"The artifact store cannot be used now ({reason_of(error)}); try again later."
        ) from error


def write_all(fd: int, content: bytes | bytearray) -> None:
    """Writes every byte at the file's position."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_range(fd: int, offset: int, length: int) -> bytes:
    """At most ``length`` bytes from ``offset``; fewer only at the end of the file."""
    parts: list[bytes] = []
    while length > 0 and (part := os.pread(fd, length, offset)):
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def sync(path: Path, flags: int = 0) -> None:
    """Waits until a file, or the entries of a folder, would survive a power failure."""
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class BlobFolder:
    """Every method blocks and may be called from any thread.

    All raise StoreFull and StoreUnavailable.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._blobs = self._root / "blobs"
        self._staging = self._root / "staging"
        self._ready = False
        self._preparing = threading.Lock()

    def path(self, digest: Digest) -> Path:
        """Where the blob lies, if it is there."""
        return self._blobs / digest[:2] / digest

    def new_staging_path(self) -> Path:
        """A place nobody else uses, once the folders are there."""
        return self._staging / secrets.token_hex(16)

    def prepare(self) -> None:
        """Makes the folders, once; all 256, so that no publish has to sync a new one's parent.

        They are not made again: where they vanish, a volume has been unmounted, and its mount
        point is no place for blobs.
        """
        with self._preparing, as_store_errors():
            if self._ready:
                return
            above = [folder for folder in self._root.parents if not folder.exists()]
            self._staging.mkdir(parents=True, exist_ok=True)
            for number in range(256):
                (self._blobs / f"{number:02x}").mkdir(parents=True, exist_ok=True)
            for folder in (self._blobs, self._root):
                sync(folder, os.O_DIRECTORY)
            for folder in (self._root, *above):
                with contextlib.suppress(OSError):  # not everybody may read what lies above
                    sync(folder.parent, os.O_DIRECTORY)
            self._ready = True

    @contextlib.contextmanager
    def _sweeping(self, flag: portalocker.LockFlags) -> Iterator[None]:
        """Shared while a blob's age is renewed, exclusive while it is looked at and deleted."""
        fd = os.open(self._root / "sweep.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + _SWEEP_LOCK_PATIENCE
            while True:
                try:
                    portalocker.lock(fd, flag | portalocker.LockFlags.NON_BLOCKING)
                    break
                except portalocker.AlreadyLocked:
                    if time.monotonic() > deadline:
                        raise StoreUnavailable(
                            "A sweep of the artifact store does not come to its end."
                        ) from None
                    time.sleep(0.001)
                except portalocker.LockException as error:
                    raise StoreUnavailable("The artifact store cannot be locked.") from error
            yield
        finally:
            os.close(fd)

    def stat(self, digest: Digest) -> BlobInfo | None:
        """None if absent."""
        with as_store_errors():
            try:
                status = self.path(digest).stat()
            except FileNotFoundError:
                self.check_present()
                return None
            return BlobInfo(digest, status.st_size, moment(status.st_mtime_ns // 1000))

    def absent(self, digests: Collection[Digest]) -> set[Digest]:
        """Those that are not there."""
        return {digest for digest in digests if self.stat(digest) is None}

    def check_present(self) -> None:
        """Distinguishes an absent blob from an absent store.

        Raises:
            StoreUnavailable: the folder was there and has gone.
        """
        if self._ready and not self._blobs.is_dir():
            raise StoreUnavailable("The folder of the artifact store has gone.")

    def open(self, digest: Digest) -> int:
        """A descriptor for reading.

        Raises:
            BlobNotFound: absent.
        """
        with as_store_errors():
            try:
                return os.open(self.path(digest), os.O_RDONLY)
            except FileNotFoundError:
                self.check_present()
                raise BlobNotFound.named(digest) from None

    def read_at(self, digest: Digest, offset: int, length: int) -> bytes:
        """Part of a blob; one that is absent is unavailable here."""
        try:
            fd = self.open(digest)
        except BlobNotFound as error:
            raise StoreUnavailable(error.detail) from None
        with as_store_errors():
            try:
                return read_range(fd, offset, length)
            finally:
                os.close(fd)

    def renew(self, digest: Digest) -> BlobInfo | None:
        """Resets the blob's age to zero; None if absent."""
        self.prepare()
        target = self.path(digest)
        with as_store_errors():
            with self._sweeping(portalocker.LockFlags.SHARED):
                info = self._renew(digest)
            if info is not None:
                # Whoever put it there may not have made the rename durable yet.
                sync(target.parent, os.O_DIRECTORY)
            return info

    def _renew(self, digest: Digest) -> BlobInfo | None:
        now = time.time_ns()
        try:
            os.utime(self.path(digest), ns=(now, now))
        except FileNotFoundError:
            self.check_present()
            return None
        return self.stat(digest)

    def adopt(self, digest: Digest, size: int, durable: Callable[[], Path]) -> BlobInfo:
        """Makes bytes visible under their digest, or renews the blob that has them already.

        One of another size is damaged, and replaced.

        Args:
            durable: puts the bytes on the disk and says where; called only where they are needed.
        """
        self.prepare()
        target = self.path(digest)
        staged: Path | None = None
        with as_store_errors():
            while True:
                with self._sweeping(portalocker.LockFlags.SHARED):
                    info = self._renew(digest)
                    if info is None or info.size != size:
                        info = None
                        if staged is not None:
                            now = time.time_ns()
                            os.utime(staged, ns=(now, now))
                            staged.rename(target)
                            info = BlobInfo(digest, size, moment(now // 1000))
                if info is not None:
                    sync(target.parent, os.O_DIRECTORY)
                    return info
                staged = durable()

    def discard(self, digest: Digest, since: datetime) -> bool:
        """Deletes the blob unless it was renewed at or after ``since``."""
        self.prepare()
        with as_store_errors(), self._sweeping(portalocker.LockFlags.EXCLUSIVE):
            info = self.stat(digest)
            if info is None or info.renewed_at >= since:
                return False
            self.path(digest).unlink()
            return True

    def walk(self) -> Iterator[BlobInfo]:
        """Every blob; files that are no blobs are passed over."""
        with as_store_errors():
            for folder in self._entries(self._blobs):
                for entry in self._entries(Path(folder.path)):
                    with contextlib.suppress(InvalidDigest, FileNotFoundError):
                        digest = Digest(entry.name)
                        status = entry.stat(follow_symlinks=False)
                        yield BlobInfo(digest, status.st_size, moment(status.st_mtime_ns // 1000))

    def _entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            self.check_present()
            return
        with entries:
            yield from entries

    def sweep_staging(self, older_than: datetime, dry_run: bool) -> tuple[int, int]:
        """Removes leftovers; how many, and their bytes."""
        limit = micros(older_than) * 1000
        count = size = 0
        with as_store_errors():
            for entry in self._entries(self._staging):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mtime_ns >= limit:
                        continue
                    if not dry_run:
                        os.unlink(entry.path)
                    count, size = count + 1, size + status.st_size
        return count, size

    def claim(self, registry: str) -> str:
        """The id in the file ``registry``, which is written first where there is none."""
        self.prepare()
        with as_store_errors():
            mark, path = self._root / "registry", self.new_staging_path()
            if not mark.exists():
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
                try:
                    write_all(fd, registry.encode())
                    os.fsync(fd)
                    with contextlib.suppress(FileExistsError):
                        os.link(path, mark)
                finally:
                    os.close(fd)
                    path.unlink()
                sync(self._root, os.O_DIRECTORY)
            return mark.read_text(encoding="utf-8")

    def probe(self) -> None:
        """Returns when a file can be made and there is room for bytes in it."""
        self.prepare()
        with as_store_errors():
            if os.statvfs(self._staging).f_bavail == 0:
                raise StoreFull("The disk of the artifact store is full.")
            path = self.new_staging_path()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444))
            path.unlink()


class BlobReader:
    """Reads a blob front to back; its methods block, one at a time."""

    def __init__(self, folder: BlobFolder, digest: Digest, start: int, stop: int | None) -> None:
        self._folder = folder
        self._digest = digest
        self._position = start
        self._stop = sys.maxsize if stop is None else stop
        self._fd = -1
        self._lock = threading.Lock()
        self.done = False

    def next(self) -> bytes:
        """The next chunk; nothing at the end, and once closed.

        Raises:
            BlobNotFound, StoreUnavailable
        """
        with self._lock:
            if self.done:
                return b""
            try:
                return self._next()
            except BaseException:
                self._close()
                raise

    def _next(self) -> bytes:
        with as_store_errors():
            if self._fd < 0:
                self._fd = self._folder.open(self._digest)
                self._stop = min(self._stop, os.fstat(self._fd).st_size)
            wanted = max(0, min(CHUNK, self._stop - self._position))
            chunk = os.pread(self._fd, wanted, self._position) if wanted else b""
        self._position += len(chunk)
        if wanted and not chunk:
            raise StoreUnavailable("A blob became shorter while it was read.")
        if self._position >= self._stop:
            self._close()
        return chunk

    def close(self) -> None:
        """Waits for a chunk that is being read."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self.done = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
