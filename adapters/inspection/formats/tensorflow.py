"""TensorFlow: SavedModel and GraphDef, by the messages of tensorflow/core: graph.proto,
saved_model.proto, meta_graph.proto and saved_object_graph.proto.

A graph is a program: its operators may read and write files, or call the Python of the process that
made it. What variables hold lies in other files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from adapters.inspection.formats.keras import MOST_METADATA, check_layers
from adapters.inspection.formats.protobuf_wire import BYTES, VARINT, Wanted, Wire
from adapters.inspection.formats.references import leaves_folder
from adapters.inspection.formats.tensor_shapes import elements
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import LimitExceeded, Malformed, Stream

_META_GRAPH = dict.fromkeys((1, 2, 5, 6, 7), BYTES)
_GRAPH = {1: BYTES, 2: BYTES}
_MAP: Wanted = {1: BYTES, 2: BYTES}

# DataType of tensorflow/core/framework/types.proto: name and bits; 100 and more are references.
_DATA_TYPES = {
    1: ("float32", 32), 2: ("float64", 64), 3: ("int32", 32), 4: ("uint8", 8), 5: ("int16", 16),
    6: ("int8", 8), 7: ("string", 0), 8: ("complex64", 64), 9: ("int64", 64), 10: ("bool", 8),
    11: ("qint8", 8), 12: ("quint8", 8), 13: ("qint32", 32), 14: ("bfloat16", 16),
    15: ("qint16", 16), 16: ("quint16", 16), 17: ("uint16", 16), 18: ("complex128", 128),
    19: ("float16", 16), 20: ("resource", 0), 21: ("variant", 0), 22: ("uint32", 32),
    23: ("uint64", 64), 24: ("float8e5m2", 8), 25: ("float8e4m3fn", 8), 29: ("int4", 0),
    30: ("uint4", 0),
}  # fmt: skip
_WEIGHTS = frozenset({1, 2, 14, 19, 24, 25})

# What reads and writes the files or talks to the hosts that the graph names. Not Save, Restore and
# MergeV2Checkpoints: they are in every SavedModel, and work on the file that the loader names.
_RISKS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    (
        "graph.python_function",
        "calls Python code that is not in the file",
        re.compile(r"(?:Eager)?PyFunc(?:Stateless)?"),
    ),
    (
        "graph.file_access",
        "reads or writes files when it runs",
        re.compile(
            r"""(?:Experimental)? (?:
                  ReadFile | WriteFile | MatchingFiles(?:Dataset)? | PrintV2ToFile
                | (?: WholeFile | TextLine | FixedLengthRecord | TFRecord | LMDB )Reader(?:V2)?
                | (?: TextLine | FixedLengthRecord | TFRecord | CSV | Sql | LMDB | Load | Save
                    | Snapshot )Dataset(?:Reader|V2)?
                | DatasetToTFRecord | CreateSummary(?:File|Db)Writer | BigQueryReader
                | CacheDataset(?:V2)? | ListSnapshotChunksDataset | SnapshotChunkDataset
                | SnapshotNestedDatasetReader | DistributedSave | LoadAndRemapMatrix
                | GenerateVocabRemapping | CalibrationStatisticsSaver | FileSystemSetConfiguration
                | Dump\w*Tensor\w* | ImmutableConst )""",
            re.VERBOSE,
        ),
    ),
    (
        "graph.network_access",
        "talks to other hosts when it runs",
        # The debugger's operators send what they see to a file or host that they name.
        re.compile(
            r"(?:Try)?Rpc\w*|DataServiceDataset(?:V[2-9])?|RegisterDataset(?:V2)?|RemoteCall"
            r"|Debug(?:Identity|NanCount|NumericSummary)(?:V[2-9])?"
        ),
    ),
    (
        "graph.compiled_part",
        "has a part that was compiled for one kind of device, which cannot be looked into",
        re.compile(r"TRTEngineOp|RemoteFusedGraphExecute|XlaCustomCall(?:V2)?"),
    ),
    (
        "graph.custom_operator",
        "needs an operator from a native library, to be loaded beside the model",
        re.compile(r"(?!Addons>).*>.*", re.DOTALL),
    ),
)
_MOST_DISTINCT = 10_000
_MOST_DIMENSIONS = 254
# A tensor whose numbers are all the same is written as one of them, so its size proves nothing.
_MOST_ELEMENTS = 1 << 40


def check_graph_def(stream: Stream, notes: Notes) -> None:
    """Checks a GraphDef, such as a frozen graph.

    Raises:
        Malformed: it is none, or broken.
        LimitExceeded: it has more parts than are looked at.
    """
    _can_carry_code(notes)
    graph = _Graph(Wire(stream), notes)
    try:
        graph.read(None)
    finally:
        graph.note()
    if not graph.operators:
        raise Malformed("has no operators: it is no TensorFlow graph")


def check_saved_model(stream: Stream, notes: Notes) -> None:
    """Checks the saved_model.pb of a SavedModel.

    Raises:
        Malformed: it is none, or broken.
        LimitExceeded: it has more parts than are looked at.
    """
    _can_carry_code(notes)
    wire = Wire(stream)
    graph = _Graph(wire, notes)
    model = _SavedModel(wire, notes, graph)
    try:
        for number, value in wire.walk({1: VARINT, 2: BYTES}):
            if number == 1:
                notes.fact("format_version", value)
            else:
                model.meta_graph(value)
    finally:
        graph.note()
        model.note()
    if not graph.operators:
        raise Malformed("has no operators: it is no SavedModel")


def note_graph_operators(operators: set[str], notes: Notes) -> None:
    """Notes which operators of TensorFlow do more than to compute."""
    for name in sorted(operators):
        for code, does, pattern in _RISKS:
            if pattern.fullmatch(name):
                message = f"{notes.place} {does} (the operator {shown(name)})."
                notes.hold(code, message, subject=f"tensorflow::{name}")
                break


def _can_carry_code(notes: Notes) -> None:
    notes.can_carry_code(
        f"{notes.place} is a TensorFlow graph: a program, which may read and write files."
    )


@dataclass(slots=True)
class _Graph:
    """What the nodes of a GraphDef and of its library of functions tell."""

    wire: Wire
    notes: Notes
    operators: set[str] = field(default_factory=set)
    dtypes: set[str] = field(default_factory=set)
    tensors: int = 0
    parameters: int = 0

    def read(self, length: int | None) -> None:
        for number, size in self.wire.walk(_GRAPH, length):
            if number == 1:
                self._node(size)
            else:
                for _, function in self.wire.walk({1: BYTES}, size):
                    for _, node in self.wire.walk({3: BYTES}, function):
                        self._node(node)

    def note(self) -> None:
        notes = self.notes
        notes.fact("framework", "tensorflow")
        notes.fact("operators", self.operators)
        custom = [name for name in self.operators if ">" in name]
        notes.fact("custom_operators", custom)
        notes.fact("dtypes", self.dtypes)
        notes.fact("tensors", self.tensors or None)
        notes.fact("parameters", self.parameters or None)
        note_graph_operators(self.operators, notes)

    def count(self, data_type: int, count: int) -> None:
        """Counts a tensor of weights."""
        self.tensors += 1
        self.dtypes.add(_name(data_type))
        self.parameters += count

    def _node(self, length: int) -> None:
        name = ""
        for number, size in self.wire.walk({2: BYTES, 5: BYTES}, length):
            if number == 2:
                name = self.wire.text(size, 250)
                self._use(name)
            else:
                self._attribute(size, name)

    def _use(self, operator: str) -> None:
        self.operators.add(operator)
        if len(self.operators) > _MOST_DISTINCT:
            raise LimitExceeded(f"has more than {_MOST_DISTINCT} different operators", bomb=False)

    def _attribute(self, length: int, operator: str) -> None:
        key, valued = "", False
        for number, size in self.wire.walk(_MAP, length):
            if number == 1:
                if valued:
                    raise Malformed("has an operator with a setting whose name follows it")
                key = self.wire.text(size, 100)
                continue
            valued = True
            if key == "value" and operator == "Const":
                for _, tensor in self.wire.walk({8: BYTES}, size):
                    self._tensor(tensor)
            elif key == "output_stream":
                for _, target in self.wire.walk({2: BYTES}, size):
                    if self.wire.text(target, 100).startswith("file"):
                        self._use("PrintV2ToFile")

    def _tensor(self, length: int) -> None:
        data_type, content, dims = 0, 0, [0]
        for number, value in self.wire.walk({1: VARINT, 2: BYTES, 4: BYTES}, length):
            if number == 1:
                data_type = value
            elif number == 2:
                dims = _dims(self.wire, value)
            else:
                content = value
        bits = _DATA_TYPES.get(data_type, ("", 0))[1]
        count = elements(dims, most=_MOST_ELEMENTS, sides=_MOST_DIMENSIONS)
        if content and bits and content * 8 != count * bits:
            needed = count * bits // 8
            raise Malformed(f"has a tensor of {content} bytes whose shape needs {needed}")
        if data_type in _WEIGHTS:
            self.count(data_type, count)


@dataclass(slots=True)
class _SavedModel:
    """What a MetaGraphDef tells beside its graph."""

    wire: Wire
    notes: Notes
    graph: _Graph
    tags: set[str] = field(default_factory=set)
    version: str = ""
    signatures: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)

    def meta_graph(self, length: int) -> None:
        for number, size in self.wire.walk(_META_GRAPH, length):
            if number == 1:
                self._info(size)
            elif number == 2:
                self.graph.read(size)
            elif number == 5:
                self._signature(size)
            elif number == 6:
                self._asset(size)
            else:
                self._objects(size)

    def note(self) -> None:
        self.notes.fact("framework_version", self.version)
        self.notes.fact("tags", self.tags)
        named = [name for name in self.signatures if not name.startswith("__saved_model")]
        chosen = ["serving_default"] if "serving_default" in named else named
        for index, key in enumerate(("inputs", "outputs")):
            self.notes.fact(key, [v for n in chosen for v in self.signatures[n][index]])

    def _info(self, length: int) -> None:
        for number, size in self.wire.walk({4: BYTES, 5: BYTES}, length):
            text = self.wire.text(size, 100)
            if number == 5:
                self.version = text
            elif len(self.tags) < 100:
                self.tags.add(text)

    def _signature(self, length: int) -> None:
        name = ""
        values: tuple[list[str], list[str]] = ([], [])
        for number, size in self.wire.walk(_MAP, length):
            if number == 1:
                name = self.wire.text(size, 250)
                continue
            for side, entry in self.wire.walk({1: BYTES, 2: BYTES}, size):
                described = self._tensor_info(entry)
                if len(values[side - 1]) < 100:
                    values[side - 1].append(described)
        if len(self.signatures) < 100:
            self.signatures[name] = values

    def _tensor_info(self, length: int) -> str:
        name, kind, shape = "", "?", ""
        for number, size in self.wire.walk(_MAP, length):
            if number == 1:
                name = self.wire.text(size, 100)
                continue
            for part, value in self.wire.walk({2: VARINT, 3: BYTES}, size):
                if part == 2:
                    kind = _name(value)
                else:
                    dims = (d if d < 1 << 63 else "?" for d in _dims(self.wire, value))
                    shape = f"[{', '.join(map(str, dims))}]"
        return f"{name}: {kind}{shape}"

    def _asset(self, length: int) -> None:
        for _, size in self.wire.walk({2: BYTES}, length):
            name = self.wire.whole_text(size, "the name of a file")
            if leaves_folder(name):
                self.notes.refuse(
                    "graph.asset_outside",
                    f"{self.notes.place} is to read '{shown(name)}' when it is loaded, which is "
                    "outside the folder of the model.",
                    subject=name,
                )

    def _objects(self, length: int) -> None:
        for _, size in self.wire.walk({1: BYTES}, length):
            for number, part in self.wire.walk({4: BYTES, 7: BYTES}, size):
                if number == 7:
                    self._variable(part)
                else:
                    self._user_object(part)

    def _variable(self, length: int) -> None:
        data_type, trainable, dims = 0, 0, [0]
        for number, value in self.wire.walk({1: VARINT, 2: BYTES, 3: VARINT}, length):
            if number == 1:
                data_type = value
            elif number == 2:
                dims = _dims(self.wire, value)
            else:
                trainable = value
        if trainable and all(dim < 1 << 63 for dim in dims):
            self.graph.count(data_type, elements(dims, most=_MOST_ELEMENTS, sides=_MOST_DIMENSIONS))

    def _user_object(self, length: int) -> None:
        """The configuration of a Keras layer, as TensorFlow wrote it before 2.5."""
        for _, size in self.wire.walk({3: BYTES}, length):
            if size > MOST_METADATA:
                raise Malformed(f"describes a layer in {size} bytes")
            check_layers(self.wire.data(size), self.notes)


def _name(data_type: int) -> str:
    return _DATA_TYPES.get(data_type % 100, (f"type {data_type}", 0))[0]


def _dims(wire: Wire, length: int) -> list[int]:
    """The sizes in a TensorShapeProto; unknown ones are -1 in 64 bits, as they are written."""
    dims: list[int] = []
    for number, value in wire.walk({2: BYTES, 3: VARINT}, length):
        if number == 3:
            continue
        size = 0
        for _, size in wire.walk({1: VARINT}, value):  # noqa: B007 - the last one counts
            pass
        dims.append(size)
        if len(dims) > _MOST_DIMENSIONS:
            raise Malformed(f"has a tensor of more than {_MOST_DIMENSIONS} dimensions")
    return dims
