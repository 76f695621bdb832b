"""Registries that move, between real databases and stores."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest
from sqlalchemy import func, select, update

from adapters.local_disk import LocalDiskArtifactStore
from adapters.sql.tables import metadata, models, upload_segments, uploads, versions
from application.aliases import SetAlias
from application.maintenance import CollectGarbage
from application.migrating import MigratedStore, MigrateStore
from application.models import DeleteModel
from application.ports import BlobInfo
from application.publishing import IncomingFile, PublishDetails, Published, PublishVersion
from application.versions import DeleteVersion
from domain.errors import DatabaseOfAnother, StoreOfAnother
from domain.validation import PolicyName
from domain.values import AliasName, Digest, FilePath, ModelName, VersionNumber
from entrypoints.container import Container, build_container, migrate
from entrypoints.settings import Settings
from tests.contracts.uploads import an_upload
from tests.integration.test_exchange import content, export, populate, publish, run

if TYPE_CHECKING:
    from tests.support.services.buckets import Place

T = TypeVar("T")
CHURN = ModelName("chürn (v1)")


@dataclass(frozen=True)
class Spot:
    """Where a registry is, or will be."""

    database_url: str
    path: str
    method: str = "local"

    def open(self) -> Container:
        """A fresh container, as a new process has it; the schema is made where there is none."""
        settings: dict[str, Any] = {
            "validation_policy": PolicyName.REPORT,
            "database_url": self.database_url,
            "model_storage_path": self.path,
            "model_storage_method": self.method,
        }
        container = build_container(Settings(_env_file=None, lock_method="none", **settings))
        if migrate.current(container.database()) is None:
            migrate.upgrade(container.database())
        return container

    def do(self, work: Callable[[Container], Awaitable[T]]) -> T:
        container = self.open()
        return run(container, lambda: work(container))

    def export(self, folder: Path) -> dict[str, bytes]:
        export(self.open(), folder)
        return content(folder)

    def check(self) -> None:
        assert self.do(lambda container: container.verify()()).clean


def on_disk(folder: Path) -> Spot:
    return Spot(f"sqlite:///{folder / 'rows.db'}", str(folder / "artifacts"))


def move(
    source: Spot, target: Spot, *, verify: bool = False, onto: LocalDiskArtifactStore | None = None
) -> MigratedStore:
    """Args: onto: the target's store, in the place of the one that it would have."""
    there = target.open()
    place = there.place()
    if onto is not None:
        place = replace(place, store=onto)

    async def work(here: Container) -> MigratedStore:
        chosen = place
        if (source.method, source.path) == (target.method, target.path):
            chosen = replace(place, store=here.store())
        try:
            return await here.migrate_store()(MigrateStore(chosen, verify))
        finally:
            await there.database().close()

    return source.do(work)


def stored(spot: Spot, text: bytes) -> Path:
    digest = hashlib.sha256(text).hexdigest()
    return Path(spot.path, "blobs", digest[:2], digest)


