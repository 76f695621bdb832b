"""Reading FlatBuffers, by https://flatbuffers.dev/internals/: TensorFlow Lite, ONNX Runtime and
CatBoost write their models so.

Only tables are read; where tensors lie, is compared with where the file ends. Every offset is the
file's word: all of them are checked.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from adapters.inspection.streams import CUT_SHORT, LimitExceeded, Malformed

_MOST_STEPS = 1_000_000
_MOST_TEXT = 1024
_MOST_NUMBERS = 100_000
_NUMBERS = {"b": 1, "B": 1, "i": 4, "I": 4, "q": 8, "Q": 8}


class Buffer:
    """A FlatBuffer whose tables are read where they lie.

    Args:
        start: where it begins in the file.
        size: in bytes; None where it goes to the end of the file.

    Raises (all that reads):
        Malformed: an offset leads out of the file.
        LimitExceeded: there are more tables and texts than are looked at.
    """

    def __init__(self, file: BinaryIO, start: int = 0, size: int | None = None) -> None:
        self._file = file
        self._start = start
        self.size = self._file.seek(0, io.SEEK_END) - start if size is None else size
        self._left = _MOST_STEPS

    def root(self) -> Table:
        """The outermost table."""
        return self.table(self.offset(0))

    def read(self, at: int, count: int) -> bytes:
        """Bytes at a place."""
        self._left -= 1
        if self._left < 0:
            raise LimitExceeded(f"has more than {_MOST_STEPS} parts", bomb=False)
        if at < 0 or at + count > self.size:
            raise Malformed("is damaged: it refers to a place after its end")
        self._file.seek(self._start + at)
        data = self._file.read(count)
        if len(data) < count:
            raise Malformed(CUT_SHORT)
        return data

    def offset(self, at: int) -> int:
        """The place that an offset at a place leads to. They lead forward only, and not to where
        they are themselves."""
        distance: int = struct.unpack("<I", self.read(at, 4))[0]
        if distance < 4:
            raise Malformed("is damaged: it refers to itself")
        return at + distance

    def table(self, at: int) -> Table:
        """The table at a place."""
        distance: int = struct.unpack("<i", self.read(at, 4))[0]
        where = at - distance
        length, size = struct.unpack("<HH", self.read(where, 4))
        if length < 4 or length % 2 or size < 4 or at + size > self.size:
            raise Malformed("is damaged: it has a table without a valid description")
        fields = struct.unpack(f"<{length // 2 - 2}H", self.read(where + 4, length - 4))
        if any(each >= size for each in fields):
            raise Malformed("is damaged: a field lies outside its table")
        return Table(self, at, size, fields)

    def vector(self, at: int, width: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many there are."""
        count: int = struct.unpack("<I", self.read(at, 4))[0]
        if at + 4 + count * width > self.size:
            raise Malformed("is damaged: it has a list that is longer than the file")
        return at + 4, count


@dataclass(frozen=True, slots=True)
class Table:
    """One table: values, by the numbers of their fields.

    Attributes:
        at: where it lies.
        size: of it, in bytes.
        fields: where each field lies in it; 0 for those that are not there.
    """

    buffer: Buffer
    at: int
    size: int
    fields: tuple[int, ...]

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return number < len(self.fields) and self.fields[number] != 0

    def number(self, number: int, kind: str) -> int:
        """A number by its kind in :mod:`struct`; 0 if it is not there."""
        if not self.has(number):
            return 0
        width = _NUMBERS[kind]
        if self.fields[number] + width > self.size:
            raise Malformed("is damaged: a field lies outside its table")
        data = self.buffer.read(self.at + self.fields[number], width)
        value: int = struct.unpack(f"<{kind}", data)[0]
        return value

    def table(self, number: int) -> Table | None:
        """A table inside; None if it is not there."""
        return self.buffer.table(self._target(number)) if self.has(number) else None

    def tables(self, number: int) -> Iterator[Table]:
        """A list of tables."""
        if self.has(number):
            start, count = self.buffer.vector(self._target(number), 4)
            for index in range(count):
                yield self.buffer.table(self.buffer.offset(start + 4 * index))

    def text(self, number: int, most: int = _MOST_TEXT) -> str:
        """A text, of which ``most`` bytes are read; "" if it is not there."""
        return _text(self.buffer, self._target(number), most) if self.has(number) else ""

    def texts(self, number: int) -> Iterator[str]:
        """A list of texts."""
        if self.has(number):
            start, count = self.buffer.vector(self._target(number), 4)
            for index in range(count):
                yield _text(self.buffer, self.buffer.offset(start + 4 * index))

    def numbers(self, number: int, kind: str) -> tuple[int, ...]:
        """A list of numbers by their kind in :mod:`struct`."""
        if not self.has(number):
            return ()
        width = _NUMBERS[kind]
        start, count = self.buffer.vector(self._target(number), width)
        if count > _MOST_NUMBERS:
            raise Malformed(f"has a list of {count} numbers")
        return struct.unpack(f"<{count}{kind}", self.buffer.read(start, count * width))

    def length(self, number: int, width: int = 1) -> int:
        """How many entries of that width a list has, which are there."""
        return self.buffer.vector(self._target(number), width)[1] if self.has(number) else 0

    def _target(self, number: int) -> int:
        if self.fields[number] + 4 > self.size:
            raise Malformed("is damaged: a field lies outside its table")
        return self.buffer.offset(self.at + self.fields[number])


def _text(buffer: Buffer, at: int, most: int = _MOST_TEXT) -> str:
    start, count = buffer.vector(at, 1)
    return buffer.read(start, min(count, most)).decode("utf-8", "replace")
