"""Looks at a registry's folder from outside, while no service or any number of them run on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from application.maintenance import Collected, CollectGarbage, Verified
from application.ports import PageRequest
from application.records import VersionRecord
from entrypoints.container import Container, build_container, migrate
from entrypoints.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a registry holds.

    Attributes:
        versions: by model, in the order of their numbers.
        blobs: digests of the files below ``blobs``.
        staged: names of the files of uploads on their way in.
    """

    verified: Verified
    versions: Mapping[str, list[VersionRecord]]
    blobs: set[str]
    staged: set[str]

    @property
    def referenced(self) -> set[str]:
        """Digests that versions name."""
        every = (version for versions in self.versions.values() for version in versions)
        return {file.sha256 for version in every for file in version.files}

    def numbers(self, model: str) -> list[int]:
        """The numbers of a model's versions, ascending."""
        return [version.version for version in self.versions.get(model, [])]


def settings_for(folder: Path, **changed: object) -> Settings:
    """The registry that ``tests.support.server`` runs in this folder."""
    values: dict[str, object] = {
        "database_url": f"sqlite:///{folder / 'modelyard.db'}",
        "model_storage_path": folder / "artifacts",
    }
    return Settings(**{**values, **changed}, _env_file=None)  # type: ignore[arg-type]


def on(folder: Path, work: Callable[[Container], Awaitable[T]], **changed: object) -> T:
    """Does the work on the registry in this folder, in this process, as the command line would."""
    container = build_container(settings_for(folder, **changed))

    async def scoped() -> T:
        if not container.database().exists():
            await asyncio.to_thread(migrate.upgrade, container.database())
        try:
            return await work(container)
        finally:
            await container.database().close()

    return asyncio.run(scoped())


def look(folder: Path, **changed: object) -> Sight:
    """Re-hashes every blob and reads every version."""
    return on(folder, _look, **changed)


async def _look(container: Container) -> Sight:
    versions: dict[str, list[VersionRecord]] = {}
    token: str | None = None
    while True:
        page = await container.reader().versions(PageRequest(size=1000, token=token))
        for version in page.items:
            versions.setdefault(version.model, []).append(version)
        if (token := page.next_page_token) is None:
            break
    for found in versions.values():
        found.sort(key=lambda version: version.version)
    root = Path(container.settings().model_storage_path)
    return Sight(
        verified=await container.verify()(),
        versions=versions,
        blobs={path.name for path in (root / "blobs").rglob("*") if path.is_file()},
        staged={path.name for path in (root / "staging").rglob("*") if path.is_file()},
    )


def collect(folder: Path, **changed: object) -> Collected:
    """Garbage collection without any grace."""
    return on(folder, _collect, **changed)


async def _collect(container: Container) -> Collected:
    return await container.collect_garbage()(CollectGarbage(timedelta(0), force=True))


def collect_and_look(folder: Path, **changed: object) -> Sight:
    """What is left after a garbage collection without any grace."""

    async def work(container: Container) -> Sight:
        await _collect(container)
        return await _look(container)

    return on(folder, work, **changed)


def assert_sound(sight: Sight) -> None:
    """Every version has its bytes, and numbers are dense. For registries without deletions."""
    assert sight.verified.missing == ()
    assert sight.verified.corrupt == ()
    assert sight.referenced <= sight.blobs
    for model, versions in sight.versions.items():
        numbers = [version.version for version in versions]
        assert numbers == list(range(1, len(numbers) + 1)), f"{model}: {numbers}"


def assert_tidy(sight: Sight) -> None:
    """Sound, and not a file too much."""
    assert_sound(sight)
    assert sight.blobs == sight.referenced
    assert sight.staged == set()
