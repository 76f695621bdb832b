"""What a command ends with: the exit codes, and how an error is told."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict

from domain.errors import InvalidSettings, Kind, ModelyardError
from entrypoints.cli.output import plain, print_json

UNEXPECTED = 1
USAGE = 2
EXISTS = 4
REFUSED = 5
AGAIN = 6
CORRUPT = 7
HELD = 9
INTERRUPTED = 130
BROKEN_PIPE = 141

EXIT_CODES: Mapping[Kind, int] = {
    Kind.NOT_FOUND: 3,
    Kind.GONE: 3,
    Kind.CONFLICT: EXISTS,
    Kind.PRECONDITION_FAILED: EXISTS,
    Kind.MALFORMED: REFUSED,
    Kind.INVALID: REFUSED,
    Kind.RANGE: REFUSED,
    Kind.CHECKSUM: REFUSED,
    Kind.TOO_LARGE: REFUSED,
    Kind.UNSUPPORTED: REFUSED,
    Kind.LOCKED: AGAIN,
    Kind.UNAVAILABLE: AGAIN,
    Kind.CORRUPT: CORRUPT,
    Kind.UNAUTHENTICATED: 8,
    Kind.FORBIDDEN: 8,
}

EXPLAINED = (
    "Exit codes: 0 done; 1 unexpected failure, also of a local disk; 2 wrong "
    "options or settings; 3 not found; 4 conflict; 5 refused: invalid, unsupported or too large; "
    "6 unavailable or locked, try again; 7 damage found; 8 not allowed; 9 held for a review; "
    "130 interrupted."
    "\n\n\n"
    "With --json, stdout holds exactly one JSON document, also when a command fails: then it is a "
    "problem with its title, detail, code and exit_code. Stderr is for people."
)


def exit_code(error: ModelyardError) -> int:
    """The code a command ends with on this error."""
    return USAGE if isinstance(error, InvalidSettings) else EXIT_CODES[error.kind]


def tell(error: ModelyardError, *, json: bool) -> int:
    """Tells people, and with ``json`` machines, of an error; returns the exit code."""
    status = exit_code(error)
    fields = [f"\n  {field.pointer}: {field.message}" for field in error.errors]
    more = "".join(fields) if len(fields) > 1 else ""
    problem(error.code, error.title, error.detail, status, json=json, errors=error, more=more)
    return status


def problem(
    code: str,
    title: str,
    detail: str,
    status: int,
    *,
    json: bool,
    errors: ModelyardError | None = None,
    more: str = "",
) -> None:
    """One line on stderr, and with ``json`` a document on stdout."""
    print(f"error: {plain(detail)} ({code}){plain(more)}", file=sys.stderr)
    if json:
        print_json(
            {
                "title": title,
                "detail": detail,
                "code": code,
                "exit_code": status,
                "errors": [asdict(field) for field in errors.errors] if errors else [],
            }
        )
