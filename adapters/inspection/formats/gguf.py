"""GGUF: what is known about a model as keys and values, then where each tensor lies.

A vocabulary is some hundred thousand strings, so it is passed over in blocks. What ggml itself
would refuse is refused: it reads these files in C. The one thing in them that can do harm
otherwise is a chat template. Source: ggml's docs/gguf.md, and gguf.cpp where that says more.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from math import prod

from adapters.inspection.formats.ggml import FILE_TYPES, NEWER_TYPES, TYPES
from adapters.inspection.formats.templates import check_template
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import BLOCK, CUT_SHORT, LimitExceeded, Malformed, Stream

MOST_KEYS = 65_536
MOST_TENSORS = 250_000
MOST_ELEMENTS = 8_000_000
"""Strings and lists in lists, which are passed one by one; the largest vocabularies and their
merges have some two million."""
_MOST_KEY = 65_535
_MOST_NAME = 256
_MOST_TEXT = 4 << 20
_MOST_DIMENSIONS = 8
_DEPTH = 4
_COST = 40
"""What a list in a list counts; honest files have none."""
_ALIGNMENT = 32

_STRING, _ARRAY = 8, 9
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True))

_FACTS = {
    "general.architecture": "architecture",
    "general.name": "name",
    "general.license": "license",
    "general.type": "model_type",
}
_OF_ARCHITECTURE = {"context_length": "context_length", "block_count": "layers"}
_TEMPLATE = "tokenizer.chat_template"

_Value = str | int | float


class _Reader:
    """Numbers and strings of the header, in the byte order and with the lengths of its version.

    Raises:
        Malformed: from every method, when the file ends too early.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._block = stream.exactly(8)
        self._at = 8
        version = struct.unpack_from("<I", self._block, 4)[0]
        self._order = ">" if version & 0xFFFF == 0 else "<"
        self.version: int = struct.unpack_from(f"{self._order}I", self._block, 4)[0]
        if not 1 <= self.version <= 3:
            raise Malformed(f"is of a GGUF version that does not exist ({self.version})")
        self._length = struct.Struct(f"{self._order}{'I' if self.version == 1 else 'Q'}")
        self._elements = MOST_ELEMENTS

    @property
    def big_endian(self) -> bool:
        return self._order == ">"

    def tell(self) -> int:
        """How many bytes of the file were used."""
        return self._stream.tell() - len(self._block) + self._at

    def number(self, kind: str) -> int | float:
        """One number, by its letter in :mod:`struct`."""
        layout = struct.Struct(self._order + kind)
        value: int | float = layout.unpack(self._bytes(layout.size))[0]
        return value

    def whole(self, kind: str) -> int:
        """One whole number."""
        return int(self.number(kind))

    def length(self) -> int:
        """One number as lengths and sizes are written."""
        value: int = self._length.unpack(self._bytes(self._length.size))[0]
        return value

    def count(self, most: int, least_bytes: int, what: str) -> int:
        """How many entries of at least so many bytes follow.

        Raises:
            Malformed: more than there is room for.
            LimitExceeded: more than are looked at.
        """
        count = self.length()
        size = self._stream.size
        if size is not None and count * least_bytes > size - self.tell():
            raise Malformed(f"claims to have {count} {what}, which it has no room for")
        if count > most:
            raise LimitExceeded(f"has more than {most} {what}", bomb=False)
        return count

    def text(self, most: int) -> str:
        """One string.

        Raises:
            Malformed: it is longer than any honest one.
        """
        length = self.length()
        if length > most:
            raise Malformed(f"has a text of {length} bytes where at most {most} are expected")
        return self._bytes(length).decode(errors="replace")

    def skip(self, count: int) -> None:
        """Passes bytes."""
        self._at += count
        beyond = self._at - len(self._block)
        if beyond > 0:
            self._block, self._at = b"", 0
            self._stream.skip(beyond)

    def skip_value(self, kind: int, depth: int = _DEPTH) -> None:
        """Passes a value of any type.

        Raises:
            Malformed: the type does not exist, or lists are nested deeper than any honest ones.
        """
        if kind == _STRING:
            self.skip(self.length())
        elif kind != _ARRAY:
            self.skip(_size(kind))
        elif depth == 0:
            raise Malformed("has lists in lists in lists")
        else:
            self._skip_array(depth)

    def _skip_array(self, depth: int) -> None:
        kind, count = self.whole("I"), self.length()
        if kind == _STRING:
            self._spend(count)
            self._skip_strings(count)
        elif kind == _ARRAY:
            self._spend(count, _COST)
            for _ in range(count):
                self.skip_value(_ARRAY, depth - 1)
        else:
            self.skip(count * _size(kind))

    def _skip_strings(self, count: int) -> None:
        unpack, size = self._length.unpack_from, self._length.size
        while count:
            self._fill(size)
            block, at = self._block, self._at
            last = len(block) - size
            while count and at <= last:
                at += size + unpack(block, at)[0]
                count -= 1
            self.skip(at - self._at)

    def _spend(self, count: int, cost: int = 1) -> None:
        size = self._stream.size
        if size is not None and count > size:
            raise Malformed(f"claims a list of {count} entries, which it has no room for")
        self._elements -= count * cost
        if self._elements < 0:
            raise LimitExceeded(f"has more than {MOST_ELEMENTS} entries in lists", bomb=False)

    def _bytes(self, count: int) -> bytes:
        self._fill(count)
        self._at += count
        return self._block[self._at - count : self._at]

    def _fill(self, count: int) -> None:
        """Reads on, so that the next ``count`` bytes are at hand."""
        if len(self._block) - self._at < count:
            rest = self._block[self._at :]
            self._block, self._at = rest + self._stream.read(max(count, BLOCK)), 0
            if len(self._block) < count:
                raise Malformed(CUT_SHORT)


