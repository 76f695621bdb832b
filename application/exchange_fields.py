"""Reading what an export holds, which anybody may have written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from domain.errors import InvalidExport
from domain.validation import (
    Coverage,
    Decision,
    Facts,
    FactValue,
    Finding,
    PolicyName,
    Review,
    Severity,
    Validation,
    Verdict,
)
from domain.values import MAX_INTEGER, MAX_NAME, FilePath, VersionNumber, check_actor, check_text

_MOST_FACTS = 1000

T = TypeVar("T")


class Fields:
    """A JSON object whose members must be there, and of the kind that is asked for.

    Raises:
        InvalidExport: from the constructor and every method.
    """

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            wrong("an object is expected")
        self._members: dict[str, Any] = document

    def get(self, key: str, kind: type[T]) -> T:
        """A member of this type."""
        value = self._members.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wrong(f"{key!a} should be there as {kind.__name__}")
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """A member of this type, or None where it is null."""
        if key in self._members and self._members[key] is None:
            return None
        return self.get(key, kind)

    def count(self, key: str) -> int:
        """A number from 0."""
        number = self.get(key, int)
        if not 0 <= number < 1 << 63:
            wrong(f"{key!a} is out of range")
        return number

    def version(self, key: str) -> VersionNumber:
        """The number of a version."""
        return VersionNumber(self.get(key, int))

    def optional_version(self, key: str) -> VersionNumber | None:
        """The number of a version, or None."""
        number = self.optional(key, int)
        return None if number is None else VersionNumber(number)

    def time(self, key: str) -> datetime:
        """A time with its offset."""
        try:
            moment = datetime.fromisoformat(self.get(key, str))
        except ValueError:
            wrong(f"{key!a} is not a time")
        if moment.tzinfo is None:
            wrong(f"{key!a} is a time without an offset")
        return moment.astimezone(UTC)

    def optional_time(self, key: str) -> datetime | None:
        """A time with its offset, or None."""
        return None if self.optional(key, str) is None else self.time(key)

    def short(self, key: str) -> str:
        """A text on one line."""
        return short(self.get(key, str))

    def optional_short(self, key: str) -> str | None:
        """A text on one line, or None."""
        return None if self.optional(key, str) is None else self.short(key)

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list."""
        return map(Fields, self.get(key, list))


def wrong(fault: str) -> NoReturn:
    """Raises: InvalidExport."""
    raise InvalidExport(fault)


def short(text: str) -> str:
    """A text on one line, of at most 1,000 characters.

    Raises:
        InvalidExport, InvalidRequest
    """
    if not text.isprintable():
        wrong(f"{text[:40]!a} has characters that cannot be printed")
    return check_text(text, "/text", most=1000)


def read_validation(fields: Fields) -> Validation:
    """The judgement on a version.

    Raises:
        InvalidExport, ValueError, ModelyardError
    """
    policy = fields.optional("policy", str)
    return Validation(
        verdict=Verdict(fields.get("verdict", str)),
        policy=None if policy is None else PolicyName(policy),
        scanner=fields.optional_short("scanner"),
        ruleset=fields.optional_short("ruleset"),
        coverage=Coverage(fields.get("coverage", str)),
        findings=tuple(map(_read_finding, fields.objects("findings"))),
        checked_at=fields.optional_time("checked_at"),
        reviews=tuple(map(_read_review, fields.objects("reviews"))),
    )


def _read_finding(fields: Fields) -> Finding:
    return Finding(
        fields.short("code"),
        Severity(fields.get("severity", str)),
        check_text(fields.get("message", str), "/message"),
        FilePath(fields.get("path", str)),
        fields.optional_short("location"),
        fields.optional_short("subject"),
    )


def _read_review(fields: Fields) -> Review:
    return Review(
        Verdict(fields.get("verdict", str)),
        Decision(fields.get("decision", str)),
        check_text(fields.get("reason", str), "/reason"),
        check_actor(fields.get("reviewer", str)),
        fields.time("at"),
    )


def read_facts(facts: dict[str, object]) -> Facts:
    """The facts of a version.

    Raises:
        InvalidExport, InvalidRequest
    """
    if len(facts) > _MOST_FACTS:
        wrong(f"more than {_MOST_FACTS} facts")
    if any(len(key) > MAX_NAME for key in facts):
        wrong("a fact has an endless name")
    return {short(key): _read_fact(value) for key, value in facts.items()}


def _read_fact(value: object) -> FactValue:
    match value:
        case str():
            return short(value)
        case bool():
            return value
        case int() if abs(value) <= MAX_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case list() if len(value) <= _MOST_FACTS and all(isinstance(each, str) for each in value):
            return [short(each) for each in value]
    wrong("a fact should be a text, a number, true, false or a list of texts")
