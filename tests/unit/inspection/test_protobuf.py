"""Protocol buffers: walked forward, field by field, without believing a length."""

from __future__ import annotations

import io
import random
import struct

import pytest

from adapters.inspection.formats import protobuf_kinds
from adapters.inspection.formats.protobuf_wire import BYTES, FIXED32, FIXED64, VARINT, Wanted, Wire
from adapters.inspection.formats.references import leaves_folder
from adapters.inspection.streams import LimitExceeded, Malformed, Stream
from tests.support.corpus import CORPUS
from tests.support.messages import entry, number, part, varint


def once(data: bytes, size: int | None = None) -> Stream:
    """Bytes that come out of a decompressor: only once, and who knows how many."""
    return Stream(io.BytesIO(data), size, seekable=False)


def walked(data: bytes, wanted: Wanted, stream: Stream | None = None) -> list[tuple[int, int]]:
    return list(Wire(stream or Stream.of_bytes(data)).walk(wanted))


def test_wanted_fields_are_given_and_others_passed() -> None:
    data = number(1, 300) + part(2, "passed") + part(3, "text") + b"\x25\1\0\0\0" + number(1, 5)
    assert walked(data, {1: VARINT, 3: BYTES, 4: FIXED32}) == [(1, 300), (3, 4), (4, 1), (1, 5)]


@pytest.mark.parametrize("field", [1, 15, 16, 2047, 2048, 100_000, (1 << 29) - 1])
def test_fields_may_have_any_number(field: int) -> None:
    data = number(field, 1) + number(3, 7) * 100 + number(field, 2)
    assert walked(data, {field: VARINT}) == [(field, 1), (field, 2)]


def test_packed_numbers_come_one_by_one() -> None:
    assert walked(part(1, varint(3) + varint(700)), {1: VARINT}) == [(1, 3), (1, 700)]


def test_content_may_be_read_walked_or_left() -> None:
    wire = Wire(Stream.of_bytes(part(1, "name") + part(2, number(1, 7)) + part(3, b"x" * 10**6)))
    seen: list[object] = []
    for field, length in wire.walk(dict.fromkeys((1, 2, 3), BYTES)):
        if field == 1:
            seen.append(wire.text(length))
        elif field == 2:
            seen += wire.walk({1: VARINT}, length)
        else:
            seen.append(wire.text(length, most=3))
    assert seen == ["name", (1, 7), "xxx"]


def _random_message(rng: random.Random) -> tuple[bytes, list[tuple[int, int, int]]]:
    """A message, and number, wire type, value or length of its fields."""
    data, fields = b"", []
    for _ in range(rng.randrange(1, 400)):
        field = rng.choice([1, 2, 3, 7, 15, 16, 99, 2047, 2048, 100_000])
        wire_type = rng.choice([VARINT, BYTES, FIXED32, FIXED64])
        value = rng.choice([0, 1, 127, 128, 1 << 20, (1 << 64) - 1])
        if wire_type == BYTES:
            value = rng.choice([0, 1, 5, 127, 128, 3000])
            data += part(field, rng.randbytes(value))
        elif wire_type == VARINT:
            data += number(field, value)
        else:
            value %= 1 << 32
            size = "<I" if wire_type == FIXED32 else "<Q"
            data += varint(field << 3 | wire_type) + struct.pack(size, value)
        fields.append((field, wire_type, value))
    return data, fields


@pytest.mark.parametrize("seed", range(20))
def test_runs_of_small_fields_are_passed_to_the_very_byte(seed: int) -> None:
    rng = random.Random(seed)
    data, fields = _random_message(rng)
    for wire_type in (VARINT, BYTES, FIXED32, FIXED64):
        alone = [f for f in {f for f, _, _ in fields} if {w for g, w, _ in fields if g == f} == {
            wire_type}]  # fmt: skip
        wanted = dict.fromkeys([*alone, 5], wire_type)
        expected = [(f, v) for f, _, v in fields if f in alone]
        assert walked(data, wanted) == expected
        assert walked(data, wanted, once(data)) == expected


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x0a\x05abc", "cut short"),
        (b"\x0a", "cut short"),
        (b"\x08\x80", "cut short"),
        (b"\x1d\x00\x00", "cut short"),
        (b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "cut short"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (b"\x00\x01", "without a valid number"),
        (b"\xff\xff\xff\xff\xff\x01\x01", "without a valid number"),
        (b"\x1b\x1c", "of a kind that there is not"),
        (b"\x1e\x00", "of a kind that there is not"),
        (b"\x0d\x00\x00\x00\x00", "of the wrong kind"),
        (b"\x10\x01", "of the wrong kind"),
    ],
)
def test_what_is_no_message_is_said_to_be_broken(data: bytes, what: str) -> None:
    wanted = {1: VARINT if data[0] == 8 else BYTES, 2: BYTES}
    for stream in (Stream.of_bytes(data), once(data, len(data))):
        with pytest.raises(Malformed, match=what):
            walked(data, wanted, stream)
    with pytest.raises(Malformed):
        walked(data, wanted, once(data))


