"""What every UnitOfWork must do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from application.ports.lock_manager import Fence
from application.ports.registry_reader import PageRequest
from application.ports.unit_of_work import Receipt, UnitOfWork
from domain.alias import AliasMove
from domain.errors import (
    AliasNotFound,
    DatabaseUnavailable,
    IdempotencyConflict,
    LockLost,
    ModelExists,
    ModelNotFound,
    VersionConflict,
    VersionInUse,
    VersionNotFound,
)
from domain.events import ModelRegistered
from domain.model import Model, RetiredName
from domain.values import AliasName, Latest, ModelName, VersionNumber
from tests.support.registry import (
    EPOCH,
    Registry,
    a_manifest,
    a_model,
    a_version,
    history,
    point,
    publish,
    register,
    retired_names,
)

CHURN = ModelName("churn")
CHAMPION = AliasName("champion")
LATER = EPOCH + timedelta(hours=1)
ONE, TWO, THREE = VersionNumber(1), VersionNumber(2), VersionNumber(3)


class _BrokenHandlerError(Exception):
    pass


@pytest.mark.anyio
class UnitOfWorkContract:
    # --- the transaction ---

    async def test_what_was_committed_is_there(self, registry: Registry) -> None:
        model = await register(registry, tags={"team": "blue"}, description="Who leaves?")
        async with registry.uow() as uow:
            assert await uow.models.get(CHURN) == model

    async def test_a_model_is_found_by_its_id_under_its_present_name(
        self, registry: Registry
    ) -> None:
        model = await register(registry)
        async with registry.uow() as uow:
            model.name = ModelName("renamed")
            await uow.models.save(model)
            assert await uow.models.name_of(model.id) == "renamed"
            assert await uow.models.name_of("0" * 32) is None

    async def test_an_id_is_taken_once(self, registry: Registry) -> None:
        model = await register(registry)
        model.name = ModelName("another")
        async with registry.uow() as uow:
            with pytest.raises(ModelExists):
                await uow.models.add(model)

    async def test_leaving_without_a_commit_rolls_back(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            await uow.models.add(a_model())
        async with registry.uow() as uow:
            with pytest.raises(ModelNotFound):
                await uow.models.get(CHURN)

    async def test_an_error_inside_rolls_everything_back(self, registry: Registry) -> None:
        model = await register(registry)

        async def broken() -> None:
            async with registry.uow() as uow:
                number = await uow.models.allocate(model, LATER)
                await uow.versions.add(a_version(model, number, tags={"a": "b"}))
                raise _BrokenHandlerError

        with pytest.raises(_BrokenHandlerError):
            await broken()
        with pytest.raises(VersionNotFound):
            await registry.reader.version(CHURN, Latest())
        assert (await publish(registry, model)).number == 1

    async def test_a_commit_that_fails_raises_and_leaves_nothing(self, registry: Registry) -> None:
        model = await register(registry)
        async with registry.uow() as uow:
            number = await uow.models.allocate(model, LATER)
            await uow.versions.add(a_version(model, number))
            uow.record(ModelRegistered(CHURN, "ada", EPOCH))
            with registry.failing(), pytest.raises(DatabaseUnavailable):
                await uow.commit()
        assert registry.events == []
        found = await registry.reader.versions(PageRequest())
        assert found.items == []
        assert (await publish(registry, model)).number == 1

    async def test_events_are_told_after_the_commit(self, registry: Registry) -> None:
        event = ModelRegistered(CHURN, "ada", EPOCH)
        async with registry.uow() as uow:
            await uow.models.add(a_model())
            uow.record(event)
            assert registry.events == []
            await uow.commit()
            assert registry.events == [event]

    async def test_events_of_what_was_rolled_back_are_not_told(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            uow.record(ModelRegistered(CHURN, "ada", EPOCH))
        assert registry.events == []

    async def test_readers_see_nothing_before_the_commit(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            await uow.models.add(a_model())
            with pytest.raises(ModelNotFound):
                await registry.reader.model(CHURN)
            await uow.commit()
            assert (await registry.reader.model(CHURN)).record.name == "churn"

    async def test_a_cancelled_unit_rolls_back_and_lets_others_in(self, registry: Registry) -> None:
        entered = anyio.Event()

        async def stuck() -> None:
            async with registry.uow() as uow:
                await uow.models.add(a_model())
                entered.set()
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stuck)
            await entered.wait()
            tasks.cancel_scope.cancel()
        await register(registry)

    async def test_a_commit_that_has_begun_is_finished_though_the_task_is_cancelled(
        self, registry: Registry
    ) -> None:
        async def work() -> None:
            async with registry.uow() as uow:
                await uow.models.add(a_model())
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await uow.commit()

        task = asyncio.ensure_future(work())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await registry.reader.model(CHURN)).record.name == "churn"
        await register(registry, "other")

    async def test_being_cancelled_while_waiting_for_others_harms_nobody(
        self, registry: Registry
    ) -> None:
        async def wait_in_line() -> None:
            async with registry.uow() as uow:
                await uow.models.get(CHURN)
                pytest.fail("the line was not kept")

        await register(registry)
        async with registry.uow() as uow:
            model = await uow.models.get(CHURN)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait_in_line)
                await anyio.sleep(0.05)
                tasks.cancel_scope.cancel()
            model.describe("It was not their turn.", LATER)
            await uow.models.save(model)
            await uow.commit()
        async with registry.uow() as uow:
            assert (await uow.models.get(CHURN)) == model

    async def test_who_excludes_writers_is_alone_among_all_who_write(
        self, registry: Registry
    ) -> None:
        models = [await register(registry, f"m{index}") for index in range(4)]
        writing, ready, barrier = 0, 0, anyio.Event()

        async def line_up() -> None:
            nonlocal ready
            ready += 1
            if ready == 7:
                barrier.set()
            await barrier.wait()

        async def write(model: Model) -> None:
            nonlocal writing
            await line_up()
            for _ in range(3):
                async with registry.uow() as uow:
                    writing += 1
                    number = await uow.models.allocate(model, LATER)
                    await uow.versions.add(a_version(model, number))
                    await anyio.lowlevel.checkpoint()
                    writing -= 1
                    await uow.commit()

        async def exclude() -> None:
            await line_up()
            for _ in range(3):
                async with registry.uow() as uow:
                    await uow.exclude_writers()
                    await uow.exclude_writers()
                    seen = (await registry.reader.stats()).versions
                    for _ in range(5):
                        assert writing == 0
                        await anyio.lowlevel.checkpoint()
                    assert (await registry.reader.stats()).versions == seen

        async with anyio.create_task_group() as tasks:
            for model in models:
                tasks.start_soon(write, model)
            for _ in range(3):
                tasks.start_soon(exclude)
        assert (await registry.reader.stats()).versions == 12

    # --- fences and turns ---

    async def test_a_fence_holds_until_a_higher_number_is_drawn(self, registry: Registry) -> None:
        first, other = await registry.fence("gc"), await registry.fence("other")
        assert (first, other) == (1, 1)
        async with registry.uow() as uow:
            await uow.check_fence(None)
            await uow.check_fence(Fence("gc", first))
            await uow.check_fence(Fence("never drawn", 1))
        second = await registry.fence("gc")
        assert second > first
        async with registry.uow() as uow:
            await uow.check_fence(Fence("gc", second))
            with pytest.raises(LockLost):
                await uow.check_fence(Fence("gc", first))

    async def test_a_number_is_drawn_after_those_who_have_shown_theirs(
        self, registry: Registry
    ) -> None:
        fence = Fence("gc", await registry.fence("gc"))
        drawn: list[int] = []

        async def draw() -> None:
            drawn.append(await registry.fence("gc"))

        async with anyio.create_task_group() as tasks, registry.uow() as uow:
            await uow.check_fence(fence)
            tasks.start_soon(draw)
            await anyio.sleep(0.05)
            assert drawn == []
            await uow.models.add(a_model())
            await uow.commit()
        assert drawn == [2]

    async def test_of_many_who_want_a_turn_one_has_it(self, registry: Registry) -> None:
        turns: list[bool] = []

        async def ask() -> None:
            async with registry.uow() as uow:
                turns.append(await uow.take_turn("gc", LATER, timedelta(minutes=5)))
                await uow.commit()

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(ask)
        assert sorted(turns) == [False] * 5 + [True]
        async with registry.uow() as uow:
            assert await uow.take_turn("other", LATER, timedelta(minutes=5))
            assert await uow.take_turn("gc", LATER + timedelta(minutes=5), timedelta(minutes=5))
        async with registry.uow() as uow:
            assert await uow.take_turn("gc", LATER + timedelta(minutes=6), timedelta(minutes=5))

    async def test_two_units_that_read_check_and_write_do_not_lose_an_update(
        self, registry: Registry
    ) -> None:
        await register(registry, tags={"count": "0"})

        async def increment() -> None:
            async with registry.uow() as uow:
                model = await uow.models.get(CHURN)
                await anyio.lowlevel.checkpoint()
                model.tag({"count": str(int(model.tags["count"]) + 1)}, LATER)
                await uow.models.save(model)
                await uow.commit()

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(increment)
        async with registry.uow() as uow:
            assert (await uow.models.get(CHURN)).tags == {"count": "20"}

    # --- models ---

    async def test_an_unknown_model_is_not_found(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            with pytest.raises(ModelNotFound):
                await uow.models.get(CHURN)

    async def test_a_name_is_taken_once(self, registry: Registry) -> None:
        await register(registry)
        async with registry.uow() as uow:
            with pytest.raises(ModelExists):
                await uow.models.add(a_model())

    async def test_names_are_compared_exactly(self, registry: Registry) -> None:
        for name in ("churn", "Churn", "chürn", "churn 2"):
            await register(registry, name)
        async with registry.uow() as uow:
            assert (await uow.models.get(ModelName("Churn"))).name == "Churn"

    async def test_a_changed_model_is_saved(self, registry: Registry) -> None:
        await register(registry, tags={"a": "1", "b": "2"})
        async with registry.uow() as uow:
            changed = await uow.models.get(CHURN)
            changed.describe("new", LATER)
            changed.tag({"b": "3", "c": "4"}, LATER)
            await uow.models.save(changed)
            await uow.commit()
        async with registry.uow() as uow:
            assert await uow.models.get(CHURN) == changed

    async def test_a_model_read_twice_is_not_shared(self, registry: Registry) -> None:
        await register(registry, tags={"a": "1"})
        async with registry.uow() as uow:
            (await uow.models.get(CHURN)).tags["a"] = "2"
            assert (await uow.models.get(CHURN)).tags == {"a": "1"}

    async def test_renaming_retires_the_old_name(self, registry: Registry) -> None:
        model = await register(registry)
        await publish(registry, model)
        async with registry.uow() as uow:
            model = await uow.models.get(CHURN)
            model.rename(ModelName("attrition"), LATER, retired=None)
            await uow.models.save(model)
            await uow.commit()
        async with registry.uow() as uow:
            assert await uow.models.get(ModelName("attrition")) == model
            assert await uow.models.retired(CHURN) == RetiredName(CHURN, model.id, 1)
            with pytest.raises(ModelNotFound):
                await uow.models.get(CHURN)
            assert (await uow.versions.get(model, ONE)).number == 1

    async def test_renaming_onto_a_name_that_is_taken_is_refused(self, registry: Registry) -> None:
        model = await register(registry)
        await register(registry, "taken")
        async with registry.uow() as uow:
            model.rename(ModelName("taken"), LATER, retired=None)
            with pytest.raises(ModelExists):
                await uow.models.save(model)

    async def test_saving_a_model_that_is_gone_is_refused(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            with pytest.raises(ModelNotFound):
                await uow.models.save(a_model())

    async def test_removing_a_model_takes_everything_but_its_name(self, registry: Registry) -> None:
        model, other = await register(registry, tags={"a": "b"}), await register(registry, "other")
        await publish(registry, model, tags={"a": "b"}, metrics={"auc": 0.5})
        await publish(registry, other)
        await point(registry, model, "champion", 1)
        await point(registry, other, "champion", 1)
        async with registry.uow() as uow:
            await uow.models.remove(await uow.models.get(CHURN))
            await uow.commit()
        async with registry.uow() as uow:
            with pytest.raises(ModelNotFound):
                await uow.models.get(CHURN)
            with pytest.raises(VersionNotFound):
                await uow.versions.get(model, ONE)
            assert await uow.aliases.pointing_at(model) == []
            assert await uow.models.retired(CHURN) == RetiredName(CHURN, model.id, 1)
        assert await history(registry, model) == []
        assert len(await history(registry, other)) == 1
        stats = await registry.reader.stats()
        assert (stats.models, stats.versions, stats.aliases, stats.blobs) == (1, 1, 1, 1)

    async def test_a_name_registered_again_goes_on_counting(self, registry: Registry) -> None:
        first = await register(registry)
        for _ in range(3):
            await publish(registry, first)
        async with registry.uow() as uow:
            await uow.models.remove(await uow.models.get(CHURN))
            await uow.commit()
        async with registry.uow() as uow:
            retired = await uow.models.retired(CHURN)
        assert retired is not None
        second = await register(registry, last_version=retired.last_version)
        assert (await publish(registry, second)).number == 4

    async def test_a_name_that_is_given_up_meanwhile_goes_on_counting(
        self, registry: Registry
    ) -> None:
        first = await register(registry)
        for _ in range(3):
            await publish(registry, first)

        async def register_again() -> None:
            async with registry.uow() as uow:
                retired = await uow.models.retired(CHURN)
                last = retired.last_version if retired else 0
                await uow.models.add(a_model(last_version=last))
                await uow.commit()

        async with anyio.create_task_group() as tasks, registry.uow() as uow:
            await uow.models.remove(await uow.models.get(CHURN))
            tasks.start_soon(register_again)
            await anyio.sleep(0.05)
            await uow.commit()
        async with registry.uow() as uow:
            second = await uow.models.get(CHURN)
        assert (second.id != first.id, second.last_version) == (True, 3)

    async def test_of_many_who_find_a_name_free_one_takes_it_and_the_others_find_it(
        self, registry: Registry
    ) -> None:
        added: list[bool] = []

        async def find_or_add() -> None:
            async with registry.uow() as uow:
                try:
                    await uow.models.get(CHURN)
                    added.append(False)
                except ModelNotFound:
                    await anyio.lowlevel.checkpoint()
                    await uow.models.add(a_model())
                    added.append(True)
                await uow.commit()

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(find_or_add)
        assert sorted(added) == [False] * 5 + [True]

    async def test_a_name_never_borne_is_not_retired(self, registry: Registry) -> None:
        await register(registry)
        async with registry.uow() as uow:
            assert await uow.models.retired(CHURN) is None
            assert await uow.models.retired(ModelName("other")) is None
        assert await retired_names(registry) == []

    async def test_of_two_retirements_the_higher_number_wins(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            for model_id, last in (("b" * 32, 5), ("c" * 32, 3), ("d" * 32, 5)):
                await uow.models.retire(RetiredName(CHURN, model_id, last))
            await uow.models.retire(RetiredName(ModelName("a"), "a" * 32, 0))
            await uow.commit()
        assert await retired_names(registry) == [
            RetiredName(ModelName("a"), "a" * 32, 0),
            RetiredName(CHURN, "b" * 32, 5),
        ]

    # --- allocation and versions ---

    async def test_allocation_brings_the_model_up_to_date(self, registry: Registry) -> None:
        stale = await register(registry)
        await publish(registry, stale)
        async with registry.uow() as uow:
            assert await uow.models.allocate(stale, LATER) == 2
            assert await uow.models.get(CHURN) == stale
        assert (stale.last_version, stale.updated_at) == (2, LATER)

    async def test_allocating_for_a_model_that_is_gone_is_refused(self, registry: Registry) -> None:
        async with registry.uow() as uow:
            with pytest.raises(ModelNotFound):
                await uow.models.allocate(a_model(), LATER)

    async def test_twenty_publishes_at_once_get_dense_numbers(self, registry: Registry) -> None:
        model = await register(registry)
        numbers: list[int] = []
        ready, barrier = 0, anyio.Event()

        async def racer() -> None:
            nonlocal ready
            ready += 1
            if ready == 20:
                barrier.set()
            await barrier.wait()
            numbers.append((await publish(registry, model)).number)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(racer)
        assert sorted(numbers) == list(range(1, 21))
        record = (await registry.reader.model(CHURN)).record
        assert (record.latest_version, record.version_count) == (20, 20)

    async def test_a_version_comes_back_as_it_was(self, registry: Registry) -> None:
        model = await register(registry)
        version = await publish(
            registry,
            model,
            manifest=a_manifest(3, 2, 3),
            description="x" * 3000,
            parameters={"depth": 3, "big": 2**63 - 1, "rate": 0.1, "on": True, "none": None},
            metrics={"auc": 0.1 + 0.2, "zero": -0.0},
            tags={"long": "é" * 500, "": "never"} | {f"t{n}": str(n) for n in range(300)},
            source="git:abc",
        )
        async with registry.uow() as uow:
            assert await uow.versions.get(model, ONE) == version

    async def test_a_missing_version_is_not_found(self, registry: Registry) -> None:
        model = await register(registry)
        async with registry.uow() as uow:
            with pytest.raises(VersionNotFound):
                await uow.versions.get(model, ONE)
            with pytest.raises(VersionNotFound):
                await uow.versions.save(a_version(model, 1))
            with pytest.raises(VersionNotFound):
                await uow.versions.remove(a_version(model, 1))

    async def test_a_number_is_taken_once(self, registry: Registry) -> None:
        model, other = await register(registry), await register(registry, "other")
        await publish(registry, model)
        async with registry.uow() as uow:
            with pytest.raises(VersionConflict):
                await uow.versions.add(a_version(model, 1))
        async with registry.uow() as uow:
            await uow.versions.add(a_version(other, 1))

    async def test_existence_goes_by_name_and_number(self, registry: Registry) -> None:
        await publish(registry, await register(registry))
        async with registry.uow() as uow:
            assert await uow.versions.exists(CHURN, ONE)
            assert not await uow.versions.exists(CHURN, TWO)
            assert not await uow.versions.exists(ModelName("other"), ONE)

    async def test_what_may_change_of_a_version_is_saved(self, registry: Registry) -> None:
        model = await register(registry)
        version = await publish(registry, model, tags={"a": "1"}, metrics={"auc": 0.1})
        version.describe("better", LATER)
        version.tag({"b": "2"}, LATER)
        version.measure({"auc": 0.9, "f1": 0.8}, LATER)
        async with registry.uow() as uow:
            await uow.versions.save(version)
            await uow.commit()
        async with registry.uow() as uow:
            assert await uow.versions.get(model, ONE) == version

    async def test_bumping_counts_revisions_and_passes_over_the_absent(
        self, registry: Registry
    ) -> None:
        model = await register(registry)
        await publish(registry, model)
        await publish(registry, model)
        async with registry.uow() as uow:
            await uow.versions.bump(model, {ONE, THREE})
            await uow.versions.bump(model, [])
            await uow.commit()
        async with registry.uow() as uow:
            assert (await uow.versions.get(model, ONE)).revision == 2
            assert (await uow.versions.get(model, TWO)).revision == 1

    async def test_a_removed_version_leaves_its_number_used(self, registry: Registry) -> None:
        model = await register(registry)
        await publish(registry, model)
        last = await publish(registry, model, tags={"a": "b"})
        async with registry.uow() as uow:
            await uow.versions.remove(last)
            await uow.commit()
        record = (await registry.reader.model(CHURN)).record
        assert (record.latest_version, record.version_count) == (1, 1)
        assert (await publish(registry, model)).number == 3

    async def test_a_version_that_an_alias_points_at_stays(self, registry: Registry) -> None:
        model = await register(registry)
        version = await publish(registry, model)
        await point(registry, model, "champion", 1)
        async with registry.uow() as uow:
            with pytest.raises(VersionInUse):
                await uow.versions.remove(version)

    # --- aliases ---

    async def test_an_alias_is_added_moved_and_removed(self, registry: Registry) -> None:
        model = await register(registry)
        await publish(registry, model)
        await publish(registry, model)
        await point(registry, model, "champion", 1)
        moved = await point(registry, model, "champion", 2)
        async with registry.uow() as uow:
            assert await uow.aliases.get(model, CHAMPION) == moved
            assert moved.previous_version == 1
            await uow.aliases.remove(moved, moved.remove(actor="eve", at=LATER))
            await uow.commit()
        async with registry.uow() as uow:
            with pytest.raises(AliasNotFound):
                await uow.aliases.get(model, CHAMPION)
            assert await uow.aliases.moves(model, CHAMPION) == 3
            assert await uow.aliases.moves(model, AliasName("other")) == 0
        assert await history(registry, model) == [
            AliasMove(CHAMPION, ONE, None, "bob", EPOCH),
            AliasMove(CHAMPION, TWO, ONE, "bob", EPOCH),
            AliasMove(CHAMPION, None, TWO, "eve", LATER),
        ]
        assert (await point(registry, model, "champion", 1)).revision == 4

    async def test_an_alias_cannot_point_at_a_missing_version(self, registry: Registry) -> None:
        model = await register(registry)
        with pytest.raises(VersionNotFound):
            await point(registry, model, "champion", 1)

    async def test_aliases_are_found_by_what_they_point_at(self, registry: Registry) -> None:
        model, other = await register(registry), await register(registry, "other")
        for _ in range(2):
            await publish(registry, model)
        await publish(registry, other)
        await point(registry, other, "champion", 1)
        for name, version in (("b", 1), ("a", 1), ("c", 2)):
            await point(registry, model, name, version)
        async with registry.uow() as uow:
            assert [alias.name for alias in await uow.aliases.pointing_at(model)] == list("abc")
            assert [a.name for a in await uow.aliases.pointing_at(model, ONE)] == list("ab")
            assert await uow.aliases.pointing_at(model, THREE) == []

    # --- receipts ---

    async def test_a_receipt_is_kept_until_it_is_old(self, registry: Registry) -> None:
        receipt = Receipt("ada", "key", "f" * 64, "a" * 32, ONE, EPOCH)
        async with registry.uow() as uow:
            assert await uow.receipts.get("ada", "key") is None
            await uow.receipts.add(receipt)
            await uow.commit()
        async with registry.uow() as uow:
            assert await uow.receipts.get("ada", "key") == receipt
            assert await uow.receipts.get("bob", "key") is None
            assert await uow.receipts.forget(older_than=EPOCH) == 0
            assert await uow.receipts.forget(older_than=LATER) == 1
            assert await uow.receipts.get("ada", "key") is None

    async def test_a_key_is_used_once_by_one_actor(self, registry: Registry) -> None:
        await _keep(registry.uow(), "ada")
        await _keep(registry.uow(), "bob")
        with pytest.raises(IdempotencyConflict):
            await _keep(registry.uow(), "ada")


async def _keep(uow: UnitOfWork, actor: str) -> None:
    async with uow:
        await uow.receipts.add(Receipt(actor, "key", "f" * 64, "a" * 32, ONE, EPOCH))
        await uow.commit()
