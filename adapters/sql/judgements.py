"""The judgement on a version, as one column."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from application.times import micros, moment
from domain.validation import (
    Coverage,
    Decision,
    Finding,
    PolicyName,
    Review,
    Severity,
    Validation,
    Verdict,
)
from domain.values import FilePath


def validation_text(validation: Validation) -> str:
    """The column's value, JSON."""
    return orjson.dumps(
        {
            "verdict": validation.verdict,
            "policy": validation.policy,
            "scanner": validation.scanner,
            "ruleset": validation.ruleset,
            "coverage": validation.coverage,
            "findings": [
                [f.code, f.severity, f.message, f.path, f.location, f.subject]
                for f in validation.findings
            ],
            "checked_at": validation.checked_at and micros(validation.checked_at),
            "reviews": [
                [r.verdict, r.decision, r.reason, r.reviewer, micros(r.at)]
                for r in validation.reviews
            ],
        }
    ).decode()


def to_validation(text: str) -> Validation:
    """The judgement, from the column's value."""
    stored: Any = orjson.loads(text)
    if isinstance(stored, list):  # as it was until revision 0003, when content was not judged
        _, scanner, findings = stored
        return Validation(Verdict.UNCHECKED, scanner=scanner, findings=_findings(findings))
    policy = stored["policy"]
    return Validation(
        verdict=Verdict(stored["verdict"]),
        policy=None if policy is None else PolicyName(policy),
        scanner=stored["scanner"],
        ruleset=stored["ruleset"],
        coverage=Coverage(stored["coverage"]),
        findings=_findings(stored["findings"]),
        checked_at=_moment(stored["checked_at"]),
        reviews=tuple(
            Review(Verdict(verdict), Decision(decision), reason, reviewer, moment(at))
            for verdict, decision, reason, reviewer, at in stored["reviews"]
        ),
    )


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment(at)


def _findings(stored: list[list[Any]]) -> tuple[Finding, ...]:
    return tuple(
        Finding(code, Severity(severity), message, str.__new__(FilePath, path), *more)
        for code, severity, message, path, *more in stored
    )
