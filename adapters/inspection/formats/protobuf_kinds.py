"""Which kind of model a protocol buffer is: there is no magic number, but the numbers and types of
its fields tell. A head that may be cut anywhere is enough; :mod:`protobuf_wire` reads the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adapters.inspection.formats.protobuf_wire import BYTES, FIXED32, FIXED64, VARINT

_ONNX = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_ONNX_GRAPH = frozenset((number, 2) for number in (1, 2, 5, 10, 11, 12, 13, 14, 15, 16))
_AFTER = {(6, BYTES), (7, BYTES)}
_OPERATION = re.compile(rb"[A-Z_][A-Za-z0-9_>.]*")
_CORE_ML_KINDS = frozenset(
    {10, 500, 501, 502, 555, 556, 900, 3000}
    | {*range(200, 210), *range(300, 310), *range(400, 410), *range(560, 570), *range(600, 620)}
    | {*range(2000, 2010)}
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; ``content`` is cut where the head ends, 0 bytes for a number."""

    number: int
    wire_type: int
    value: int
    content: bytes


def _varint(data: bytes, at: int) -> tuple[int, int] | None:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return None


def fields(head: bytes, most: int = 64) -> list[Field]:
    """The first fields of a message; none if this cannot be one."""
    found: list[Field] = []
    at = 0
    while at < len(head) and len(found) < most:
        tag = _varint(head, at)
        if tag is None:
            break
        number, wire_type = tag[0] >> 3, tag[0] & 7
        at = tag[1]
        if not 0 < number <= 100_000 or wire_type not in {VARINT, FIXED64, BYTES, FIXED32}:
            return []
        value, content = 0, b""
        if wire_type in {VARINT, BYTES}:
            number_read = _varint(head, at)
            if number_read is None:
                break
            value, at = number_read
            if wire_type == BYTES:
                content = head[at : at + value]
                at += value
        else:
            at += 8 if wire_type == FIXED64 else 4
        found.append(Field(number, wire_type, value, content))
    return found


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def is_onnx(message: list[Field]) -> bool:
    """ModelProto: ir_version 1, names and versions 2 to 6, graph 7, opset_import 8."""
    if any(_ONNX.get(field.number) != field.wire_type for field in message):
        return False
    graphs = [field for field in message if field.number == 7]
    return (
        bool(graphs)
        and all(field.value < 1000 for field in message if field.number == 1)
        and all(_is_text(field.content) for field in message if field.number in {2, 3, 4})
        and all(_is_onnx_graph(field) for field in graphs)
    )


def _is_onnx_graph(field: Field) -> bool:
    inner = fields(field.content)
    return bool(inner) and all(
        (part.number, part.wire_type) in _ONNX_GRAPH
        and (part.number != 2 or _is_text(part.content))
        for part in inner
    )


def is_saved_model(message: list[Field]) -> bool:
    """SavedModel: its version 1 is 1, then nothing but meta graphs 2, which begin with a message
    about themselves 1 or with the graph 2."""
    if not is_described(message) or message[0].value != 1:
        return False
    inner = fields(message[1].content)
    return (
        all((field.number, field.wire_type) == (2, BYTES) for field in message[1:])
        and inner[0].number in {1, 2}
        and all(field.number < 8 and field.wire_type == BYTES for field in inner)
        # Core ML has the inputs of a model here, whose first part is their name.
        and not (inner[0].number == 1 and _is_feature(inner[0]))
    )


def _is_feature(field: Field) -> bool:
    parts = [(part.number, part.wire_type) for part in fields(field.content)]
    return parts[:1] == [(1, BYTES)] and (3, BYTES) in parts


def is_fingerprint(message: list[Field]) -> bool:
    """FingerprintDef, beside every SavedModel: hashes 1 to 5, a version 6, an identifier 7."""
    kinds = [(field.number, field.wire_type) for field in message]
    return (
        kinds[:2] == [(1, VARINT), (2, VARINT)]
        and message[0].value > 1 << 32
        and all(kind in {(each, VARINT) for each in range(1, 6)} | _AFTER for kind in kinds)
    )


def is_keras_metadata(message: list[Field]) -> bool:
    """SavedMetadata, beside SavedModels of Keras 2: nodes 1, each with its number 2, path 3, kind 4
    and configuration 5."""
    return all((field.number, field.wire_type) == (1, BYTES) for field in message) and any(
        field.number == 4 and field.content.startswith(b"_tf_keras_")
        for field in fields(message[0].content)
    )


def is_described(message: list[Field]) -> bool:
    """A version number, then a message: how SavedModel and Core ML begin."""
    if len(message) < 2:
        return False
    first, second = message[:2]
    return (
        (first.number, first.wire_type) == (1, VARINT)
        and 1 <= first.value < 100
        and (second.number, second.wire_type) == (2, BYTES)
        and bool(fields(second.content))
    )


def is_core_ml(message: list[Field]) -> bool:
    """Model: specificationVersion 1, description 2, then the field of its kind of model."""
    return (
        len(message) > 2
        and is_described(message)
        and all(field.number in _CORE_ML_KINDS for field in message[2:])
    )


def is_graph_def(message: list[Field]) -> bool:
    """GraphDef: nodes 1, each with a name 1 and an operation 2; library 2, versions 3 and 4,
    where it comes from 5."""
    nodes = [field for field in message if field.number == 1]
    if not nodes or any(field.number > 5 for field in message) or message[0].number != 1:
        return False
    inner = fields(nodes[0].content)
    return (
        len(inner) >= 2
        and [(field.number, field.wire_type) for field in inner[:2]] == [(1, 2), (2, 2)]
        and _is_text(inner[0].content)
        and _OPERATION.fullmatch(inner[1].content) is not None
    )


def is_sentencepiece(message: list[Field]) -> bool:
    """ModelProto of SentencePiece: pieces 1, each a text 1 with a score 2 (a float)."""
    pieces = [field for field in message if field.number == 1]
    return bool(pieces) and message[0] is pieces[0] and all(map(_is_piece, pieces))


def _is_piece(field: Field) -> bool:
    if field.wire_type != BYTES:
        return False
    parts = [(part.number, part.wire_type) for part in fields(field.content)]
    cut = field.value > len(field.content)
    return parts[:2] == [(1, BYTES), (2, FIXED32)] or (cut and not parts[1:])
