"""Registering, changing, renaming and deleting models."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.system import RandomIds
from domain.errors import (
    FieldError,
    InvalidModelName,
    InvalidRequest,
    ModelExists,
    ModelInUse,
    ModelNameRetired,
    ModelNotFound,
    ModelyardError,
    PreconditionFailed,
    VersionNotFound,
)
from domain.events import ModelDeleted, ModelRegistered, ModelRenamed
from domain.values import ModelName
from tests.unit.in_memory import Registry

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Registry:
    return Registry()


async def test_a_registered_model_is_read_as_it_was_registered(registry: Registry) -> None:
    found = await registry.register("churn", description="Who leaves", tags={"team": "risk"})
    assert found == await registry.model("churn")
    model = found.record
    assert (model.name, model.description, model.tags) == ("churn", "Who leaves", {"team": "risk"})
    assert (model.creator, model.created_at) == ("ada", registry.clock.now())
    assert (model.latest_version, model.version_count, model.aliases) == (None, 0, {})
    assert registry.events == [ModelRegistered(ModelName("churn"), "ada", registry.clock.now())]


async def test_a_name_is_registered_once_however_it_is_spelled(registry: Registry) -> None:
    await registry.register("caf\u00e9")
    with pytest.raises(ModelExists):
        await registry.register("cafe\u0301")
    await registry.register("Caf\u00e9")  # case counts


async def test_a_refused_registration_is_told_to_nobody(registry: Registry) -> None:
    with pytest.raises(InvalidRequest):
        await registry.register("churn", tags={"team": 1})
    with pytest.raises(ModelNotFound):
        await registry.model("churn")
    assert registry.events == []


async def test_a_patch_changes_what_it_names_and_gives_a_new_etag(registry: Registry) -> None:
    before = await registry.register("churn", description="a", tags={"team": "risk", "old": "x"})
    registry.clock.advance(timedelta(seconds=1))
    after = await registry.update_model({"tags": {"team": "growth", "old": None}})
    assert after.record.tags == {"team": "growth"}
    assert after.record.description == "a"
    assert after.record.updated_at == before.record.updated_at + timedelta(seconds=1)
    assert after.etag != before.etag
    assert after == await registry.model()


async def test_null_removes_the_description_and_all_tags(registry: Registry) -> None:
    await registry.register("churn", description="a", tags={"team": "risk"})
    after = await registry.update_model({"description": None, "tags": None})
    assert (after.record.description, after.record.tags) == ("", {})


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"creator": "eve"}, InvalidRequest),
        ({"description": 1}, InvalidRequest),
        ({"description": "\0"}, InvalidRequest),
        ({"tags": ["x"]}, InvalidRequest),
        ({"tags": {"team": 1}}, InvalidRequest),
        ({"tags": {"new": "x"}, "name": "a/b"}, InvalidModelName),
        ({"name": None}, InvalidRequest),
        ({"name": 1}, InvalidRequest),
    ],
)
async def test_a_refused_patch_changes_nothing(
    registry: Registry, patch: dict[str, object], error: type[ModelyardError]
) -> None:
    before = await registry.register("churn", description="a", tags={"team": "risk"})
    with pytest.raises(error):
        await registry.update_model(patch)
    assert await registry.model() == before


async def test_unknown_members_of_a_patch_are_pointed_at(registry: Registry) -> None:
    await registry.register()
    with pytest.raises(InvalidRequest) as refusal:
        await registry.update_model({"owner": "eve"})
    assert refusal.value.errors == (
        FieldError("/owner", "unknown; there are description, name, tags"),
    )


async def test_a_change_meant_for_an_older_state_is_refused(registry: Registry) -> None:
    seen = frozenset({(await registry.register()).etag})
    changed = await registry.update_model({"description": "b"}, if_match=seen)
    with pytest.raises(PreconditionFailed):
        await registry.update_model({"description": "c"}, if_match=seen)
    with pytest.raises(PreconditionFailed):
        await registry.delete_model(if_match=seen)
    assert await registry.model() == changed
    await registry.delete_model(if_match=frozenset({changed.etag}))


# --- renaming -----------------------------------------------------------------------------------


async def test_a_renamed_model_keeps_its_versions_aliases_and_numbering(registry: Registry) -> None:
    await registry.register("churn")
    await registry.publish()
    await registry.set_alias("champion", 1)
    await registry.update_model({"name": "churn-eu"})
    with pytest.raises(ModelNotFound):
        await registry.model("churn")
    assert (await registry.model("churn-eu")).record.aliases == {"champion": 1}
    assert (await registry.alias("champion", "churn-eu")).record.model == "churn-eu"
    assert (await registry.publish(model="churn-eu")).version.record.version == 2
    renamed = [event for event in registry.events if isinstance(event, ModelRenamed)]
    assert [(event.previous_name, event.model, event.actor) for event in renamed] == [
        ("churn", "churn-eu", "eve")
    ]


async def test_renaming_to_its_own_name_is_no_change(registry: Registry) -> None:
    before = await registry.register("caf\u00e9")
    assert await registry.update_model({"name": "cafe\u0301"}, "caf\u00e9") == before
    assert not any(isinstance(event, ModelRenamed) for event in registry.events)


async def test_a_name_in_use_cannot_be_taken_by_renaming(registry: Registry) -> None:
    before = await registry.register("churn")
    await registry.register("fraud")
    with pytest.raises(ModelExists):
        await registry.update_model({"name": "fraud"})
    assert await registry.model("churn") == before


async def test_a_name_whose_versions_are_gone_cannot_be_taken_by_renaming(
    registry: Registry,
) -> None:
    await registry.register("fraud")
    await registry.publish(model="fraud")
    await registry.delete_model("fraud")
    await registry.register("churn")
    with pytest.raises(ModelNameRetired):
        await registry.update_model({"name": "fraud"})


async def test_a_name_that_never_had_a_version_can_be_taken_by_renaming(registry: Registry) -> None:
    await registry.register("fraud")
    await registry.delete_model("fraud")
    await registry.register("churn")
    assert (await registry.update_model({"name": "fraud"})).record.name == "fraud"


async def test_a_model_may_take_its_own_earlier_name_again(registry: Registry) -> None:
    await registry.register("churn")
    await registry.publish()
    await registry.update_model({"name": "churn-eu"})
    await registry.update_model({"name": "churn"}, "churn-eu")
    assert (await registry.publish()).version.record.version == 2


async def test_a_new_model_under_a_left_name_numbers_on_and_keeps_the_name(
    registry: Registry,
) -> None:
    await registry.register("churn")
    await registry.publish()
    await registry.update_model({"name": "churn-eu"})
    await registry.register("churn")
    assert (await registry.publish()).version.record.version == 2
    await registry.delete_model("churn")
    with pytest.raises(ModelNameRetired):
        await registry.update_model({"name": "churn"}, "churn-eu")


# --- deleting -----------------------------------------------------------------------------------


async def test_a_deleted_model_is_gone_with_its_versions(registry: Registry) -> None:
    await registry.register()
    await registry.publish()
    await registry.delete_model()
    for question in (registry.model(), registry.version("1"), registry.delete_model()):
        with pytest.raises(ModelNotFound):
            await question
    assert registry.events[-1] == ModelDeleted(ModelName("churn"), "eve", registry.clock.now())


async def test_a_model_with_aliases_is_deleted_only_by_force(registry: Registry) -> None:
    await registry.register()
    await registry.publish()
    await registry.set_alias("champion", 1)
    with pytest.raises(ModelInUse):
        await registry.delete_model()
    await registry.delete_model(force=True)
    await registry.register()
    assert (await registry.model()).record.aliases == {}


async def test_a_model_registered_under_a_deleted_name_goes_on_numbering(
    registry: Registry,
) -> None:
    for life in range(3):
        await registry.register()
        for number in (2 * life + 1, 2 * life + 2):
            assert (await registry.publish()).version.record.version == number
        assert await registry.numbers() == [2 * life + 2, 2 * life + 1]
        await registry.delete_model()
    await registry.register()
    for number in range(1, 7):
        with pytest.raises(VersionNotFound):
            await registry.version(str(number))


async def test_what_was_seen_of_a_deleted_model_does_not_match_its_namesake() -> None:
    registry = Registry(ids=RandomIds())
    seen = frozenset({(await registry.register()).etag})
    await registry.delete_model()
    await registry.register()
    with pytest.raises(PreconditionFailed):
        await registry.delete_model(if_match=seen)
