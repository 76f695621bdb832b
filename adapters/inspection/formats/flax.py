"""What flax writes: maps of maps of arrays, in MessagePack.

It has no mark of its own, so all of it is walked, but for the elements of arrays. Sources:
MessagePack's spec.md; ``flax.serialization`` for its extension types and arrays in chunks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import prod

from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import LimitExceeded, Malformed, Stream
from domain.validation import NOT_A_MODEL

MOST_VALUES = 1_000_000
_DEPTH = 100
_MOST_KEY = 4096
_MOST_DIMENSIONS = 64

# By the first byte of a value: the bytes of its length, or of the value itself.
_TEXT = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARY = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTENSION = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_LIST = {0xDC: 2, 0xDD: 4}
_MAP = {0xDE: 2, 0xDF: 4}
_FIXED_EXTENSION = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= _UNSIGNED

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_DTYPE = re.compile(
    r"(?:bool|(?:u?int|float|bfloat|complex)(8|16|32|64|128)|u?int[24]|float[468]_\w{1,20})"
)
_CHUNKED, _CHUNKS, _OPTIMIZER = "__msgpack_chunked_array__", "chunks", "opt_state"


@dataclass(slots=True)
class _Open:
    """A map or list whose entries are being read, and what of note it is inside of."""

    left: int
    is_map: bool
    inside: str = ""


class _Walk:
    """Reads values one after another; raises Malformed where they do not fit."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._values = 0
        self.tensors = 0
        self.elements: Counter[str] = Counter()

    def all(self) -> None:
        """Everything in the file.

        Raises:
            LimitExceeded: there are more values than are looked at.
        """
        waiting = [_Open(1, is_map=False)]
        while waiting:
            current = waiting[-1]
            if not current.left:
                waiting.pop()
                continue
            current.left -= 1
            self._values += 1
            if self._values > MOST_VALUES:
                raise LimitExceeded(f"has more than {MOST_VALUES} values", bomb=False)
            inside = current.inside
            if current.is_map:
                key = self._key()
                self.tensors += key == _CHUNKED
                if not inside and key in {_CHUNKS, _OPTIMIZER}:
                    inside = key
            opened = self._value(inside)
            if opened is not None:
                if len(waiting) > _DEPTH:
                    raise Malformed(f"is nested more than {_DEPTH} deep")
                waiting.append(opened)
        if not self._stream.at_end():
            raise Malformed("goes on after its end")

    def _value(self, inside: str) -> _Open | None:
        """Reads one value; of a map or list only the length."""
        first = self._number(1)
        if 0x80 <= first < 0xA0:
            return _Open(first & 0x0F, first < 0x90, inside)
        if first in _MAP or first in _LIST:
            return _Open(self._number((_MAP | _LIST)[first]), first in _MAP, inside)
        if first in _EXTENSION:
            self._extension(self._number(_EXTENSION[first]), inside)
        elif first in _FIXED_EXTENSION:
            self._extension(_FIXED_EXTENSION[first], inside)
        elif (length := self._text_length(first)) is not None:
            self._stream.skip(length)
        elif first in _BINARY:
            self._stream.skip(self._number(_BINARY[first]))
        elif first in _FIXED:
            self._stream.skip(_FIXED[first])
        elif 0x80 <= first < 0xE0:
            raise Malformed("has a value that MessagePack does not have")
        return None

    def _text_length(self, first: int) -> int | None:
        if 0xA0 <= first < 0xC0:
            return first & 0x1F
        return self._number(_TEXT[first]) if first in _TEXT else None

    def _key(self) -> str:
        return self._text(_MOST_KEY)

    def _text(self, most: int) -> str:
        length = self._text_length(self._number(1))
        if length is None:
            raise Malformed("has a name that is no text")
        return self._stream.exactly(length, most=most).decode(errors="replace")

    def _extension(self, length: int, inside: str) -> None:
        kind = self._number(1)
        end = self._stream.tell() + length
        if kind in {_ARRAY, _SCALAR}:
            self._array(inside)
        elif kind == _COMPLEX:
            self._stream.skip(length)
        else:
            raise Malformed(f"has an extension that flax does not write ({kind})")
        if self._stream.tell() != end:
            raise Malformed("has an array that does not fit its place")

    def _array(self, inside: str) -> None:
        """Shape, type and elements, as a list of three."""
        if self._number(1) != 0x93:
            raise Malformed("has an array that is none")
        shape = [self._whole() for _ in range(self._dimensions())]
        dtype = self._text(64)
        match = _DTYPE.fullmatch(dtype)
        if match is None:
            raise Malformed(f"has an array of a type that it cannot have ({shown(dtype)})")
        first = self._number(1)
        size = self._number(_BINARY[first]) if first in _BINARY else -1
        if prod(shape) * int(match[1] or 8) != size * 8:
            raise Malformed("has an array whose size does not fit its shape")
        self._stream.skip(size)
        self.tensors += not inside
        if inside != _OPTIMIZER:
            self.elements[dtype] += prod(shape)

    def _dimensions(self) -> int:
        first = self._number(1)
        count = first & 0x0F if 0x90 <= first < 0xA0 else -1
        if first == 0xDC:
            count = self._number(2)
        if not 0 <= count <= _MOST_DIMENSIONS:
            raise Malformed("has an array without a shape")
        return count

    def _whole(self) -> int:
        first = self._number(1)
        if first < 0x80:
            return first
        if first not in _UNSIGNED:
            raise Malformed("has an array without a shape")
        return self._number(_UNSIGNED[first])

    def _number(self, size: int) -> int:
        return int.from_bytes(self._stream.exactly(size), "big")


def check_flax(stream: Stream, notes: Notes) -> None:
    """Walks the maps, and counts the arrays in them.

    Raises:
        Malformed: it is not what MessagePack says, or an array does not fit its size.
        LimitExceeded: it has more values than are looked at.
    """
    walk = _Walk(stream)
    walk.all()
    if not walk.elements and not walk.tensors:
        notes.format = None
        message = f"{notes.place} is MessagePack without arrays, not a model."
        notes.refuse(NOT_A_MODEL, message)
        return
    notes.fact("framework", "flax")
    notes.fact("tensors", walk.tensors)
    notes.fact("parameters", walk.elements.total())
    notes.fact("dtypes", walk.elements)
