"""Which package may import which, and whose names they are."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("domain", "application", "adapters", "entrypoints", "migrations")


def test_the_import_contracts_hold() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert " 0 broken" in linted.stdout


@pytest.mark.parametrize("name", OURS)
def test_no_installed_distribution_provides_a_package_of_our_name(name: str) -> None:
    others = set(packages_distributions().get(name, [])) - {"modelyard-server"}
    assert not others, f"import {name} may find that of {others}"
    spec = find_spec(name)
    assert spec is not None
    assert {Path(folder) for folder in spec.submodule_search_locations or []} == {ROOT / name}
