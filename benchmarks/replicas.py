"""The service on several processes: replicas of it, and nginx before them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from tests.support.services.probes import http_answers
from tests.support.services.processes import (
    LOOPBACK,
    ServerProcess,
    free_ports,
    minimal_environment,
    new_folder,
    running,
)

ROOT = Path(__file__).resolve().parents[1]
_PROGRAM = (sys.executable, "-m", "entrypoints.cli")
_NGINX = ROOT / "deploy" / "nginx.conf"


def server_environment(settings: Mapping[str, str], home: Path) -> dict[str, str]:
    """What the service and its command line find in their environment."""
    return {**minimal_environment(home), "PYTHONPATH": str(ROOT), **settings}


def command(settings: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs ``modelyard-server`` with these arguments; whatever it ends with is returned."""
    folder = new_folder("command")  # where no developer's .env is
    try:
        return subprocess.run(
            [*_PROGRAM, *arguments],
            cwd=folder,
            env=server_environment(settings, folder),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(folder)


def replica(settings: Mapping[str, str]) -> ServerProcess:
    """One process of the service, with one worker; not started."""
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    return ServerProcess(
        url=url,
        command=[*_PROGRAM, "serve"],
        folder=new_folder("replica"),
        answers=lambda: http_answers(f"{url}/health/ready"),
        environ={"PYTHONPATH": str(ROOT), **settings, "HOST": LOOPBACK, "PORT": str(port)},
    )


@contextmanager
def replicas(count: int, settings: Mapping[str, str]) -> Iterator[Sequence[ServerProcess]]:
    """So many of them, started at once."""
    with ExitStack() as stack, ThreadPoolExecutor(count) as starters:
        made = [replica(settings) for _ in range(count)]
        starting = [running(one) for one in made]
        entered = [starters.submit(one.__enter__) for one in starting]
        for one in starting:
            stack.push(one)
        for future in entered:
            future.result()
        yield made


def nginx_program() -> str | None:
    """Where nginx is, if it is."""
    return shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def balancer(program: str, urls: Sequence[str]) -> AbstractContextManager[ServerProcess]:
    """Nginx, which spreads requests over these addresses, as deploy/nginx.conf has it."""
    folder = new_folder("nginx")
    (port,) = free_ports(1)
    address = f"{LOOPBACK}:{port}"
    config = folder / "nginx.conf"
    config.write_text(_nginx_config(folder, address, urls), encoding="utf-8")
    return running(
        ServerProcess(
            url=f"http://{address}",
            command=[program, "-p", folder, "-c", config],
            folder=folder,
            answers=lambda: http_answers(f"http://{address}/metrics"),
        )
    )


def _nginx_config(folder: Path, address: str, urls: Sequence[str]) -> str:
    """The file of deploy/ for this machine: other addresses, another folder, the same account."""
    servers = [f"server {url.removeprefix('http://')} max_fails=1 fail_timeout=1s;" for url in urls]
    text = _NGINX.read_text(encoding="utf-8")
    for old, new in {
        r" resolver .*": "",
        r"( *server modelyard-\d.*\n)+": "\n".join([*servers, ""]),
        r"listen 8080;": f"listen {address} backlog=1024;",
        r"/tmp/": f"{folder}/",
    }.items():
        text, count = re.subn(old, new, text)
        assert count, f"deploy/nginx.conf has no longer {old}"
    return ("user root;\n" if os.geteuid() == 0 else "") + f"daemon off;\n{text}"
