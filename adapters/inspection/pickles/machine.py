"""A machine that reads pickles of every protocol as CPython's ``Modules/_pickle.c`` does.

Why nothing of a file can run: the machine has a method for each opcode (``pickletools`` describes
them), and none of them imports, calls, sets or reads an attribute of anything. Names become
:class:`Import`, calls become :class:`Result`; both are reported to a :class:`Trace` and are inert.
The extension registry and ``copyreg`` are never asked.

Where a real unpickler would give up, this one may go on: it then sees more than would happen,
never less. What no pickler writes (a stack that runs empty, an unknown opcode) is malformed.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable
from typing import cast

from adapters.inspection.pickles.arrays import ALIGNMENT, is_array, pass_array
from adapters.inspection.pickles.stack import HEAD, StackMachine
from adapters.inspection.pickles.trace import Trace
from adapters.inspection.pickles.values import (
    OPAQUE,
    Cut,
    Import,
    Items,
    Mapping,
    Result,
    Value,
    parts_of,
)
from adapters.inspection.streams import CUT_SHORT, LimitExceeded, Malformed, Stream

_STEPS = 1000
_LONGEST_INT = 16
_MOST_LAYERS = 20
_MOST_PARTS = 10_000


class Machine(StackMachine):
    """Reads one pickle.

    Args:
        arrays: whether the raw arrays that joblib writes between opcodes are passed over, as
            ``joblib.load`` does and ``pickle.load`` does not.
        items: how many items of each list are kept.
        layer: how many pickles are around this one.
    """

    def __init__(
        self, stream: Stream, trace: Trace, *, arrays: bool = True, items: int = 4, layer: int = 0
    ) -> None:
        super().__init__(stream)
        self._trace = trace
        self._arrays = arrays
        self._items = items
        self._layer = layer
        self._protocol = 0
        self._frame_end = 0
        self._dispatch: list[Callable[[], None] | None] = [None] * 256
        for opcode in pickletools.opcodes:
            self._dispatch[ord(opcode.code)] = getattr(self, f"_op_{opcode.name.lower()}")

    def run(self) -> Value:
        """Reads up to STOP; gives what would be loaded.

        Raises:
            Malformed: no unpickler reads this to its end; what came before may have run.
            LimitExceeded: too many opcodes.
        """
        left, budget = 0, self._trace.budget
        read, dispatch = self._stream.read, self._dispatch
        try:
            while True:
                if left == 0:
                    left = budget.take_opcodes(_STEPS)
                left -= 1
                code = read(1)
                if code == b".":
                    self._leave_frame()
                    return self._pop()
                if not code:
                    raise Malformed(CUT_SHORT)
                handler = dispatch[code[0]]
                if handler is None:
                    raise Malformed(f"has an unknown pickle opcode {code!r}")
                handler()
        except (IndexError, UnicodeDecodeError, ValueError, struct.error) as error:
            raise Malformed(f"is a broken pickle ({type(error).__name__})") from error
        finally:
            budget.opcodes += left

    def _op_stop(self) -> None:
        """Read by :meth:`run`."""

    # --- numbers and texts ----------------------------------------------------------------------

    def _op_none(self) -> None:
        self._push(None)

    def _op_newtrue(self) -> None:
        self._push(True)

    def _op_newfalse(self) -> None:
        self._push(False)

    def _op_int(self) -> None:
        line = self._line()
        if line in {b"00", b"01"}:
            self._push(line == b"01")
        else:
            self._push_decimal(line)

    def _op_long(self) -> None:
        self._push_decimal(self._line())

    def _push_decimal(self, line: bytes | Cut) -> None:
        if isinstance(line, Cut) or len(line) > 2 * _LONGEST_INT:
            self._push(OPAQUE)
        else:
            self._push(int(line.removesuffix(b"L"), 0))

    def _op_binint(self) -> None:
        self._push(int.from_bytes(self._stream.exactly(4), "little", signed=True))

    def _op_binint1(self) -> None:
        self._push(self._number(1))

    def _op_binint2(self) -> None:
        self._push(self._number(2))

    def _op_long1(self) -> None:
        self._push_long(self._number(1))

    def _op_long4(self) -> None:
        self._push_long(self._number(4, signed=True))

    def _push_long(self, count: int) -> None:
        data = self._data(count, _LONGEST_INT)
        if isinstance(data, Cut):
            self._push(OPAQUE)
        else:
            self._push(int.from_bytes(data, "little", signed=True))

    def _op_float(self) -> None:
        self._push(float(self._short_line()))

    def _op_binfloat(self) -> None:
        self._push(struct.unpack(">d", self._stream.exactly(8))[0])

    def _op_string(self) -> None:
        line = self._line()
        if isinstance(line, Cut):
            self._push(Cut(cast("bytes", line.head).decode("latin-1"), line.count))
            return
        line = line.rstrip(b"\r")
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in {b"'", b'"'}:
            raise Malformed("has a text without quotes")
        self._push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))

    def _op_binstring(self) -> None:
        self._push(self._text_of(self._number(4, signed=True), "latin-1", "strict"))

    def _op_short_binstring(self) -> None:
        self._push(self._text_of(self._number(1), "latin-1", "strict"))

    def _op_unicode(self) -> None:
        line = self._line()
        if isinstance(line, Cut):
            self._push(Cut(cast("bytes", line.head).decode("latin-1"), line.count))
        else:
            self._push(line.decode("raw-unicode-escape"))

    def _op_short_binunicode(self) -> None:
        self._push(self._text_of(self._number(1), "utf-8", "surrogatepass"))

    def _op_binunicode(self) -> None:
        self._push(self._text_of(self._number(4), "utf-8", "surrogatepass"))

    def _op_binunicode8(self) -> None:
        self._push(self._text_of(self._number(8), "utf-8", "surrogatepass"))

    def _op_short_binbytes(self) -> None:
        self._push(self._data(self._number(1), HEAD))

    def _op_binbytes(self) -> None:
        self._push(self._data(self._number(4), HEAD))

    def _op_binbytes8(self) -> None:
        self._push(self._data(self._number(8), HEAD))

    _op_bytearray8 = _op_binbytes8

    def _op_next_buffer(self) -> None:
        """A buffer that comes beside the pickle; without one a real unpickler gives up."""
        self._push(OPAQUE)

    def _op_readonly_buffer(self) -> None:
        if not self._stack:
            raise Malformed("makes nothing read-only")

    # --- containers -----------------------------------------------------------------------------

    def _op_empty_tuple(self) -> None:
        self._push(())

    def _op_tuple1(self) -> None:
        self._push_tuple(1)

    def _op_tuple2(self) -> None:
        self._push_tuple(2)

    def _op_tuple3(self) -> None:
        self._push_tuple(3)

    def _push_tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise Malformed("takes more from its stack than is on it")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _op_tuple(self) -> None:
        items = self._pop_marked()
        self._push(tuple(items))

    def _op_empty_list(self) -> None:
        self._push(Items())

    _op_empty_set = _op_empty_list

    def _op_list(self) -> None:
        values, items = self._pop_marked(), Items()
        items.add(values, self._items)
        self._push(items)

    def _op_frozenset(self) -> None:
        self._hash(self._stack)
        self._op_list()

    def _op_empty_dict(self) -> None:
        self._push(Mapping())

    def _op_dict(self) -> None:
        values = self._pop_marked()
        self._push(Mapping())
        self._put(values)

    def _op_append(self) -> None:
        self._add([self._pop()])

    def _op_appends(self) -> None:
        self._add(self._pop_marked())

    def _op_additems(self) -> None:
        self._hash(self._stack)
        self._op_appends()

    def _hash(self, keys: list[Value]) -> None:
        """Tuples that share their parts take few bytes, and forever to be hashed."""
        for key in keys:
            if isinstance(key, tuple):
                parts = parts_of(key, _MOST_PARTS)
                self._trace.budget.opcodes -= parts
                if parts > _MOST_PARTS:
                    self._trace.danger(f"it has a key of more than {_MOST_PARTS} parts")

    def _add(self, values: list[Value]) -> None:
        target = self._stack[-1]
        if isinstance(target, Items):
            target.add(values, self._items)
        else:
            self._trace.changed(target)

    def _op_setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._put([key, value])

    def _op_setitems(self) -> None:
        self._put(self._pop_marked())

    def _put(self, values: list[Value]) -> None:
        if len(values) % 2:
            raise Malformed("has a key without a value")
        target = self._stack[-1]
        if not isinstance(target, Mapping):
            self._trace.changed(target, values[::2])
        self._hash(values[::2])
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._trace.entry(key, value)
            if isinstance(target, Mapping):
                target.put(key, value)

    # --- imports and calls ----------------------------------------------------------------------

    def _op_proto(self) -> None:
        self._protocol = self._number(1)
        if self._protocol > 5:
            raise Malformed(f"is a pickle of the unknown protocol {self._protocol}")
        self._trace.protocol = max(self._trace.protocol, self._protocol)

    def _op_frame(self) -> None:
        """How much is read at once."""
        size = self._number(8)
        self._leave_frame()
        self._frame_end = self._stream.tell() + size

    def _import(self, module: Value, name: Value) -> Import:
        return self._trace.imported(module, name, mapped=self._protocol < 3)

    def _op_global(self) -> None:
        module = self._name_line()
        self._push(self._import(module, self._name_line()))

    def _op_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._import(module, name))

    def _op_ext1(self) -> None:
        self._push(self._trace.extension(self._number(1)))

    def _op_ext2(self) -> None:
        self._push(self._trace.extension(self._number(2)))

    def _op_ext4(self) -> None:
        self._push(self._trace.extension(self._number(4)))

    def _op_reduce(self) -> None:
        args, function = self._pop(), self._pop()
        self._push(self._trace.called(function, args))

    def _op_inst(self) -> None:
        module = self._name_line()
        function = self._import(module, self._name_line())
        args = self._pop_marked()
        self._push(self._trace.called(function, tuple(args)))

    def _op_obj(self) -> None:
        function, *args = self._pop_marked() or [OPAQUE]
        self._push(self._trace.called(function, tuple(args)))

    def _op_newobj(self) -> None:
        args, cls = self._pop(), self._pop()
        self._push(self._trace.called(cls, args))

    def _op_newobj_ex(self) -> None:
        keywords, args, cls = self._pop(), self._pop(), self._pop()
        self._push(self._trace.called(cls, args, keywords))

    def _op_build(self) -> None:
        state, instance = self._pop(), self._stack[-1]
        self._trace.built(instance, state)
        if self._arrays and is_array(instance):
            self._stack[-1] = self._array(instance)

    def _leave_frame(self) -> None:
        """A frame is read as a whole before its opcodes run. What comes after a pickle or is an
        array of joblib is then found behind the frame, so an honest frame ends before it."""
        if self._stream.tell() < self._frame_end:
            raise Malformed("has a frame that does not end where it should")

    def _array(self, wrapper: Result) -> Result:
        self._leave_frame()
        if isinstance(wrapper.state, Mapping):
            self._trace.note_array(wrapper.state.get("dtype"), wrapper.state.get("shape"))
            if wrapper.state.get(ALIGNMENT) is None:
                self._trace.unaligned = True
        return pass_array(wrapper, self._stream, self.nested)

    def _op_persid(self) -> None:
        self._short_line()
        self._push(self._trace.persistent(OPAQUE))

    def _op_binpersid(self) -> None:
        self._push(self._trace.persistent(self._pop()))

    def nested(self) -> Value:
        """Reads a whole pickle that follows in the stream.

        Raises:
            as :meth:`run`
        """
        if self._layer >= _MOST_LAYERS:
            raise LimitExceeded("has pickles in pickles in pickles", bomb=False)
        return Machine(self._stream, self._trace, arrays=False, layer=self._layer + 1).run()
