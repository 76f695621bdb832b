"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from dependency_injector import containers, providers

from adapters.file_lock import FileLockManager
from adapters.libmagic import LibmagicValidator
from adapters.local_disk import LocalDiskArtifactStore, LocalDiskSegmentStore
from adapters.local_folder import LocalFolder
from adapters.no_lock import NoLockManager
from adapters.object_store import Stores, open_stores
from adapters.observed import (
    ObservedArtifactStore,
    ObservedDirectUploads,
    ObservedLockManager,
    ObservedSegmentStore,
)
from adapters.sql import migrate, open_database
from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.snapshot import SqlRegistrySnapshot
from adapters.sql.unit_of_work import SqlUnitOfWork
from adapters.system import RandomIds, SystemClock
from application.aliases import DeleteAliasHandler, RollBackAliasHandler, SetAliasHandler
from application.blobs import BeginDirectUploadHandler, OpenFileHandler, UploadBlobHandler
from application.exporting import ExportHandler
from application.importing import ImportHandler
from application.maintenance import CollectGarbageHandler, VerifyHandler
from application.models import DeleteModelHandler, RegisterModelHandler, UpdateModelHandler
from application.publishing import PublishVersionHandler
from application.upload_intake import UploadIntake
from application.uploads import (
    AppendToUploadHandler,
    CreateUploadHandler,
    FindUploadHandler,
    TerminateUploadHandler,
)
from application.versions import DeleteVersionHandler, UpdateVersionHandler
from entrypoints import audit
from entrypoints.settings import Settings

__all__ = ["Container", "build_container", "migrate"]


def _open_stores(settings: Settings) -> Stores:
    method, path = settings.model_storage_method, settings.model_storage_path
    if method != "local":
        return open_stores(method, path)
    return Stores(LocalDiskArtifactStore(path), LocalDiskSegmentStore(path), None)  # type: ignore[arg-type]


def _unrecorded(*_call: object) -> None:
    """Commands count nothing; the service does."""


class Container(containers.DeclarativeContainer):
    """One per process; ``settings`` must be overridden before anything is asked of it."""

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)

    record_call = providers.Object(_unrecorded)
    store_call = providers.Factory(partial, record_call, "store")

    # --- what is shared ---
    clock = providers.Singleton(SystemClock)
    ids = providers.Singleton(RandomIds)
    database = providers.Singleton(
        open_database,
        settings.provided.database_url,
        pool_size=settings.provided.database_pool_size,
    )
    stores = providers.Singleton(_open_stores, settings)
    store = providers.Singleton(ObservedArtifactStore, stores.provided.artifacts, store_call)
    segments = providers.Singleton(ObservedSegmentStore, stores.provided.segments, store_call)
    direct = providers.Singleton(ObservedDirectUploads, stores.provided.direct, store_call)
    locks = providers.Singleton(
        ObservedLockManager,
        providers.Selector(
            settings.provided.locking,
            file=providers.Singleton(FileLockManager, settings.provided.lock_path),
            none=providers.Singleton(NoLockManager),
        ),
        providers.Factory(partial, record_call, "lock"),
    )
    validator = providers.Singleton(LibmagicValidator)
    reader = providers.Singleton(SqlRegistryReader, database)
    references = providers.Singleton(SqlBlobReferences, database)

    # --- one per command ---
    uow = providers.Factory(
        SqlUnitOfWork, database, audit.tell, providers.Factory(partial, record_call, "transaction")
    )
    snapshot = providers.Factory(SqlRegistrySnapshot, database)
    folder = providers.Factory(LocalFolder)

    # --- use cases ---
    register_model = providers.Factory(
        RegisterModelHandler, uow=uow.provider, reader=reader, clock=clock, ids=ids
    )
    update_model = providers.Factory(
        UpdateModelHandler, uow=uow.provider, reader=reader, clock=clock
    )
    delete_model = providers.Factory(DeleteModelHandler, uow=uow.provider, clock=clock)
    publish_version = providers.Factory(
        PublishVersionHandler,
        uow=uow.provider,
        reader=reader,
        store=store,
        locks=locks,
        validator=validator,
        clock=clock,
        ids=ids,
        mode=settings.provided.validation,
        max_size=settings.provided.max_upload_size,
        lock_timeout=settings.provided.lock_timeout,
    )
    update_version = providers.Factory(
        UpdateVersionHandler, uow=uow.provider, reader=reader, clock=clock
    )
    delete_version = providers.Factory(DeleteVersionHandler, uow=uow.provider, clock=clock)
    set_alias = providers.Factory(SetAliasHandler, uow=uow.provider, reader=reader, clock=clock)
    delete_alias = providers.Factory(DeleteAliasHandler, uow=uow.provider, clock=clock)
    roll_back_alias = providers.Factory(
        RollBackAliasHandler, uow=uow.provider, reader=reader, clock=clock
    )
    upload_blob = providers.Factory(
        UploadBlobHandler, store=store, max_size=settings.provided.max_upload_size
    )
    begin_direct_upload = providers.Factory(
        BeginDirectUploadHandler,
        store=store,
        direct=direct,
        max_size=settings.provided.max_upload_size,
    )
    intake = providers.Factory(
        UploadIntake,
        uow=uow.provider,
        segments=segments,
        store=store,
        locks=locks,
        clock=clock,
        max_size=settings.provided.max_upload_size,
        expiry=providers.Factory(timedelta, seconds=settings.provided.upload_expiry),
        lock_timeout=settings.provided.lock_timeout,
    )
    create_upload = providers.Factory(
        CreateUploadHandler, uow=uow.provider, intake=intake, clock=clock, ids=ids
    )
    append_to_upload = providers.Factory(
        AppendToUploadHandler, uow=uow.provider, intake=intake, clock=clock
    )
    find_upload = providers.Factory(FindUploadHandler, uow=uow.provider, clock=clock)
    terminate_upload = providers.Factory(TerminateUploadHandler, uow=uow.provider, intake=intake)
    open_file = providers.Factory(OpenFileHandler, reader=reader, store=store)
    collect_garbage = providers.Factory(
        CollectGarbageHandler,
        uow=uow.provider,
        store=store,
        segments=segments,
        references=references,
        locks=locks,
        clock=clock,
        lock_timeout=settings.provided.lock_timeout,
    )
    verify = providers.Factory(VerifyHandler, store=store, references=references)
    export_registry = providers.Factory(ExportHandler, snapshot=snapshot.provider, store=store)
    import_registry = providers.Factory(ImportHandler, uow=uow.provider, store=store)


def build_container(settings: Settings) -> Container:
    """A container for these settings; nothing is opened until it is asked for."""
    container = Container()
    container.settings.override(settings)
    return container
