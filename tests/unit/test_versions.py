"""Changing and deleting versions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import (
    AliasNotFound,
    FieldError,
    InvalidRequest,
    ModelNotFound,
    PreconditionFailed,
    VersionImmutable,
    VersionInUse,
    VersionNotFound,
)
from domain.events import AliasMoved, VersionDeleted
from domain.values import AliasName, ModelName, VersionNumber
from tests.unit.in_memory import Registry, a_file, details

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry() -> Registry:
    """With one version that says all there is to say."""
    registry = Registry()
    await registry.register()
    await registry.publish(
        a_file(),
        details(
            description="first",
            parameters={"depth": 6},
            metrics={"auc": 0.9},
            tags={"stage": "new"},
            source="git:1",
        ),
    )
    return registry


async def test_description_tags_and_metrics_of_a_version_may_change(registry: Registry) -> None:
    before = await registry.version("1")
    registry.clock.advance(timedelta(seconds=1))
    after = await registry.update_version(
        1, {"description": "better", "tags": {"stage": None, "eu": "yes"}, "metrics": {"f1": 1}}
    )
    assert after.record.description == "better"
    assert after.record.tags == {"eu": "yes"}
    assert after.record.metrics == {"auc": 0.9, "f1": 1.0}
    assert after.record.updated_at == before.record.updated_at + timedelta(seconds=1)
    assert after.etag != before.etag
    assert after == await registry.version("1")


@pytest.mark.parametrize(
    "member",
    [
        *("model", "version", "parameters", "files", "size", "digest", "creator", "source"),
        *("parents", "validation", "created_at", "updated_at", "aliases"),
    ],
)
async def test_what_a_version_was_published_with_cannot_change(
    registry: Registry, member: str
) -> None:
    before = await registry.version("1")
    with pytest.raises(VersionImmutable) as refusal:
        await registry.update_version(1, {"description": "x", member: None})
    assert refusal.value.errors == (FieldError(f"/{member}", "cannot change"),)
    assert await registry.version("1") == before


@pytest.mark.parametrize(
    "patch",
    [
        {"stage": "x"},
        {"description": 1},
        {"tags": {"k": 1}},
        {"metrics": {"auc": float("nan")}},
        {"metrics": {"auc": True}},
        {"metrics": 1},
        {"tags": {"k": "x"}, "metrics": {"auc": float("inf")}},
    ],
)
async def test_a_refused_patch_changes_nothing(
    registry: Registry, patch: dict[str, object]
) -> None:
    before = await registry.version("1")
    with pytest.raises(InvalidRequest):
        await registry.update_version(1, patch)
    assert await registry.version("1") == before


async def test_a_map_cannot_grow_beyond_its_bound_by_patches(registry: Registry) -> None:
    await registry.update_version(1, {"tags": {f"k{index}": "x" for index in range(999)}})
    with pytest.raises(InvalidRequest, match="1001 entries"):
        await registry.update_version(1, {"tags": {"one more": "x"}})
    assert len((await registry.version("1")).record.tags) == 1000


async def test_a_change_meant_for_an_older_state_is_refused(registry: Registry) -> None:
    seen = frozenset({(await registry.version("1")).etag})
    changed = await registry.update_version(1, {"description": "b"}, if_match=seen)
    with pytest.raises(PreconditionFailed):
        await registry.update_version(1, {"description": "c"}, if_match=seen)
    with pytest.raises(PreconditionFailed):
        await registry.delete_version(1, if_match=seen)
    assert await registry.version("1") == changed


async def test_what_does_not_exist_is_not_changed(registry: Registry) -> None:
    with pytest.raises(VersionNotFound):
        await registry.update_version(2, {})
    with pytest.raises(VersionNotFound):
        await registry.delete_version(2)
    await registry.delete_model()
    with pytest.raises(ModelNotFound):
        await registry.update_version(1, {})


# --- deleting -----------------------------------------------------------------------------------


async def test_the_number_of_a_deleted_version_is_never_used_again(registry: Registry) -> None:
    await registry.publish()
    await registry.delete_version(2)
    assert (await registry.publish()).version.record.version == 3
    with pytest.raises(VersionNotFound):
        await registry.version("2")
    assert await registry.numbers() == [3, 1]


async def test_latest_is_the_highest_number_that_still_exists(registry: Registry) -> None:
    await registry.publish()
    assert (await registry.version("latest")).record.version == 2
    await registry.delete_version(2)
    assert (await registry.version("latest")).record.version == 1
    assert (await registry.model()).record.latest_version == 1
    await registry.delete_version(1)
    with pytest.raises(VersionNotFound):
        await registry.version("latest")
    assert (await registry.model()).record.latest_version is None


async def test_deleting_a_version_gives_the_model_a_new_etag(registry: Registry) -> None:
    before = (await registry.model()).etag
    await registry.delete_version(1)
    assert (await registry.model()).etag != before
    assert registry.events[-1] == VersionDeleted(
        ModelName("churn"), VersionNumber(1), "eve", registry.clock.now()
    )


async def test_a_version_that_an_alias_points_at_is_not_deleted(registry: Registry) -> None:
    await registry.set_alias("champion", 1)
    before = await registry.version("1")
    with pytest.raises(VersionInUse, match="@champion"):
        await registry.delete_version(1)
    assert await registry.version("@champion") == before


async def test_deleting_by_force_deletes_the_aliases_and_their_history_says_so(
    registry: Registry,
) -> None:
    await registry.publish()
    for alias, version in (("champion", 1), ("next", 1), ("other", 2)):
        await registry.set_alias(alias, version)
    await registry.delete_version(1, force=True)
    assert (await registry.model()).record.aliases == {"other": 2}
    with pytest.raises(AliasNotFound):
        await registry.version("@champion")
    assert [(move.version, move.previous_version) for move in await registry.history("next")] == [
        (None, 1),
        (1, None),
    ]
    told = [event for event in registry.events if isinstance(event, AliasMoved)]
    assert [(event.alias, event.version) for event in told[-2:]] == [
        (AliasName("champion"), None),
        (AliasName("next"), None),
    ]
