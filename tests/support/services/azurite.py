"""Azurite, Microsoft's emulator of Azure Blob; npm brings it, so machines without Node do without.

The last version that runs on Node 20 is the one in ``tests/support/azurite``.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from portalocker import Lock

from tests.support.services.probes import http_answers
from tests.support.services.processes import (
    LOOPBACK,
    ServerMissing,
    ServerProcess,
    free_ports,
    new_folder,
    running,
)

# The account that every Azurite has; it is in Microsoft's documentation.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_ROOT = Path(__file__).resolve().parents[3]
_SOURCE, _INSTALLED = _ROOT / "tests/support/azurite", _ROOT / ".venv/azurite"
_PINS, _DONE = _SOURCE / "package-lock.json", _INSTALLED / "done"
_OPTIONS = ("--silent", "--skipApiVersionCheck", "--disableTelemetry", f"--blobHost={LOOPBACK}")
_INSTALL_SECONDS = 600.0


def azure_server() -> AbstractContextManager[ServerProcess]:
    """Azurite with its usual account; installs it the first time, which takes a minute or two."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ServerMissing("Azurite needs Node.js and npm", excused=True)
    program = _install(npm)
    folder = new_folder("azure")
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}/{AZURE_ACCOUNT}"
    return running(
        ServerProcess(
            url=url,
            command=[node, f"{program}", *_OPTIONS, f"--location={folder}", f"--blobPort={port}"],
            folder=folder,
            answers=lambda: http_answers(url),
        )
    )


def _install(npm: str) -> Path:
    """The path of its program, installed where ``make clean`` removes it."""
    if not _is_installed():
        _INSTALLED.mkdir(parents=True, exist_ok=True)
        with Lock(_INSTALLED / "lock", timeout=_INSTALL_SECONDS):
            if not _is_installed():
                _run_npm(npm)
    return _INSTALLED / "node_modules/azurite/dist/src/blob/main.js"


def _is_installed() -> bool:
    return _DONE.exists() and _DONE.read_bytes() == _PINS.read_bytes()


def _run_npm(npm: str) -> None:
    for path in (_PINS, _SOURCE / "package.json", _SOURCE / ".npmrc"):
        shutil.copy(path, _INSTALLED)
    made = subprocess.run([npm, "ci"], cwd=_INSTALLED, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServerMissing(f"Azurite is not installed; npm ci: {made.stderr[-2000:]}")
    shutil.copy(_PINS, _DONE)