@dataclass(slots=True)
class _Tensors:
    """Where they lie in the data, and what they are."""

    alignment: int
    names: set[int] = field(default_factory=set)
    spans: list[tuple[int, int | None]] = field(default_factory=list)
    elements: Counter[str] = field(default_factory=Counter)

    def read(self, reader: _Reader) -> None:
        """The description of one tensor.

        Raises:
            Malformed: it cannot be.
        """
        name = reader.text(_MOST_NAME)
        if hash(name) in self.names:
            raise Malformed(f"has two tensors named {shown(name)}")
        self.names.add(hash(name))
        dimensions = reader.whole("I")
        if dimensions > _MOST_DIMENSIONS:
            raise Malformed(f"has a tensor of {dimensions} dimensions ({shown(name)})")
        shape = [reader.length() for _ in range(dimensions)]
        kind, begin = reader.whole("I"), reader.whole("Q")
        elements = prod(shape)
        if begin % self.alignment or elements >= 1 << 63:
            raise Malformed(f"has a tensor that lies where none can ({shown(name)})")
        self.spans.append((begin, self._end(name, kind, shape, begin)))
        self.elements[TYPES[kind][0] if kind in TYPES else f"type {kind}"] += elements

    def _end(self, name: str, kind: int, shape: list[int], begin: int) -> int | None:
        if kind in NEWER_TYPES:
            return None
        if kind not in TYPES:
            raise Malformed(f"has a tensor of a type that does not exist ({shown(name)}: {kind})")
        _, block, size = TYPES[kind]
        if shape and shape[0] % block:
            raise Malformed(f"has a tensor whose rows are no whole blocks ({shown(name)})")
        return begin + prod(shape) // block * size

    def length(self) -> int | None:
        """Bytes of all of them; None where a type is unknown.

        Raises:
            Malformed: they overlap, or there are bytes that belong to none.
        """
        at: int | None = 0
        self.spans.sort(key=lambda span: span[0])
        for begin, end in self.spans:
            if at is not None and begin != _aligned(at, self.alignment):
                fault = "overlap" if begin < at else "leave a gap"
                raise Malformed(f"has tensors that {fault} at byte {begin} of its data")
            at = end
        return at


