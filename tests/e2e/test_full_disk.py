"""A disk that is full: refused honestly, nothing left behind, and well again once there is room."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.publishing import assert_unavailable, publish, safetensors
from tests.support.server import Server, running_server
from tests.support.soundness import assert_tidy, collect, look

MIB = 1 << 20
SIZE = 8 * MIB


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of 8 MiB."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Leaves so many bytes free, about."""
        with self._ballast.open("ab", buffering=0) as ballast:
            with contextlib.suppress(OSError):
                while ballast.write(bytes(64 * 1024)):
                    pass
            with contextlib.suppress(OSError):
                while ballast.write(bytes(1024)):
                    pass
            ballast.truncate(max(0, ballast.tell() - leave))

    def free(self) -> None:
        """Takes away what ``fill`` put there."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "modelyard-test", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        reason = f"no file system can be mounted here: {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def assert_full(reply: httpx.Response) -> None:
    assert_unavailable(reply, "store.full")


def ready(client: httpx.Client) -> httpx.Response:
    return client.get("/health/ready")


def test_a_publish_that_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, disk: SmallDisk
) -> None:
    folder = disk.path / "artifacts"
    with running_server(tmp_path, model_storage_path=folder) as server, server.client() as client:
        publish(client, "m", {"a.safetensors": safetensors(1)}, create_model=True)
        for size in (SIZE, 20 * MIB):
            files = {"first.safetensors": safetensors(size, MIB), "x.bin": b"\1" * size}
            assert_full(publish(client, "m", files))
            assert server.staged == []
        assert publish(client, "m", {"b.safetensors": safetensors(2)}).json()["version"] == 2
        disk.fill()
        for size in (1000, 100_000):  # one stays in memory until it is committed, one does not
            assert_full(publish(client, "m", {"c.safetensors": safetensors(3, size)}))
            assert server.staged == []
        blob = safetensors(4, 50_000)
        sha256 = hashlib.sha256(blob).hexdigest()
        assert_full(client.put(f"/api/v1/blobs/{sha256}", content=blob))
        assert client.head(f"/api/v1/blobs/{sha256}").status_code == 404
        assert_unavailable(ready(client), "service.not_ready")
        assert client.get("/api/v1/models/m/versions/2/files/b.safetensors").status_code == 200
        disk.free()
        assert ready(client).status_code == 200
        assert publish(client, "m", {"c.safetensors": safetensors(3)}).json()["version"] == 3
    collect(tmp_path, model_storage_path=folder)
    sight = look(tmp_path, model_storage_path=folder)
    assert_tidy(sight)
    assert sight.numbers("m") == [1, 2, 3]


def test_a_blob_that_is_there_can_be_published_again_on_a_full_disk(
    tmp_path: Path, disk: SmallDisk
) -> None:
    folder = disk.path / "artifacts"
    files = {"a.safetensors": safetensors(1)}
    with running_server(tmp_path, model_storage_path=folder) as server, server.client() as client:
        first = publish(client, "m", files, create_model=True).json()
        disk.fill()
        again = publish(client, "m", files)
        assert again.status_code == 201, again.text
        assert again.json()["files"] == first["files"]
        body = {"files": [{"path": "b", "sha256": first["files"][0]["sha256"]}]}
        assert client.post("/api/v1/models/m/versions", json=body).json()["version"] == 3


def test_a_full_disk_of_the_database_takes_no_number(tmp_path: Path, disk: SmallDisk) -> None:
    url = f"sqlite:///{disk.path / 'modelyard.db'}"
    with running_server(tmp_path, database_url=url) as server, server.client() as client:
        publish(client, "m", {"a.safetensors": safetensors(1)}, create_model=True)
        disk.fill()
        large = {"description": "x" * 90_000, "tags": {str(n): "x" * 9000 for n in range(20)}}

        def send() -> httpx.Response:
            return publish(client, "m", {"b.safetensors": safetensors(2)}, key="k", **large)

        for _ in range(3):
            assert_unavailable(send(), "database.unavailable")
            assert server.staged == []
        assert client.get("/api/v1/models/m/versions/latest").json()["version"] == 1
        disk.free()
        replies = [send(), send()]  # the key was not used up
        assert [reply.status_code for reply in replies] == [201, 200]
        assert [reply.json()["version"] for reply in replies] == [2, 2]
        assert publish(client, "m", {"c.safetensors": safetensors(3)}).json()["version"] == 3
    collect(tmp_path, database_url=url)
    sight = look(tmp_path, database_url=url)
    assert_tidy(sight)
    assert sight.numbers("m") == [1, 2, 3]


def test_many_publishes_that_fill_one_disk_lose_no_number(tmp_path: Path, disk: SmallDisk) -> None:
    """Database and files on the same disk, as they are by default."""
    with running_server(disk.path) as server, server.client() as client:
        publish(client, "m", {"a.safetensors": safetensors(0)}, create_model=True)
        disk.fill(leave=2 * MIB)

        def one(number: int) -> httpx.Response:
            return publish(client, "m", {"m.safetensors": safetensors(number, 300_000)})

        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(one, range(1, 30)))
        published = [reply for reply in replies if reply.status_code == 201]
        refused = [reply for reply in replies if reply.status_code != 201]
        assert published
        assert refused
        for reply in refused:
            assert_unavailable(reply, "store.full", "database.unavailable")
        numbers = sorted(reply.json()["version"] for reply in published)
        assert numbers == list(range(2, len(published) + 2))
        assert server.staged == []
        disk.free()
        assert one(99).json()["version"] == len(published) + 2
    collect(disk.path)
    sight = look(disk.path)
    assert_tidy(sight)
    assert len(sight.numbers("m")) == len(published) + 2


def limit_files(server: Server, size: int) -> None:
    """No process of the server may write a file beyond this size from now on."""
    for pid in server.pids:
        with contextlib.suppress(PermissionError):  # what reads models can write nothing anyway
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_file_larger_than_the_system_allows_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, server.client() as client:
        publish(client, "m", {"a.safetensors": safetensors(1)}, create_model=True)
        limit_files(server, MIB)
        for turn in range(3):
            reply = publish(client, "m", {"big.safetensors": safetensors(turn, 3 * MIB)})
            assert_unavailable(reply, "store.full", "store.unavailable")
            assert server.staged == []
        limit_files(server, resource.RLIM_INFINITY)
        reply = publish(client, "m", {"big.safetensors": safetensors(1, 3 * MIB)})
        assert reply.json()["version"] == 2
    assert_tidy(look(tmp_path))
