"""What is found in files, and what follows from it: the policy of a registry.

A validator reports what files are and what is in them, whatever the policy. Whether they may enter
is decided here, from the reports alone.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from domain.values import MAX_INTEGER, FilePath

FactValue = str | int | float | bool | list[str]
Facts = dict[str, FactValue]
"""What people want to know of a model, e.g. ``{"parameters": 516, "dtypes": ["F32"]}``."""


def as_searched(fact: FactValue) -> str | int | float | bool:
    """What filters compare a fact by: of a list the text of its entries."""
    return ", ".join(fact) if isinstance(fact, list) else fact


NOT_A_MODEL = "file.not_a_model"
UNKNOWN_FORMAT = "file.unknown_format"
CAN_CARRY_CODE = "format.can_carry_code"
NO_MODEL = "version.no_model"
NOT_CHECKED = "file.not_checked"
TOO_MANY = "version.too_many_findings"
MOST_FINDINGS = 500
"""Findings that are kept with a version."""
EXTERNAL_DATA = "external_data"
"""The fact that lists the files which a model needs beside it, relative to its own folder."""


class Severity(StrEnum):
    """What a finding does under the standard policy: INFO tells, WARNING holds the version until
    somebody reviewed it, CRITICAL refuses it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Higher for what is more severe."""
        return _BY_RANK.index(self)


_BY_RANK = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a validator found in one file.

    Attributes:
        code: stable, dotted, e.g. ``file.not_a_model``.
        message: a sentence for people.
        path: the file it is about.
        location: where in it, e.g. the member of an archive.
        subject: the name of what an administrator can allow, e.g. ``mycompany.models.Net``.
    """

    code: str
    severity: Severity
    message: str
    path: FilePath
    location: str | None = None
    subject: str | None = None


class Coverage(StrEnum):
    """Whether all was looked at that could do harm."""

    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What a validator says of one file.

    Attributes:
        media_type: RFC 6838 type.
        format: model format ("safetensors", "onnx" ...), None when it is no model by itself.
    """

    media_type: str
    format: str | None = None
    findings: tuple[Finding, ...] = ()
    facts: Facts = field(default_factory=dict)
    coverage: Coverage = Coverage.COMPLETE


class Verdict(StrEnum):
    """ACCEPT: nothing speaks against it. REVIEW: a person has to decide. REJECT: it must not enter.
    UNCHECKED: published before there were these checks."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"
    UNCHECKED = "unchecked"


class PolicyName(StrEnum):
    """STRICT takes only formats that cannot carry code. STANDARD takes the others too, if all that
    loading them would do is known to be harmless. REPORT lets everything in, and notes."""

    STRICT = "strict"
    STANDARD = "standard"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy makes of the files of one version."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    coverage: Coverage
    facts: Facts


_STRICTLY = "The strict policy takes no file that can: use safetensors, ONNX, skops or the like."
_ALLOWED = "It is allowed here."


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """The rules of one registry.

    Attributes:
        allowed: names of imports that are trusted here, with ``*`` for any characters.
    """

    name: PolicyName = PolicyName.STANDARD
    allowed: tuple[str, ...] = ()

    @property
    def enforced(self) -> bool:
        """Whether a verdict has consequences."""
        return self.name is not PolicyName.REPORT

    def judge(self, files: Mapping[FilePath, FileReport]) -> Judgement:
        """The verdict on files that are published as one version."""
        findings = [self._weigh(each) for each in _relevant(files)]
        refused = any(each.severity is Severity.CRITICAL for each in findings)
        if not refused and not any(report.format for report in files.values()):
            findings.append(_without_model(files, findings))
        severities = {finding.severity for finding in findings}
        verdict = (
            Verdict.REJECT
            if Severity.CRITICAL in severities
            else Verdict.REVIEW
            if Severity.WARNING in severities
            else Verdict.ACCEPT
        )
        partial = any(report.coverage is Coverage.PARTIAL for report in files.values())
        coverage = Coverage.PARTIAL if partial else Coverage.COMPLETE
        return Judgement(verdict, _worst(findings), coverage, facts_of(files))

    def rules(self, ruleset: str) -> str:
        """The rules that a judgement goes by: those of the validator, and what is allowed besides;
        where they differ, it has to be made anew."""
        if not self.allowed:
            return ruleset
        allowed = hashlib.sha256("\n".join(sorted(self.allowed)).encode()).hexdigest()
        return f"{ruleset}+{allowed[:8]}"

    def refusals(self, report: FileReport) -> list[Finding]:
        """What keeps this file out, whatever stands beside it; nothing where all is let in."""
        weighed = (self._weigh(finding) for finding in report.findings)
        critical = [each for each in weighed if each.severity is Severity.CRITICAL]
        return critical if self.enforced else []

    def _weigh(self, finding: Finding) -> Finding:
        if finding.code == CAN_CARRY_CODE and self.name is PolicyName.STRICT:
            message = f"{finding.message} {_STRICTLY}"
            return replace(finding, severity=Severity.CRITICAL, message=message)
        if (
            finding.severity is Severity.WARNING
            and finding.subject is not None
            and any(fnmatchcase(finding.subject, pattern) for pattern in self.allowed)
        ):
            message = f"{finding.message} {_ALLOWED}"
            return replace(finding, severity=Severity.INFO, message=message)
        return finding


