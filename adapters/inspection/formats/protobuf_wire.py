"""Reading protocol buffers forward: no schema compiler, nothing kept in memory.

The encoding is that of https://protobuf.dev/programming-guides/encoding/, stricter where parsers
differ: no groups (no format of models has any), tags of at most 32 bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from adapters.inspection.streams import CUT_SHORT, LimitExceeded, Malformed, Stream

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Wanted = Mapping[int, int]
"""The fields of a message that are of interest: their numbers and the wire types they must have."""

MOST_TEXT = 4096
_WINDOW = 16 * 1024
_UNBOUNDED = 1 << 63


class Wire:
    """Reads messages, skipping what nobody wants.

    Args:
        stream: read from where it is to its end.
    """

    MOST_FIELDS = 2_000_000
    """Fields that are looked at one by one; real graphs have some 100,000."""
    MOST_DEPTH = 100
    """Messages in messages; the limit of protobuf's own parsers."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._window = b""
        self._pos = 0
        self._base = stream.tell()
        self._left = self.MOST_FIELDS
        self._depth = 0

    def walk(self, wanted: Wanted, length: int | None = None) -> Iterator[tuple[int, int]]:
        """The wanted fields of the message that begins here: each one's number with its value, or
        with the length of its content. The content may be read, walked or left alone until the
        next step. Numbers that are packed come one by one.

        Args:
            length: of the message; None for the outermost one.

        Raises:
            Malformed: the bytes are no such message.
            LimitExceeded: there are too many fields.
        """
        end = self._end(length)
        if self._depth >= self.MOST_DEPTH:
            raise Malformed(f"nests messages deeper than {self.MOST_DEPTH}")
        self._depth += 1
        passing = _passing(tuple(sorted(wanted)))
        try:
            while self._base + self._pos < end and (end < _UNBOUNDED or self._holds(1)):
                field = self._next(wanted, passing, end)
                if field is not None:
                    yield from self._values(*field, end)
        finally:
            self._depth -= 1

    def text(self, length: int, most: int = MOST_TEXT) -> str:
        """The content of a field as text, no more than ``most`` bytes of it."""
        return self.data(min(length, most)).decode("utf-8", "replace")

    def whole_text(self, length: int, what: str) -> str:
        """Like :meth:`text` for what must be known exactly.

        Raises:
            Malformed: nothing honest is that long, or it is no text.
        """
        if length > MOST_TEXT:
            raise Malformed(f"has {what} of {length} bytes")
        try:
            return self.data(length).decode()
        except UnicodeDecodeError:
            raise Malformed(f"has {what} that is no text") from None

    def data(self, length: int) -> bytes:
        """The next bytes; ``length`` must be one that is sensible to keep in memory.

        Raises:
            Malformed: the file ends before that.
        """
        if not self._holds(length):
            raise Malformed(CUT_SHORT)
        start = self._pos
        self._pos += length
        return self._window[start : self._pos]

    def entry(self, length: int) -> tuple[str, str]:
        """Key and value of an entry of a map of texts, both cut to :data:`MOST_TEXT`."""
        texts = {1: "", 2: ""}
        for number, size in self.walk({1: BYTES, 2: BYTES}, length):
            texts[number] = self.text(size)
        return texts[1], texts[2]

    def _end(self, length: int | None) -> int:
        if length is not None:
            return self._base + self._pos + length
        size = self._stream.size
        return _UNBOUNDED if size is None else size

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise LimitExceeded(f"has more than {self.MOST_FIELDS} parts", bomb=False)

    def _next(
        self, wanted: Wanted, passing: re.Pattern[bytes], end: int
    ) -> tuple[int, int, int] | None:
        """Number, wire type as wanted and as found of the next field; None if some were passed."""
        self._spend()
        self._holds(_LONGEST_RUN_HEAD)
        begun = self._pos
        key = self._varint()
        number, found = key >> 3, key & 7
        if key >= 1 << 32 or number == 0:
            raise Malformed("has a field without a valid number")
        expected = wanted.get(number)
        if expected is not None:
            # Numbers that may be repeated may be packed too, whatever the schema says.
            if found != expected and (found, expected) != (BYTES, VARINT):
                raise Malformed(f"has a field {number} of the wrong kind")
            return number, expected, found
        run = passing.match(self._window, begun, min(end - self._base, len(self._window)))
        if run is not None and run.end() > begun:
            self._pos = run.end()
        else:
            self._pass(found, end)
        return None

    def _values(
        self, number: int, expected: int, found: int, end: int
    ) -> Iterator[tuple[int, int]]:
        if found in _FIXED:
            self._within(end, _FIXED[found])
            yield number, int.from_bytes(self.data(_FIXED[found]), "little")
            return
        value = self._varint()
        self._within(end)
        if found == VARINT:
            yield number, value
            return
        close = self._within(end, value)
        if expected == BYTES:
            yield number, value
        while expected == VARINT and self._base + self._pos < close:
            self._spend()
            value = self._varint()
            self._within(close)
            yield number, value
        self._skip(close - self._base - self._pos)

    def _pass(self, wire_type: int, end: int) -> None:
        if wire_type == VARINT:
            self._varint()
            self._within(end)
        elif wire_type in _FIXED or wire_type == BYTES:
            size = self._varint() if wire_type == BYTES else _FIXED[wire_type]
            self._within(end, size)
            self._skip(size)
        else:
            raise Malformed("has a field of a kind that there is not")

    def _within(self, end: int, more: int = 0) -> int:
        """Where the next ``more`` bytes end.

        Raises:
            Malformed: that is outside the message around them.
        """
        close = self._base + self._pos + more
        if close > end:
            size = self._stream.size
            cut = size is not None and close > size
            raise Malformed(CUT_SHORT if cut else "has a part that is longer than what it is in")
        return close

    def _varint(self) -> int:
        self._holds(10)
        window, pos = self._window, self._pos
        value = shift = 0
        while pos < len(window) and shift < 70:
            byte = window[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        else:
            raise Malformed("has a number of more than 64 bits" if shift >= 70 else CUT_SHORT)
        if value >= 1 << 64:
            raise Malformed("has a number of more than 64 bits")
        self._pos = pos
        return value

    def _holds(self, count: int) -> bool:
        """Whether that many bytes are there; they then are in the window."""
        missing = count - (len(self._window) - self._pos)
        if missing <= 0:
            return True
        self._base += self._pos
        more = self._stream.read(max(missing, _WINDOW))
        self._window = self._window[self._pos :] + more
        self._pos = 0
        return len(more) >= missing

    def _skip(self, count: int) -> None:
        self._pos += count
        beyond = self._pos - len(self._window)
        if beyond > 0:
            self._base += self._pos
            self._window, self._pos = b"", 0
            self._stream.skip(beyond)


_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST_RUN_HEAD = 2 + 1 + 127


@lru_cache(maxsize=64)
def _passing(wanted: tuple[int, ...]) -> re.Pattern[bytes]:
    """Matches a run of small fields that nobody wants.

    A forest of decision trees in ONNX is tens of millions of them: one by one they would take
    minutes, as a pattern they take a second.
    """
    tags = []
    for wire_type in range(8):
        one = _class(range(8 + wire_type, 128, 8))
        two = _class(range(128 + wire_type, 256, 8)) + rb"[\x01-\x7f]"
        tags.append(rb"(?:" + one + rb"|" + two + rb")")
    texts = rb"|".join(re.escape(bytes([n])) + rb".{%d}" % n for n in range(128))
    kinds = (
        tags[VARINT] + rb"[\x80-\xff]{0,8}+[\x00-\x7f]",
        tags[FIXED32] + rb".{4}",
        tags[FIXED64] + rb".{8}",
        tags[BYTES] + rb"(?:" + texts + rb")",
    )
    # Tags of three bytes and more are not passed like this anyhow.
    kept = [re.escape(_tag(each, kind)) for each in wanted if each < 2048 for kind in range(8)]
    keep = rb"(?!" + rb"|".join(kept) + rb")" if kept else b""
    return re.compile(rb"(?:" + keep + rb"(?:" + rb"|".join(kinds) + rb"))*+", re.DOTALL)


def _class(values: range) -> bytes:
    return rb"[" + b"".join(re.escape(bytes([value])) for value in values) + rb"]"


def _tag(number: int, wire_type: int) -> bytes:
    key = number << 3 | wire_type
    return bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
