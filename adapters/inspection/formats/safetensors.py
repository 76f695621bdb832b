"""safetensors: a JSON header that says where each tensor is, and the tensors without a gap.

Only the header is read. What the format's own library would refuse is refused, and nothing in such
a file can run. Source: the format section of huggingface/safetensors' README, and the validation
in its tensor.rs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

import ijson  # type: ignore[import-untyped]

from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

MOST_HEADER = 100_000_000
"""Bytes; the format sets this limit."""
MOST_TENSORS = 250_000
"""Large models have some 100,000, in dozens of files. More are not read, nor more metadata."""
MOST_TEXT = 4 << 20
"""Bytes of one text. Some write what a model was trained on into one, a megabyte or two."""
_PIECE = 256 * 1024
"""The parser begins a text anew with each piece, so small ones make long texts slow."""
_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 1 << 63

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_FRAMEWORKS = {
    "pt": "pytorch",
    "tf": "tensorflow",
    "np": "numpy",
    "flax": "flax",
    "mlx": "mlx",
    "paddle": "paddle",
}
# What the tools that fine-tune image models write, by https://github.com/Stability-AI/ModelSpec.
_METADATA_FACTS = {
    "modelspec.architecture": "architecture",
    "modelspec.title": "name",
    "modelspec.license": "license",
}

_Event = tuple[str, Any]


@dataclass(slots=True)
class _Header:
    """What was read of it so far. Names are kept as hashes: those of a hostile header are long."""

    names: set[int] = field(default_factory=set)
    spans: list[tuple[int, int]] = field(default_factory=list)
    dtypes: Counter[str] = field(default_factory=Counter)
    parameters: int = 0
    metadata: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, tensor: dict[str, Any]) -> None:
        """Takes in one tensor.

        Raises:
            Malformed: type, shape and place do not fit each other.
            LimitExceeded: there are too many.
        """
        if len(self.spans) >= MOST_TENSORS:
            raise LimitExceeded(f"has more than {MOST_TENSORS} tensors", bomb=False)
        dtype, elements = tensor.get("dtype"), _elements(tensor.get("shape"))
        begin, end = _span(tensor.get("data_offsets"))
        if not isinstance(dtype, str) or dtype not in _BITS:
            raise Malformed(f"has a tensor of unknown type ({shown(str(dtype), 20)})")
        if elements is None or begin < 0 or elements * _BITS[dtype] != (end - begin) * 8:
            raise Malformed(f"has a tensor whose place does not fit its shape ({shown(name)})")
        self.spans.append((begin, end))
        self.dtypes[dtype] += 1
        self.parameters += elements

    def length(self) -> int:
        """Bytes of all tensors.

        Raises:
            Malformed: they overlap, or there are bytes that belong to none.
        """
        self.spans.sort()
        for (_, before), (begin, _) in pairwise([(0, 0), *self.spans]):
            if begin != before:
                fault = "overlap" if begin < before else "leave a gap"
                raise Malformed(f"has tensors that {fault} at byte {min(begin, before)}")
        return self.spans[-1][1] if self.spans else 0


def check_safetensors(stream: Stream, notes: Notes) -> None:
    """Reads the header; compares it with itself and with the size of the file.

    Raises:
        Malformed: it is not what the format says.
        LimitExceeded: it is larger than what is read.
    """
    length = int.from_bytes(stream.exactly(8), "little")
    if not 2 <= length <= MOST_HEADER:
        raise Malformed(f"claims a header of {length} bytes where at most {MOST_HEADER} may be")
    if stream.peek(1) != b"{":
        raise Malformed("has a header that is no JSON object")
    header = _read(_events(stream, length))
    stream.finish(header.length())
    notes.fact("framework", _FRAMEWORKS.get(header.metadata.pop("format", "")))
    for key, text in header.metadata.items():
        notes.fact(_METADATA_FACTS[key], text)
    notes.fact("tensors", len(header.spans))
    notes.fact("parameters", header.parameters)
    notes.fact("dtypes", header.dtypes)


def _events(stream: Stream, length: int) -> Iterator[_Event]:
    """The JSON of the header in pieces: all of it as objects would take gigabytes."""
    found: Any = ijson.sendable_list()
    parser = ijson.basic_parse_coro(found)
    silent = 0
    try:
        while length > 0:
            piece = stream.exactly(min(length, _PIECE))
            length -= len(piece)
            parser.send(piece)
            silent = 0 if found else silent + len(piece)
            if silent > MOST_TEXT:
                raise LimitExceeded(f"has a text of more than {MOST_TEXT} bytes", bomb=False)
            yield from found
            found.clear()
        parser.close()
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise Malformed("has a header that is no sound JSON") from error
    yield from found


def _read(events: Iterator[_Event]) -> _Header:
    header = _Header()
    next(events)
    for kind, name in events:
        if kind == "end_map":
            break
        if hash(name) in header.names:
            raise Malformed(f"names two tensors {shown(name)}")
        header.names.add(hash(name))
        if name == "__metadata__":
            header.metadata = dict(_fields(events, _metadata, name))
        else:
            header.add(name, dict(_fields(events, _tensor_field, name)))
    for _ in events:
        raise Malformed("has a header that goes on after its JSON object")
    return header


def _fields(
    events: Iterator[_Event], read: Callable[[str, Iterator[_Event]], Any], name: str
) -> Iterator[tuple[str, Any]]:
    """The fields of one object, of those that matter."""
    keys: set[int] = set()
    if next(events)[0] != "start_map":
        raise Malformed(f"has a header where {shown(name)} is no object")
    for kind, key in events:
        if kind == "end_map":
            return
        if hash(key) in keys:
            raise Malformed(f"has a header with two {shown(key)} in {shown(name)}")
        if len(keys) >= MOST_TENSORS:
            raise LimitExceeded(f"has more than {MOST_TENSORS} metadata", bomb=False)
        keys.add(hash(key))
        value = read(key, events)
        if value is not None:
            yield key, value


def _metadata(key: str, events: Iterator[_Event]) -> str | None:
    kind, value = next(events)
    if kind != "string":
        raise Malformed(f"has metadata that is no text ({shown(key)})")
    wanted = key == "format" or key in _METADATA_FACTS
    return str(value) if wanted else None


def _tensor_field(key: str, events: Iterator[_Event]) -> Any:
    if key not in {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"has a tensor with an unknown field ({shown(key)})")
    kind, value = next(events)
    if kind != "start_array":
        return value
    numbers: list[int] = []
    for kind, value in events:
        if kind == "end_array":
            return numbers
        if not isinstance(value, int) or isinstance(value, bool) or len(numbers) > _MOST_DIMENSIONS:
            break
        numbers.append(value)
    raise Malformed(f"has a tensor whose {key} is no short list of whole numbers")


def _elements(shape: Any) -> int | None:
    """How many a tensor of this shape has; None where that is no number of elements."""
    if not isinstance(shape, list) or any(not 0 <= size < _MOST_ELEMENTS for size in shape):
        return None
    elements = prod(shape)
    return elements if elements < _MOST_ELEMENTS else None


def _span(offsets: Any) -> tuple[int, int]:
    """Where a tensor begins and ends; (-1, -1) if that is not said as it should be."""
    if not isinstance(offsets, list) or len(offsets) != 2:
        return -1, -1
    return offsets[0], offsets[1]
