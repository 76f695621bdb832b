"""Stored versions are judged anew when the rules or the policy changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adapters.memory.validator import MemoryFileValidator
from application.ports import FileSource
from domain.events import VersionRejudged
from domain.validation import (
    NOT_CHECKED,
    Decision,
    FileReport,
    Finding,
    PolicyName,
    Severity,
)
from domain.values import Digest, FilePath
from tests.unit.in_memory import HELD, JPEG, Registry, a_file

pytestmark = pytest.mark.anyio


class Newer(MemoryFileValidator):
    """The rules of another day."""

    @property
    def ruleset(self) -> str:
        return "2027-01-01"


class Overloaded(MemoryFileValidator):
    """Has no time for any file."""

    async def validate(self, source: FileSource, path: FilePath) -> FileReport:
        fault = Finding(NOT_CHECKED, Severity.CRITICAL, "It could not be checked.", path)
        return FileReport("application/octet-stream", None, (fault,))


@pytest.fixture
async def registry() -> Registry:
    """Under it everything got in: a model, a pickle that is held today, and a picture."""
    registry = Registry(policy=PolicyName.REPORT)
    await registry.register()
    await registry.publish(a_file("m.gguf", b"GGUF"))
    await registry.publish(a_file("m.pkl", HELD))
    await registry.publish(a_file("cat.jpg", JPEG))
    await registry.set_alias("champion", 3)
    registry.events.clear()
    return registry


def enforcing(registry: Registry) -> Registry:
    """The same rows and bytes, under the standard policy."""
    stricter = Registry(
        policy=PolicyName.STANDARD, database=registry.database, validator=registry.validator
    )
    stricter.store = registry.store
    return stricter


async def test_what_the_same_rules_judged_is_left_alone(registry: Registry) -> None:
    assert (await registry.rescan()).versions == 0
    assert (await registry.rescan(everything=True)).versions == 3


async def test_a_new_policy_holds_what_it_would_not_have_let_in(registry: Registry) -> None:
    stricter = enforcing(registry)
    rescanned = await stricter.rescan()
    assert rescanned.versions == 3
    assert [(c.version, c.verdict, c.status, c.aliases) for c in rescanned.changes] == [
        (3, "reject", "quarantined", ["champion"]),
        (2, "review", "quarantined", []),
    ]
    assert "JPEG" in rescanned.changes[0].messages[0]
    statuses = [(await stricter.version(str(n))).record.status for n in (1, 2, 3)]
    assert statuses == ["ready", "quarantined", "quarantined"]
    told = [event for event in stricter.events if isinstance(event, VersionRejudged)]
    assert [(event.version, event.verdict) for event in told] == [(3, "reject"), (2, "review")]
    assert (await stricter.rescan()).versions == 0


async def test_another_allowance_is_another_policy() -> None:
    registry = Registry(policy=PolicyName.STANDARD)
    await registry.register()
    await registry.publish(a_file("m.pkl", HELD))
    allowing = Registry(policy=PolicyName.STANDARD, allow="acme.*", database=registry.database)
    allowing.store = registry.store
    (change,) = (await allowing.rescan()).changes
    assert (change.status_before, change.status) == ("quarantined", "ready")
    assert (await allowing.rescan()).versions == 0
    (change,) = (await registry.rescan()).changes
    assert (change.status_before, change.status) == ("ready", "quarantined")


async def test_what_could_not_be_checked_is_tried_again(registry: Registry) -> None:
    registry.validator = Overloaded()
    assert (await registry.rescan()).versions == 0
    (change,) = (await registry.rescan(everything=True)).changes[-1:]
    assert (change.version, change.verdict) == (1, "reject")
    registry.validator = MemoryFileValidator()
    changes = (await registry.rescan()).changes
    assert (1, "accept") in [(change.version, change.verdict) for change in changes]
    assert (await registry.rescan()).versions == 0


async def test_a_dry_run_stores_nothing(registry: Registry) -> None:
    stricter = enforcing(registry)
    before = await stricter.version("3")
    assert len((await stricter.rescan(dry_run=True)).changes) == 2
    assert await stricter.version("3") == before
    assert stricter.events == []


async def test_newer_rules_judge_everything_anew(registry: Registry) -> None:
    registry.validator = Newer(held={})
    rescanned = await registry.rescan()
    assert (rescanned.versions, [c.version for c in rescanned.changes]) == (3, [2])
    record = (await registry.version("2")).record
    assert (record.validation.verdict, record.validation.ruleset) == ("accept", "2027-01-01")


async def test_an_acceptance_does_not_reach_beyond_the_verdict_it_was_about() -> None:
    registry = Registry(policy=PolicyName.STANDARD)
    await registry.register()
    await registry.publish(a_file("m.pkl", HELD))
    await registry.review(1, Decision.ACCEPT)
    registry.validator = Newer()
    assert (await registry.rescan()).changes == []
    registry.validator = Newer(refused={HELD[:4]: "a trap"})
    (change,) = (await registry.rescan(everything=True)).changes
    assert (change.status_before, change.status) == ("ready", "quarantined")
    record = (await registry.version("1")).record
    assert [review.decision for review in record.validation.reviews] == ["accept"]
    await registry.review(1, Decision.ACCEPT, "It is no trap.")
    assert (await registry.version("1")).record.status == "ready"


async def test_a_blob_that_cannot_be_read_is_told_and_the_others_are_judged(
    registry: Registry,
) -> None:
    stricter = enforcing(registry)
    (gone,) = [f.sha256 for f in (await stricter.version("2")).record.files]
    await stricter.store.discard(
        Digest(gone), unless_renewed_since=datetime.max.replace(tzinfo=UTC)
    )
    rescanned = await stricter.rescan()
    assert rescanned.versions == 2
    assert [line.partition(":")[0] for line in rescanned.unreadable] == ["churn@2"]
