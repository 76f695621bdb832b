"""Azurite, Microsoft's emulator of Azure Blob; npm brings it, so machines without Node do without.

The last version that runs on Node 20 is the one in ``tests/support/azurite``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from tests.support.services.npm import node_with
from tests.support.services.probes import http_answers
from tests.support.services.processes import (
    LOOPBACK,
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
_OPTIONS = ("--silent", "--skipApiVersionCheck", "--disableTelemetry", f"--blobHost={LOOPBACK}")


def azure_server() -> AbstractContextManager[ServerProcess]:
    """Azurite with its usual account; installs it the first time, which takes a minute or two."""
    node, installed = node_with("azurite")
    program = installed / "node_modules/azurite/dist/src/blob/main.js"
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
