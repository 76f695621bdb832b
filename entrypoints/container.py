"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Dependency, Factory, Object, Singleton

from adapters import observed
from adapters.file_lock import FileLockManager
from adapters.inspection.validator import SandboxedFileValidator
from adapters.local_disk import LocalDiskArtifactStore, LocalDiskSegmentStore
from adapters.local_folder import LocalFolder
from adapters.memory.locks import MemoryLockManager
from adapters.no_lock import NoLockManager
from adapters.object_store import NoDirectUploads, Stores, open_stores
from adapters.sql import dsn_of, migrate, open_database
from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.copying import SqlRegistryRows
from adapters.sql.fences import SqlFences
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.snapshot import SqlRegistrySnapshot
from adapters.sql.unit_of_work import SqlUnitOfWork
from adapters.system import RandomIds, SystemClock
from application import aliases, blobs, migrating, models, publishing, uploads, versions
from application.exporting import ExportHandler
from application.importing import ImportHandler
from application.maintenance import CollectGarbageHandler, VerifyHandler
from application.ports import LockManager
from application.rescanning import RescanHandler
from application.upload_intake import UploadIntake
from entrypoints import audit
from entrypoints.settings import Settings

__all__ = ["Container", "build_container", "migrate"]
_Ports = dict[str, Any]


def _open_stores(settings: Settings) -> Stores:
    method, path = settings.model_storage_method, settings.model_storage_path
    if method != "local":
        return open_stores(method, path, public_url=settings.model_storage_public_url or None)
    return Stores(LocalDiskArtifactStore(path), LocalDiskSegmentStore(path), NoDirectUploads())


def _open_locks(settings: Settings, fences: SqlFences) -> LockManager:
    """Those that others need are imported for them alone."""
    if settings.locking == "postgres":
        from adapters.postgres_lock import PostgresLockManager  # noqa: PLC0415

        return PostgresLockManager(dsn_of(settings.database_url), queue=MemoryLockManager())
    if settings.locking == "redis":
        from adapters.redis_lock import RedisLockManager  # noqa: PLC0415

        url, lease = settings.redis_url, settings.lock_lease
        return RedisLockManager(url, queue=MemoryLockManager(), issue=fences.issue, lease=lease)
    return NoLockManager() if settings.locking == "none" else FileLockManager(settings.lock_path)


def _unrecorded(*_call: object) -> None:
    """Commands count nothing; the service does."""


class Container(DeclarativeContainer):
    """One per process; ``settings`` must be overridden before anything is asked of it."""

    settings: Dependency[Settings] = Dependency(instance_of=Settings)
    record_call = Object(_unrecorded)
    _of = settings.provided
    _store_call = Factory(partial, record_call, "store")

    # --- what is shared ---
    clock = Singleton(SystemClock)
    ids = Singleton(RandomIds)
    database = Singleton(open_database, _of.database_url, pool_size=_of.database_pool_size)
    stores = Singleton(_open_stores, settings)
    store = Singleton(observed.ObservedArtifactStore, stores.provided.artifacts, _store_call)
    segments = Singleton(observed.ObservedSegmentStore, stores.provided.segments, _store_call)
    direct = Singleton(observed.ObservedDirectUploads, stores.provided.direct, _store_call)
    fences = Singleton(SqlFences, database)
    locks = Singleton(
        observed.ObservedLockManager,
        Singleton(_open_locks, settings, fences),
        Factory(partial, record_call, "lock"),
    )
    sandbox = Singleton(
        SandboxedFileValidator,
        timeout=_of.validation_timeout,
        memory=_of.validation_memory,
        workers=_of.validation_workers,
    )
    _check = Factory(partial, record_call, "validator")
    validator = Singleton(observed.ObservedFileValidator, sandbox, _check)
    reader = Singleton(SqlRegistryReader, database)
    references = Singleton(SqlBlobReferences, database)
    rows = Singleton(SqlRegistryRows, database)

    # --- one per command ---
    uow = Factory(SqlUnitOfWork, database, audit.tell, Factory(partial, record_call, "transaction"))
    snapshot = Factory(SqlRegistrySnapshot, database)
    folder = Factory(LocalFolder)

    # --- use cases ---
    _change: ClassVar[_Ports] = {"uow": uow.provider, "clock": clock}
    _answer: ClassVar[_Ports] = {**_change, "reader": reader}
    _store: ClassVar[_Ports] = {"store": store, "locks": locks, "lock_timeout": _of.lock_timeout}
    _sized: ClassVar[_Ports] = {"store": store, "max_size": _of.max_upload_size}
    _judge: ClassVar[_Ports] = {"validator": validator, "policy": _of.policy}
    _publish: ClassVar[_Ports] = {**_answer, **_store, **_sized, **_judge, "ids": ids}
    _intake: ClassVar[_Ports] = {**_change, **_store, **_sized, "segments": segments}
    register_model = Factory(models.RegisterModelHandler, **_answer, ids=ids)
    update_model = Factory(models.UpdateModelHandler, **_answer)
    delete_model = Factory(models.DeleteModelHandler, **_change)
    publish_version = Factory(publishing.PublishVersionHandler, **_publish)
    update_version = Factory(versions.UpdateVersionHandler, **_answer)
    review_version = Factory(versions.ReviewVersionHandler, **_answer)
    delete_version = Factory(versions.DeleteVersionHandler, **_change)
    rescan = Factory(RescanHandler, **_answer, **_judge, store=store)
    set_alias = Factory(aliases.SetAliasHandler, **_answer)
    delete_alias = Factory(aliases.DeleteAliasHandler, **_change)
    roll_back_alias = Factory(aliases.RollBackAliasHandler, **_answer)
    upload_blob = Factory(blobs.UploadBlobHandler, **_sized)
    begin_direct_upload = Factory(blobs.BeginDirectUploadHandler, **_sized, direct=direct)
    upload_expiry = Factory(timedelta, seconds=_of.upload_expiry)
    intake = Factory(UploadIntake, **_intake, expiry=upload_expiry)
    create_upload = Factory(uploads.CreateUploadHandler, **_change, intake=intake, ids=ids)
    append_to_upload = Factory(uploads.AppendToUploadHandler, **_change, intake=intake)
    find_upload = Factory(uploads.FindUploadHandler, **_change)
    terminate_upload = Factory(uploads.TerminateUploadHandler, uow=uow.provider, intake=intake)
    open_file = Factory(blobs.OpenFileHandler, reader=reader, store=store)
    collect_garbage = Factory(
        CollectGarbageHandler, **_change, **_store, segments=segments, references=references
    )
    verify = Factory(VerifyHandler, store=store, references=references)
    place = Factory(migrating.Place, store=store, references=references, rows=rows)
    migrate_store = Factory(migrating.MigrateStoreHandler, place, reader)
    export_registry = Factory(ExportHandler, snapshot=snapshot.provider, store=store)
    import_registry = Factory(ImportHandler, uow=uow.provider, store=store)


def build_container(settings: Settings) -> Container:
    """A container for these settings; nothing is opened until it is asked for."""
    container = Container()
    container.settings.override(settings)
    return container
