"""The everyday verbs on models and versions: register, list, show, delete."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from application.filters import MODELS, VERSIONS, parse_filter, parse_order
from application.models import DeleteModel, RegisterModel
from application.ports import PageRequest
from application.records import ModelRecord, VersionRecord
from application.versions import DeleteVersion
from domain.errors import InvalidReference
from domain.values import JsonScalar, ModelName, VersionNumber
from entrypoints.cli.options import (
    EVERYDAY,
    Description,
    Force,
    Json,
    Name,
    Tags,
    User,
    actor,
    add,
    model_and_reference,
    pairs,
)
from entrypoints.cli.output import emit, fact, plural, print_fields, print_table, size
from entrypoints.cli.runtime import Container, all_items, with_registry


def register(
    name: Name, description: Description = "", tag: Tags = None, user: User = "", json: Json = False
) -> None:
    """Register a model: a name to publish versions under."""
    command = RegisterModel(ModelName(name), actor(user), description, pairs(tag, "--tag"))

    async def work(container: Container) -> ModelRecord:
        return (await container.register_model()(command)).record

    record = with_registry(work, create=True)
    emit(record, f"Registered {record.name}.", json=json)


def list_(
    model: Annotated[
        str | None, typer.Argument(metavar="NAME", help="List the versions of this model.")
    ] = None,
    *,
    versions: Annotated[
        bool, typer.Option("--versions", help="List all models' versions.")
    ] = False,
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            help="Such as: tags.team = 'risk'. With NAME or --versions also: metrics.auc > 0.9",
        ),
    ] = "",
    order_by: Annotated[str, typer.Option("--order-by", help="Such as: created_at desc")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most; 0 for all.")] = 50,
    json: Json = False,
) -> None:
    """List models by name, or versions, the newest first."""
    of_models = model is None and not versions
    vocabulary = MODELS if of_models else VERSIONS
    conditions = parse_filter(filter_, vocabulary) if filter_ else None
    order = parse_order(order_by, vocabulary) if order_by else ()
    name = None if model is None else ModelName(model)

    async def work(container: Container) -> Sequence[ModelRecord | VersionRecord]:
        reader, asked = container.reader(), PageRequest(conditions, order)
        most = limit + 1 if limit else sys.maxsize
        if of_models:
            return await all_items(reader.models, asked, most)
        return await all_items(partial(reader.versions, model=name), asked, most)

    found = with_registry(work)
    items = found[:limit] if limit else found
    more = len(items) < len(found)
    emit({"items": items, "more": more}, partial(_print_list, items), json=json)
    if more and not json:
        typer.echo(f"There are more than these {len(items)}; see --limit.", err=True)


def _print_list(items: Sequence[ModelRecord | VersionRecord]) -> None:
    _print_models([item for item in items if isinstance(item, ModelRecord)])
    _print_versions([item for item in items if isinstance(item, VersionRecord)])


def _print_models(models: list[ModelRecord]) -> None:
    rows = [
        (m.name, m.latest_version, m.version_count, _pairs(m.aliases), m.updated_at) for m in models
    ]
    if rows:
        print_table(("MODEL", "LATEST", "VERSIONS", "ALIASES", "UPDATED"), rows)


def _print_versions(versions: list[VersionRecord]) -> None:
    rows = [
        (v.model, v.version, v.status, _aliases(v), len(v.files), size(v.size), v.created_at)
        for v in versions
    ]
    if rows:
        print_table(("MODEL", "VERSION", "STATUS", "ALIASES", "FILES", "SIZE", "CREATED"), rows)


def _aliases(version: VersionRecord) -> str:
    return " ".join(version.aliases)


def _pairs(entries: dict[str, int] | dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in entries.items())


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="churn, churn@3, churn@champion ...")
    ],
    json: Json = False,
) -> None:
    """Show a model, or one of its versions."""
    model, reference = model_and_reference(name)

    async def work(container: Container) -> ModelRecord | VersionRecord:
        if reference is None:
            return (await container.reader().model(model)).record
        return (await container.reader().version(model, reference)).record

    record = with_registry(work)
    if isinstance(record, ModelRecord):
        emit(record, partial(_show_model, record), json=json)
    else:
        emit(record, partial(_show_version, record), json=json)


def _show_model(record: ModelRecord) -> None:
    print_fields(
        [
            ("model", record.name),
            ("description", record.description),
            ("latest version", record.latest_version),
            ("versions", record.version_count),
            ("aliases", _pairs(record.aliases)),
            *((f"tag {key}", value) for key, value in record.tags.items()),
            ("creator", record.creator),
            ("created", record.created_at),
            ("updated", record.updated_at),
        ]
    )


def _show_version(record: VersionRecord) -> None:
    parents = " ".join(f"{parent.model}@{parent.version}" for parent in record.parents)
    findings = record.validation.findings
    print_fields(
        [
            ("version", f"{record.model}@{record.version}"),
            ("description", record.description),
            ("aliases", " ".join(record.aliases)),
            *((f"parameter {key}", _text(value)) for key, value in record.parameters.items()),
            *((f"metric {key}", value) for key, value in record.metrics.items()),
            *((f"tag {key}", value) for key, value in record.tags.items()),
            ("source", record.source),
            ("parents", parents),
            ("status", record.status),
            ("validation", record.validation.verdict),
            *((f"  {finding.severity}", finding.message) for finding in findings),
            *((f"  {r.decision} by {r.reviewer}", r.reason) for r in record.validation.reviews),
            *((f"fact {key}", fact(value)) for key, value in record.facts.items()),
            ("creator", record.creator),
            ("created", record.created_at),
            ("updated", record.updated_at),
            ("digest", record.digest),
            ("size", f"{size(record.size)} in {plural(len(record.files), 'file')}"),
        ]
    )
    rows = [(size(f.size), f.format or f.media_type, f.sha256[:12], f.path) for f in record.files]
    print_table(("SIZE", "TYPE", "SHA256", "PATH"), rows)


def _text(value: JsonScalar) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def delete(
    name: Annotated[str, typer.Argument(metavar="NAME[@NUMBER]", help="churn, or churn@3.")],
    force: Force = False,
    user: User = "",
    json: Json = False,
) -> None:
    """Delete a model with all it has, or one version. Its numbers are never used again.

    The bytes go with a later 'gc'.
    """
    model, number = model_and_reference(name)
    if number is not None and not isinstance(number, VersionNumber):
        raise InvalidReference(f"Name the version to delete by its number, as in {model}@3.")
    who = actor(user)

    async def work(container: Container) -> None:
        if number is None:
            await container.delete_model()(DeleteModel(model, who, force))
        else:
            await container.delete_version()(DeleteVersion(model, number, who, force))

    with_registry(work)
    emit({"deleted": {"model": model, "version": number}}, f"Deleted {name}.", json=json)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    add(app, EVERYDAY, {"register": register, "list": list_, "show": show, "delete": delete})
