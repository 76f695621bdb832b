"""Assigning, moving, rolling back and deleting aliases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from application.ports import Found
from domain.errors import (
    AliasHasNoPrevious,
    AliasNotFound,
    InvalidRequest,
    ModelNotFound,
    PreconditionFailed,
    VersionNotFound,
)
from domain.events import AliasMoved
from domain.values import AliasName, ModelName, VersionNumber
from tests.unit.in_memory import Registry

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registry() -> Registry:
    """With three versions."""
    registry = Registry()
    await registry.register()
    for _ in range(3):
        await registry.publish()
    return registry


async def test_an_alias_is_created_and_then_moved(registry: Registry) -> None:
    found, created = await registry.set_alias("champion", 1, actor="eve")
    assert created
    assert found == await registry.alias("champion")
    record = found.record
    assert (record.model, record.alias, record.version) == ("churn", "champion", 1)
    assert (record.updated_by, record.updated_at) == ("eve", registry.clock.now())

    registry.clock.advance(timedelta(seconds=1))
    moved, created = await registry.set_alias("champion", 3, actor="bob")
    assert not created
    assert (moved.record.version, moved.record.updated_by) == (3, "bob")
    assert moved.record.updated_at == registry.clock.now()
    assert moved.etag != found.etag
    assert (await registry.version("@champion")).record.version == 3


async def test_setting_an_alias_where_it_points_is_no_move(registry: Registry) -> None:
    before, _ = await registry.set_alias("champion", 1)
    after, created = await registry.set_alias("champion", 1, actor="bob")
    assert (after, created) == (before, False)
    assert len(await registry.history("champion")) == 1


async def test_aliases_that_differ_in_case_are_two(registry: Registry) -> None:
    await registry.set_alias("champion", 1)
    await registry.set_alias("Champion", 2)
    assert (await registry.model()).record.aliases == {"Champion": 2, "champion": 1}


async def test_moving_an_alias_gives_its_model_and_both_versions_new_etags(
    registry: Registry,
) -> None:
    await registry.set_alias("champion", 1)
    questions: dict[str, Callable[[], Awaitable[Found[Any]]]] = {
        "model": registry.model,
        "1": lambda: registry.version("1"),
        "2": lambda: registry.version("2"),
        "3": lambda: registry.version("3"),
    }
    before = {name: (await ask()).etag for name, ask in questions.items()}
    await registry.set_alias("champion", 2)
    after = {name: (await ask()).etag for name, ask in questions.items()}
    assert {name for name in questions if before[name] != after[name]} == {"model", "1", "2"}


async def test_an_alias_of_what_does_not_exist_is_refused(registry: Registry) -> None:
    with pytest.raises(VersionNotFound):
        await registry.set_alias("champion", 4)
    with pytest.raises(ModelNotFound):
        await registry.set_alias("champion", 1, model="fraud")
    with pytest.raises(AliasNotFound):
        await registry.alias("champion")


async def test_moving_an_alias_to_a_missing_version_leaves_it_where_it_is(
    registry: Registry,
) -> None:
    before, _ = await registry.set_alias("champion", 1)
    with pytest.raises(VersionNotFound):
        await registry.set_alias("champion", 4)
    assert await registry.alias("champion") == before


async def test_nobody_moves_an_alias_namelessly(registry: Registry) -> None:
    with pytest.raises(InvalidRequest):
        await registry.set_alias("champion", 1, actor="\u200b")


# --- compare and swap ---------------------------------------------------------------------------


async def test_a_move_from_the_state_that_was_seen_goes_through(registry: Registry) -> None:
    seen, _ = await registry.set_alias("champion", 1)
    found, _ = await registry.set_alias("champion", 2, if_match=frozenset({seen.etag}))
    assert found.record.version == 2


async def test_a_move_from_an_older_state_is_refused(registry: Registry) -> None:
    seen, _ = await registry.set_alias("champion", 1)
    moved, _ = await registry.set_alias("champion", 2)
    stale = frozenset({seen.etag})
    with pytest.raises(PreconditionFailed):
        await registry.set_alias("champion", 3, if_match=stale)
    with pytest.raises(PreconditionFailed):
        await registry.roll_back("champion", if_match=stale)
    with pytest.raises(PreconditionFailed):
        await registry.delete_alias("champion", if_match=stale)
    assert await registry.alias("champion") == moved


async def test_a_state_that_comes_back_is_still_another_state(registry: Registry) -> None:
    seen, _ = await registry.set_alias("champion", 1)
    await registry.set_alias("champion", 2)
    await registry.set_alias("champion", 1)
    with pytest.raises(PreconditionFailed):
        await registry.set_alias("champion", 3, if_match=frozenset({seen.etag}))


async def test_what_was_seen_before_a_deletion_does_not_match_after_it(registry: Registry) -> None:
    seen, _ = await registry.set_alias("champion", 1)
    await registry.delete_alias("champion")
    await registry.set_alias("champion", 1)
    with pytest.raises(PreconditionFailed):
        await registry.set_alias("champion", 2, if_match=frozenset({seen.etag}))


async def test_of_two_that_move_an_alias_from_one_state_one_wins(registry: Registry) -> None:
    seen, _ = await registry.set_alias("champion", 1)
    condition = frozenset({seen.etag})
    outcomes = await asyncio.gather(
        registry.set_alias("champion", 2, if_match=condition),
        registry.set_alias("champion", 3, if_match=condition),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, PreconditionFailed)]
    assert len(refused) == 1
    assert len(await registry.history("champion")) == 2


async def test_an_alias_that_should_be_new_must_be_new(registry: Registry) -> None:
    _, created = await registry.set_alias("champion", 1, must_be_new=True)
    assert created
    with pytest.raises(PreconditionFailed, match="points at version 1"):
        await registry.set_alias("champion", 2, must_be_new=True)


@pytest.mark.parametrize("if_match", [frozenset({"*"}), frozenset({"a-1"})])
async def test_an_alias_that_should_exist_must_exist(
    registry: Registry, if_match: frozenset[str]
) -> None:
    with pytest.raises(PreconditionFailed, match="does not exist"):
        await registry.set_alias("champion", 1, if_match=if_match)
    with pytest.raises(AliasNotFound):
        await registry.alias("champion")


# --- back and away ------------------------------------------------------------------------------


async def test_an_alias_goes_back_to_the_version_before_its_last_move(registry: Registry) -> None:
    for version in (1, 2, 3):
        await registry.set_alias("champion", version)
    assert (await registry.roll_back("champion")).record.version == 2


async def test_rolling_back_twice_is_doing_nothing_and_both_stand_in_the_history(
    registry: Registry,
) -> None:
    await registry.set_alias("champion", 1)
    await registry.set_alias("champion", 2)
    await registry.roll_back("champion")
    assert (await registry.roll_back("champion")).record.version == 2
    history = [(move.previous_version, move.version) for move in await registry.history("champion")]
    assert history == [(1, 2), (2, 1), (1, 2), (None, 1)]


async def test_an_alias_that_never_moved_has_nothing_to_go_back_to(registry: Registry) -> None:
    before, _ = await registry.set_alias("champion", 1)
    with pytest.raises(AliasHasNoPrevious):
        await registry.roll_back("champion")
    with pytest.raises(AliasNotFound):
        await registry.roll_back("next")
    assert await registry.alias("champion") == before


async def test_an_alias_does_not_go_back_to_a_deleted_version(registry: Registry) -> None:
    await registry.set_alias("champion", 1)
    before, _ = await registry.set_alias("champion", 2)
    await registry.delete_version(1)
    with pytest.raises(VersionNotFound):
        await registry.roll_back("champion")
    assert await registry.alias("champion") == before


async def test_the_history_outlives_the_alias(registry: Registry) -> None:
    await registry.set_alias("champion", 1, actor="ada")
    await registry.set_alias("champion", 2, actor="bob")
    await registry.delete_alias("champion")
    with pytest.raises(AliasNotFound):
        await registry.alias("champion")
    with pytest.raises(AliasNotFound):
        await registry.version("@champion")
    await registry.set_alias("champion", 3, actor="ada")
    assert [
        (move.previous_version, move.version, move.actor)
        for move in await registry.history("champion")
    ] == [(None, 3, "ada"), (2, None, "eve"), (1, 2, "bob"), (None, 1, "ada")]


async def test_a_new_alias_does_not_go_back_to_where_a_deleted_one_pointed(
    registry: Registry,
) -> None:
    await registry.set_alias("champion", 1)
    await registry.set_alias("champion", 2)
    await registry.delete_alias("champion")
    await registry.set_alias("champion", 3)
    with pytest.raises(AliasHasNoPrevious):
        await registry.roll_back("champion")


async def test_deleting_an_alias_leaves_its_version_and_tells_of_the_move(
    registry: Registry,
) -> None:
    await registry.set_alias("champion", 1)
    before = (await registry.version("1")).etag
    await registry.delete_alias("champion")
    after = await registry.version("1")
    assert after.record.aliases == []
    assert after.etag != before
    assert registry.events[-1] == AliasMoved(
        ModelName("churn"),
        AliasName("champion"),
        None,
        VersionNumber(1),
        "eve",
        registry.clock.now(),
    )
    with pytest.raises(AliasNotFound):
        await registry.delete_alias("champion")


async def test_the_history_never_runs_backwards_though_the_clock_does(registry: Registry) -> None:
    await registry.set_alias("champion", 1)
    for version, step in ((2, -60), (3, 10), (1, 120)):
        registry.clock.advance(timedelta(seconds=step))
        await registry.set_alias("champion", version)
    times = [move.at for move in await registry.history("champion")]
    assert times == sorted(times, reverse=True)
    assert (await registry.alias("champion")).record.updated_at == times[0]
