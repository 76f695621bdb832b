"""``alias``: names for versions that can be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from application.aliases import DeleteAlias, RollBackAlias, SetAlias
from application.ports import PageRequest
from application.records import AliasMoveRecord, AliasRecord
from domain.values import AliasName, ModelName, VersionNumber
from entrypoints.cli.options import EVERYDAY, AliasArgument, Json, Name, User, actor, add, reference
from entrypoints.cli.output import print_json, print_table, say
from entrypoints.cli.runtime import with_registry

if TYPE_CHECKING:
    from entrypoints.container import Container

_PAGE = 1000


def set_(
    name: Name,
    alias: AliasArgument,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A number, latest, or another alias.")
    ],
    user: User = "",
    json: Json = False,
) -> None:
    """Point an alias at a version, whether it is new or moves."""
    model, alias_name, target, who = (
        ModelName(name),
        AliasName(alias),
        reference(version),
        actor(user),
    )

    async def work(container: Container) -> tuple[AliasRecord, bool]:
        number = target
        if not isinstance(number, VersionNumber):
            found = await container.reader().version(model, number)
            number = VersionNumber(found.record.version)
        command = SetAlias(model, alias_name, number, who)
        found_alias, created = await container.set_alias()(command)
        return found_alias.record, created

    record, created = with_registry(work)
    if json:
        print_json(record)
    else:
        say(f"{_at(record)}{' (new)' if created else ''}.")


def delete(name: Name, alias: AliasArgument, user: User = "", json: Json = False) -> None:
    """Delete an alias; its history stays."""
    command = DeleteAlias(ModelName(name), AliasName(alias), actor(user))

    async def work(container: Container) -> None:
        await container.delete_alias()(command)

    with_registry(work)
    if json:
        print_json({"deleted": {"model": command.model, "alias": command.alias}})
    else:
        say(f"Deleted {command.model}@{command.alias}.")


def rollback(name: Name, alias: AliasArgument, user: User = "", json: Json = False) -> None:
    """Point an alias back at the version before its last move."""
    command = RollBackAlias(ModelName(name), AliasName(alias), actor(user))

    async def work(container: Container) -> AliasRecord:
        return (await container.roll_back_alias()(command)).record

    record = with_registry(work)
    if json:
        print_json(record)
    else:
        say(f"{_at(record)}.")


def list_(name: Name, json: Json = False) -> None:
    """List a model's aliases."""
    model = ModelName(name)

    async def work(container: Container) -> list[AliasRecord]:
        items, token = [], None
        while True:
            request = PageRequest(size=_PAGE, token=token)
            page = await container.reader().aliases(model, request)
            items.extend(page.items)
            if (token := page.next_page_token) is None:
                return items

    items = with_registry(work)
    if json:
        print_json({"items": items})
    else:
        rows = [(a.alias, a.version, a.updated_by, a.updated_at) for a in items]
        print_table(("ALIAS", "VERSION", "BY", "SINCE"), rows)


def history(name: Name, alias: AliasArgument, json: Json = False) -> None:
    """List every move of an alias, the newest first, also after it was deleted."""
    model, alias_name = ModelName(name), AliasName(alias)

    async def work(container: Container) -> list[AliasMoveRecord]:
        items, token = [], None
        while True:
            request = PageRequest(size=_PAGE, token=token)
            page = await container.reader().alias_history(model, alias_name, request)
            items.extend(page.items)
            if (token := page.next_page_token) is None:
                return items

    items = with_registry(work)
    if json:
        print_json({"items": items})
    else:
        rows = [(m.previous_version or "-", m.version or "-", m.actor, m.at) for m in items]
        print_table(("FROM", "TO", "BY", "AT"), rows)


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
