"""ONNX Runtime's own format, by onnxruntime/core/flatbuffers/schema/ort.fbs."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.inspection.formats.flatbuffers import Buffer, Table
from adapters.inspection.formats.onnx_operators import DATA_TYPES, note_operators, note_opsets
from adapters.inspection.formats.tensor_shapes import elements
from adapters.inspection.report import Notes
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

_TENSOR_TYPE = 1
_STRING = 8
_MOST_DEPTH = 30
_MOST_DISTINCT = 10_000


def check_ort(stream: Stream, notes: Notes) -> None:
    """Checks an InferenceSession.

    Raises:
        Malformed: it is none, or broken.
        LimitExceeded: it has more parts than are looked at.
    """
    session = Buffer(stream.sought()).root()
    model = session.table(1)
    graph = model.table(7) if model is not None else None
    if model is None or graph is None:
        raise Malformed("has no graph: it is no model of ONNX Runtime")
    read = _Graphs(notes)
    read.graph(graph, 0)
    if not read.nodes and not read.tensors:
        raise Malformed("has neither operators nor tensors: it is no model of ONNX Runtime")
    facts: dict[str, str | int | list[str] | None] = {
        "framework": "onnxruntime",
        "format_version": session.text(0),
        "producer": " ".join(filter(None, (model.text(2), model.text(3)))),
        "parameters": read.parameters,
        "tensors": read.tensors,
        "dtypes": list(read.dtypes),
    }
    for key, value in facts.items():
        notes.fact(key, value or None)
    note_opsets({each.text(0): each.number(1, "q") for each in model.tables(1)}, notes)
    _note_ports(graph, notes)
    note_operators(read.operators, set(), notes)


@dataclass(slots=True)
class _Graphs:
    notes: Notes
    operators: set[tuple[str, str]] = field(default_factory=set)
    dtypes: set[str] = field(default_factory=set)
    nodes: int = 0
    tensors: int = 0
    parameters: int = 0

    def graph(self, graph: Table, depth: int) -> None:
        """Reads a graph, and those inside its operators."""
        if depth > _MOST_DEPTH:
            raise Malformed(f"nests graphs deeper than {_MOST_DEPTH}")
        for tensor in graph.tables(0):
            self._tensor(tensor)
        for sparse in graph.tables(7):
            if values := sparse.table(0):
                self._tensor(values)
        for node in graph.tables(2):
            self.nodes += 1
            self.operators.add((node.text(2), node.text(5)))
            if len(self.operators) > _MOST_DISTINCT:
                raise LimitExceeded(f"has more than {_MOST_DISTINCT} operators", bomb=False)
            for attribute in node.tables(10):
                inner = attribute.table(7)
                if inner is not None:
                    self.graph(inner, depth + 1)
                for each in attribute.tables(12):
                    self.graph(each, depth + 1)

    def _tensor(self, tensor: Table) -> None:
        kind = tensor.number(3, "i")
        name, bits = DATA_TYPES.get(kind, (f"type {kind}", 0))
        count = elements(tensor.numbers(2, "q"))
        size = tensor.length(4)
        if bits and size and size != (count * bits + 7) // 8:
            raise Malformed(
                f"has a tensor of {size} bytes whose shape needs {(count * bits + 7) // 8}"
            )
        self.tensors += 1
        self.parameters += count if size or kind == _STRING else 0
        self.dtypes.add(name)


def _note_ports(graph: Table, notes: Notes) -> None:
    ports = {key: list(graph.texts(number)) for key, number in (("inputs", 5), ("outputs", 6))}
    named = {name for names in ports.values() for name in names}
    types = {}
    for value in graph.tables(1):
        name = value.text(0)
        if name in named:
            types[name] = _type(value)
    for key, names in ports.items():
        notes.fact(key, [f"{name}: {types.get(name, '?')}" for name in names])


def _type(value: Table) -> str:
    info = value.table(2)
    tensor = info.table(2) if info is not None and info.number(1, "B") == _TENSOR_TYPE else None
    if tensor is None:
        return "?"
    name = DATA_TYPES.get(tensor.number(0, "i"), ("?", 0))[0]
    shape = tensor.table(1)
    if shape is None:
        return name
    sides: list[str] = []
    for dimension in shape.tables(0):
        side = dimension.table(0)
        if len(sides) < 32 and side is not None:
            sides.append(side.text(2) or (str(side.number(1, "q")) if side.has(1) else "?"))
    return f"{name}[{', '.join(sides)}]"
