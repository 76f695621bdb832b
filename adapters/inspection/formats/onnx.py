"""ONNX, by https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.

Models of gigabytes are read in milliseconds: tensors are skipped, their sizes compared with their
shapes. Files of their own for tensors, operators that need a library and such that run Python are
what can do harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from adapters.inspection.formats.onnx_operators import DATA_TYPES, note_operators, note_opsets
from adapters.inspection.formats.protobuf_wire import BYTES, VARINT, Wire
from adapters.inspection.formats.references import leaves_folder
from adapters.inspection.formats.tensor_shapes import elements
from adapters.inspection.report import Notes, listed, shown
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

_MODEL = {1: VARINT} | dict.fromkeys((2, 3, 7, 8, 14, 20, 25), BYTES)
_GRAPH = dict.fromkeys((1, 2, 5, 11, 12, 15), BYTES)
_NODE = dict.fromkeys((4, 5, 7), BYTES)
_ATTRIBUTE = dict.fromkeys((5, 6, 10, 11, 22, 23), BYTES)
_TENSOR = {1: VARINT, 2: VARINT, 14: VARINT} | dict.fromkeys((8, 9, 13), BYTES)
_FUNCTION = dict.fromkeys((1, 7, 9, 10, 11), BYTES)
_EXTERNAL = 1

MOST_DISTINCT = 10_000
_MOST_NAMES = 200_000
_MOST_DIMENSIONS = 64


def check_onnx(stream: Stream, notes: Notes) -> None:
    """Checks a ModelProto.

    Raises:
        Malformed: it is none, or broken.
        LimitExceeded: it has more parts than are looked at.
    """
    model = _Model(Wire(stream), notes)
    try:
        model.read()
    finally:
        model.note()


@dataclass(slots=True)
class _Tensor:
    name: str = ""
    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    raw: int | None = None
    external: dict[str, str] = field(default_factory=dict)
    located: int = 0


@dataclass(slots=True)
class _Model:
    """What the messages of one model told so far."""

    wire: Wire
    notes: Notes
    version: int = 0
    texts: dict[int, str] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    opsets: dict[str, int] = field(default_factory=dict)
    dtypes: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    graphs: int = 0
    nodes: int = 0
    tensors: int = 0
    parameters: int = 0

    def read(self) -> None:
        """Reads all of it.

        Raises:
            Malformed
            LimitExceeded
        """
        readers: dict[int, Callable[[int], None]] = {
            7: lambda length: self._graph(length, main=True),
            8: self._opset,
            14: self._property,
            20: self._training,
            25: self._function,
        }
        for number, value in self.wire.walk(_MODEL):
            if number == 1:
                self.version = value
            elif number in readers:
                readers[number](value)
            else:
                self.texts[number] = self.wire.text(value)
        if not self.graphs:
            raise Malformed("has no graph: it is no ONNX model")
        if not self.nodes and not self.tensors:
            raise Malformed("has neither operators nor tensors: it is no ONNX model")
        if not 1 <= self.version < 1000:
            raise Malformed("does not tell its ONNX version")

    def note(self) -> None:
        """Notes what was read, also if only a part of it could be."""
        notes = self.notes
        producer = " ".join(self.texts[each] for each in (2, 3) if self.texts.get(each))
        facts: dict[str, str | int | list[str] | None] = {
            "framework": "onnx",
            "format_version": self.version,
            # CatBoost writes its whole commit here.
            "producer": producer.split("\n", 1)[0].strip(),
            "name": self.texts.get(0),
            "license": self.properties.get("license"),
            "author": self.properties.get("author"),
            "parameters": self.parameters,
            "tensors": self.tensors,
            "dtypes": list(self.dtypes),
            "inputs": [f"{k}: {v}" for k, v in self.inputs.items() if k not in self.names],
            "outputs": [f"{k}: {v}" for k, v in self.outputs.items()],
        }
        for key, value in facts.items():
            notes.fact(key, value or None)
        note_opsets(self.opsets, notes)
        note_operators(self.operators, self.functions, notes)
        if self.files:
            notes.fact("external_data", self.files)
            named = listed([shown(each) for each in sorted(self.files)])
            notes.tell(
                "onnx.external_data",
                f"{notes.place} has tensors in {named}: publish "
                f"{'them' if len(self.files) > 1 else 'that file'} beside it.",
            )

    def _graph(self, length: int, *, main: bool = False) -> None:
        self.graphs += 1
        for number, size in self.wire.walk(_GRAPH, length):
            if number == 1:
                self._node(size)
            elif number == 5:
                name = self._tensor(size)
                if main and len(self.names) < _MOST_NAMES:
                    self.names.add(name)
            elif number == 15:
                self._sparse(size)
            elif main and number == 2:
                self.texts[0] = self.wire.text(size)
            elif main:
                self._value(size, self.inputs if number == 11 else self.outputs)

    def _node(self, length: int) -> None:
        self.nodes += 1
        names: list[str] = []
        domains = [""]
        for number, size in self.wire.walk(_NODE, length):
            if number == 5:
                self._attribute(size)
            else:
                (names if number == 4 else domains).append(self.wire.text(size, 250))
        # Of a name that comes twice the last one counts.
        if not names or not names[-1]:
            raise Malformed("has an operator without a name")
        self.operators.add((domains[-1], names[-1]))
        if len(self.operators) > MOST_DISTINCT:
            raise LimitExceeded(f"has more than {MOST_DISTINCT} different operators", bomb=False)

    def _attribute(self, length: int) -> None:
        for number, size in self.wire.walk(_ATTRIBUTE, length):
            if number in {5, 10}:
                self._tensor(size, counted=False)
            elif number in {6, 11}:
                self._graph(size)
            else:
                self._sparse(size)

    def _sparse(self, length: int) -> None:
        for number, size in self.wire.walk({1: BYTES, 2: BYTES}, length):
            self._tensor(size, counted=number == 1)

    def _training(self, length: int) -> None:
        for _, size in self.wire.walk({1: BYTES, 2: BYTES}, length):
            self._graph(size)

    def _function(self, length: int) -> None:
        texts = {1: "", 10: ""}
        for number, size in self.wire.walk(_FUNCTION, length):
            if number in texts:
                texts[number] = self.wire.text(size, 250)
            elif number == 7:
                self._node(size)
            elif number == 11:
                self._attribute(size)
            else:
                self._opset(size)
        self.functions.add((texts[10], texts[1]))
        if len(self.functions) > MOST_DISTINCT:
            raise LimitExceeded(f"has more than {MOST_DISTINCT} functions", bomb=False)

    def _opset(self, length: int) -> None:
        domain, version = "", 0
        for number, value in self.wire.walk({1: BYTES, 2: VARINT}, length):
            if number == 1:
                domain = self.wire.text(value, 250)
            else:
                version = value
        if len(self.opsets) < MOST_DISTINCT:
            self.opsets[domain] = max(version, self.opsets.get(domain, 0))

    def _property(self, length: int) -> None:
        key, value = self.wire.entry(length)
        if key in {"license", "author"}:
            self.properties[key] = value

    def _value(self, length: int, values: dict[str, str]) -> None:
        name, kind = "", "?"
        for number, size in self.wire.walk({1: BYTES, 2: BYTES}, length):
            if number == 1:
                name = self.wire.text(size, 250)
            else:
                kind = "".join(_type(self.wire, size))
        if len(values) < _MOST_NAMES // 10:
            values[name] = kind[:250]

    def _tensor(self, length: int, *, counted: bool = True) -> str:
        tensor = _Tensor()
        for number, value in self.wire.walk(_TENSOR, length):
            if number == 1:
                tensor.dims.append(value)
                if len(tensor.dims) > _MOST_DIMENSIONS:
                    raise Malformed(f"has a tensor of more than {_MOST_DIMENSIONS} dimensions")
            elif number == 2:
                tensor.data_type = value
            elif number == 8:
                tensor.name = self.wire.text(value, 250)
            elif number == 9:
                tensor.raw = value
            elif number == 13:
                self._reference(value, tensor)
            else:
                tensor.located = value
        self._measure(tensor, length)
        if counted:
            self.tensors += 1
            self.parameters += elements(tensor.dims)
            self.dtypes.add(DATA_TYPES.get(tensor.data_type, (f"type {tensor.data_type}", 0))[0])
        return tensor.name

    def _reference(self, length: int, tensor: _Tensor) -> None:
        key = value = ""
        for number, size in self.wire.walk({1: BYTES, 2: BYTES}, length):
            text = self.wire.whole_text(size, "a reference to a file")
            key, value = (text, value) if number == 1 else (key, text)
        if key == "location" and key in tensor.external:
            raise Malformed("has a tensor in two files")
        if key in {"location", "offset", "length"}:
            tensor.external[key] = value

    def _measure(self, tensor: _Tensor, length: int) -> None:
        """Compares the size of the data with the shape, and looks where it is."""
        bits = DATA_TYPES.get(tensor.data_type, ("", 0))[1]
        count = elements(tensor.dims)
        needed = (count * bits + 7) // 8
        if tensor.external or tensor.located == _EXTERNAL:
            self._locate(tensor, needed)
        elif tensor.raw and bits and tensor.raw != needed:
            raise Malformed(f"has a tensor of {tensor.raw} bytes whose shape needs {needed}")
        elif count > 4 * length:
            raise Malformed(f"has a tensor of {count} elements in {length} bytes")

    def _locate(self, tensor: _Tensor, needed: int) -> None:
        location = tensor.external.get("location")
        if not location:
            raise Malformed("has a tensor in another file, but does not tell in which")
        if leaves_folder(location):
            self.notes.refuse(
                "onnx.external_data_outside",
                f"{self.notes.place}: its tensor {shown(tensor.name or '-')} is to be read from "
                f"'{shown(location)}', which is outside the folder of the model.",
                subject=location,
            )
            return
        for key in ("offset", "length"):
            number = tensor.external.get(key) or "0"
            if not re.fullmatch(r"[0-9]{1,18}", number):
                raise Malformed(f"has a tensor in another file with the {key} '{shown(number)}'")
        length = tensor.external.get("length")
        if length and int(length) < needed:
            raise Malformed(f"has a tensor of {length} bytes whose shape needs {needed}")
        self.files.add(location)
        if len(self.files) > MOST_DISTINCT:
            raise LimitExceeded(f"has tensors in more than {MOST_DISTINCT} files", bomb=False)


def _type(wire: Wire, length: int) -> Iterator[str]:
    """A TypeProto in words: "float32[batch, 4]", "sequence(map(int64, float32))"."""
    for number, size in wire.walk(dict.fromkeys((1, 4, 5, 7, 8, 9), BYTES), length):
        if number in {1, 8}:
            yield _tensor_type(wire, size)
        elif number == 7:
            yield "opaque"
        else:
            name = {4: "sequence", 5: "map", 9: "optional"}[number]
            yield f"{name}({', '.join(_parts(wire, size, is_map=number == 5))[:250]})"


def _parts(wire: Wire, length: int, *, is_map: bool) -> Iterator[str]:
    wanted = {1: VARINT, 2: BYTES} if is_map else {1: BYTES}
    for number, value in wire.walk(wanted, length):
        if is_map and number == 1:
            yield DATA_TYPES.get(value, ("?", 0))[0]
        else:
            yield "".join(_type(wire, value))


def _tensor_type(wire: Wire, length: int) -> str:
    kind, shape = "?", ""
    for number, value in wire.walk({1: VARINT, 2: BYTES}, length):
        if number == 1:
            kind = DATA_TYPES.get(value, ("?", 0))[0]
        else:
            shape = f"[{', '.join(_shape(wire, value))}]"
    return kind + shape


def _shape(wire: Wire, length: int) -> Iterator[str]:
    for index, (_, size) in enumerate(wire.walk({1: BYTES}, length)):
        text = "?"
        for number, value in wire.walk({1: VARINT, 2: BYTES}, size):
            text = str(_signed(value)) if number == 1 else wire.text(value, 50) or "?"
        if index < _MOST_DIMENSIONS:
            yield text


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
