"""The application: its commands, and what becomes of everything they raise."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from domain.errors import ModelyardError
from entrypoints.cli import aliases, exits, files, inspecting, migrating, models, service, upkeep
from entrypoints.cli.output import plain

app = typer.Typer(
    name="modelyard-server",
    help="Runs and keeps a registry for machine-learning models.\n\n"
    "The commands work on the registry that the settings name (see 'serve --help'), "
    "on this machine and without the service. A version is named as NAME@3, NAME@latest "
    "or NAME@ALIAS.",
    epilog=exits.EXPLAINED,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for theme in (models, files, inspecting, aliases, service, upkeep, migrating):
    theme.add_to(app)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from entrypoints.http.routes.service import server_version  # noqa: PLC0415 - imports FastAPI

        print(f"modelyard-server {server_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell the release."),
    ] = False,
) -> None:
    """What stands before a command."""


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    try:
        status = _run(arguments, json="--json" in arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        status = exits.BROKEN_PIPE
    except OSError:  # stdout takes no more, not even the error, which stderr has
        status = exits.UNEXPECTED
    else:
        return status
    _forget_stdout()
    return status


def _run(arguments: list[str], *, json: bool) -> int:
    try:
        status = app(arguments, prog_name="modelyard-server", standalone_mode=False)
        sys.stdout.flush()
    except ModelyardError as error:
        return exits.tell(error, json=json)
    except typer.TyperException as error:
        return _refuse(error, json=json)
    except (typer.Abort, KeyboardInterrupt):
        status = exits.INTERRUPTED
    except SystemExit as error:  # typer makes one of a broken pipe, and of nothing else
        raise BrokenPipeError from error
    except BrokenPipeError:
        raise
    except OSError as error:
        detail = error.strerror or str(error)
        if error.filename:
            detail += f": {error.filename}"
        status = exits.EXISTS if isinstance(error, FileExistsError) else exits.UNEXPECTED
        exits.problem("io.failed", "A file could not be used", detail, status, json=json)
        return status
    if status == exits.INTERRUPTED:
        exits.problem("interrupted", "Interrupted", "Interrupted", status, json=json)
    return status or 0


def _refuse(error: typer.TyperException, *, json: bool) -> int:
    context = getattr(error, "ctx", None)
    if context is not None:
        print(plain(context.get_usage()), file=sys.stderr)
        print(f"Try '{context.command_path} --help' for help.", file=sys.stderr)
    detail = " ".join(error.format_message().split())
    status = error.exit_code
    exits.problem("usage.invalid", "The command line is wrong", detail, status, json=json)
    return status


def _forget_stdout() -> None:
    """Whoever read the output is gone: what is left of it must not fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> NoReturn:
    """Runs the command line of this process, which may have been given no stdout or stderr."""
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    code = run(sys.argv[1:])
    if "obstore" in sys.modules:
        # Its threads may still be at work, and would abort the process that Python is taking down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
