"""TensorFlow Lite (LiteRT), by tensorflow/compiler/mlir/lite/schema/schema.fbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.inspection.formats.flatbuffers import Buffer, Table
from adapters.inspection.formats.tensor_shapes import elements
from adapters.inspection.formats.tensorflow import note_graph_operators
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import CUT_SHORT, Malformed, Stream

# BuiltinOperator, by number.
_BUILTIN = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
    LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
    RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM
    CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
    SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM
    CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE
    SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW
    ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK
    REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR
    LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS
    WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG
    REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
    CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL
    BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD
    UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
    RIGHT_SHIFT
""".split()  # noqa: SIM905 - a table, not a text
_CUSTOM = 32
# TensorType: name and bits; texts and handles have no fixed size.
_TYPES = [
    ("float32", 32), ("float16", 16), ("int32", 32), ("uint8", 8), ("int64", 64), ("string", 0),
    ("bool", 8), ("int16", 16), ("complex64", 64), ("int8", 8), ("float64", 64),
    ("complex128", 128), ("uint64", 64), ("resource", 0), ("variant", 0), ("uint32", 32),
    ("uint16", 16), ("int4", 4), ("bfloat16", 16), ("int2", 2),
]  # fmt: skip
# Operators of TensorFlow itself that run in TensorFlow Lite.
_FLEX = "Flex"
# Custom by name, but in the library itself.
_INCLUDED = frozenset({"TFLite_Detection_PostProcess", "AudioSpectrogram", "Mfcc", "NumericVerify"})
_SPARSE = 6
_MOST_OPERATORS = 10_000
_MOST_BUFFERS = 100_000


def check_tflite(stream: Stream, notes: Notes) -> None:
    """Checks a model of TensorFlow Lite.

    Raises:
        Malformed: it is none, or broken.
        LimitExceeded: it has more parts than are looked at.
    """
    root = Buffer(stream.sought()).root()
    notes.fact("framework", "tflite")
    notes.fact("format_version", root.number(0, "I"))
    notes.fact("description", root.text(3))
    model = _Model(root, notes, _operators(root))
    for index, graph in enumerate(root.tables(2)):
        model.graph(graph, main=index == 0)
    if not model.tensors:
        raise Malformed("has no tensors: it is no TensorFlow Lite model")
    model.note()


def _operators(root: Table) -> list[tuple[bool, str]]:
    """Whether each kind of operator is a custom one, and its name."""
    found = []
    for code in root.tables(1):
        # The first is what there was before 127 operators, the other one has room for more.
        number = max(code.number(0, "b"), code.number(3, "i"))
        if number == _CUSTOM:
            found.append((True, code.text(1)))
        else:
            known = 0 <= number < len(_BUILTIN)
            found.append((False, _BUILTIN[number] if known else f"operator {number}"))
        if len(found) > _MOST_OPERATORS:
            raise Malformed(f"has more than {_MOST_OPERATORS} kinds of operators")
    return found


@dataclass(slots=True)
class _Model:
    root: Table
    notes: Notes
    codes: list[tuple[bool, str]]
    sizes: list[int] = field(init=False)
    weights: dict[int, int] = field(default_factory=dict)
    dtypes: set[str] = field(default_factory=set)
    tensors: int = 0

    def __post_init__(self) -> None:
        self.sizes = []
        for buffer in self.root.tables(4):
            self.sizes.append(self._size(buffer))
            if len(self.sizes) > _MOST_BUFFERS:
                raise Malformed(f"has more than {_MOST_BUFFERS} buffers")

    def graph(self, graph: Table, *, main: bool) -> None:
        """Checks one graph; what it takes and gives is noted for the main one."""
        tensors = [self._tensor(each) for each in graph.tables(0)]
        self.tensors += len(tensors)
        for key, number in (("inputs", 1), ("outputs", 2)):
            ports = _within(graph.numbers(number, "i"), tensors)
            if main:
                self.notes.fact(key, ports)
        for operator in graph.tables(3):
            if operator.number(0, "I") >= len(self.codes):
                raise Malformed("is damaged: it has an operator of a kind that it does not name")
            _within([*operator.numbers(1, "i"), *operator.numbers(2, "i")], tensors)

    def note(self) -> None:
        """Notes the tensors and operators."""
        notes = self.notes
        notes.fact("tensors", self.tensors)
        notes.fact("parameters", sum(self.weights.values()))
        notes.fact("dtypes", self.dtypes)
        notes.fact("operators", [name for _, name in self.codes])
        for entry in self.root.tables(6):
            if entry.text(0) == "min_runtime_version":
                self._runtime(entry.number(1, "I"))
        custom = {name for is_custom, name in self.codes if is_custom}
        note_graph_operators(
            {name.removeprefix(_FLEX) for name in custom if name.startswith(_FLEX)}, notes
        )
        notes.fact("custom_operators", custom)
        for name in sorted(custom - _INCLUDED):
            if name.startswith(_FLEX):
                notes.tell(
                    "tflite.flex_operator",
                    f"{notes.place} needs TensorFlow's own operator {shown(name)} beside those of "
                    "TensorFlow Lite.",
                    subject=name,
                )
            else:
                notes.hold(
                    "tflite.custom_operator",
                    f"{notes.place} needs the operator {shown(name)}, which TensorFlow Lite does "
                    "not have: it comes from a native library, to be loaded beside the model.",
                    subject=f"tflite::{name}",
                )

    def _size(self, buffer: Table) -> int:
        # Buffers of models beyond 2 GB lie after the FlatBuffer, at an offset in the file.
        if buffer.has(1) and (size := buffer.number(2, "Q")):
            if buffer.number(1, "Q") + size > self.root.buffer.size:
                raise Malformed(CUT_SHORT)
            return size
        return buffer.length(0)

    def _tensor(self, tensor: Table) -> str:
        """Counts it if it holds weights, and describes it."""
        shape = tensor.numbers(0, "i")
        number = tensor.number(1, "b")
        kind, bits = _TYPES[number] if 0 <= number < len(_TYPES) else (f"type {number}", 0)
        index = tensor.number(2, "I")
        if index >= max(len(self.sizes), 1):
            raise Malformed("is damaged: it has a tensor in a buffer that there is not")
        size = self.sizes[index] if self.sizes else 0
        if size and not tensor.has(_SPARSE):
            count = elements(shape)
            if bits and size * 8 < count * bits:
                raise Malformed(
                    f"has a tensor of {size} bytes whose shape needs {count * bits // 8}"
                )
            self.weights[index] = count
            self.dtypes.add(kind)
        sides = tensor.numbers(7, "i") or shape
        dims = ", ".join("?" if side < 0 else str(side) for side in sides[:32])
        return f"{tensor.text(3)[:100]}: {kind}[{dims}]"

    def _runtime(self, index: int) -> None:
        for number, buffer in enumerate(self.root.tables(4)):
            if number == index and 0 < buffer.length(0) <= 32:
                version = "".join(map(chr, buffer.numbers(0, "B")))
                self.notes.fact("framework_version", version.rstrip("\0"))
                return


def _within(indices: Sequence[int], tensors: list[str]) -> list[str]:
    """The tensors of these numbers; -1 is one that was left out."""
    if any(not -1 <= index < len(tensors) for index in indices):
        raise Malformed("is damaged: it refers to a tensor that there is not")
    return [tensors[index] for index in indices if index >= 0]
