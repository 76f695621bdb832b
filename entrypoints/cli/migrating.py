"""``migrate-store``: a registry moves to another database, another store, or both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Annotated, Any

import anyio
import typer
from anyio.to_thread import run_sync

from application.migrating import MigratedStore, MigrateStore
from application.ports.blob_references import FileOfVersion
from domain.errors import DatabaseUnavailable, InvalidSettings
from domain.values import Digest
from entrypoints.cli import exits
from entrypoints.cli.options import UPKEEP, Json, add
from entrypoints.cli.output import emit, plural, progress, size
from entrypoints.cli.runtime import Container, with_registry

ToDatabase = Annotated[
    str | None,
    typer.Option(
        "--to-database",
        metavar="URL",
        envvar="MODELYARD_TO_DATABASE",
        help="Copy the rows to this database: sqlite:///path/to/file.db, or "
        "postgresql://user:password@host/database. Best given in the variable, which other users "
        "of the machine do not see.",
    ),
]
ToMethod = Annotated[
    str | None,
    typer.Option(
        "--to-storage-method",
        metavar="METHOD",
        help="How the files are kept there: local, s3, gcs or azure.",
        show_default="as they are now",
    ),
]
ToPath = Annotated[
    str | None,
    typer.Option(
        "--to-storage-path",
        metavar="PATH",
        help="Copy the model files to this folder, or s3://bucket/prefix and the like.",
    ),
]
Verify = Annotated[
    bool, typer.Option("--verify", help="Read every byte there once more, and repair.")
]


@dataclass(frozen=True, slots=True)
class _Move:
    """What came of it, ``target`` closed; ``named``: a few of the files that need a lost blob."""

    target: Container
    migrated: MigratedStore
    named: dict[Digest, list[FileOfVersion]]
    seconds: float

    @property
    def database(self) -> str:
        return str(self.target.database().place)

    @property
    def store(self) -> str:
        return str(self.target.settings().model_storage_path)


def migrate_store(
    to_database: ToDatabase = None,
    to_storage_method: ToMethod = None,
    to_storage_path: ToPath = None,
    verify: Verify = False,
    json: Json = False,
) -> None:
    """Copy the whole registry to another database, another store, or both.

    The source stays as it is, and the service may go on while most is copied. Then end all that
    write, run it once more, which takes seconds, and start the service with the settings of the new
    place. Also after it broke off, run it again: it goes on. What was in the target from an earlier
    run is brought up to date; what belongs to another registry is left alone.

    Exit code 6 says that the source changed meanwhile: run it again. Exit code 7 says that
    something is damaged or missing. Uploads in several requests that are under way are not copied,
    nor are blobs that no version names. Credentials come from the environment, as for the service.
    """
    chosen = {
        "database_url": to_database,
        "model_storage_method": to_storage_method,
        "model_storage_path": to_storage_path,
    }
    move = _move({name: value for name, value in chosen.items() if value is not None}, verify)
    emit(_document(move) | {"reread": verify}, "\n".join(_lines(move)), json=json)
    if not move.migrated.verified:
        raise typer.Exit(exits.CORRUPT)
    if move.migrated.changed:
        raise typer.Exit(exits.AGAIN)


def _move(chosen: dict[str, str], verify: bool) -> _Move:
    began = monotonic()

    async def work(source: Container) -> _Move:
        target = await run_sync(_open_target, source, chosen)
        try:
            place = target.place()
            if _store(target) == _store(source):
                place = replace(place, store=source.store())
            with progress("Copying") as tell:
                migrated = await source.migrate_store()(MigrateStore(place, verify), tell)
            named = {digest: await place.references.naming(digest) for digest in migrated.lost}
        finally:
            with anyio.CancelScope(shield=True):
                await target.database().close()
        return _Move(target, migrated, named, monotonic() - began)

    return with_registry(work)


def _store(container: Container) -> tuple[str, str]:
    settings = container.settings()
    return settings.model_storage_method, settings.model_storage_path.rstrip("/")


def _url(container: Container) -> str:
    return str(container.settings().database_url)


def _open_target(source: Container, chosen: dict[str, Any]) -> Container:
    """The registry to copy to, its database with its schema.

    Raises:
        BadParameter: it is the one to copy from.
        InvalidSettings: something about it is wrong.
        DatabaseBehind: it was made by another release.
        DatabaseUnavailable
    """
    from entrypoints.container import build_container, migrate  # noqa: PLC0415
    from entrypoints.settings import load_settings  # noqa: PLC0415

    try:
        target = build_container(load_settings(**chosen, lock_method="auto"))
        database = target.database()
        if _store(target) == _store(source) and _url(target) == _url(source):
            raise typer.BadParameter("that is where the registry is; name another place")
        if migrate.current(database) is None:
            migrate.upgrade(database)
        migrate.check(database)
    except InvalidSettings as error:
        raise InvalidSettings(f"The place to copy to: {error.detail}") from None
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"The database to copy to: {error.detail}") from None
    return target


def _document(move: _Move) -> dict[str, object]:
    migrated = move.migrated
    return asdict(migrated) | {
        "tables": {name: table._asdict() for name, table in migrated.tables.items()},
        "named_by": {str(lost): [f._asdict() for f in few] for lost, few in move.named.items()},
        "verified": migrated.verified,
        "complete": migrated.verified and not migrated.changed,
        "database": move.database,
        "store": move.store,
        "seconds": round(move.seconds, 3),
    }


def _lines(move: _Move) -> list[str]:
    migrated = move.migrated
    lines = [
        f"lost     {digest}" + "".join(f"  {file.model}@{file.version}/{file.path}" for file in few)
        for digest, few in move.named.items()
    ]
    repaired = f", {migrated.repaired} damaged ones repaired" if migrated.repaired else ""
    copied = f"{plural(migrated.copied, 'blob')} ({size(migrated.copied_size)}){repaired}"
    lines.append(f"{move.store}: copied {copied}; {migrated.present} were there before.")
    rows = {name: table.rows for name, table in migrated.tables.items()}
    counted = f"{plural(rows['models'], 'model')}, {plural(rows['versions'], 'version')}"
    lines.append(f"{move.database}: {counted}; {sum(rows.values())} rows in all.")
    if migrated.uploads:
        lines.append(f"Left behind: {plural(migrated.uploads, 'upload')} in several requests.")
    if migrated.differing:
        lines.append(f"Not as copied: {', '.join(migrated.differing)}; does somebody write there?")
    if migrated.verified:
        lines.append(f"All of it is there ({move.seconds:.1f} s).")
    if migrated.changed:
        lines.append(
            f"The registry changed meanwhile ({', '.join(migrated.changed)}): end all that write "
            "to it, and run this again."
        )
    return lines


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    add(app, UPKEEP, {"migrate-store": migrate_store})
