"""The members of archives as streams: stored ones as they lie in the file, compressed ones through
a decompressor that checks and charges what comes out."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

import lz4.frame  # type: ignore[import-untyped]

from adapters.inspection.streams import (
    BLOCK,
    CUT_SHORT,
    Budget,
    LimitExceeded,
    Malformed,
    Metered,
    Stream,
)

MOST_IN_MEMORY = 32 << 20
"""Bytes of a compressed member that are kept in memory, so that it can be sought."""
_SMALL = 1 << 20
_LZMA_MEMORY = 72 << 20  # what "xz -9" wants


class Window(io.RawIOBase):
    """A part of a file that can be sought; others may seek the file in between.

    Args:
        crc: CRC-32 of the part, compared when it was read from its start to its end.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, crc: int | None = None) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._at = 0
        self._check = None if crc is None else Checked(crc, size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted)
        if not data:
            raise Malformed(CUT_SHORT)
        view[: len(data)] = data
        if self._check is not None:
            self._check.take(self._at, data)
        self._at += len(data)
        return len(data)


class Checked:
    """The CRC-32 of bytes that are read in order; where they are not, nothing is compared.

    Args:
        size: of all of them together.
    """

    def __init__(self, crc: int, size: int) -> None:
        self._expected = crc
        self._size = size
        self._at = 0
        self._crc = 0

    def take(self, at: int, data: bytes) -> None:
        """Raises:
        Malformed: these are the last bytes, and some of them are not those that were packed.
        """
        if at != self._at:
            return
        self._crc = zlib.crc32(data, self._crc)
        self._at += len(data)
        if self._at == self._size and self._crc != self._expected:
            raise Malformed("has another checksum (CRC-32) than its archive says")


class Decompressor(Protocol):
    """What the decompressors of the standard library and of lz4 have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib gives back the input that it did not get to; the others keep it."""

    def __init__(self, window: int) -> None:
        self._zlib = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _lzma() -> Decompressor:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)


DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "bz2": bz2.BZ2Decompressor,
    "deflate": lambda: _Zlib(-zlib.MAX_WBITS),
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "lzma": _lzma,
    "xz": _lzma,
    "zlib": lambda: _Zlib(zlib.MAX_WBITS),
}
# Files of these may be written one behind the other.
_CONCATENATED = frozenset({"bz2", "gzip", "lz4", "xz"})
BROKEN = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError)
"""What decompressors raise where their input is none of theirs."""
_FEED = 64 * 1024
_MOST_STREAMS = 50_000


class Decompressed(io.RawIOBase):
    """What is compressed in a file, read forward.

    Reading raises :class:`Malformed` where the compression is broken or ends too early, and where
    something follows it.

    Args:
        method: a key of :data:`DECOMPRESSORS`.
        size: bytes that come out, where the archive says it.
        crc: CRC-32 of them, where the archive says it.
    """

    def __init__(
        self, source: BinaryIO, method: str, *, size: int | None = None, crc: int | None = None
    ) -> None:
        super().__init__()
        self._source = source
        self._method = method
        self._size = size
        self._check = None if crc is None or size is None else Checked(crc, size)
        self._decompressor: Decompressor | None = DECOMPRESSORS[method]()
        self._rest = b""
        self._streams = 1
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while len(view) and self._decompressor is not None:
            data = self._decompress(self._decompressor, min(len(view), BLOCK))
            if self._decompressor.eof:
                self._decompressor = self._next(self._decompressor.unused_data)
            if data:
                self._count(data)
                view[: len(data)] = data
                return len(data)
        if len(view) and self._size is not None and self._at < self._size:
            raise Malformed(f"expands to {self._at} bytes; its archive says {self._size}")
        return 0

    def _count(self, data: bytes) -> None:
        start, self._at = self._at, self._at + len(data)
        if self._size is not None and self._at > self._size:
            raise Malformed(f"expands to more bytes than its archive says ({self._size})")
        if self._check is not None:
            self._check.take(start, data)

    def _decompress(self, decompressor: Decompressor, most: int) -> bytes:
        feed, hungry = b"", decompressor.needs_input
        if hungry:
            feed, self._rest = self._rest or self._source.read(_FEED), b""
        try:
            data = decompressor.decompress(feed, most)
        except BROKEN as error:
            if "memory usage limit" in str(error).lower():
                raise LimitExceeded("needs too much memory to be read", bomb=False) from error
            raise Malformed(f"has broken {self._method} compression") from error
        if hungry and not feed and not data and not decompressor.eof:
            raise Malformed(CUT_SHORT)
        return data

    def _next(self, rest: bytes) -> Decompressor | None:
        self._rest = rest or self._source.read(_FEED)
        if not self._rest:
            return None
        if self._method not in _CONCATENATED:
            raise Malformed("has something behind what is compressed in it")
        while not self._rest.strip(b"\0"):
            # Zeros may fill up a block of a tape, or xz's four bytes; nothing may follow them.
            self._rest = self._source.read(_FEED)
            if not self._rest:
                return None
            if self._rest.strip(b"\0"):
                raise Malformed("has something behind what is compressed in it")
        self._streams += 1
        if self._streams > _MOST_STREAMS:
            raise LimitExceeded("is compressed in too many small parts", bomb=False)
        return DECOMPRESSORS[self._method]()


def unpacked(
    reopen: Callable[[], BinaryIO],
    method: str,
    budget: Budget,
    *,
    size: int | None = None,
    crc: int | None = None,
    repeatable: bool = True,
) -> Stream:
    """What is compressed, each byte charged; in memory where it is known to be small.

    Args:
        size: in bytes once decompressed, as the archive says; None where nothing says it.
        repeatable: whether ``reopen`` may be called more than once.

    Raises:
        LimitExceeded, Malformed
    """

    def open_again() -> BinaryIO:
        raw = Decompressed(reopen(), method, size=size, crc=crc)
        return io.BufferedReader(Metered(raw, budget), BLOCK)  # type: ignore[arg-type]

    if size is not None and size <= MOST_IN_MEMORY:
        return Stream.of_bytes(open_again().read())
    return Stream(open_again(), size, seekable=False, reopen=open_again if repeatable else None)


def stored(file: BinaryIO, start: int, size: int, crc: int | None = None) -> Stream:
    """Bytes of a file as they are; small ones are read at once, so that their checksum is compared.

    Raises:
        Malformed
    """

    def open_again() -> BinaryIO:
        return io.BufferedReader(Window(file, start, size, crc), BLOCK)

    if size <= _SMALL:
        return Stream.of_bytes(open_again().read())
    return Stream(open_again(), size, seekable=True, reopen=open_again)
