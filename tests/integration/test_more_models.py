"""Models as many libraries and versions of them write them, beside those of the corpus.

They were found where a rule turned out to be too narrow: none of them is refused, and only what
carries code, or what nobody here knows, is left to people.
"""

from __future__ import annotations

import csv

import pytest

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import ValidationPolicy
from domain.values import FilePath
from tests.support.corpus import CORPUS

MORE = CORPUS / "more"


def _rows() -> list[tuple[str, str]]:
    with (MORE / "manifest.csv").open(newline="") as manifest:
        return [(row["file"], row["verdict"]) for row in csv.DictReader(manifest)]


@pytest.mark.parametrize(("name", "verdict"), _rows())
def test_models_of_many_libraries_have_the_right_verdict(name: str, verdict: str) -> None:
    path = FilePath(name)
    report = inspect_file(Stream.of_bytes((MORE / name).read_bytes()), path)
    judgement = ValidationPolicy().judge({path: report})
    assert str(judgement.verdict) == verdict, [each.message for each in judgement.findings]


def test_the_manifest_names_every_file() -> None:
    files = {path.name for path in MORE.iterdir()} - {"manifest.csv"}
    assert files == {name for name, _ in _rows()}
    assert "reject" not in {verdict for _, verdict in _rows()}
