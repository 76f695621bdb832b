"""The size budget: what does not fit on a few screens is two things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("domain", "application", "adapters", "entrypoints", "client", "migrations")
LONGEST_FILE, LONGEST_TEST_FILE, LONGEST_FUNCTION = 400, 700, 60


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def too_long(paths: Iterator[Path], limit: int) -> list[str]:
    lengths = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths)
    return [f"{path.relative_to(ROOT)}: {lines}" for path, lines in lengths if lines > limit]


def test_no_file_is_longer_than_its_budget() -> None:
    assert too_long(sources(*PACKAGES), LONGEST_FILE) == []


def test_no_test_file_is_longer_than_its_budget() -> None:
    assert too_long(sources("tests"), LONGEST_TEST_FILE) == []


@pytest.mark.parametrize("package", ["domain", "application", "adapters", "entrypoints"])
def test_no_function_is_longer_than_its_budget(package: str) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1}"
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources("domain", "application", "adapters", "entrypoints")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
