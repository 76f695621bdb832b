"""Options and arguments that several commands take, and how their texts are read."""

from __future__ import annotations

import getpass
import inspect
import json as jsonlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from domain.errors import InvalidReference
from domain.values import JsonScalar, ModelName, Reference, parse_reference

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
User = Annotated[
    str,
    typer.Option(
        "--user",
        envvar="MODELYARD_USER",
        help="Who does it, for the record.",
        show_default="who is logged in",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the model.")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")]
Force = Annotated[bool, typer.Option("--force", help="Also where an alias points at it.")]
Description = Annotated[str, typer.Option("--description", help="Free text, Markdown.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="KEY=TEXT", help="A tag; may be repeated.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="A parameter; may be repeated. Numbers, true, false and null are read as in JSON; "
        "anything else, and what stands in double quotes, is text.",
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="KEY=NUMBER", help="A metric; may be repeated."),
]

Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="ALIAS", help="Point this at it; may be repeated."),
]
Source = Annotated[
    str | None, typer.Option("--source", help="What produced it: a URI or free text.")
]
Parents = Annotated[
    list[str] | None,
    typer.Option("--parent", metavar="NAME@VERSION", help="Made from this; may be repeated."),
]
CreateModel = Annotated[bool, typer.Option("--create-model", help="Register the model if need be.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", help="Publishing the same again under this key does nothing."
    ),
]

EVERYDAY = "Models and versions"
UPKEEP = "The service and its upkeep"

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def add(
    app: typer.Typer, panel: str | None, commands: Mapping[str, Callable[..., None]], **more: Any
) -> None:
    """Adds commands under their names, with their docstrings as help."""
    for name, command in commands.items():
        paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        app.command(name, help=text, rich_help_panel=panel, **more)(command)


def actor(user: str) -> str:
    """Who acts: the user named, else who is logged in, else ``anonymous``."""
    if user:
        return user
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "anonymous"


def duration(text: str) -> timedelta:
    """Reads ``90s``, ``30m``, ``24h``, ``7d`` or a number of hours.

    Raises:
        BadParameter: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!a} is no duration such as 90s, 30m, 24h or 7d")
    try:
        return timedelta(**{_UNITS[match[2] or "h"]: float(match[1])})
    except OverflowError:
        raise typer.BadParameter(f"{text!a} is too long") from None


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Reads ``key=value`` texts.

    Raises:
        BadParameter: one has no ``=``, or a key comes twice.
    """
    read: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text[:80]!a} is not KEY=VALUE", param_hint=option)
        if key in read:
            raise typer.BadParameter(f"{key[:80]!a} comes twice", param_hint=option)
        read[key] = value
    return read


def parameters(texts: Sequence[str] | None) -> dict[str, JsonScalar]:
    """Reads ``key=value`` texts whose values are JSON scalars, or else text."""
    return {key: _scalar(value) for key, value in pairs(texts, "--param").items()}


def _scalar(text: str) -> JsonScalar:
    try:
        value = jsonlib.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, dict | list) else value


def metrics(texts: Sequence[str] | None) -> dict[str, float]:
    """Reads ``key=number`` texts.

    Raises:
        BadParameter: a value is no number.
    """
    read = {}
    for key, value in pairs(texts, "--metric").items():
        try:
            read[key] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"{value[:80]!a} is not a number", param_hint="--metric"
            ) from None
    return read


def model_and_reference(text: str) -> tuple[ModelName, Reference | None]:
    """Reads ``churn``, ``churn@3``, ``churn@latest`` or ``churn@champion``.

    Raises:
        InvalidModelName, InvalidReference, InvalidAliasName
    """
    name, at, rest = text.partition("@")
    return ModelName(name), reference(rest) if at else None


def reference(text: str) -> Reference:
    """Reads ``3``, ``latest`` or an alias, with or without its ``@``.

    Raises:
        InvalidReference, InvalidAliasName
    """
    if text == "latest" or text.isdecimal() or text.startswith("@"):
        return parse_reference(text)
    return parse_reference(f"@{text}")


def version_named(text: str) -> tuple[ModelName, Reference]:
    """As :func:`model_and_reference`, where a version must be named.

    Raises:
        InvalidModelName, InvalidReference, InvalidAliasName
    """
    name, named = model_and_reference(text)
    if named is None:
        raise InvalidReference(
            f"Say which version of {name!a}: {name}@latest, a number as in {name}@3, "
            f"or an alias as in {name}@champion."
        )
    return name, named
