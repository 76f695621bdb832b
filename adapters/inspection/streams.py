"""The bytes that are inspected: files, members of archives, and what is compressed in them.

All of them are read forward. Where the bytes can be sought, skipping costs nothing; where they are
decompressed on the way, skipping reads, and every byte that comes out is charged to a budget.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

BLOCK = 256 * 1024
SPOOLED = 64 << 20
"""Bytes of a compressed member that are kept in memory at most, where it must be sought."""


CUT_SHORT = "ends too early: it was cut short"
"""What most broken files are, as the text of :class:`Malformed`."""


class Malformed(Exception):
    """The file is not what it says it is; the text follows its name ("... is cut short")."""


class LimitExceeded(Exception):
    """More bytes, members, layers or steps than are looked at; the text follows the file's name.

    Args:
        bomb: whether no honest file does this (it is refused), or it merely was not read to its
            end (it is held).
    """

    def __init__(self, message: str, *, bomb: bool = True) -> None:
        super().__init__(message)
        self.bomb = bomb


class Budget:
    """What the inspection of one file may spend, all its members and layers together.

    Args:
        size: bytes of the file itself.
    """

    MEMBERS = 10_000
    LAYERS = 2
    OPCODES = 2_000_000
    LEAST_OUTPUT = 64 << 20
    RATIO = 200

    def __init__(self, size: int) -> None:
        self.output = max(self.LEAST_OUTPUT, self.RATIO * size)
        self.promised = self.output
        self.members = self.MEMBERS
        self.opcodes = self.OPCODES
        self.exhausted = False

    def spend_output(self, count: int) -> None:
        """Charges decompressed bytes.

        Raises:
            LimitExceeded
        """
        self.output -= count
        if self.output < 0:
            raise LimitExceeded(f"expands to more than {self.RATIO} times its size")

    def promise_output(self, count: int) -> None:
        """Charges what the directory of an archive says that its members expand to: who unpacks
        all archives in an archive gets the sum, be it read here or not.

        Raises:
            LimitExceeded
        """
        self.promised -= count
        if self.promised < 0 or count > self.output:
            raise LimitExceeded(f"expands to more than {self.RATIO} times its size")

    def take_opcodes(self, most: int) -> int:
        """Takes some instructions of a pickle at once; what is not used is to be put back.

        Raises:
            LimitExceeded: there are none left.
        """
        if self.opcodes <= 0:
            raise LimitExceeded("has more instructions than are followed", bomb=False)
        taken = min(most, self.opcodes)
        self.opcodes -= taken
        return taken

    def spend_members(self, count: int = 1) -> None:
        """Charges members of archives.

        Raises:
            LimitExceeded
        """
        self.members -= count
        if self.members < 0:
            raise LimitExceeded(f"has more than {self.MEMBERS} members")


class Metered(io.RawIOBase):
    """A raw stream whose bytes are charged to a budget as they come out of a decompressor."""

    def __init__(self, source: BinaryIO, budget: Budget) -> None:
        super().__init__()
        self._source = source
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._source.read(len(view))
        self._budget.spend_output(len(data))
        view[: len(data)] = data
        return len(data)


class Stream:
    """Bytes that are read from their start on.

    Args:
        reopen: gives the bytes from their start, as often as it is called; None where they come
            only once, as ``file``.
        size: in bytes; None where only reading to the end tells.
        seekable: whether ``file`` can be sought at no cost.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int | None,
        *,
        seekable: bool,
        reopen: Callable[[], BinaryIO] | None = None,
    ) -> None:
        self.file: io.BufferedReader = (
            file if isinstance(file, io.BufferedReader) else io.BufferedReader(file, BLOCK)  # type: ignore[arg-type]
        )
        self.size = size
        self.seekable = seekable
        self._reopen = reopen
        self._at = 0

    @classmethod
    def of_bytes(cls, data: bytes) -> Stream:
        """A stream of bytes in memory."""
        return cls(io.BytesIO(data), len(data), seekable=True, reopen=lambda: io.BytesIO(data))

    def again(self) -> Stream | None:
        """The same bytes from their start; None where they come only once."""
        if self._reopen is None:
            return None
        return Stream(self._reopen(), self.size, seekable=self.seekable, reopen=self._reopen)

    @property
    def repeatable(self) -> bool:
        """Whether :meth:`again` gives a stream."""
        return self._reopen is not None

    def tell(self) -> int:
        """How many bytes were passed. (Reading from ``file`` directly is not counted.)"""
        return self._at

    def read(self, count: int) -> bytes:
        """The next bytes; fewer only at the end. Never ask for a count that the file names
        without having compared it with what is sensible: see :meth:`exactly`."""
        data: bytes = self.file.read(count)
        self._at += len(data)
        return data

    def line(self, most: int) -> bytes:
        """The next bytes up to and with a line feed; without one where ``most`` bytes or the end
        come first."""
        data: bytes = self.file.readline(most)
        self._at += len(data)
        return data

    def exactly(self, count: int, *, most: int = SPOOLED) -> bytes:
        """The next ``count`` bytes.

        Raises:
            Malformed: the file ends before that, or nothing honest is that large.
        """
        if count > most:
            raise Malformed(f"has a part of {count} bytes where at most {most} are expected")
        data = self.read(count)
        if len(data) < count:
            raise Malformed(CUT_SHORT)
        return data

    def peek(self, count: int) -> bytes:
        """The next bytes without passing them, at most :data:`BLOCK`; where the bytes cannot be
        sought perhaps fewer, except at the start. None only at the end."""
        data: bytes = self.file.peek(count)[:count]
        if len(data) < count and self.seekable:
            place = self.file.tell()
            data = self.file.read(count)
            self.file.seek(place)
        return data

    def skip(self, count: int) -> None:
        """Passes bytes.

        Raises:
            Malformed: the file ends before that.
        """
        if self.seekable and self.size is not None:
            if self._at + count > self.size:
                raise Malformed(CUT_SHORT)
            self.file.seek(count, io.SEEK_CUR)
            self._at += count
            return
        while count > 0:
            count -= len(self.exactly(min(count, BLOCK)))

    def finish(self, count: int) -> None:
        """Passes the last ``count`` bytes, e.g. the weights that a header describes.

        Raises:
            Malformed: there are fewer, or more.
        """
        promised = self._at + count
        if self.seekable and self.size is not None:
            if self.size != promised:
                raise Malformed(f"has {self.size} bytes; its header promises {promised}")
            return
        self.skip(count)
        if not self.at_end():
            raise Malformed(f"goes on after the {promised} bytes that its header promises")

    def at_end(self) -> bool:
        """Whether there are no more bytes."""
        return not self.peek(1)

    def sought(self) -> BinaryIO:
        """The whole as a file that can be sought, at its start; small ones are kept in memory.

        Raises:
            LimitExceeded: it is compressed and too large for that.
        """
        if self.seekable:
            self.file.seek(0)
            return self.file
        if self.size is not None and self.size > SPOOLED:
            raise LimitExceeded("is compressed and too large to be looked into", bomb=False)
        start = self.again() or self
        if start.tell():
            raise LimitExceeded("cannot be read twice", bomb=False)
        data = start.read(SPOOLED + 1)
        if len(data) > SPOOLED:
            raise LimitExceeded("is compressed and too large to be looked into", bomb=False)
        return io.BytesIO(data)
