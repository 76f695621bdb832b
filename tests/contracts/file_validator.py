"""What every file validator must do. A subclass brings the fixture."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date

import pytest

from application.ports import FileSource, FileValidator
from domain.errors import StoreUnavailable
from domain.validation import FileReport, Severity
from domain.values import FilePath

JPEG = bytes.fromhex("ffd8ffe000104a46494600010101006000600000ffdb0043 00") + b"\x08" * 64
PNG = bytes.fromhex("89504e470d0a1a0a 0000000d49484452 000000010000000108060000001f15c489")
GGUF = (
    b"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
    b"\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\5\0\0\0\0\0\0\0llama"
)


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


class BrokenSource(BytesSource):
    """It fails once so many bytes were read."""

    def __init__(self, content: bytes = JPEG, after: int = 0) -> None:
        super().__init__(content)
        self._after = after

    async def read_at(self, offset: int, length: int) -> bytes:
        if self.read >= self._after:
            raise StoreUnavailable("The disk is gone.")
        return await super().read_at(offset, length)


async def both(validator: FileValidator, content: bytes, name: str) -> FileReport:
    """The report on the whole file, after a look at that on its head: what refuses it there, is
    not taken back."""
    path = FilePath(name)
    sniffed = await validator.sniff(content[: 64 * 1024], path)
    report = await validator.validate(BytesSource(content), path)
    if refusals(sniffed):
        assert refusals(report)
    return report


def refusals(report: FileReport) -> Sequence[str]:
    return [f.message for f in report.findings if f.severity is Severity.CRITICAL]


class FileValidatorContract:
    @pytest.fixture
    def validator(self) -> FileValidator:
        raise NotImplementedError

    def test_the_engine_has_a_name_and_a_version(self, validator: FileValidator) -> None:
        assert len(validator.engine.split()) >= 2

    def test_the_rules_have_a_date(self, validator: FileValidator) -> None:
        assert date.fromisoformat(validator.ruleset).year >= 2026

    @pytest.mark.parametrize(
        ("content", "what"), [(JPEG, "JPEG image data"), (PNG, "PNG image data")]
    )
    @pytest.mark.parametrize("name", ["cat.jpg", "model.onnx", "weights/model.safetensors", "cat"])
    async def test_a_picture_is_refused_by_its_right_name(
        self, validator: FileValidator, content: bytes, what: str, name: str
    ) -> None:
        report = await both(validator, content, name)
        (finding,) = report.findings
        assert finding.code == "file.not_a_model"
        assert finding.severity is Severity.CRITICAL
        assert finding.path == name
        assert finding.message == f"{name} is {what}, not a model."
        assert report.format is None

    async def test_a_model_passes_and_is_named(self, validator: FileValidator) -> None:
        report = await both(validator, GGUF, "model.gguf")
        assert report.format == "gguf"
        assert not [f for f in report.findings if f.severity is not Severity.INFO]
        assert "/" in report.media_type

    @pytest.mark.parametrize("name", ["README.md", "config.json", "vocab.txt", "LICENSE"])
    async def test_small_texts_pass(self, validator: FileValidator, name: str) -> None:
        report = await both(validator, b'{"hidden_size": 768}\n', name)
        assert report.format is None
        assert report.findings == ()

    async def test_bytes_that_cannot_be_read_are_an_error_and_no_report(
        self, validator: FileValidator
    ) -> None:
        with pytest.raises(StoreUnavailable):
            await validator.validate(BrokenSource(), FilePath("model.onnx"))

    async def test_many_at_a_barrier_get_their_own_reports(self, validator: FileValidator) -> None:
        barrier = asyncio.Barrier(48)
        files = [("cat.jpg", JPEG), ("model.gguf", GGUF), ("README.md", b"# Hello\n")] * 16

        async def judge(name: str, content: bytes) -> FileReport:
            await barrier.wait()
            return await both(validator, content, name)

        reports = await asyncio.gather(*(judge(name, content) for name, content in files))
        assert reports == reports[:3] * 16
        assert [bool(refusals(report)) for report in reports[:3]] == [True, False, False]
