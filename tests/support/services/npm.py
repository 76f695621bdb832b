"""Programs for Node.js that tests use, pinned in a folder of ``tests/support`` each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from portalocker import Lock

from tests.support.services.processes import ServerMissing

_ROOT = Path(__file__).resolve().parents[3]
_INSTALL_SECONDS = 600.0


def node_with(name: str) -> tuple[str, Path]:
    """Node, and the folder with the ``node_modules`` that ``tests/support/<name>`` pins.

    They are installed the first time, where ``make clean`` removes them; a minute or two.

    Raises:
        ServerMissing: there is no Node, or npm fails.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ServerMissing("Node.js and npm are needed", excused=True)
    source, installed = _ROOT / "tests/support" / name, _ROOT / ".venv" / name
    if not _is_installed(source, installed):
        installed.mkdir(parents=True, exist_ok=True)
        with Lock(installed / "lock", timeout=_INSTALL_SECONDS):
            if not _is_installed(source, installed):
                _run_npm(npm, source, installed)
    return node, installed


def _is_installed(source: Path, installed: Path) -> bool:
    done = installed / "done"
    return done.exists() and done.read_bytes() == (source / "package-lock.json").read_bytes()


def _run_npm(npm: str, source: Path, installed: Path) -> None:
    for file in ("package-lock.json", "package.json", ".npmrc"):
        shutil.copy(source / file, installed)
    made = subprocess.run([npm, "ci"], cwd=installed, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServerMissing(f"{installed.name} is not installed; npm ci: {made.stderr[-2000:]}")
    shutil.copy(source / "package-lock.json", installed / "done")