def check_gguf(stream: Stream, notes: Notes) -> None:
    """Walks keys and tensors; compares them with each other and with the size of the file.

    Raises:
        Malformed: it is not what the format says.
        LimitExceeded: it has more than is looked at.
    """
    reader = _Reader(stream)
    tensor_count = reader.count(MOST_TENSORS, 17, "tensors")
    key_count = reader.count(MOST_KEYS, 9, "keys")
    if not tensor_count and not key_count:
        raise Malformed("holds nothing")
    values = _values(reader, key_count, notes)
    tensors = _Tensors(_alignment(values))
    for _ in range(tensor_count):
        tensors.read(reader)
    _check_end(stream, reader, tensors)
    _describe(notes, reader, values, tensors)


def _size(kind: int) -> int:
    if kind not in _SCALARS:
        raise Malformed(f"has a value of a type that does not exist ({kind})")
    return struct.calcsize(f"={_SCALARS[kind]}")


def _values(reader: _Reader, count: int, notes: Notes) -> dict[str, _Value]:
    """The values that matter; templates are judged on the way."""
    values: dict[str, _Value] = {}
    keys: set[int] = set()
    for _ in range(count):
        key = reader.text(_MOST_KEY)
        if hash(key) in keys:
            raise Malformed(f"has two values for {shown(key)}")
        keys.add(hash(key))
        kind = reader.whole("I")
        if key.startswith(_TEMPLATE) and kind == _STRING:
            check_template(reader.text(_MOST_TEXT), notes, f"the template in {shown(key)}")
            values[_TEMPLATE] = 1
        elif key in _FACTS and kind == _STRING:
            values[key] = reader.text(_MOST_TEXT)
        elif kind in _SCALARS and _matters(key):
            values[key] = reader.number(_SCALARS[kind])
        else:
            reader.skip_value(kind)
    return values


def _matters(key: str) -> bool:
    return (
        key in {"general.alignment", "general.file_type"}
        or key.rpartition(".")[2] in _OF_ARCHITECTURE
    ) and len(key) < 200


def _alignment(values: dict[str, _Value]) -> int:
    alignment = values.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise Malformed("aligns its tensors to what is no power of two")
    return alignment


def _aligned(at: int, alignment: int) -> int:
    return (at + alignment - 1) & -alignment


def _check_end(stream: Stream, reader: _Reader, tensors: _Tensors) -> None:
    """Whether the data are all there, and nothing after them but padding."""
    start = reader.tell()
    if tensors.spans:
        start = _aligned(start, tensors.alignment)
    size = stream.size
    if not stream.seekable or size is None:
        while stream.read(BLOCK):
            pass
        size = stream.tell()
    length = tensors.length()
    if length is None:
        begin = max(begin for begin, _ in tensors.spans)
        if start + begin > size:
            raise Malformed(f"has {size} bytes; its header promises more than {start + begin}")
    elif not start + length <= size <= _aligned(start + length, tensors.alignment):
        raise Malformed(f"has {size} bytes; its header promises {start + length}")


def _describe(notes: Notes, reader: _Reader, values: dict[str, _Value], tensors: _Tensors) -> None:
    notes.fact("format_version", reader.version)
    if reader.big_endian:
        notes.fact("byte_order", "big")
    for key, name in _FACTS.items():
        notes.fact(name, values.get(key))
    architecture = values.get("general.architecture")
    for key, name in _OF_ARCHITECTURE.items():
        notes.fact(name, values.get(f"{architecture}.{key}"))
    if _TEMPLATE in values:
        notes.fact("chat_template", True)
    notes.fact("tensors", len(tensors.spans))
    notes.fact("parameters", tensors.elements.total())
    notes.fact("dtypes", tensors.elements)
    notes.fact("quantization", _quantization(values, tensors))
    unknown = sorted(each for each in tensors.elements if each.startswith("type "))
    if unknown:
        message = f"{notes.place} has tensors of types that are not known here: "
        notes.hold("gguf.unknown_type", f"{message}{', '.join(unknown[:10])}.")


def _quantization(values: dict[str, _Value], tensors: _Tensors) -> str | None:
    """What the file says, or the type that most parameters have."""
    declared = values.get("general.file_type")
    if declared in FILE_TYPES:
        return FILE_TYPES[declared]
    return max(tensors.elements, key=tensors.elements.__getitem__, default=None)
