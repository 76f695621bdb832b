"""npy: one array, with a header that is a Python literal.

Arrays of Python objects are pickles behind such a header, and are judged as those. Source:
``numpy.lib.format`` and NEP 1.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from math import prod

from adapters.inspection.pickles import check_pickle
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import Malformed, Stream

MOST_HEADER = 64 * 1024
"""Bytes. NumPy itself reads 10,000, and more where it is told to trust the file."""
_MOST_NESTED = 16
_MOST_ELEMENTS = 1 << 63

# What NumPy writes; it would also take names of types, and lists of them in one text.
_SIMPLE = re.compile(
    r"[<>|=](?:(b)(1)|([iu])([1248])|(f)(2|4|8|12|16)|(c)(8|16|24|32)|([SUV])(\d{1,9})"
    r"|([Mm])(8)(?:\[[\w/]{0,20}\])?|(O)([48])?)"
)
_NAMES = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
_NAMES |= {"S": "bytes", "U": "str", "V": "void", "M": "datetime", "m": "timedelta", "O": "object"}
_NUMBERS = "iufc"
_OLD_LONG = re.compile(r"(?<=\d)L(?=[,)\s])")

_Part = tuple[str, int]
"""The name of a type, and the bytes of one element."""


def check_npy(stream: Stream, notes: Notes) -> None:
    """Reads the header and compares it with the size; what follows it only if that is a pickle.

    Raises:
        Malformed: it is not what the format says.
    """
    header, version = _header(stream)
    shape, parts = _shape(header.get("shape")), list(_parts(header.get("descr")))
    elements = prod(shape)
    dtypes = {name for name, _ in parts}
    if "object" in dtypes:
        check_pickle(stream, notes)
    else:
        stream.finish(elements * sum(size for _, size in parts))
        notes.fact("parameters", elements)
    notes.fact("format_version", version)
    notes.fact("shape", str(list(shape)))
    notes.fact("dtypes", dtypes)
    notes.fact("tensors", 1)


def _header(stream: Stream) -> tuple[dict[str, object], int]:
    magic = stream.exactly(8)
    version = magic[6]
    if version not in {1, 2, 3}:
        raise Malformed(f"is of an npy version that does not exist ({version})")
    length = int.from_bytes(stream.exactly(2 if version == 1 else 4), "little")
    if length > MOST_HEADER:
        raise Malformed(f"claims a header of {length} bytes where at most {MOST_HEADER} may be")
    text = stream.exactly(length).decode("utf-8" if version == 3 else "latin-1")
    try:
        header = _literal(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise Malformed("has a header that is no Python literal") from error
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise Malformed("has a header that is not one of npy")
    if not isinstance(header["fortran_order"], bool):
        raise Malformed("does not say in which order its elements are")
    return header, version


def _literal(text: str) -> object:
    """As NumPy reads it: Python 2 wrote long numbers with an L."""
    try:
        return ast.literal_eval(text.strip())
    except SyntaxError:
        return ast.literal_eval(_OLD_LONG.sub("", text.strip()))


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > 64:
        raise Malformed("has a shape that is none")
    for size in shape:
        if type(size) is not int or not 0 <= size < _MOST_ELEMENTS:
            raise Malformed("has a shape that is none")
    if prod(shape) >= _MOST_ELEMENTS:
        raise Malformed(f"has more elements than there can be ({shown(str(shape))})")
    return shape


def _parts(descr: object, depth: int = _MOST_NESTED) -> Iterator[_Part]:
    """The types that an element consists of.

    Raises:
        Malformed: NumPy would not take it.
    """
    if isinstance(descr, str):
        yield _simple(descr)
        return
    if isinstance(descr, tuple) and len(descr) == 2:
        yield from _repeated(descr[0], descr[1], depth)
        return
    if not isinstance(descr, list) or depth == 0:
        raise Malformed("has elements of a type that does not exist")
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in {2, 3}:
            raise Malformed("has elements with a field that is none")
        yield from _repeated(field[1], field[2] if len(field) == 3 else (), depth)


def _repeated(descr: object, shape: object, depth: int) -> Iterator[_Part]:
    """Elements that are arrays; where a shape belongs, NumPy would take another type too."""
    count = prod(_shape((shape,) if isinstance(shape, int) else shape))
    if depth == 0:
        raise Malformed("has elements that are nested deeper than any honest ones")
    for name, size in _parts(descr, depth - 1):
        yield name, size * count


def _simple(descr: str) -> _Part:
    match = _SIMPLE.fullmatch(descr)
    if match is None:
        raise Malformed(f"has elements of a type that does not exist ({shown(descr, 40)})")
    kind, *digits = (group for group in match.groups() if group)
    size = int(digits[0]) if digits else 8
    name = f"{_NAMES[kind]}{8 * size}" if kind in _NUMBERS else _NAMES[kind]
    return name, 4 * size if kind == "U" else size
