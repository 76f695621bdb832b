"""``serve`` and ``migrate``: running the service and its database."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer
from typer.core import TyperCommand

from domain.errors import DatabaseBehind
from entrypoints.cli import exits
from entrypoints.cli.options import UPKEEP, Json, add
from entrypoints.cli.output import print_json, say
from entrypoints.cli.runtime import build, open_container

if TYPE_CHECKING:
    from entrypoints.settings import Settings

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than proxies keep theirs (nginx: 60)."""


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
    in SQLite is migrated before the start; with another one run 'migrate' first. At shutdown
    running transfers get GRACEFUL_TIMEOUT seconds to end.
    """
    container = open_container()
    settings = container.settings()
    anyio.run(container.database().close)
    port = _claim(settings.host, settings.port)
    typer.echo(_welcome(settings.host, port), err=True)
    _serve(settings, port)


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell; exit code 6 when there is work.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring the database's schema to what this release needs.

    Make a backup first. Several processes may do so at once: one works, the others wait.
    """
    from entrypoints.container import database_revisions, migrate_database  # noqa: PLC0415

    container = build()
    before, needed = database_revisions(container)
    if check and before != needed:
        raise DatabaseBehind(
            f"The database is at {before or 'no revision'} and this release needs {needed}; "
            "run 'modelyard-server migrate'."
        )
    migrate_database(container)
    anyio.run(container.database().close)
    if json:
        print_json({"revision": needed, "previous_revision": before, "changed": before != needed})
    elif before == needed:
        say(f"The database is at {needed}, as this release needs it.")
    else:
        say(f"Migrated the database from {before or 'nothing'} to {needed}.")


def _welcome(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable and reachable[0] != "[" else reachable
    return f"Modelyard is at http://{name}:{port}, its API to try out at http://{name}:{port}/docs"


def _claim(host: str, port: int) -> int:
    """Makes sure that the address can be had, and picks a port for 0."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "choose another with HOST and PORT"
        ) from None


def _serve(settings: Settings, port: int) -> None:
    import uvicorn  # noqa: PLC0415 - 0.3 s that the other commands save

    try:
        uvicorn.run(
            "entrypoints.http.app:create_app_from_environment",
            factory=True,
            host=settings.host,
            port=port,
            workers=settings.workers,
            loop="auto",
            http="entrypoints.http.protocol:HttpProtocol",
            ws="none",
            lifespan="on",
            access_log=False,
            server_header=False,
            log_config=_logging(settings.log_level),
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=settings.graceful_timeout,
        )
    except SystemExit as end:
        # uvicorn has logged why; its own codes mean other things here.
        raise typer.Exit(exits.UNEXPECTED if end.code else 0) from None


def _logging(level: str) -> dict[str, Any]:
    """One line an event on stderr; uvicorn's own comings and goings only when debugging."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "format": "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
                "datefmt": "%Y-%m-%dT%H:%M:%S",
                "()": "entrypoints.cli.service.UtcFormatter",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "modelyard": {"level": level.upper()},
            "uvicorn": {"level": "DEBUG" if level == "debug" else "WARNING"},
        },
    }


class UtcFormatter(logging.Formatter):
    """Times in UTC, whatever the machine thinks of them."""

    converter = staticmethod(time.gmtime)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    add(app, UPKEEP, {"serve": serve}, cls=_ServeCommand)
    add(app, UPKEEP, {"migrate": migrate})
