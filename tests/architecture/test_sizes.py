"""The size budget: what does not fit on a few screens is two things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("domain", "application", "adapters", "entrypoints", "client", "migrations")
LONGEST_FILE, LONGEST_TEST_FILE, LONGEST_FUNCTION = 400, 700, 60
SMALL_FILE, TYPICAL_FILE, LONG_FUNCTION = 16, (60, 150), 40


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def nodes_of(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def too_long(paths: Iterator[Path], limit: int) -> list[str]:
    lengths = ((path, len(lines_of(path))) for path in paths)
    return [f"{path.relative_to(ROOT)}: {lines}" for path, lines in lengths if lines > limit]


def functions(*packages: str) -> dict[str, int]:
    """Every function's length in lines."""
    return {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in sources(*packages)
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }


def test_no_file_is_longer_than_its_budget() -> None:
    assert too_long(sources(*PACKAGES), LONGEST_FILE) == []


def test_no_test_file_is_longer_than_its_budget() -> None:
    assert too_long(sources("tests"), LONGEST_TEST_FILE) == []


@pytest.mark.parametrize("package", ["domain", "application", "adapters", "entrypoints"])
def test_no_function_is_longer_than_its_budget(package: str) -> None:
    lengths = functions(package).items()
    assert [f"{name}: {lines}" for name, lines in lengths if lines > LONGEST_FUNCTION] == []


def test_nine_of_ten_functions_fit_on_a_screen() -> None:
    assert quantiles(functions(*PACKAGES).values(), n=10)[-1] <= LONG_FUNCTION


def test_files_are_neither_crumbs_nor_lumps() -> None:
    lengths = [len(lines_of(path)) for path in sources(*PACKAGES)]
    shortest, longest = TYPICAL_FILE
    assert shortest <= median(lengths) <= longest
    assert sum(length < SMALL_FILE for length in lengths) < len(lengths) / 5


@pytest.mark.parametrize("packages", [PACKAGES, ("tests",)], ids=["program", "tests"])
def test_at_most_a_tenth_of_the_code_is_imports(packages: tuple[str, ...]) -> None:
    """An import counts once, however many lines its names take."""
    imports = [
        node
        for path in sources(*packages)
        for node in nodes_of(path)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    code = [line for path in sources(*packages) for line in lines_of(path) if line.strip()]
    assert len(imports) <= len(code) / 10


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources("domain", "application", "adapters", "entrypoints")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