def damage(path: Path, text: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(text)


async def with_key(container: Container, key: str, text: bytes) -> Published:
    async def parts() -> AsyncIterator[IncomingFile | PublishDetails]:
        yield PublishDetails(create_model=True)
        yield IncomingFile(FilePath("ä"), chunks())

    async def chunks() -> AsyncIterator[bytes]:
        yield text

    command = PublishVersion(ModelName("keyed"), "ann", parts(), idempotency_key=key)
    return await container.publish_version()(command)


async def fill(container: Container) -> None:
    """Everything that exports carry, and what only moves carry: receipts, fences, turns."""
    await populate(container)
    await with_key(container, "kéy", b"keyed")
    await container.fences().issue("publish:é")
    await container.collect_garbage().take_turn(timedelta(hours=1))
    await publish(container, "grown", {"a": b"last"})
    await container.delete_version()(
        DeleteVersion(ModelName("grown"), VersionNumber(2), "ann", force=True)
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a filled registry, which tests copy."""
    folder = tmp_path_factory.mktemp("original")
    on_disk(folder).do(fill)
    return folder


@pytest.fixture
def source(original: Path, tmp_path: Path) -> Spot:
    return on_disk(shutil.copytree(original, tmp_path / "source"))


@pytest.fixture
def target(tmp_path: Path) -> Spot:
    return on_disk(tmp_path / "target")


# --- there and back -----------------------------------------------------------------------------


@pytest.fixture
def beyond(postgres_url: str, s3_bucket: Place, monkeypatch: pytest.MonkeyPatch) -> Spot:
    for name, value in s3_bucket.environ.items():
        monkeypatch.setenv(name, value)
    return Spot(postgres_url, s3_bucket.path, "s3")


def test_to_postgres_and_s3_and_back_exports_the_same_bytes(
    source: Spot, beyond: Spot, target: Spot, tmp_path: Path
) -> None:
    exports, files = [source.export(tmp_path / "1")], content(Path(source.path))
    for number, (here, there) in enumerate([(source, beyond), (beyond, target)], 2):
        moved = move(here, there, verify=True)
        assert moved.verified
        assert (moved.changed, moved.present, moved.copied) == ((), 0, moved.blobs)
        assert sum(table.rows > 0 for table in moved.tables.values()) == len(moved.tables)
        exports.append(there.export(tmp_path / str(number)))
        there.check()
    assert exports[0] == exports[1] == exports[2]
    assert content(Path(source.path)) == files
    assert source.export(tmp_path / "4") == exports[0]
    for there in (beyond, target):
        assert there.do(go_on) == [4, 3, 3, 2, 2]


async def go_on(container: Container) -> list[int]:
    """Replays a publish, and publishes to every name that ever was one."""
    replayed = await with_key(container, "kéy", b"keyed")
    assert (replayed.replayed, replayed.version.record.version) == (True, 1)
    await container.delete_model()(DeleteModel(ModelName("gone"), "ann"))
    assert await container.fences().issue("publish:é") == 2
    assert not await container.collect_garbage().take_turn(timedelta(hours=1))
    names = (CHURN, "gone", "grown", "child", "keyed")
    return [await publish(container, name, {"a": b"next"}) for name in names]


def test_every_table_is_copied_but_those_of_uploads(source: Spot, target: Spot) -> None:
    moved = move(source, target)
    assert set(moved.tables) == set(metadata.tables) - {uploads.name, upload_segments.name}
    assert moved.tables["registry"].rows == 1


@pytest.mark.parametrize("there", ["sqlite", "postgres"])
def test_numbers_of_rows_that_were_deleted_are_not_used_again(
    source: Spot, target: Spot, there: str, request: pytest.FixtureRequest
) -> None:
    """``versions.id`` orders pages, so it must rise for ever, also past rows that are gone."""
    if there == "postgres":
        target = replace(target, database_url=request.getfixturevalue("postgres_url"))

    async def newest(container: Container) -> int:
        work = select(func.max(versions.c.id))
        return await container.database().search(lambda db: int(db.execute(work).scalar_one()))

    async def publish_and_delete(container: Container) -> int:
        number = VersionNumber(await publish(container, "child", {"a": b"more"}))
        last = await newest(container)
        await container.delete_version()(DeleteVersion(ModelName("child"), number, "ann"))
        return last

    last = source.do(publish_and_delete)
    move(source, target)
    target.do(lambda container: publish(container, "child", {"a": b"other"}))
    assert target.do(newest) == last + 1


# --- once more ----------------------------------------------------------------------------------


def test_running_it_again_copies_only_what_is_new(source: Spot, target: Spot) -> None:
    first = move(source, target)
    again = move(source, target)
    assert (again.copied, again.present, again.tables) == (0, first.blobs, first.tables)

    async def change(container: Container) -> None:
        await publish(container, "new", {"a": b"new", "b": b"child"}, "p")
        await container.delete_model()(DeleteModel(ModelName("grown"), "ann"))
        await container.set_alias()(SetAlias(CHURN, AliasName("canary"), VersionNumber(3), "bob"))

    source.do(change)
    third = move(source, target)
    assert (third.copied, third.copied_size, third.verified) == (1, 3, True)
    target.check()


def test_the_latest_move_counts(source: Spot, target: Spot, tmp_path: Path) -> None:
    move(source, target)
    source.do(lambda container: publish(container, "grown", {"a": b"later"}))
    move(source, target)
    assert target.export(tmp_path / "2") == source.export(tmp_path / "1")


def test_only_the_store_moves(source: Spot, target: Spot, tmp_path: Path) -> None:
    before = source.export(tmp_path / "1")
    target = replace(target, database_url=source.database_url)
    moved = move(source, target)
    assert (moved.copied, moved.verified) == (moved.blobs, True)
    shutil.rmtree(source.path)
    assert target.export(tmp_path / "2") == before
    target.check()
    target.do(lambda container: container.collect_garbage()(CollectGarbage(timedelta(0))))
    target.check()


def test_only_the_database_moves(source: Spot, postgres_url: str, tmp_path: Path) -> None:
    before = source.export(tmp_path / "1")
    target = replace(source, database_url=postgres_url)
    moved = move(source, target)
    assert (moved.copied, moved.present, moved.verified) == (0, moved.blobs, True)
    assert target.export(tmp_path / "2") == before
    target.do(lambda container: container.collect_garbage()(CollectGarbage(timedelta(0))))
    target.check()


def test_a_database_under_another_name_is_the_same(source: Spot, target: Spot) -> None:
    alias = Path(source.path).with_name("link.db")
    alias.symlink_to(source.database_url.removeprefix("sqlite:///"))
    moved = move(source, replace(target, database_url=f"sqlite:///{alias}"))
    assert (moved.verified, moved.changed, moved.copied) == (True, (), moved.blobs)
    source.check()


def test_a_blob_that_was_there_is_young_again(source: Spot, target: Spot) -> None:
    there = stored(target, b"child")
    there.parent.mkdir(parents=True)
    shutil.copy(stored(source, b"child"), there)
    os.utime(there, (0, 0))
    moved = move(source, target)
    assert (moved.present, moved.copied) == (1, moved.blobs - 1)
    assert there.stat().st_mtime > 0


def test_uploads_that_are_under_way_stay_behind(source: Spot, target: Spot) -> None:
    async def begin(container: Container) -> None:
        async with container.uow() as uow:
            await uow.uploads.add(an_upload())
            await uow.commit()

    source.do(begin)
    assert move(source, target).uploads == 1
    assert target.do(lambda container: container.rows().uploads()) == 0
    assert move(source, target).verified


# --- what is refused ----------------------------------------------------------------------------


def test_a_database_of_another_registry_is_left_alone(
    source: Spot, target: Spot, tmp_path: Path
) -> None:
    target.do(lambda container: publish(container, "grown", {"a": b"mine"}))
    before = target.export(tmp_path / "1")
    with pytest.raises(DatabaseOfAnother, match="rows of the registry"):
        move(source, target)
    assert target.export(tmp_path / "2") == before
    assert not Path(target.path, "registry").exists()


def test_a_copy_that_is_in_use_is_not_overwritten(
    source: Spot, target: Spot, tmp_path: Path
) -> None:
    move(source, target)
    target.do(lambda container: publish(container, "grown", {"a": b"there"}))
    source.do(lambda container: publish(container, "grown", {"a": b"here"}))
    before = target.export(tmp_path / "1")
    with pytest.raises(DatabaseOfAnother, match="written to since"):
        move(source, target)
    assert target.export(tmp_path / "2") == before


def test_a_store_of_another_registry_is_left_alone(source: Spot, target: Spot) -> None:
    anyio.run(LocalDiskArtifactStore(target.path).claim, "f" * 32)
    with pytest.raises(StoreOfAnother, match="f" * 32):
        move(source, target)
    assert not stored(target, b"child").exists()
    assert target.do(lambda container: container.reader().stats()).models == 0


def test_a_collection_for_the_new_database_spares_a_move_under_way(
    source: Spot, target: Spot
) -> None:
    class Dying(LocalDiskArtifactStore):
        async def absent(self, digests: Collection[Digest]) -> set[Digest]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        move(source, replace(target, database_url=source.database_url), onto=Dying(target.path))
    with pytest.raises(StoreOfAnother):
        target.do(lambda c: c.collect_garbage()(CollectGarbage(timedelta(0), force=True)))
    moved = move(source, target)
    assert (moved.present, moved.copied) == (moved.blobs, 0)


def test_rows_that_the_target_cannot_hold_leave_it_as_it_was(
    source: Spot, target: Spot, postgres_url: str, tmp_path: Path
) -> None:
    target = replace(target, database_url=postgres_url)
    move(source, target)
    before = target.export(tmp_path / "1")

    async def spoil(container: Container) -> None:
        await publish(container, "new", {"a": b"new"})
        transaction = await container.database().begin()
        spoiled = update(models).where(models.c.name == "new").values(description="\0")
        await transaction.run(lambda db: db.execute(spoiled).close())
        await transaction.commit()

    source.do(spoil)
    with pytest.raises(Exception, match="0x00"):
        move(source, target)
    assert target.export(tmp_path / "2") == before


# --- damage -------------------------------------------------------------------------------------


def test_a_damaged_blob_of_the_target_is_found_and_repaired(source: Spot, target: Spot) -> None:
    move(source, target)
    damage(stored(target, b"child"), b"chile")
    assert move(source, target).repaired == 0
    verified = move(source, target, verify=True)
    assert (verified.repaired, verified.copied, verified.verified) == (1, 1, True)
    target.check()
    damage(stored(target, b"child"), b"chil")
    assert (move(source, target).copied, target.check()) == (1, None)


def test_blobs_that_the_source_lost_or_changed_are_told_of(source: Spot, target: Spot) -> None:
    damage(stored(source, b"child"), b"chile")
    stored(source, b"same").unlink()
    for _ in range(2):
        moved = move(source, target)
        lost = {hashlib.sha256(text).hexdigest() for text in (b"child", b"same")}
        assert (set(moved.lost), moved.verified) == (lost, False)
        assert moved.differing == moved.changed == ()
    stored(source, b"same").write_bytes(b"same")
    damage(stored(source, b"child"), b"child")
    moved = move(source, target)
    assert (moved.copied, moved.verified) == (2, True)


def test_bytes_that_are_damaged_on_both_sides_are_left(source: Spot, target: Spot) -> None:
    move(source, target)
    for spot in (source, target):
        damage(stored(spot, b"child"), b"chile")
    moved = move(source, target, verify=True)
    assert moved.lost == (hashlib.sha256(b"child").hexdigest(),)
    assert stored(target, b"child").read_bytes() == b"chile"
    only_rows = replace(source, database_url=f"sqlite:///{Path(source.path).parent / 'other.db'}")
    assert move(source, only_rows, verify=True).lost == moved.lost


# --- while others write -------------------------------------------------------------------------


class Busy(LocalDiskArtifactStore):
    """Things happen at the source when the first blob comes, and when the rows are there."""

    def __init__(
        self,
        target: Spot,
        source: Spot,
        *,
        first: Callable[[Container], Awaitable[object]] | None = None,
        last: Callable[[Container], Awaitable[object]] | None = None,
    ) -> None:
        super().__init__(target.path)
        self._source = source.open()
        self._first, self._last = first, last

    async def put(
        self, digest: Digest, chunks: AsyncIterator[bytes], *, size: int | None = None
    ) -> BlobInfo:
        work, self._first = self._first, None
        await self._do(work)
        return await super().put(digest, chunks, size=size)

    async def absent(self, digests: Collection[Digest]) -> set[Digest]:
        work, self._last = self._last, None
        await self._do(work)
        return await super().absent(digests)

    async def _do(self, work: Callable[[Container], Awaitable[object]] | None) -> None:
        if work is not None:
            await work(self._source)
            await self._source.sandbox().close()
            await self._source.database().close()


async def publish_new(container: Container) -> None:
    await publish(container, "new", {"a": b"new"})


def test_what_is_published_while_blobs_are_copied_comes_along(source: Spot, target: Spot) -> None:
    moved = move(source, target, onto=Busy(target, source, first=publish_new))
    assert (moved.verified, moved.changed) == (True, ())
    assert stored(target, b"new").exists()
    target.check()


def test_what_is_published_after_the_rows_were_copied_is_told_of(
    source: Spot, target: Spot, tmp_path: Path
) -> None:
    moved = move(source, target, onto=Busy(target, source, last=publish_new))
    assert moved.verified
    assert {"models", "versions", "version_blobs"} <= set(moved.changed)
    assert not stored(target, b"new").exists()
    target.check()
    again = move(source, target)
    assert (again.copied, again.changed, again.verified) == (1, (), True)
    assert target.export(tmp_path / "2") == source.export(tmp_path / "1")


def test_what_is_published_while_only_the_store_moves_is_told_of(
    source: Spot, target: Spot
) -> None:
    target = replace(target, database_url=source.database_url)
    moved = move(source, target, onto=Busy(target, source, last=publish_new))
    assert "versions" in moved.changed
    assert move(source, target).copied <= 1
    target.check()


def test_what_is_deleted_and_collected_meanwhile_is_not_missed(source: Spot, target: Spot) -> None:
    async def delete_and_collect(container: Container) -> None:
        for name in ("grown", "gone"):
            await container.delete_model()(DeleteModel(ModelName(name), "ann"))
        await container.collect_garbage()(CollectGarbage(timedelta(0)))

    moved = move(source, target, onto=Busy(target, source, first=delete_and_collect))
    assert (moved.verified, moved.changed, moved.lost) == (True, (), ())
    target.check()


def test_whoever_writes_to_the_target_meanwhile_is_noticed(source: Spot, target: Spot) -> None:
    moved = move(source, target, onto=Busy(target, target, last=publish_new))
    assert {"models", "versions", "version_blobs"} <= set(moved.differing)
    assert (moved.verified, moved.changed) == (False, ())
