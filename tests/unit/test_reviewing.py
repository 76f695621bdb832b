"""Versions that are held: what they are kept from, and how people decide about them."""

from __future__ import annotations

import pytest

from application.blobs import OpenFile
from domain.errors import (
    InvalidRequest,
    PreconditionFailed,
    VersionInUse,
    VersionNotFound,
    VersionNotHeld,
    VersionQuarantined,
)
from domain.events import VersionReviewed
from domain.validation import Decision, PolicyName, Review, Status, Validation, Verdict
from domain.values import MAX_REVIEWS, ModelName, VersionNumber
from tests.support.registry import EPOCH, a_model, a_version
from tests.unit.in_memory import HELD, Registry, a_file

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry() -> Registry:
    """Version 1 is a model like any other, version 2 is held."""
    registry = Registry(policy=PolicyName.STANDARD)
    await registry.register()
    await registry.publish(a_file("m.gguf", b"GGUF"))
    await registry.publish(a_file("m.pkl", HELD))
    registry.events.clear()
    return registry


async def opened(registry: Registry, version: int) -> int:
    asked = OpenFile(ModelName("churn"), VersionNumber(version), "m.pkl")
    return (await registry.open_file(asked)).file.size


async def test_a_held_version_is_listed_and_described_but_not_served(registry: Registry) -> None:
    record = (await registry.version("2")).record
    assert (record.status, record.validation.verdict) == ("quarantined", "review")
    assert [finding.subject for finding in record.validation.findings] == ["acme.Net"]
    assert await registry.numbers() == [2, 1]
    with pytest.raises(VersionQuarantined):
        await opened(registry, 2)


async def test_no_alias_is_set_on_or_rolled_back_to_a_held_version(registry: Registry) -> None:
    with pytest.raises(VersionQuarantined):
        await registry.set_alias("champion", 2)
    await registry.review(2, Decision.ACCEPT)
    await registry.set_alias("champion", 2)
    await registry.set_alias("champion", 1)
    await registry.review(2, Decision.REJECT)
    with pytest.raises(VersionQuarantined):
        await registry.roll_back("champion")
    assert (await registry.alias("champion")).record.version == 1


async def test_an_accepted_version_is_like_any_other(registry: Registry) -> None:
    before = await registry.version("2")
    accepted = await registry.review(2, Decision.ACCEPT, "The class is ours.")
    assert accepted.etag != before.etag
    assert accepted.record.status == "ready"
    (review,) = accepted.record.validation.reviews
    assert (review.decision, review.reason, review.reviewer) == (
        "accept",
        "The class is ours.",
        "eve",
    )
    assert review.at == registry.clock.now()
    assert await opened(registry, 2) == len(HELD)
    (event,) = registry.events
    assert isinstance(event, VersionReviewed)
    assert (event.version, event.decision, event.actor) == (2, "accept", "eve")


async def test_decisions_may_change_and_all_are_kept(registry: Registry) -> None:
    for decision in (Decision.REJECT, Decision.ACCEPT, Decision.REJECT):
        await registry.review(2, decision, f"{decision.value} it")
    record = (await registry.version("2")).record
    assert record.status == "rejected"
    assert [review.reason for review in record.validation.reviews] == [
        "reject it",
        "accept it",
        "reject it",
    ]
    with pytest.raises(VersionQuarantined, match="rejected"):
        await opened(registry, 2)


async def test_what_an_alias_points_at_is_not_rejected(registry: Registry) -> None:
    await registry.review(2, Decision.ACCEPT)
    await registry.set_alias("champion", 2)
    with pytest.raises(VersionInUse, match="@champion"):
        await registry.review(2, Decision.REJECT)
    assert (await registry.version("2")).record.status == "ready"


async def test_there_is_nothing_to_decide_about_an_accepted_version(registry: Registry) -> None:
    with pytest.raises(VersionNotHeld):
        await registry.review(1, Decision.ACCEPT)
    with pytest.raises(VersionNotFound):
        await registry.review(7, Decision.ACCEPT)


async def test_what_was_never_held_can_be_withdrawn_and_come_back(registry: Registry) -> None:
    assert (await registry.review(1, Decision.REJECT)).record.status == "rejected"
    with pytest.raises(VersionQuarantined, match="rejected"):
        await registry.set_alias("champion", 1)
    assert (await registry.review(1, Decision.ACCEPT)).record.status == "ready"


@pytest.mark.parametrize("reason", ["", "  \n"])
async def test_a_decision_has_a_reason(registry: Registry, reason: str) -> None:
    with pytest.raises(InvalidRequest, match="/reason"):
        await registry.review(2, Decision.ACCEPT, reason)
    assert (await registry.version("2")).record.status == "quarantined"


def test_decisions_are_not_endless() -> None:
    taken = Review(Verdict.REVIEW, Decision.ACCEPT, "It was read.", "eve", EPOCH)
    judged = Validation(Verdict.REVIEW, PolicyName.STANDARD, reviews=(taken,) * (MAX_REVIEWS - 1))
    version = a_version(a_model(), 1, validation=judged)
    version.review(taken, ())
    with pytest.raises(VersionNotHeld, match="1000 times"):
        version.review(taken, ())
    assert version.validation.status is Status.READY


async def test_of_two_reviewers_at_once_one_is_told(registry: Registry) -> None:
    seen = (await registry.version("2")).etag
    await registry.review(2, Decision.REJECT, if_match=frozenset({seen}))
    with pytest.raises(PreconditionFailed):
        await registry.review(2, Decision.ACCEPT, if_match=frozenset({seen}))


async def test_an_administrator_can_allow_the_import() -> None:
    registry = Registry(policy=PolicyName.STANDARD, allow="mycompany.models.*, acme.*")
    await registry.register()
    record = (await registry.publish(a_file("m.pkl", HELD))).version.record
    assert (record.status, record.validation.verdict) == ("ready", "accept")
    assert [f.severity for f in record.validation.findings] == ["info"]
