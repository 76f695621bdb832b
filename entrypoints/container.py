"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

from dependency_injector import containers, providers

from adapters.file_lock import FileLockManager
from adapters.libmagic import LibmagicValidator
from adapters.local_disk import LocalDiskArtifactStore
from adapters.local_folder import LocalFolder
from adapters.no_lock import NoLockManager
from adapters.sql import migrate
from adapters.sql.blob_references import SqlBlobReferences
from adapters.sql.reader import SqlRegistryReader
from adapters.sql.snapshot import SqlRegistrySnapshot
from adapters.sql.sqlite import SqliteDatabase
from adapters.sql.unit_of_work import SqlUnitOfWork
from adapters.system import RandomIds, SystemClock
from application.aliases import DeleteAliasHandler, RollBackAliasHandler, SetAliasHandler
from application.blobs import OpenFileHandler, UploadBlobHandler
from application.exporting import ExportHandler
from application.importing import ImportHandler
from application.maintenance import CollectGarbageHandler, VerifyHandler
from application.models import DeleteModelHandler, RegisterModelHandler, UpdateModelHandler
from application.publishing import PublishVersionHandler
from application.versions import DeleteVersionHandler, UpdateVersionHandler
from domain.errors import DatabaseMissing
from entrypoints import audit
from entrypoints.settings import Settings


class Container(containers.DeclarativeContainer):
    """One per process; ``settings`` must be overridden before anything is asked of it."""

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)

    # --- what is shared ---
    clock = providers.Singleton(SystemClock)
    ids = providers.Singleton(RandomIds)
    database = providers.Singleton(SqliteDatabase, settings.provided.database_url)
    store = providers.Singleton(LocalDiskArtifactStore, settings.provided.model_storage_path)
    locks = providers.Selector(
        settings.provided.lock_method,
        file=providers.Singleton(FileLockManager, settings.provided.lock_path),
        none=providers.Singleton(NoLockManager),
    )
    validator = providers.Singleton(LibmagicValidator)
    reader = providers.Singleton(SqlRegistryReader, database)
    references = providers.Singleton(SqlBlobReferences, database)

    # --- one per command ---
    uow = providers.Factory(SqlUnitOfWork, database, audit.tell)
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
    open_file = providers.Factory(OpenFileHandler, reader=reader, store=store)
    collect_garbage = providers.Factory(
        CollectGarbageHandler,
        uow=uow.provider,
        store=store,
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


def check_database(container: Container) -> None:
    """Returns when this release can work on the database as it is. Blocks.

    Raises:
        DatabaseBehind: naming the command to run.
        DatabaseUnavailable
    """
    migrate.check(container.database())


def database_revisions(container: Container) -> tuple[str | None, str]:
    """Where the database's schema is (None: nowhere), and where this release needs it. Blocks."""
    return migrate.current(container.database()), migrate.head()


def migrate_database(container: Container) -> bool:
    """Brings the schema to where this release needs it; True where there was none. Blocks.

    Raises:
        DatabaseBehind: it is newer.
    """
    return migrate.upgrade(container.database())


def prepare_database(container: Container, *, create: bool = True) -> bool:
    """Migrates SQLite, which is nobody else's; checks another database. Blocks.

    Returns:
        whether it has created the registry.

    Raises:
        DatabaseMissing: there is none, and it should not be created.
        DatabaseBehind: naming the command to run.
    """
    database = container.database()
    if not create and migrate.current(database) is None:
        raise DatabaseMissing(
            f"There is no registry at {database.path.absolute()}; correct DATABASE_URL, "
            "or begin a new one with 'modelyard-server migrate'."
        )
    if container.settings().database_url.startswith("sqlite"):
        return migrate.upgrade(database)
    migrate.check(database)
    return False
