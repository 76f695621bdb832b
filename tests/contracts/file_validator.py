"""What every file validator must do. A subclass brings the fixture."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from application.ports import FileSource, FileValidator, FileVerdict
from domain.errors import StoreUnavailable
from domain.values import FilePath
from domain.version import Severity

JPEG = bytes.fromhex("ffd8ffe000104a46494600010101006000600000ffdb0043 00") + b"\x08" * 64
PNG = bytes.fromhex("89504e470d0a1a0a 0000000d49484452 000000010000000108060000001f15c489")
GGUF = b"GGUF\x03\0\0\0" + b"\0" * 24


class BytesSource(FileSource):
    """A file of these bytes; it notes what was read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.read = 0

    @property
    def size(self) -> int:
        return len(self._content)

    async def read_at(self, offset: int, length: int) -> bytes:
        part = self._content[offset : offset + length]
        self.read += len(part)
        return part


class BrokenSource(FileSource):
    @property
    def size(self) -> int:
        return 1000

    async def read_at(self, offset: int, length: int) -> bytes:
        raise StoreUnavailable("The disk is gone.")


async def both(validator: FileValidator, content: bytes, name: str) -> FileVerdict:
    """The verdict on the whole file, after a look at the verdict on its head."""
    path = FilePath(name)
    sniffed = await validator.sniff(content[: 64 * 1024], path)
    verdict = await validator.validate(BytesSource(content), path)
    assert refusals(sniffed) == refusals(verdict)
    return verdict


def refusals(verdict: FileVerdict) -> Sequence[str]:
    return [f.message for f in verdict.findings if f.severity is Severity.CRITICAL]


class FileValidatorContract:
    @pytest.fixture
    def validator(self) -> FileValidator:
        raise NotImplementedError

    def test_the_engine_has_a_name_and_a_version(self, validator: FileValidator) -> None:
        assert len(validator.engine.split()) >= 2

    @pytest.mark.parametrize(
        ("content", "what"), [(JPEG, "JPEG image data"), (PNG, "PNG image data")]
    )
    @pytest.mark.parametrize("name", ["cat.jpg", "model.onnx", "weights/model.safetensors", "cat"])
    async def test_a_picture_is_refused_by_its_right_name(
        self, validator: FileValidator, content: bytes, what: str, name: str
    ) -> None:
        verdict = await both(validator, content, name)
        (finding,) = verdict.findings
        assert finding.code == "file.not_a_model"
        assert finding.severity is Severity.CRITICAL
        assert finding.path == name
        assert finding.message == f"{name} is {what}, not a model."
        assert verdict.format is None

    async def test_a_model_passes_and_is_named(self, validator: FileValidator) -> None:
        verdict = await both(validator, GGUF, "model.gguf")
        assert verdict.format == "gguf"
        assert verdict.findings == ()
        assert "/" in verdict.media_type

    @pytest.mark.parametrize("name", ["README.md", "config.json", "vocab.txt", "LICENSE"])
    async def test_small_texts_pass(self, validator: FileValidator, name: str) -> None:
        verdict = await both(validator, b'{"hidden_size": 768}\n', name)
        assert verdict.format is None
        assert verdict.findings == ()

    async def test_bytes_that_cannot_be_read_are_an_error_and_no_verdict(
        self, validator: FileValidator
    ) -> None:
        with pytest.raises(StoreUnavailable):
            await validator.validate(BrokenSource(), FilePath("model.onnx"))

    async def test_many_at_a_barrier_get_their_own_verdicts(self, validator: FileValidator) -> None:
        barrier = asyncio.Barrier(48)
        files = [("cat.jpg", JPEG), ("model.gguf", GGUF), ("README.md", b"# Hello\n")] * 16

        async def judge(name: str, content: bytes) -> FileVerdict:
            await barrier.wait()
            return await both(validator, content, name)

        verdicts = await asyncio.gather(*(judge(name, content) for name, content in files))
        assert verdicts == verdicts[:3] * 16
        assert [bool(refusals(verdict)) for verdict in verdicts[:3]] == [True, False, False]