def test_a_part_ends_within_what_it_is_in() -> None:
    inner = b"\x0a\x09short"
    wire = Wire(Stream.of_bytes(part(1, inner) + b"more than enough"))
    with pytest.raises(Malformed, match="longer than what it is in"):
        [list(wire.walk({1: BYTES}, length)) for _, length in wire.walk({1: BYTES})]


def test_messages_nest_as_deep_as_real_parsers_allow() -> None:
    def depth(wire: Wire, length: int | None = None) -> int:
        return 1 + max((depth(wire, size) for _, size in wire.walk({1: BYTES}, length)), default=0)

    data = b""
    for _ in range(99):
        data = part(1, data)
    assert depth(Wire(Stream.of_bytes(data))) == 100
    with pytest.raises(Malformed, match="deeper than 100"):
        depth(Wire(Stream.of_bytes(part(1, data))))


def test_endless_fields_are_not_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "MOST_FIELDS", 1000)
    for data in (b"\x0a\x00" * 1001, b"\x80\x80\x01\x00" * 1001, part(2, b"\x01" * 1001)):
        with pytest.raises(LimitExceeded) as caught:
            walked(data, {1: BYTES, 2: VARINT})
        assert not caught.value.bomb
    assert walked(b"\x18\x00" * 100_000 + number(2, 1), {2: VARINT}) == [(2, 1)]


def test_a_long_text_is_cut_or_refused() -> None:
    data = part(1, "x" * 5000)
    wire = Wire(Stream.of_bytes(data))
    assert [len(wire.text(length)) for _, length in wire.walk({1: BYTES})] == [4096]
    wire = Wire(Stream.of_bytes(data))
    with pytest.raises(Malformed, match="a name of 5000 bytes"):
        [wire.whole_text(length, "a name") for _, length in wire.walk({1: BYTES})]
    wire = Wire(Stream.of_bytes(part(1, b"\xff")))
    with pytest.raises(Malformed, match="a name that is no text"):
        [wire.whole_text(length, "a name") for _, length in wire.walk({1: BYTES})]


def test_other_messages_are_taken_for_no_model() -> None:
    fields = protobuf_kinds.fields((CORPUS / "notmodels/descriptor.onnx").read_bytes())
    assert fields
    for kind in (
        protobuf_kinds.is_onnx,
        protobuf_kinds.is_core_ml,
        protobuf_kinds.is_saved_model,
        protobuf_kinds.is_graph_def,
        protobuf_kinds.is_sentencepiece,
        protobuf_kinds.is_fingerprint,
        protobuf_kinds.is_keras_metadata,
    ):
        assert not kind(fields)


def test_the_companions_of_a_saved_model_are_known() -> None:
    fingerprint = number(1, 1 << 63) + number(2, 1 << 40) + part(6, number(1, 1)) + part(7, "id")
    metadata = part(1, number(2, 0) + part(3, "root") + part(4, "_tf_keras_model") + part(5, "{}"))
    assert protobuf_kinds.is_fingerprint(protobuf_kinds.fields(fingerprint))
    assert protobuf_kinds.is_keras_metadata(protobuf_kinds.fields(metadata))
    assert not protobuf_kinds.is_saved_model(protobuf_kinds.fields(metadata))


def test_a_vocabulary_consists_of_pieces_only() -> None:
    pieces = part(1, part(1, "a") + b"\x15\0\0\0\0") * 3
    node = part(1, part(1, "read") + part(2, "ReadFile"))
    assert protobuf_kinds.is_sentencepiece(protobuf_kinds.fields(pieces))
    assert not protobuf_kinds.is_sentencepiece(protobuf_kinds.fields(pieces + node))


def test_a_saved_model_differs_from_core_ml() -> None:
    saved = number(1, 1) + part(2, part(1, part(4, "serve")) + part(2, part(1, b"")))
    core_ml = number(1, 1) + part(2, part(1, part(1, "x") + part(3, part(2, b""))))
    assert protobuf_kinds.is_saved_model(protobuf_kinds.fields(saved))
    assert not protobuf_kinds.is_saved_model(protobuf_kinds.fields(core_ml))
    assert protobuf_kinds.is_core_ml(protobuf_kinds.fields(core_ml + part(500, b"")))
    assert not protobuf_kinds.is_core_ml(protobuf_kinds.fields(saved))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../w", "a/../../w", "a/..", "C:w", "C:\\w", "a\\..\\w", "https://x/w", "w\0",
     "w\x7f", "~/w", "file:/etc/passwd", "*/_ORT_MEM_ADDR_/*", ".", "./", "", "\\\\host\\w"],
)  # fmt: skip
def test_names_that_leave_the_folder(name: str) -> None:
    assert leaves_folder(name)


@pytest.mark.parametrize("name", ["w.bin", "a/b.data", "./w", "..w", "w..", "a..b/c", ".w"])
def test_names_inside_the_folder(name: str) -> None:
    assert not leaves_folder(name)


def test_entries_are_texts() -> None:
    wire = Wire(Stream.of_bytes(part(1, entry("key", "value"))))
    assert [wire.entry(length) for _, length in wire.walk({1: BYTES})] == [("key", "value")]
