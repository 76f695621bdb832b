"""What an export says of facts and judgements, which anybody may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from application.exchange_fields import Fields, read_facts, read_validation
from domain.errors import InvalidExport, ModelyardError
from domain.validation import Facts, Status

ACCEPTED: dict[str, Any] = {
    "verdict": "accept",
    "policy": "standard",
    "scanner": "modelyard 1",
    "ruleset": "2026-11-24",
    "coverage": "complete",
    "findings": [],
    "checked_at": "2026-11-24T12:00:00Z",
    "reviews": [],
}


def test_facts_are_read_as_they_were_written() -> None:
    facts: Facts = {"n": 2**63 - 1, "x": 0.5, "yes": True, "name": "a", "dtypes": ["F16", "F32"]}
    assert read_facts(dict(facts)) == facts


@pytest.mark.parametrize(
    "fact", ["NaN", "Infinity", "9223372036854775808", "null", "{}", "[1]", '["\\n"]', '"\\u0000"']
)
def test_a_fact_that_no_database_holds_is_refused(fact: str) -> None:
    with pytest.raises(InvalidExport):
        read_facts({"fact": json.loads(fact)})


def test_a_fact_has_a_name_that_an_index_takes() -> None:
    assert read_facts({"n" * 250: 1}) == {"n" * 250: 1}
    with pytest.raises(InvalidExport):
        read_facts({"n" * 251: 1})


def test_the_status_is_never_read_but_follows_from_the_judgement() -> None:
    held = {**ACCEPTED, "verdict": "review", "status": "ready"}
    assert read_validation(Fields(ACCEPTED)).status is Status.READY
    assert read_validation(Fields(held)).status is Status.QUARANTINED
    assert read_validation(Fields({**held, "policy": None})).status is Status.QUARANTINED


@pytest.mark.parametrize(
    "odd",
    [
        {"verdict": "fine"},
        {"policy": "none"},
        {"coverage": None},
        {"checked_at": "yesterday"},
        {"reviews": [{"verdict": "review", "decision": "perhaps"}]},
        {"findings": [{"code": "a", "severity": "info", "message": "m", "path": "../m"}]},
    ],
)
def test_a_judgement_that_is_none_is_refused(odd: dict[str, object]) -> None:
    with pytest.raises((ModelyardError, ValueError)):
        read_validation(Fields({**ACCEPTED, **odd}))
