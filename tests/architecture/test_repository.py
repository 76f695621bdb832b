"""What is committed fits every machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDORED = ("entrypoints/http/static/", "tests/corpus/")  # of others, as they are
# Each is written so that it does not find itself.
FOREIGN = re.compile(
    rb"py[p]i\.org|python[h]osted\.org|npm[j]s\.(?:com|org)|deb[.]debian|registry[.]"
    rb"(?:hub|yarn)|/opt/(?:py[p]i|wheels)|/[r]oot/[a-z.]|/[w]ork/[a-z.]|/[h]ome/[a-z]+/"
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_committed_file_names_a_package_registry_or_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path in tracked()
        if not path.relative_to(ROOT).as_posix().startswith(VENDORED)
        for match in [FOREIGN.search(path.read_bytes())]
        if match
    ]
    assert found == []


@pytest.mark.parametrize("folder", [".venv", "data", "__pycache__", ".hypothesis", "build", "dist"])
def test_what_the_tools_make_is_not_committed(folder: str) -> None:
    assert not [path for path in tracked() if folder in path.relative_to(ROOT).parts]


def test_every_committed_text_is_utf8_with_unix_line_ends() -> None:
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content and not path.relative_to(ROOT).as_posix().startswith(VENDORED):
            content.decode()
            assert b"\r\n" not in content, path


def test_the_make_targets_that_the_readme_names_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make\s([a-z-]+)", readme, re.MULTILINE))
    assert {"run", "test", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