def _worst(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """All findings, in their order; of too many the most severe, and a last one that tells so."""
    if len(findings) <= MOST_FINDINGS:
        return tuple(findings)
    by_severity = sorted(range(len(findings)), key=lambda n: -findings[n].severity.rank)
    kept = [findings[n] for n in sorted(by_severity[: MOST_FINDINGS - 1])]
    dropped = findings[by_severity[MOST_FINDINGS - 1]]
    message = f"There are {len(findings) - len(kept)} more findings, none of them more severe."
    return (*kept, Finding(TOO_MANY, dropped.severity, message, dropped.path))


def _relevant(files: Mapping[FilePath, FileReport]) -> Iterator[Finding]:
    """All findings but those on bytes in no known format that a model beside them needs."""
    needed = set(_external_data(files))
    for report in files.values():
        for finding in report.findings:
            if finding.code != UNKNOWN_FORMAT or finding.path not in needed:
                yield finding


def _external_data(files: Mapping[FilePath, FileReport]) -> Iterator[str]:
    for path, report in files.items():
        names = report.facts.get(EXTERNAL_DATA, [])
        if isinstance(names, list):
            folder = posixpath.dirname(path)
            yield from (posixpath.normpath(posixpath.join(folder, name)) for name in names)


def _without_model(paths: Iterable[FilePath], findings: Iterable[Finding]) -> Finding:
    """Refuses a version of companions alone; of what is unknown, it says so."""
    names = sorted(paths)
    shown = ", ".join(name if len(name) <= 60 else f"...{name[-57:]}" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    one = "is not a model" if len(names) == 1 else "are not models, and none is beside them"
    unknown = [finding.message for finding in findings if finding.code == UNKNOWN_FORMAT]
    told = unknown[0] if unknown else f"{shown}{more} {one}."
    message = f"{told} A version needs at least one model in a format that is known."
    return Finding(NO_MODEL, Severity.CRITICAL, message, names[0])


def facts_of(files: Mapping[FilePath, FileReport]) -> Facts:
    """The facts of the largest set of files in one format, counts added up; others fill gaps.

    Shards of one model are files of one format, so their tensors and parameters are summed.
    """
    return merged([report for _, report in sorted(files.items())])


def merged(reports: Iterable[FileReport]) -> Facts:
    """See :func:`facts_of`."""
    models: dict[str, list[FileReport]] = {}
    companions: list[FileReport] = []
    for report in reports:
        if report.format:
            models.setdefault(report.format, []).append(report)
        else:
            companions.append(report)
    groups = sorted(models.values(), key=_weight, reverse=True)
    facts: Facts = {}
    for group in [*groups, companions]:
        for key, value in _added(group).items():
            if len(facts) < _MOST_FACTS:
                facts.setdefault(key, value)
    return facts


_COUNTS = ("parameters", "tensors")
_MOST_FACTS = 200
_MOST_ENTRIES = 100


def _weight(group: Sequence[FileReport]) -> float:
    counts = (report.facts.get("parameters", 0) for report in group)
    return sum(count for count in counts if isinstance(count, int | float))


def _added(group: Sequence[FileReport]) -> Facts:
    facts: Facts = {}
    for report in group:
        for key, value in report.facts.items():
            known = facts.get(key)
            if known is None:
                facts[key] = value
            elif key in _COUNTS and isinstance(known, int) and isinstance(value, int):
                facts[key] = min(known + value, MAX_INTEGER)
            elif isinstance(known, list) and isinstance(value, list):
                facts[key] = list(dict.fromkeys([*known, *value]))[:_MOST_ENTRIES]
    return facts


class Decision(StrEnum):
    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Review:
    """What a person decided about a version that was held, and on which verdict."""

    verdict: Verdict
    decision: Decision
    reason: str
    reviewer: str
    at: datetime


class Status(StrEnum):
    """READY: its files are served. QUARANTINED: held until it is reviewed. REJECTED: by a person;
    its files are never served."""

    READY = "ready"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Validation:
    """The judgement on a version, who made it by which rules, and what people decided.

    Attributes:
        scanner: names and versions of what read the files.
        ruleset: the version of the rules; a rescan judges anew what older rules judged.
        reviews: oldest first.
    """

    verdict: Verdict
    policy: PolicyName | None = None
    scanner: str | None = None
    ruleset: str | None = None
    coverage: Coverage = Coverage.COMPLETE
    findings: tuple[Finding, ...] = ()
    checked_at: datetime | None = None
    reviews: tuple[Review, ...] = ()

    @property
    def refusals(self) -> list[Finding]:
        """The findings that refuse the version."""
        return [each for each in self.findings if each.severity is Severity.CRITICAL]

    @property
    def held(self) -> bool:
        """Whether the verdict alone keeps the files back."""
        return self.policy is not PolicyName.REPORT and self.verdict in _HELD

    @property
    def status(self) -> Status:
        """The last review decides, but an acceptance does not reach beyond the verdict that it
        was about; without a review, the verdict does."""
        last = self.reviews[-1] if self.reviews else None
        if last and last.decision is Decision.REJECT:
            return Status.REJECTED
        reach = _HELD.get(last.verdict, 0) if last else 0
        return Status.QUARANTINED if self.held and reach < _HELD[self.verdict] else Status.READY


_HELD = {Verdict.REVIEW: 1, Verdict.REJECT: 2}
"""The verdicts that hold a version, and what they weigh."""
