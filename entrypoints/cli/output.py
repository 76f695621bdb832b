"""What a command prints: one JSON document for machines, or a few lines for people."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from rich import progress as bars
from rich.console import Console
from rich.table import Table
from rich.text import Text

from application.streams import Tell

_SHOWN = 8


def print_json(document: Any) -> None:
    """Writes one document: times in RFC 3339 with Z, digits as REST has them."""
    options = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    if sys.stdout.isatty():
        options |= orjson.OPT_INDENT_2
    sys.stdout.write(orjson.dumps(document, default=str, option=options).decode())
    sys.stdout.flush()


def emit(document: Any, told: str | Callable[[], None], *, json: bool) -> None:
    """Prints the document for machines, or what people are told: a line, or what a call prints."""
    if json:
        print_json(document)
    elif isinstance(told, str):
        say(told)
    else:
        told()


def plain(text: str) -> str:
    """The text without what could steer a terminal."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
        else f"\\x{ord(character):02x}"
        for character in text
    )


def cell(value: object) -> str:
    """A value in one line of a table."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return " ".join(plain(str(value)).split())


def size(count: int) -> str:
    """Bytes for people: ``1.5 MiB``."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def fact(value: object) -> object:
    """A fact about a model in one line; of a long list the first entries."""
    if not isinstance(value, list):
        return value
    more = f" and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
    return ", ".join(value[:_SHOWN]) + more


def say(line: str) -> None:
    """Prints one line, or several, as they are."""
    print(plain(line))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on a terminal; tab-separated lines without a header elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(cell(value) for value in row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    Console(highlight=False).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, one a line; what is empty is left out."""
    kept = [(name, value) for name, value in fields if value not in (None, "")]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        print(f"{name:<{width}}  {cell(value)}")


@contextmanager
def progress(label: str) -> Iterator[Tell]:
    """A bar in bytes on stderr while the block runs; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(binary_units=True),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=None)

        def tell(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total or None)

        yield tell


@contextmanager
def working(label: str) -> Iterator[None]:
    """A sign of life on stderr while the block runs; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(label):
        yield
