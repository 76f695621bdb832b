"""What follows from what is found in files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.validation import (
    CAN_CARRY_CODE,
    MOST_FINDINGS,
    UNKNOWN_FORMAT,
    Coverage,
    Decision,
    Facts,
    FileReport,
    Finding,
    PolicyName,
    Review,
    Severity,
    Status,
    Validation,
    ValidationPolicy,
    Verdict,
    facts_of,
)
from domain.values import FilePath

MODEL, CARD = FilePath("model.onnx"), FilePath("README.md")


def a_finding(
    severity: Severity, *, code: str = "file.odd", path: str = MODEL, subject: str | None = None
) -> Finding:
    return Finding(code, severity, "It is odd.", FilePath(path), None, subject)


def a_model(*findings: Finding, format: str = "onnx", **facts: object) -> FileReport:
    return FileReport("application/x", format, findings, dict(facts))  # type: ignore[arg-type]


def a_companion(*findings: Finding) -> FileReport:
    return FileReport("text/plain", None, findings)


def verdict(policy: ValidationPolicy, *findings: Finding) -> Verdict:
    return policy.judge({MODEL: a_model(*findings)}).verdict


STANDARD = ValidationPolicy()
STRICT = ValidationPolicy(PolicyName.STRICT)


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], Verdict.ACCEPT),
        ([Severity.INFO], Verdict.ACCEPT),
        ([Severity.INFO, Severity.WARNING], Verdict.REVIEW),
        ([Severity.CRITICAL, Severity.WARNING], Verdict.REJECT),
    ],
)
def test_the_worst_finding_decides(severities: list[Severity], expected: Verdict) -> None:
    assert verdict(STANDARD, *map(a_finding, severities)) is expected


def test_strict_takes_no_format_that_can_carry_code() -> None:
    finding = a_finding(Severity.INFO, code=CAN_CARRY_CODE)
    assert verdict(STANDARD, finding) is Verdict.ACCEPT
    assert verdict(STRICT, finding) is Verdict.REJECT
    assert STRICT.refusals(a_model(finding))[0].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("acme.*", "acme.nets.Net", Verdict.ACCEPT),
        ("acme.nets.Net", "acme.nets.Net", Verdict.ACCEPT),
        ("acme.*", "acmex.Net", Verdict.REVIEW),
        ("acme.nets", "acme.nets.Net", Verdict.REVIEW),
        ("ACME.*", "acme.Net", Verdict.REVIEW),
    ],
)
def test_what_an_administrator_allows_holds_nothing(
    pattern: str, name: str, expected: Verdict
) -> None:
    policy = ValidationPolicy(PolicyName.STANDARD, (pattern,))
    assert verdict(policy, a_finding(Severity.WARNING, subject=name)) is expected


def test_nobody_can_allow_what_is_refused_or_what_names_nothing() -> None:
    policy = ValidationPolicy(PolicyName.STANDARD, ("*",))
    assert verdict(policy, a_finding(Severity.CRITICAL, subject="os.system")) is Verdict.REJECT
    assert verdict(policy, a_finding(Severity.WARNING)) is Verdict.REVIEW


def test_a_report_has_verdicts_but_refuses_nothing() -> None:
    policy = ValidationPolicy(PolicyName.REPORT)
    critical = a_model(a_finding(Severity.CRITICAL))
    assert policy.judge({MODEL: critical}).verdict is Verdict.REJECT
    assert policy.refusals(critical) == []


def test_companions_alone_are_no_version_and_are_named() -> None:
    judgement = STANDARD.judge({CARD: a_companion(), FilePath("vocab.txt"): a_companion()})
    (finding,) = judgement.findings
    assert (judgement.verdict, finding.code) == (Verdict.REJECT, "version.no_model")
    assert "README.md, vocab.txt" in finding.message


def test_companions_pass_beside_a_model() -> None:
    assert STANDARD.judge({CARD: a_companion(), MODEL: a_model()}).verdict is Verdict.ACCEPT


def test_a_file_that_was_refused_for_a_better_reason_is_not_called_no_model_too() -> None:
    judgement = STANDARD.judge({MODEL: a_companion(a_finding(Severity.CRITICAL))})
    assert [finding.code for finding in judgement.findings] == ["file.odd"]


@pytest.mark.parametrize(
    ("data", "listed", "expected"),
    [
        ("onnx/weights.bin", "weights.bin", Verdict.ACCEPT),
        ("onnx/parts/1.bin", "./parts/1.bin", Verdict.ACCEPT),
        ("weights.bin", "weights.bin", Verdict.REVIEW),
        ("onnx/other.bin", "weights.bin", Verdict.REVIEW),
    ],
)
def test_unknown_bytes_pass_where_a_model_beside_them_needs_them(
    data: str, listed: str, expected: Verdict
) -> None:
    unknown = a_companion(a_finding(Severity.WARNING, code=UNKNOWN_FORMAT, path=data))
    model = a_model(external_data=[listed])
    files = {FilePath("onnx/model.onnx"): model, FilePath(data): unknown}
    assert STANDARD.judge(files).verdict is expected


def test_of_endless_findings_the_most_severe_are_kept_and_the_verdict_goes_by_all() -> None:
    told = [a_finding(Severity.INFO, code=f"file.odd{n}") for n in range(MOST_FINDINGS)]
    held = [a_finding(Severity.WARNING, code=f"file.held{n}") for n in range(3)]
    judgement = STANDARD.judge({MODEL: a_model(*told, *held)})
    assert judgement.verdict is Verdict.REVIEW
    assert len(judgement.findings) == MOST_FINDINGS
    assert set(held) <= set(judgement.findings)
    last = judgement.findings[-1]
    assert (last.code, last.severity) == ("version.too_many_findings", Severity.INFO)
    assert last.message.startswith("There are 4 more findings")
    assert STANDARD.judge({MODEL: a_model(*told)}).findings == tuple(told)


def test_rules_with_other_allowances_are_other_rules() -> None:
    def rules(*allowed: str) -> str:
        return ValidationPolicy(PolicyName.STANDARD, allowed).rules("2026-11-24")

    assert rules() == "2026-11-24"
    assert rules("acme.*", "other.Net") == rules("other.Net", "acme.*")
    assert len({rules(), rules("acme.*"), rules("acme.*", "other.Net")}) == 3


@pytest.mark.parametrize(
    ("about", "verdict", "expected"),
    [
        (Verdict.REVIEW, Verdict.REVIEW, Status.READY),
        (Verdict.REVIEW, Verdict.REJECT, Status.QUARANTINED),
        (Verdict.REJECT, Verdict.REVIEW, Status.READY),
        (Verdict.ACCEPT, Verdict.REVIEW, Status.QUARANTINED),
        (Verdict.ACCEPT, Verdict.ACCEPT, Status.READY),
    ],
)
def test_an_acceptance_reaches_as_far_as_the_verdict_it_was_about(
    about: Verdict, verdict: Verdict, expected: Status
) -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    accepted = Review(about, Decision.ACCEPT, "It was read.", "eve", at)
    judged = Validation(verdict, PolicyName.STANDARD, reviews=(accepted,))
    assert judged.status is expected
    rejected = replace(accepted, decision=Decision.REJECT)
    assert replace(judged, reviews=(accepted, rejected)).status is Status.REJECTED


def test_what_was_not_read_whole_makes_the_version_partial() -> None:
    partial = FileReport("application/x", "pickle", coverage=Coverage.PARTIAL)
    assert STANDARD.judge({MODEL: a_model(), CARD: partial}).coverage is Coverage.PARTIAL


def test_the_facts_of_shards_are_added_up() -> None:
    facts = facts_of(
        {
            FilePath("1.safetensors"): a_model(
                format="safetensors", parameters=5, tensors=1, dtypes=["F32"], framework="pt"
            ),
            FilePath("2.safetensors"): a_model(
                format="safetensors", parameters=7, tensors=2, dtypes=["F16"], framework="pt"
            ),
            FilePath("config.json"): FileReport("application/json", facts={"architecture": "Bert"}),
            FilePath("small.onnx"): a_model(parameters=3, opset=17),
        }
    )
    assert facts == {
        "parameters": 12,
        "tensors": 3,
        "dtypes": ["F32", "F16"],
        "framework": "pt",
        "architecture": "Bert",
        "opset": 17,
    }


@given(
    st.dictionaries(
        st.sampled_from("abcdef").map(FilePath),
        st.builds(
            FileReport,
            st.just("application/x"),
            st.none() | st.sampled_from(["onnx", "gguf"]),
            st.just(()),
            st.dictionaries(
                st.sampled_from(["parameters", "tensors", "dtypes", "name"]),
                st.integers(0, 2**63 - 1) | st.text() | st.lists(st.text()),
            ),
        ),
        min_size=1,
    )
)
def test_facts_of_any_reports_can_be_stored(files: dict[FilePath, FileReport]) -> None:
    facts: Facts = facts_of(files)
    for value in facts.values():
        assert not isinstance(value, int) or value < 1 << 63
    assert facts == facts_of(dict(reversed(files.items())))
