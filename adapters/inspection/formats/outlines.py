"""JSON and UBJSON read from front to end: what stands near the top is kept, the rest is passed.

Models of boosted trees are written in both, up to hundreds of megabytes. No value of them is ever
held as a whole, and what is nested beyond what honest files have is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import ijson  # type: ignore[import-untyped]

from adapters.inspection.streams import BLOCK, CUT_SHORT, Malformed, Stream

Scalar = str | int | float | bool | None

MOST_ITEMS = 100
_DEEPEST_KEPT = 8
_DEEPEST = 10_000
_LONGEST_VALUE = 16 << 20
_LONGEST_KEY = 1 << 20


class Outline:
    """What stands at the paths that were asked for, e.g. ``learner.objective.name``.

    Attributes:
        keys: of the outermost object.
        values: single values by their path.
        lists: the first values of arrays, by the path of the array.
        counts: how many items those arrays have, of any kind.
    """

    def __init__(self, wanted: frozenset[str]) -> None:
        self.keys: set[str] = set()
        self.values: dict[str, Scalar] = {}
        self.lists: dict[str, list[Scalar]] = {}
        self.counts: dict[str, int] = {}
        self.depth = 0
        self._wanted = wanted
        self._containers: list[tuple[str, bool]] = []
        self._path = ""

    def begin(self, *, array: bool) -> None:
        """An object or array begins.

        Raises:
            Malformed: it is one too many inside each other.
        """
        if self.depth >= _DEEPEST:
            raise Malformed(f"nests more than {_DEEPEST} objects in each other")
        self.depth += 1
        if self.depth <= _DEEPEST_KEPT:
            self._count(1)
            self._containers.append((self._path, array))
            if array and self._path in self._wanted:
                self.counts.setdefault(self._path, 0)

    def end(self) -> None:
        """The innermost object or array ends."""
        if self.depth <= _DEEPEST_KEPT:
            self._path = self._containers.pop()[0]
        self.depth -= 1

    def key(self, key: str) -> None:
        """The next value stands under this key."""
        if self.depth > _DEEPEST_KEPT:
            return
        above = self._containers[-1][0]
        if self.depth == 1 and len(self.keys) < MOST_ITEMS:
            self.keys.add(key[:MOST_ITEMS])
        self._path = f"{above}.{key[:MOST_ITEMS]}" if above else key[:MOST_ITEMS]

    def scalar(self, value: Scalar) -> None:
        """A value that is no object and no array."""
        if self.depth > _DEEPEST_KEPT or not self._containers:
            return
        path, array = self._containers[-1]
        if not array and self._path in self._wanted:
            self.values[self._path] = value
        elif array and path in self._wanted:
            self._count(1)
            items = self.lists.setdefault(path, [])
            if len(items) < MOST_ITEMS:
                items.append(value)

    def many(self, count: int) -> None:
        """So many values of an array, which are passed over."""
        if self.depth <= _DEEPEST_KEPT:
            self._count(count)

    def text(self, path: str) -> str | None:
        """The value at a path, if there is one."""
        value = self.values.get(path)
        return None if value is None else str(value)

    def number(self, path: str) -> int | None:
        """The value at a path, if it is a number (perhaps written as a text)."""
        text = self.text(path)
        return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text) else None

    def _count(self, count: int) -> None:
        if self._containers and self._containers[-1][1]:
            self._path = self._containers[-1][0]
            if self._path in self._wanted:
                self.counts[self._path] = self.counts.get(self._path, 0) + count
            self._path += "[]"


# --- JSON ---------------------------------------------------------------------------------------

# Some writers put numbers that JSON does not have; where they stand in texts, nothing is lost.
_NO_JSON = re.compile(rb"NaN|Infinity")
# Nearly all of a model is arrays of numbers: one number stands for many, which is much faster.
_NUMBERS_RUN = re.compile(rb"(?<![0-9.eE+\-, u])[0-9.eE+\-, ]{40,}+")
_STAND_INS = {b"NaN": b"0.0", b"Infinity": b"1.000000"}
_LONGEST_TOKEN = 32
_LAST_TOKEN = re.compile(rb"[^,:\[\]{}\s]*\Z")


def json_outline(stream: Stream, wanted: frozenset[str]) -> Outline:
    """The outline of JSON, which is read to its end.

    Raises:
        Malformed: it is no JSON, cut short, or nested or long beyond reason.
    """
    outline = Outline(wanted)
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events)
    silent = 0
    try:
        for block in filter(None, _standard_json(stream)):
            parser.send(block)
            silent = 0 if events else silent + len(block)
            if silent > _LONGEST_VALUE:
                raise Malformed("has a text that is longer than any model's")
            _follow(events, outline)
            del events[:]
        parser.close()
    except (ijson.JSONError, UnicodeDecodeError) as error:
        cut = "premature EOF" in str(error)
        raise Malformed(CUT_SHORT if cut else "is no valid JSON") from None
    return outline


def _standard_json(stream: Stream) -> Iterator[bytes]:
    """Blocks that end between tokens, without numbers that are none, and without most numbers."""
    rest = b"" if stream.peek(3) != b"\xef\xbb\xbf" else stream.read(3)[3:]
    while block := stream.read(BLOCK):
        block = rest + block
        token = _LAST_TOKEN.search(block[-_LONGEST_TOKEN:])
        end = len(block) - len(token[0]) if token else len(block)
        rest = block[end:]
        yield _shortened(block[:end])
    yield _shortened(rest)


def _shortened(block: bytes) -> bytes:
    standard = _NO_JSON.sub(lambda found: _STAND_INS[found[0]], block)
    return _NUMBERS_RUN.sub(lambda found: _one_number(found[0].strip()), standard)


def _one_number(run: bytes) -> bytes:
    """What may stand for a run of numbers and commas, so that nothing around it changes."""
    number = b"0" if run.strip(b", \t\r\n") else b" "
    before = b"," if run.startswith(b",") else b""
    after = b"," if run.endswith(b",") and len(run) > 1 else b""
    return before + number + after


def _follow(events: list[tuple[str, Scalar]], outline: Outline) -> None:
    for event, value in events:
        if event in {"start_map", "start_array"}:
            outline.begin(array=event == "start_array")
        elif event in {"end_map", "end_array"}:
            outline.end()
        elif outline.depth > _DEEPEST_KEPT:
            continue
        elif event == "map_key":
            outline.key(str(value))
        else:
            outline.scalar(value)


# --- UBJSON -------------------------------------------------------------------------------------

# https://ubjson.org/type-reference: numbers are big-endian.
_NUMBERS = {
    b"i": struct.Struct(">b"),
    b"U": struct.Struct(">B"),
    b"I": struct.Struct(">h"),
    b"l": struct.Struct(">i"),
    b"L": struct.Struct(">q"),
    b"d": struct.Struct(">f"),
    b"D": struct.Struct(">d"),
}
_INTEGERS = frozenset(b"iUIlL")
_SIZES = {**{marker: number.size for marker, number in _NUMBERS.items()}, b"C": 1}
_CONSTANTS: dict[bytes, Scalar] = {b"Z": None, b"T": True, b"F": False}


def ubjson_outline(stream: Stream, wanted: frozenset[str]) -> Outline:
    """The outline of one object in UBJSON, which is read to its end.

    Raises:
        Malformed: it is none, cut short, nested beyond reason, or more follows.
    """
    if stream.exactly(1) != b"{":
        raise Malformed("is no UBJSON object")
    walk = _UbjsonWalk(stream, Outline(wanted))
    walk.begin(array=False)
    while walk.left:
        walk.step()
    if not stream.at_end():
        raise Malformed("goes on after its end")
    return walk.outline


class _UbjsonWalk:
    """``left`` has, for each open object or array, how many items are to come (-1: until its end
    is marked), the type of all of them if it has one, and whether it is an array."""

    def __init__(self, stream: Stream, outline: Outline) -> None:
        self.outline = outline
        self.left: list[tuple[int, bytes, bool]] = []
        self._stream = stream
        self._ahead = b""

    def begin(self, *, array: bool) -> None:
        self.outline.begin(array=array)
        kind, count = b"", -1
        mark = self._mark()
        if mark == b"$":
            kind = self._mark()
            mark = self._mark()
            if mark != b"#":
                raise Malformed("has an array without a length")
        if mark == b"#":
            count = self._integer(self._mark())
        else:
            self._ahead = mark
        if array and kind in _SIZES:
            # Numbers without marks of their own: the many values of the trees.
            self._stream.skip(count * _SIZES[kind])
            self.outline.many(count)
            kind, count = b"", 0
        elif kind and kind not in b"SH[{":
            raise Malformed("has an array of an unknown type")
        self.left.append((count, kind, array))

    def step(self) -> None:
        """One item, or the end of an object or array."""
        count, kind, array = self.left[-1]
        if count == 0:
            self._end()
            return
        mark = b""
        if count < 0:
            mark = self._mark()
            if mark == (b"]" if array else b"}"):
                self._end()
                return
        if not array:
            self.outline.key(self._text(mark or self._mark(), _LONGEST_KEY))
            mark = b""
        if count > 0:
            self.left[-1] = (count - 1, kind, array)
        self._value(kind or mark or self._mark())

    def _value(self, mark: bytes) -> None:
        if mark in {b"{", b"["}:
            self.begin(array=mark == b"[")
        elif mark in {b"S", b"H"}:
            self.outline.scalar(self._text(self._mark(), _LONGEST_VALUE))
        elif mark in _NUMBERS:
            number = _NUMBERS[mark]
            self.outline.scalar(number.unpack(self._stream.exactly(number.size))[0])
        elif mark in _CONSTANTS:
            self.outline.scalar(_CONSTANTS[mark])
        elif mark == b"C":
            self.outline.scalar(self._stream.exactly(1).decode("latin-1"))
        elif mark != b"N":
            raise Malformed("is broken: it has a value of an unknown type")

    def _end(self) -> None:
        self.left.pop()
        self.outline.end()

    def _mark(self) -> bytes:
        """The next byte, which may have been read ahead."""
        mark, self._ahead = self._ahead or self._stream.exactly(1), b""
        return mark

    def _integer(self, mark: bytes) -> int:
        if not mark or mark[0] not in _INTEGERS:
            raise Malformed("is broken: a length is no number")
        number = _NUMBERS[mark]
        value: int = number.unpack(self._stream.exactly(number.size))[0]
        if value < 0:
            raise Malformed("is broken: a length is negative")
        return value

    def _text(self, mark: bytes, most: int) -> str:
        return self._stream.exactly(self._integer(mark), most=most).decode("utf-8", "replace")
