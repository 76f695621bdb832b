"""``alias``: names for versions that can be moved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from application.aliases import DeleteAlias, RollBackAlias, SetAlias
from application.records import AliasMoveRecord, AliasRecord
from domain.values import AliasName, ModelName, VersionNumber
from entrypoints.cli.options import (
    EVERYDAY,
    AliasArgument,
    Json,
    Name,
    User,
    actor,
    add,
    reference,
    version_named,
)
from entrypoints.cli.output import emit, print_table
from entrypoints.cli.runtime import Container, all_items, with_registry


def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, or NAME@VERSION.")],
    alias: AliasArgument,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="A number, latest, or another alias; left out where NAME@VERSION says it.",
        ),
    ] = None,
    user: User = "",
    json: Json = False,
) -> None:
    """Point an alias at a version, whether it is new or moves."""
    model, target = (
        version_named(name) if version is None else (ModelName(name), reference(version))
    )
    alias_name, who = AliasName(alias), actor(user)

    async def work(container: Container) -> tuple[AliasRecord, bool]:
        number = target
        if not isinstance(number, VersionNumber):
            found = await container.reader().version(model, number)
            number = VersionNumber(found.record.version)
        command = SetAlias(model, alias_name, number, who)
        found_alias, created = await container.set_alias()(command)
        return found_alias.record, created

    record, created = with_registry(work)
    emit(record, f"{_at(record)}{' (new)' if created else ''}.", json=json)


def delete(name: Name, alias: AliasArgument, user: User = "", json: Json = False) -> None:
    """Delete an alias; its history stays."""
    command = DeleteAlias(ModelName(name), AliasName(alias), actor(user))

    async def work(container: Container) -> None:
        await container.delete_alias()(command)

    with_registry(work)
    document = {"deleted": {"model": command.model, "alias": command.alias}}
    emit(document, f"Deleted {command.model}@{command.alias}.", json=json)


def rollback(name: Name, alias: AliasArgument, user: User = "", json: Json = False) -> None:
    """Point an alias back at the version before its last move."""
    command = RollBackAlias(ModelName(name), AliasName(alias), actor(user))

    async def work(container: Container) -> AliasRecord:
        return (await container.roll_back_alias()(command)).record

    record = with_registry(work)
    emit(record, f"{_at(record)}.", json=json)


def list_(name: Name, json: Json = False) -> None:
    """List a model's aliases."""
    model = ModelName(name)

    async def work(container: Container) -> Sequence[AliasRecord]:
        reader = container.reader()
        return await all_items(lambda request: reader.aliases(model, request))

    items = with_registry(work)
    rows = [(a.alias, a.version, a.updated_by, a.updated_at) for a in items]
    table = partial(print_table, ("ALIAS", "VERSION", "BY", "SINCE"), rows)
    emit({"items": items}, table, json=json)


def history(name: Name, alias: AliasArgument, json: Json = False) -> None:
    """List every move of an alias, the newest first, also after it was deleted."""
    model, alias_name = ModelName(name), AliasName(alias)

    async def work(container: Container) -> Sequence[AliasMoveRecord]:
        reader = container.reader()
        return await all_items(lambda request: reader.alias_history(model, alias_name, request))

    items = with_registry(work)
    rows = [(m.previous_version or "-", m.version or "-", m.actor, m.at) for m in items]
    emit({"items": items}, partial(print_table, ("FROM", "TO", "BY", "AT"), rows), json=json)


def _at(record: AliasRecord) -> str:
    return f"{record.model}@{record.alias} is version {record.version}"


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    aliases = typer.Typer(no_args_is_help=True, help="Names for versions that can be moved.")
    add(
        aliases,
        None,
        {
            "set": set_,
            "list": list_,
            "history": history,
            "rollback": rollback,
            "delete": delete,
        },
    )
    app.add_typer(aliases, name="alias", rich_help_panel=EVERYDAY)
