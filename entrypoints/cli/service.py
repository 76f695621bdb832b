"""``serve`` and ``migrate``: running the service and its database."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import typer
from typer.core import TyperCommand

from application.maintenance import claim_store
from domain.errors import InvalidSettings, StoreFull, StoreUnavailable
from entrypoints.cli import exits
from entrypoints.cli.options import UPKEEP, Json, add
from entrypoints.cli.output import emit, say
from entrypoints.cli.runtime import Container, build, prepare, tell_of_new


class _ServeCommand(TyperCommand):
    """Adds the settings to the help, from their declaration, so that the two cannot differ."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from entrypoints.settings import Settings  # noqa: PLC0415 - only when help is asked for

        super().format_help(ctx, formatter)
        say("Settings, from the environment or a file .env in the working directory:\n")
        rows = [
            (name.upper(), _shown(field.default), field.description or "")
            for name, field in Settings.model_fields.items()
        ]
        names, defaults = (max(len(row[column]) for row in rows) for column in (0, 1))
        for name, default, description in rows:
            say(f"  {name:<{names}}  {default:<{defaults}}  {description}")
        say("")


def _shown(default: object) -> str:
    return str(getattr(default, "value", default))


def serve() -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Everything is set through settings, not options: PORT=9000 modelyard-server serve. A database
    in SQLite is migrated before the start; with another one run 'migrate' first. SIGTERM lets it
    serve for another DRAIN_SECONDS, unless it comes twice; then running transfers get
    GRACEFUL_TIMEOUT seconds to end.
    """
    from entrypoints.cli import serving  # noqa: PLC0415 - the server, which other commands spare

    container = build()
    settings = container.settings()
    tell = serving.start_log(settings)
    prepare(container, create=True, tell=tell)
    container.database().dispose()
    _check_storage(container)
    with serving.listen(settings.host, settings.port) as listening:
        tell(_welcome(settings.host, listening.getsockname()[1]))
        if not serving.serve(settings, listening):
            raise typer.Exit(exits.UNEXPECTED)


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell; exit code 6 when there is work.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring the database's schema to what this release needs.

    Make a backup first. Several processes may do so at once: one works, the others wait.
    """
    from entrypoints.container import migrate as schema  # noqa: PLC0415

    container = build()
    database = container.database()
    before = schema.current(database)
    if check:
        schema.check(database)
    if schema.upgrade(database):
        tell_of_new(container)
    now = schema.current(database)
    database.dispose()
    document = {"revision": now, "previous_revision": before, "changed": before != now}
    told = f"Migrated the database from {before or 'nothing'} to {now}."
    if before == now:
        told = f"The database is at {now}, as this release needs it."
    emit(document, told, json=json)


def _check_storage(container: Container) -> None:
    """A full disk does not keep it from starting: what is stored can be read.

    Raises:
        InvalidSettings: no bytes can be kept there.
        StoreOfAnother: those of another registry are.
    """

    async def check() -> None:
        try:
            await container.store().check()
            await claim_store(container.store(), container.references())
        finally:
            await container.database().close()

    try:
        anyio.run(check)
    except StoreFull:
        return
    except StoreUnavailable as error:
        path, cause = container.settings().model_storage_path, error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else error.detail
        raise InvalidSettings(
            f"MODEL_STORAGE_PATH: {path} cannot hold model files: {reason}"
        ) from None


def _welcome(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable and reachable[0] != "[" else reachable
    return f"Modelyard is at http://{name}:{port}, its API to try out at http://{name}:{port}/docs"


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    add(app, UPKEEP, {"serve": serve}, cls=_ServeCommand)
    add(app, UPKEEP, {"migrate": migrate})
