"""The corpus, through the sandbox: every verdict as the manifest has it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from adapters.inspection.validator import SandboxedFileValidator
from domain.validation import NOT_CHECKED, Judgement, ValidationPolicy, Verdict
from domain.values import FilePath
from tests.contracts.file_validator import BytesSource
from tests.support.corpus import Sample, samples

pytestmark = pytest.mark.anyio
SAMPLES = samples()


@pytest.fixture(scope="module")
async def validator() -> AsyncIterator[SandboxedFileValidator]:
    async with SandboxedFileValidator() as validator:
        yield validator


async def judge(validator: SandboxedFileValidator, sample: Sample) -> Judgement:
    path = FilePath(sample.path.name)
    source = BytesSource(sample.path.read_bytes())
    sniffed = await validator.sniff(source._content[: 64 * 1024], path)
    report = await validator.validate(source, path)
    judgement = ValidationPolicy().judge({path: report})
    assert NOT_CHECKED not in {finding.code for finding in judgement.findings}
    if sniffed.findings:
        assert judgement.verdict is Verdict.REJECT
    assert report == inspect_file(Stream.of_bytes(source._content), path)
    return judgement


def test_the_corpus_is_whole() -> None:
    assert len(SAMPLES) == 189
    assert sum(sample.fires for sample in SAMPLES) > 20
    assert sum(sample.benign for sample in SAMPLES) > 20


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
async def test_each_file_is_judged_right(sample: Sample, validator: SandboxedFileValidator) -> None:
    judgement = await judge(validator, sample)
    assert judgement.verdict in sample.verdicts, judgement.findings
    if sample.benign:
        assert judgement.verdict is not Verdict.REJECT
    elif sample.fires:
        assert judgement.verdict is Verdict.REJECT
