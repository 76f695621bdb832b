"""What is said of a file that is here as bytes."""

from __future__ import annotations

from collections.abc import Callable

from adapters.inspection.inspect import inspect_file, inspect_part
from adapters.inspection.report import Notes
from adapters.inspection.streams import Budget, LimitExceeded, Malformed, Stream
from domain.validation import FileReport, Judgement, Severity, ValidationPolicy
from domain.values import FilePath


def inspected(data: bytes, name: str) -> FileReport:
    """The report on a file of these bytes."""
    return inspect_file(Stream.of_bytes(data), FilePath(name))


def judged(data: bytes, name: str) -> Judgement:
    """The verdict of the standard policy on it alone."""
    return ValidationPolicy().judge({FilePath(name): inspected(data, name)})


def verdict(data: bytes, name: str) -> str:
    """In one word."""
    return judged(data, name).verdict.value


def messages(data: bytes, name: str) -> str:
    """All that is said about it, a line for each finding."""
    return "\n".join(each.message for each in judged(data, name).findings)


def codes(data: bytes, name: str) -> set[str]:
    """The kinds of findings."""
    return {each.code for each in judged(data, name).findings}


def refusals(report: FileReport) -> list[str]:
    """What keeps a file out."""
    return [each.message for each in report.findings if each.severity is Severity.CRITICAL]


def checked(
    check: Callable[[Stream, Notes], None], data: bytes, path: FilePath, format: str
) -> FileReport:
    """The report of one checker alone, with what stopped it."""
    notes = Notes(path, Budget(len(data)), inspect_part)
    try:
        check(Stream.of_bytes(data), notes)
    except Malformed as error:
        notes.refuse("file.malformed", f"{notes.place} {error}.")
    except LimitExceeded as error:
        notes.not_all_read(str(error))
    notes.format = format
    return notes.report()
