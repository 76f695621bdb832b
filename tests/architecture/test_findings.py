"""The codes of findings are an interface: docs/validation.md has each of them, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.corpus import CORPUS
from tests.support.inspecting import codes

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (*(ROOT / "adapters/inspection").rglob("*.py"), ROOT / "domain/validation.py")
CODE = re.compile(r"[a-z0-9]+\.[a-z0-9]+(?:_[a-z0-9]+)*")
NOTING = {"tell", "hold", "refuse", "_refuse", "note", "Finding"}


def _is_code(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value) is not None
    )


def _first_arguments(tree: ast.AST) -> Iterator[ast.expr]:
    """What findings are made with: ``notes.hold(CODE, ...)``, ``(f if x else g)(CODE, ...)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", None))
            if name in NOTING or isinstance(function, ast.IfExp):
                yield node.args[0]


def _constants(trees: list[ast.Module]) -> dict[str, str]:
    """The constants of all modules that may be codes, by their names."""
    return {
        target.id: ast.literal_eval(node.value)
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and _is_code(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _of_tables(tree: ast.AST) -> set[str]:
    """The codes that rows of tables begin with."""
    rows = (node for node in ast.walk(tree) if isinstance(node, ast.Tuple) and node.elts)
    return {ast.literal_eval(row.elts[0]) for row in rows if _is_code(row.elts[0])}


def used() -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    constants, found = _constants(trees), set[str]()
    for tree in trees:
        for first in _first_arguments(tree):
            if _is_code(first):
                found.add(ast.literal_eval(first))
            elif isinstance(first, ast.Name) and first.id in constants:
                found.add(constants[first.id])
            elif isinstance(first, ast.Name):
                found |= _of_tables(tree)
    return found


def documented() -> list[str]:
    text = (ROOT / "docs/validation.md").read_text(encoding="utf-8")
    section = text.partition("\n## Findings\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_every_code_is_documented_and_every_documented_one_is_used() -> None:
    listed = documented()

    assert listed == sorted(set(listed))
    assert set(listed) == used()


def test_what_the_corpus_gives_is_documented() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    found = set[str]().union(*(codes(path.read_bytes(), "model") for path in files))

    assert found
    assert found <= set(documented())
