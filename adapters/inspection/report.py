"""What is noted about one file while it is inspected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from adapters.inspection.streams import Budget, Stream
from domain.validation import (
    CAN_CARRY_CODE,
    EXTERNAL_DATA,
    Coverage,
    Facts,
    FileReport,
    Finding,
    Severity,
)
from domain.values import MAX_FILES, MAX_INTEGER, FilePath

MOST_FINDINGS = 100
MOST_TEXT = 500
MOST_ENTRIES = 100
MOST_ENTRY = 250
OCTETS = "application/octet-stream"
_IN_ORDER = frozenset({"classes", "feature_names", "inputs", "outputs"})
_TYPES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64, 128)},
    **{f"int{bits}": f"I{bits}" for bits in (2, 4, 8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (2, 4, 8, 16, 32, 64)},
    **{f"complex{bits}": f"C{bits}" for bits in (64, 128)},
}
NOT_ALL_CHECKED = "file.not_all_checked"


def printable(text: str) -> str:
    """A text on one line, with nothing in it that a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shown(text: str, most: int = 100) -> str:
    """A text from a file, fit to be shown: printable, on one line, not endless."""
    return printable(text if len(text) <= most else f"{text[: most - 3]}...")


def shown_path(path: FilePath) -> str:
    """Likewise a path, whose end tells more than its beginning."""
    return shown(path) if len(path) <= 100 else f"...{shown(path[-97:])}"


def listed(texts: Sequence[str], most: int = 3) -> str:
    """The first of some texts, and how many more there are, to stand within a sentence."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return f"{', '.join(texts[:most])}{more}"


class Inspector(Protocol):
    """Inspects what is inside: a member of an archive, or what was compressed."""

    def __call__(self, stream: Stream, name: str, notes: Notes) -> None:
        """Writes what it finds into ``notes``."""
        ...


@dataclass(slots=True)
class Notes:
    """The findings and facts about one file, or about one member of it.

    Checkers get one of these beside the stream. What a member's notes find, belongs to the file;
    its facts and format are its own, until the container decides what to make of them.

    Attributes:
        path: of the file.
        location: which member of it this is about, "outer/inner" through the layers; "" for the
            file itself.
        name: of the file or member, for what depends on an extension.
        layers: how many containers are around this.
        inspect: inspects a member as the file itself is inspected.
    """

    path: FilePath
    budget: Budget
    inspect: Inspector
    location: str = ""
    layers: int = 0
    format: str | None = None
    media_type: str = OCTETS
    facts: Facts = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.location or str(self.path)

    @property
    def place(self) -> str:
        """The file, or the member and the file, to begin a sentence with."""
        path = shown_path(self.path)
        return f"{shown(self.location)} in {path}" if self.location else path

    def member(self, name: str) -> Notes:
        """Notes about something inside, which share findings and budget with these."""
        location = f"{self.location}/{name}" if self.location else name
        return replace(
            self,
            location=location,
            layers=self.layers + 1,
            format=None,
            media_type=OCTETS,
            facts={},
        )

    def tell(self, code: str, message: str, *, subject: str | None = None) -> None:
        """Something worth knowing; the file stays acceptable."""
        self._add(code, Severity.INFO, message, subject)

    def hold(self, code: str, message: str, *, subject: str | None = None) -> None:
        """Something a person has to decide about; an administrator can allow the subject."""
        self._add(code, Severity.WARNING, message, subject)

    def refuse(self, code: str, message: str, *, subject: str | None = None) -> None:
        """Something that keeps the file out."""
        self._add(code, Severity.CRITICAL, message, subject)

    def can_carry_code(self, message: str) -> None:
        """The format can carry code, whatever this file does; the strict policy refuses it."""
        self.tell(CAN_CARRY_CODE, message)

    def not_all_read(self, reason: str) -> None:
        """Part of the file was not looked at, so it is held."""
        self.hold(NOT_ALL_CHECKED, f"{self.place} {reason}; the rest was not checked.")

    def fact(self, key: str, value: str | float | bool | Iterable[str] | None) -> None:
        """Notes a fact; texts and lists are cut to what is sensible. None is no fact, nor is what
        is empty, or a number that no database can hold. Where the order of a list tells something
        it stays; types of numbers get the names that safetensors has for them."""
        if isinstance(value, bool | int | float):
            if -MAX_INTEGER <= value <= MAX_INTEGER:
                self.facts[key] = value
        elif isinstance(value, str):
            if value:
                self.facts[key] = shown(value, MOST_ENTRY)
        elif value is not None:
            names = _TYPES if key == "dtypes" else {}
            texts = dict.fromkeys(shown(names.get(each, str(each)), MOST_ENTRY) for each in value)
            entries = list(texts) if key in _IN_ORDER else sorted(texts)
            # A policy goes by the files that a model needs, so none of those is left out.
            most = MAX_FILES if key == EXTERNAL_DATA else MOST_ENTRIES
            if entries:
                self.facts[key] = entries[:most]

    @property
    def refusals(self) -> int:
        """How many findings keep the file out so far."""
        return sum(finding.severity is Severity.CRITICAL for finding in self.findings)

    def forget(self, unwanted: Callable[[Finding], bool]) -> None:
        """Drops findings that turn out not to matter, now that more is known."""
        self.findings[:] = [finding for finding in self.findings if not unwanted(finding)]

    def report(self) -> FileReport:
        """The result, once the file itself was inspected."""
        partial = any(finding.code == NOT_ALL_CHECKED for finding in self.findings)
        coverage = Coverage.PARTIAL if partial else Coverage.COMPLETE
        return FileReport(
            self.media_type, self.format, tuple(self.findings), dict(self.facts), coverage
        )

    def _add(self, code: str, severity: Severity, message: str, subject: str | None) -> None:
        if subject is not None:
            subject = shown(subject, MOST_ENTRY)
        finding = Finding(
            code, severity, shown(message, MOST_TEXT), self.path, self.location or None, subject
        )
        if finding in self.findings:
            return
        if len(self.findings) >= MOST_FINDINGS:
            self._make_room(finding)
            return
        self.findings.append(finding)

    def _make_room(self, finding: Finding) -> None:
        """A finding beyond the most pushes out a less severe one; what holds is never dropped in
        silence, or allowing what is shown would let in what is not."""
        for index, kept in enumerate(self.findings):
            if kept.severity.rank < finding.severity.rank:
                self.findings[index] = finding
                return
        if finding.severity is Severity.WARNING:
            message = f"{self.place} has more than {MOST_FINDINGS} findings."
            last = self.findings[-1]
            self.findings[-1] = Finding("file.too_many_findings", last.severity, message, self.path)
