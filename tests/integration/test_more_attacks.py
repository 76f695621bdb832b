"""Attacks that were found by looking for ways around the inspection, beside those of the corpus."""

from __future__ import annotations

import csv

import pytest

from adapters.inspection.inspect import inspect_file
from adapters.inspection.streams import Stream
from domain.validation import ValidationPolicy
from domain.values import FilePath
from tests.support.corpus import CORPUS

FOLDER = CORPUS / "more_attacks"
with (FOLDER / "manifest.csv").open(newline="") as manifest:
    ATTACKS = [(row["file"], row["verdict"]) for row in csv.DictReader(manifest)]


def test_every_file_is_listed() -> None:
    listed = {name for name, _ in ATTACKS} | {"manifest.csv"}

    assert {path.name for path in FOLDER.iterdir()} == listed


@pytest.mark.parametrize(("name", "verdicts"), ATTACKS)
def test_the_attack_is_seen(name: str, verdicts: str) -> None:
    path = FilePath(name)
    report = inspect_file(Stream.of_bytes((FOLDER / name).read_bytes()), path)

    assert ValidationPolicy().judge({path: report}).verdict in verdicts.split("|")
