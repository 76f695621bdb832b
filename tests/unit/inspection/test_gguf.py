"""GGUF: keys, tensors and data fit each other; nothing is believed that a file merely claims."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from adapters.inspection.formats import gguf
from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import Coverage, FileReport, Severity
from domain.values import FilePath
from tests.support.inspecting import refusals

U32, F32, STRING, ARRAY = 4, 6, 8, 9


@dataclass
class Gguf:
    """A file in the making; what is not given is as it should be."""

    order: str = "<"
    version: int = 3
    keys: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)
    length: int = 0
    claimed_keys: int | None = None
    claimed_tensors: int | None = None

    @property
    def size(self) -> str:
        return "I" if self.version == 1 else "Q"

    def pack(self, kinds: str, *values: int) -> bytes:
        return struct.pack(self.order + kinds, *values)

    def text(self, text: str) -> bytes:
        return self.pack(self.size, len(text.encode())) + text.encode()

    def texts(self, *texts: str) -> bytes:
        return self.pack(f"I{self.size}", STRING, len(texts)) + b"".join(map(self.text, texts))

    def key(self, name: str, kind: int, value: bytes) -> Gguf:
        self.keys.append(self.text(name) + self.pack("I", kind) + value)
        return self

    def tensor(self, name: str, shape: list[int], kind: int, begin: int, size: int = 0) -> Gguf:
        layout = f"I{len(shape)}{self.size}IQ"
        self.tensors.append(self.text(name) + self.pack(layout, len(shape), *shape, kind, begin))
        self.length = max(self.length, begin + size)
        return self

    def built(self) -> bytes:
        tensors = len(self.tensors) if self.claimed_tensors is None else self.claimed_tensors
        keys = len(self.keys) if self.claimed_keys is None else self.claimed_keys
        head = b"GGUF" + self.pack(f"I2{self.size}", self.version, tensors, keys)
        head += b"".join([*self.keys, *self.tensors])
        return head + (bytes(-len(head) % 32 + self.length) if self.tensors else b"")


def small(order: str = "<", version: int = 3) -> Gguf:
    file = Gguf(order, version)
    file.key("general.architecture", STRING, file.text("llama"))
    return file.tensor("a", [8, 2], 0, 0, 64)


def inspected(data: bytes) -> FileReport:
    return inspect_file(Stream.of_bytes(data), FilePath("model.gguf"))


def refusal(data: bytes) -> str:
    return refusals(inspected(data))[0]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_model_is_described(order: str, version: int) -> None:
    file = small(order, version)
    file.key("general.name", STRING, file.text("Tiny"))
    file.key("general.license", STRING, file.text("mit"))
    file.key("general.file_type", U32, file.pack("I", 15))
    file.key("llama.context_length", U32, file.pack("I", 4096))
    file.key("tokenizer.ggml.tokens", ARRAY, file.texts("a", "b" * 300_000, "", "c"))
    file.key("tokenizer.ggml.scores", ARRAY, file.pack(f"I{file.size}3I", F32, 3, 0, 0, 0))
    file.key("tokenizer.chat_template", STRING, file.text("{{ messages[0].content }}"))
    file.tensor("b", [256, 3], 12, 64, 432)

    report = inspected(file.built())

    assert report.findings == ()
    assert report.facts == {
        "architecture": "llama",
        "chat_template": True,
        "context_length": 4096,
        "dtypes": ["F32", "Q4_K"],
        "format_version": version,
        "license": "mit",
        "name": "Tiny",
        "parameters": 16 + 768,
        "quantization": "Q4_K_M",
        "tensors": 2,
    } | ({"byte_order": "big"} if order == ">" else {})


@pytest.mark.parametrize("kind", range(13))
def test_values_of_every_type_are_passed_over(kind: int) -> None:
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 7: 1, 10: 8, 11: 8, 12: 8, STRING: 9, ARRAY: 16}
    file = small()
    one = file.text("x") if kind == STRING else bytes(sizes.get(kind, 4))
    if kind == ARRAY:
        one = file.pack("IQ", U32, 1) + bytes(4)
    file.key("one", kind, one)
    file.key("some", ARRAY, file.pack("IQ", kind, 3) + one * 3)
    file.key("llama.block_count", U32, file.pack("I", 7))

    report = inspected(file.built())

    assert report.findings == ()
    assert report.facts["layers"] == 7


def test_padding_after_the_last_tensor_is_part_of_the_file() -> None:
    file = Gguf().tensor("a", [3], 0, 0, 12)

    assert inspected(file.built()).findings == ()
    assert inspected(file.built() + bytes(20)).findings == ()
    assert "its header promises" in refusal(file.built() + bytes(21))


def test_a_file_may_be_a_vocabulary_alone() -> None:
    file = Gguf()
    file.key("tokenizer.ggml.tokens", ARRAY, file.texts("a", "b"))

    assert inspected(file.built()).findings == ()


def test_a_template_that_reaches_into_python_is_held() -> None:
    file = small()
    text = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    file.key("tokenizer.chat_template.tool_use", STRING, file.text(text))

    (finding,) = inspected(file.built()).findings

    assert finding.severity is Severity.WARNING
    assert "the template in tokenizer.chat_template.tool_use reaches into Python" in finding.message


def test_types_of_forks_are_held_and_types_of_nobody_refused() -> None:
    (finding,) = inspected(Gguf().tensor("a", [8], 340, 0, 40).built()).findings

    assert finding.severity is Severity.WARNING
    assert "type 340" in finding.message
    assert "a type that does not exist" in refusal(Gguf().tensor("a", [8], 999_999, 0).built())
    assert "promises more than" in refusal(Gguf().tensor("a", [8], 340, 0).built()[:-1])


def nested(file: Gguf) -> Gguf:
    return file.key("deep", ARRAY, file.pack("IQ", ARRAY, 1) * 9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.tensor("a", [8], 0, 64, 32), "two tensors named a"),
        (lambda f: f.key("general.architecture", U32, bytes(4)), "two values for general.arch"),
        (lambda f: f.tensor("b", [8], 0, 32, 32), "overlap at byte 32"),
        (lambda f: f.tensor("b", [8], 0, 128, 32), "leave a gap at byte 128"),
        (lambda f: f.tensor("b", [8], 0, 65, 32), "where none can"),
        (lambda f: f.tensor("b", [1 << 62, 2], 0, 64), "where none can"),
        (lambda f: f.tensor("b", [100], 12, 64), "no whole blocks"),
        (lambda f: f.tensor("b", [1] * 9, 0, 64), "9 dimensions"),
        (lambda f: f.tensor("b", [8], 0, 64, 31), "its header promises"),
        (lambda f: f.tensor("b" * 300, [8], 0, 64), "has a text of 300 bytes"),
        (lambda f: f.key("general.alignment", U32, f.pack("I", 0)), "no power of two"),
        (lambda f: f.key("general.alignment", U32, f.pack("I", 48)), "no power of two"),
        (lambda f: f.key("x", 13, bytes(4)), "a value of a type that does not exist (13)"),
        (lambda f: f.key("x", ARRAY, f.pack("IQ", 99, 1)), "a type that does not exist (99)"),
        (lambda f: f.key("x", ARRAY, f.pack("IQ", STRING, 1 << 40)), "has no room for"),
        (lambda f: f.key("x", ARRAY, f.pack("IQ", F32, 1 << 60)), "cut short"),
        (lambda f: f.key("x", STRING, f.pack("Q", (1 << 64) - 1)), "cut short"),
        (lambda f: f.key("x", ARRAY, f.pack("IQQ", STRING, 1, 1 << 63)), "cut short"),
        (lambda f: setattr(f, "claimed_tensors", 1 << 60), "which it has no room for"),
        (lambda f: setattr(f, "claimed_keys", 1 << 60), "which it has no room for"),
        (lambda f: setattr(f, "version", 4), "does not exist (4)"),
        (nested, "lists in lists"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[[Gguf], object], said: str) -> None:
    file = small()
    change(file)

    assert said in refusal(file.built())


def test_a_file_is_refused_wherever_it_is_cut() -> None:
    file = small()
    file.key("tokenizer.ggml.tokens", ARRAY, file.texts("a", "b"))
    data = file.built()

    assert all(refusal(data[:end]) for end in range(24, len(data)))


def test_a_file_that_holds_nothing_is_refused() -> None:
    assert "holds nothing" in refusal(Gguf().built())


def test_more_than_is_read_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MOST_ELEMENTS", 3)
    file = small()
    file.key("x", ARRAY, file.texts(*"abcd"))

    assert inspected(file.built()).coverage is Coverage.PARTIAL


def test_bytes_that_come_once_are_counted_to_the_end() -> None:
    data = small().built()
    for body, sound in ((data, True), (data[:-1], False), (data + b"!", False)):
        packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(body)))
        stream = Stream(packed, None, seekable=False)  # type: ignore[arg-type]

        assert (not inspect_file(stream, FilePath("model.gguf")).findings) is sound
