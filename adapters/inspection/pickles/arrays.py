"""The raw arrays that joblib writes between the opcodes of its pickles.

``joblib.numpy_pickle``: where a ``NumpyArrayWrapper`` has got its state, a byte with the length of
a padding, the padding (both only where ``numpy_array_alignment_bytes`` is set), and the elements
follow; of an array of objects, a whole pickle. Reading on at a wrong place would let code hide in
what is passed over, so anything but what joblib writes is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeGuard

from adapters.inspection.pickles.values import Import, Mapping, Result, Value
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

WRAPPERS = frozenset(
    {
        "joblib.numpy_pickle.NumpyArrayWrapper",
        "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
    }
)
"""The classes whose instances joblib replaces by an array."""
ALIGNMENT = "numpy_array_alignment_bytes"
_STRINGS = "_convert_to_stringdtype_kwargs"
_DTYPE = "numpy.dtype"
_CODE = re.compile(
    r"[<>|=]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[mM]8|O[48]|[SUV]\d{1,9})"
)
_MOST_ELEMENTS = 1 << 60
_MOST_PARTS = 100
_HAS_OBJECTS = 1
"""``NPY_ITEM_HASOBJECT``."""


def is_array(value: Value) -> TypeGuard[Result]:
    """Whether joblib reads an array once this has its state."""
    return (
        isinstance(value, Result)
        and value.origin is not None
        and value.origin.full_name in WRAPPERS
    )


def pass_array(wrapper: Result, stream: Stream, nested: Callable[[], Value]) -> Result:
    """Passes over the array that the wrapper announces; gives the array.

    Args:
        nested: reads the pickle that follows.

    Raises:
        Malformed: joblib writes no such thing, or the array is cut short.
        LimitExceeded: elements of a type that is not known here.
    """
    state = wrapper.state
    if not isinstance(state, Mapping) or state.odd or not _is_bare(wrapper.args):
        raise Malformed("has an array that joblib did not write")
    count = elements(state.get("shape"))
    size, objects = element_size(state.get("dtype"))
    if objects:
        nested()
    else:
        if state.get(ALIGNMENT) is not None:
            stream.skip(_padding(stream))
        stream.skip(count * size)
    return Result(wrapper.origin, wrapper.args, built=True)


def _is_bare(args: Value) -> bool:
    """Whether an instance was made without attributes: those of its state are all there are."""
    if not isinstance(args, tuple) or not args:
        return args == ()
    base = args[1] if len(args) == 3 and args[2] is None else None  # copyreg._reconstructor
    return isinstance(base, Import) and base.full_name == "builtins.object"


def _padding(stream: Stream) -> int:
    """joblib pads to 16 bytes. (None of these lengths is an opcode: ``pickle.load`` ends here.)"""
    length = stream.exactly(1)[0]
    if not 1 <= length <= 16:
        raise Malformed("has an array that joblib did not write")
    return length


def elements(shape: Value) -> int:
    """The product of a shape.

    Raises:
        Malformed: it is none, or none that fits into 64 bits.
    """
    if not isinstance(shape, tuple) or len(shape) > 64:
        raise Malformed("has an array without a shape")
    count = 1
    for length in shape:
        if type(length) is not int or not 0 <= length < _MOST_ELEMENTS:
            raise Malformed("has an array of an impossible shape")
        count *= max(length, 1)
    if count >= _MOST_ELEMENTS:
        raise Malformed("has an array of an impossible shape")
    return 0 if 0 in shape else count


def element_size(dtype: Value, seen: set[int] | None = None) -> tuple[int, bool]:
    """Bytes of an element, and whether there are Python objects in it.

    Args:
        seen: the types that were looked at; types may share their parts.

    Raises:
        Malformed: no pickle of a NumPy type looks like this.
        LimitExceeded: a type that is not known here.
    """
    seen = set() if seen is None else seen
    if isinstance(dtype, Result) and dtype.origin is not None and dtype.origin.name == _STRINGS:
        return 16, True
    code = code_of(dtype)
    if code is None:
        raise LimitExceeded("has an array of elements of an unknown type", bomb=False)
    assert isinstance(dtype, Result)
    kind, size = code[0], int(code[1:]) * (4 if code[0] == "U" else 1)
    if size == 0 or len(seen) > _MOST_PARTS:
        raise Malformed("has an array of elements of no size")
    if dtype.state is None or id(dtype) in seen:
        return size, kind == "O"
    seen.add(id(dtype))
    state = dtype.state
    if not isinstance(state, tuple) or len(state) not in {8, 9} or state[0] not in (3, 4):
        raise Malformed("has a NumPy type that NumPy did not write")
    objects = kind == "O" or _holds_objects(state, seen)
    flags = state[7]
    contradicts = not isinstance(flags, int) or (flags & _HAS_OBJECTS) != objects
    if contradicts or (kind in "SUV" and state[5] != size):
        raise Malformed("has a NumPy type that contradicts itself")
    return size, objects


def code_of(dtype: Value) -> str | None:
    """The type that ``numpy.dtype`` is given, without byte order; None if it is not such a one."""
    if not isinstance(dtype, Result) or not isinstance(dtype.args, tuple) or not dtype.args:
        return None
    if dtype.origin is None or dtype.origin.full_name != _DTYPE:
        return None
    code = dtype.args[0]
    if not isinstance(code, str):
        return None
    if not _CODE.fullmatch(code):
        raise Malformed("has an array of elements of an impossible type")
    return code.lstrip("<>|=")


def _holds_objects(state: tuple[Value, ...], seen: set[int]) -> bool:
    """By the subarray type and the fields in the state of a type."""
    parts: list[Value] = []
    subarray, fields = state[2], state[4]
    if isinstance(subarray, tuple) and subarray:
        parts.append(subarray[0])
    elif subarray is not None:
        raise Malformed("has a NumPy type that NumPy did not write")
    if isinstance(fields, Mapping) and not fields.odd:
        parts.extend(field[0] for _, field in fields.entries if isinstance(field, tuple) and field)
    elif fields is not None:
        raise LimitExceeded("has an array of elements of an unknown type", bomb=False)
    # All are looked at: each has to be sound.
    return any([element_size(part, seen)[1] for part in parts])  # noqa: C419
