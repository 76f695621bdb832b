"""From what a validator reports of files to the judgement on their version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from application.ports import FileValidator
from domain.errors import (
    FieldError,
    FileNotAModel,
    FileRefused,
    ModelyardError,
    NoModel,
    pointer_to,
)
from domain.validation import (
    NO_MODEL,
    NOT_A_MODEL,
    Facts,
    FileReport,
    Finding,
    Validation,
    ValidationPolicy,
)
from domain.values import FilePath

_FEW = 5
_ERRORS: dict[frozenset[str], type[ModelyardError]] = {
    frozenset({NOT_A_MODEL}): FileNotAModel,
    frozenset({NO_MODEL}): NoModel,
}


def judged(
    policy: ValidationPolicy,
    validator: FileValidator,
    reports: Mapping[FilePath, FileReport],
    at: datetime,
) -> tuple[Validation, Facts]:
    """The judgement on a version of these files, and what they tell of the model."""
    judgement = policy.judge(reports)
    validation = Validation(
        verdict=judgement.verdict,
        policy=policy.name,
        scanner=validator.engine,
        ruleset=policy.rules(validator.ruleset),
        coverage=judgement.coverage,
        findings=judgement.findings,
        checked_at=at,
    )
    return validation, judgement.facts


def refuse(findings: Sequence[Finding]) -> None:
    """Raises what these critical findings call for, if there are any.

    Raises:
        FileNotAModel, NoModel, FileRefused
    """
    if findings:
        error = _ERRORS.get(frozenset(finding.code for finding in findings), FileRefused)
        faults = [FieldError(pointer_to("/files", f.path), f.message) for f in findings]
        raise error(sentences(findings), errors=faults)


def sentences(findings: Sequence[Finding]) -> str:
    """What was found, told in one line."""
    more = f" There are {len(findings) - _FEW} more findings." if len(findings) > _FEW else ""
    return " ".join(finding.message for finding in findings[:_FEW]) + more
