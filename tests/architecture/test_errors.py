"""Every error is known wherever one has to be: on the wire, on the command line, in the docs."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import adapters
import application
import domain
import domain.errors
import entrypoints
from domain.errors import Kind, ModelyardError
from entrypoints.cli.exits import EXIT_CODES, exit_code
from entrypoints.http.errors import _FRAMEWORK, STATUS

ROOT = Path(__file__).resolve().parents[2]
ERRORS = [
    kind
    for kind in vars(domain.errors).values()
    if isinstance(kind, type) and issubclass(kind, ModelyardError) and kind is not ModelyardError
]
DOCUMENT = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## `([^`]+)`\n\n(.+?)(?=\n\n#|\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall(DOCUMENT))

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)


@each_error
def test_an_error_has_a_dotted_code_a_kind_and_a_title(error: type[ModelyardError]) -> None:
    for attribute in ("code", "kind", "title"):
        assert attribute in vars(error), f"{error.__name__} inherits its {attribute}"
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", error.code)
    assert isinstance(error.kind, Kind)
    assert re.fullmatch(r"[A-Z].*[^.]", error.title)


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in ERRORS]
    assert len(codes) == len(set(codes)) > 30
    assert not set(codes) & {code for code, _ in _FRAMEWORK.values()}


def test_every_kind_has_an_http_status_and_an_exit_code() -> None:
    assert set(STATUS) == set(EXIT_CODES) == set(Kind)
    assert all(400 <= status < 600 for status in STATUS.values())
    assert all(1 <= status < 126 for status in EXIT_CODES.values())


def test_all_errors_stand_in_one_file() -> None:
    for package in (domain, application, adapters, entrypoints):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert set(_below(ModelyardError)) == set(ERRORS)


def _below(root: type[ModelyardError]) -> list[type[ModelyardError]]:
    return [each for kind in root.__subclasses__() for each in (kind, *_below(kind))]


def test_every_error_is_raised_somewhere() -> None:
    used = {
        node.id
        for package in (application, adapters, entrypoints, domain)
        for path in Path(package.__path__[0]).rglob("*.py")
        if path != Path(domain.errors.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name)
    }
    assert {error.__name__ for error in ERRORS} <= used


def test_the_document_has_a_section_for_every_error_in_their_order() -> None:
    assert list(SECTIONS) == [error.code for error in ERRORS]


@each_error
def test_a_section_begins_with_the_numbers_and_says_what_to_do(error: type[ModelyardError]) -> None:
    more: dict[str, Any] = {name: 0 for name in ("position", "size") if _takes(error, name)}
    example = error("", **more)
    numbers = f"HTTP {STATUS[error.kind]}, exit code {exit_code(example)}. "
    section = " ".join(SECTIONS[error.code].split())
    assert section.startswith(numbers)
    assert len(section) > len(numbers) + 60


def _takes(error: type[ModelyardError], name: str) -> bool:
    return name in error.__init__.__code__.co_varnames


def test_the_codes_of_the_framework_are_documented_too() -> None:
    for status, (code, _) in _FRAMEWORK.items():
        assert re.search(rf"^\| `{re.escape(code)}` \| HTTP {status} \|", DOCUMENT, re.MULTILINE)
