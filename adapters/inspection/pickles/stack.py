"""What the opcodes of pickles work on: bytes that are read within limits, the stack, the memo."""

from __future__ import annotations

from typing import cast

from adapters.inspection.pickles.values import OPAQUE, Cut, Import, Value
from adapters.inspection.streams import CUT_SHORT, Malformed, Stream

HEAD = 80
"""Bytes that are kept of what is long."""
_SHORT = 256
_SHORTEST = 64
# The text of a distribution of SciPy is looked at as a whole.
_PARSERS = b"\ndef _parse_args(self, "
_LONGEST_PARSERS = 1000
_MUCH_TEXT = 16 << 20
_LONGEST_LINE = 4096
_MOST_MARKS = 10_000


class StackMachine:
    """The stream, the stack with its marks, and the memo of one pickle, with their opcodes."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._stack: list[Value] = []
        self._marks: list[list[Value]] = []
        self._memo: list[Value] = []
        self._sparse_memo: dict[int, Value] = {}
        self._text_kept = 0

    def _number(self, size: int, *, signed: bool = False) -> int:
        data = self._stream.read(size)
        if len(data) < size:
            raise Malformed(CUT_SHORT)
        number = int.from_bytes(data, "little", signed=signed)
        if signed and number < 0:
            raise Malformed("has a part of negative length")
        return number

    def _data(self, count: int, most: int) -> bytes | Cut:
        if count <= most:
            return self._stream.exactly(count)
        at = self._stream.tell()
        head = self._stream.exactly(min(count, HEAD))
        self._stream.skip(count - len(head))
        return Cut(head, count, at)

    def _text_of(self, count: int, encoding: str, errors: str) -> Value:
        much = self._text_kept >= _MUCH_TEXT
        if much and count > _SHORTEST:
            self._stream.skip(count)
            return OPAQUE
        most = _SHORTEST if much else _SHORT
        if count <= _LONGEST_PARSERS and self._stream.peek(len(_PARSERS)) == _PARSERS:
            most = _LONGEST_PARSERS
        data = self._data(count, most)
        if isinstance(data, Cut):
            return Cut(cast("bytes", data.head).decode(encoding, "replace"), count, data.at)
        self._text_kept += count
        return data.decode(encoding, errors)

    def _line(self) -> bytes | Cut:
        line = self._stream.line(_LONGEST_LINE)
        if line.endswith(b"\n"):
            return line[:-1]
        count, part = len(line), line
        while not part.endswith(b"\n"):
            if not part:
                raise Malformed(CUT_SHORT)
            part = self._stream.line(1 << 20)
            count += len(part)
        return Cut(line[:HEAD], count)

    def _short_line(self) -> bytes:
        line = self._line()
        if isinstance(line, Cut):
            raise Malformed(f"has a name or number of {line.count} characters")
        return line

    def _name_line(self) -> str:
        return self._short_line().decode()

    def _push(self, value: Value) -> None:
        self._stack.append(value)

    def _pop(self) -> Value:
        return self._stack.pop()

    def _pop_marked(self) -> list[Value]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _remember(self, index: int) -> None:
        value, memo = self._stack[-1], self._memo
        if 0 <= index < len(memo):
            memo[index] = value
        elif index == len(memo) and index not in self._sparse_memo:
            memo.append(value)
        elif index >= 0:
            self._sparse_memo[index] = value
        else:
            raise Malformed("has a negative memo index")

    def _recall(self, index: int) -> None:
        known = 0 <= index < len(self._memo)
        if not known and index not in self._sparse_memo:
            raise Malformed("takes something from its memo that is not there")
        self._push(self._memo[index] if known else self._sparse_memo[index])

    # --- opcodes --------------------------------------------------------------------------------

    def _op_mark(self) -> None:
        if len(self._marks) >= _MOST_MARKS:
            raise Malformed("is nested too deeply")
        self._marks.append(self._stack)
        self._stack = []

    def _op_pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_marked()

    def _op_pop_mark(self) -> None:
        self._pop_marked()

    def _op_dup(self) -> None:
        self._push(self._stack[-1])
        self._count(self._stack[-1])

    def _count(self, value: Value) -> None:
        if isinstance(value, Import):
            value.taken += 1

    def _op_memoize(self) -> None:
        self._remember(len(self._memo) + len(self._sparse_memo))

    def _op_put(self) -> None:
        self._remember(int(self._short_line()))

    def _op_binput(self) -> None:
        self._remember(self._number(1))

    def _op_long_binput(self) -> None:
        self._remember(self._number(4))

    def _recalled(self, index: int) -> None:
        self._recall(index)
        self._count(self._stack[-1])

    def _op_get(self) -> None:
        self._recalled(int(self._short_line()))

    def _op_binget(self) -> None:
        self._recalled(self._number(1))

    def _op_long_binget(self) -> None:
        self._recalled(self._number(4))
