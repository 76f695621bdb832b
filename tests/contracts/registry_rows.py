"""What all RegistryRows must do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from application.ports.unit_of_work import Receipt
from domain.errors import DatabaseOfAnother, DatabaseUnavailable, ModelNotFound
from domain.model import RetiredName
from domain.values import ModelName, VersionNumber
from domain.version import Version
from tests.contracts.uploads import begin, find
from tests.support.aio import collect
from tests.support.registry import (
    EPOCH,
    Registry,
    a_digest,
    history,
    point,
    publish,
    register,
    retired_names,
)

CHURN, FRAUD = ModelName("chürn (1)"), ModelName("fraud")
ONE, TWO = VersionNumber(1), VersionNumber(2)
RECEIPT = Receipt("ann", "kéy 🦊", "f" * 64, "0" * 32, ONE, EPOCH)


async def remove(registry: Registry, version: Version) -> None:
    async with registry.uow() as uow:
        await uow.versions.remove(version)
        await uow.commit()


async def fill(registry: Registry) -> list[Version]:
    """One of each; two versions, of which the first has an alias."""
    churn = await register(registry, CHURN, tags={"é": "ü 🦊", "long": "x" * 1000})
    published = [
        await publish(registry, churn, metrics={"auc": 0.1 + 0.2, "zero": -0.0, "tiny": 5e-324}),
        await publish(registry, churn, parameters={"depth": 3, "none": None, "on": True}),
    ]
    await point(registry, churn, "champion", 1)
    async with registry.uow() as uow:
        await uow.models.retire(RetiredName(FRAUD, "0" * 32, 3))
        await uow.receipts.add(RECEIPT)
        assert await uow.take_turn("gc", EPOCH, timedelta(hours=1))
        await uow.commit()
    await registry.fence("publish:é")
    return published


async def numbers(registry: Registry, model: ModelName = CHURN) -> list[int]:
    async with registry.snapshot() as snapshot:
        (found,) = await collect(snapshot.models(model))
        return [version.number async for version in snapshot.versions(found)]


@pytest.mark.anyio
class RegistryRowsContract:
    async def test_everything_is_copied_as_it_is(self, source: Registry, target: Registry) -> None:
        published = await fill(source)
        copied = await source.rows.copy(target.rows)
        assert copied == await source.rows.sums() == await target.rows.sums()
        assert copied["versions"].rows == 2
        async with source.snapshot() as first, target.snapshot() as second:
            (churn,) = await collect(first.models())
            assert await collect(second.models()) == [churn]
            assert await collect(second.versions(churn)) == await collect(first.versions(churn))
            assert await second.aliases(churn) == await first.aliases(churn)
        assert [version.number for version in published] == await numbers(target)
        assert await history(target, churn) == await history(source, churn)
        assert await retired_names(target) == await retired_names(source)
        async with target.uow() as uow:
            assert await uow.receipts.get("ann", "kéy 🦊") == RECEIPT
            assert not await uow.take_turn("gc", EPOCH, timedelta(hours=1))
        assert await target.fence("publish:é") == 2

    async def test_what_is_copied_belongs_to_the_same_registry(
        self, source: Registry, target: Registry
    ) -> None:
        assert await source.references.registry() != await target.references.registry()
        await source.rows.check(target.rows)
        await source.rows.copy(target.rows)
        assert await source.references.registry() == await target.references.registry()
        assert await source.rows.sums() == await target.rows.sums()

    async def test_the_copy_goes_on_where_the_source_was(
        self, source: Registry, target: Registry
    ) -> None:
        churn, (_, last) = None, await fill(source)
        await remove(source, last)
        await source.rows.copy(target.rows)
        async with target.uow() as uow:
            churn = await uow.models.get(CHURN)
        version = await publish(target, churn)
        assert version.number == 3
        await point(target, churn, "champion", 3)
        assert [move.version for move in await history(target, churn)] == [1, 3]
        assert await numbers(source) == [1]

    async def test_an_earlier_copy_is_brought_up_to_date(
        self, source: Registry, target: Registry
    ) -> None:
        _, last = await fill(source)
        await source.rows.copy(target.rows)
        fraud = await register(source, FRAUD)
        await publish(source, fraud)
        await remove(source, last)
        assert await source.rows.sums() != await target.rows.sums()
        await source.rows.check(target.rows)
        await source.rows.copy(target.rows)
        assert await source.rows.sums() == await target.rows.sums()
        assert (await numbers(target), await numbers(target, FRAUD)) == ([1], [1])

    async def test_a_target_whose_source_lost_its_newest_is_no_other(
        self, source: Registry, target: Registry
    ) -> None:
        _, last = await fill(source)
        await publish(source, await register(source, FRAUD))
        await source.rows.copy(target.rows)
        async with source.uow() as uow:
            await uow.models.remove(await uow.models.get(FRAUD))
            await uow.commit()
        await remove(source, last)
        await source.rows.copy(target.rows)
        with pytest.raises(ModelNotFound):
            await target.reader.model(FRAUD)

    async def test_rows_of_another_registry_are_left_alone(
        self, source: Registry, target: Registry
    ) -> None:
        await fill(source)
        await register(target, FRAUD)
        before = await target.rows.sums()
        for refused in (source.rows.check, source.rows.copy):
            with pytest.raises(DatabaseOfAnother, match="rows of"):
                await refused(target.rows)
        assert await target.rows.sums() == before

    @pytest.mark.parametrize("meanwhile", [False, True], ids=["alone", "as the source was"])
    @pytest.mark.parametrize("what", ["version", "alias"])
    async def test_a_copy_that_was_written_to_is_left_alone(
        self, source: Registry, target: Registry, what: str, meanwhile: bool
    ) -> None:
        await fill(source)
        await source.rows.copy(target.rows)
        for count, registry in enumerate([target, source][: 1 + meanwhile]):
            async with registry.uow() as uow:
                churn = await uow.models.get(CHURN)
            if what == "version":
                await publish(registry, churn, created_at=EPOCH + timedelta(days=count))
            else:
                await point(registry, churn, "canary", 1 + count)
        before = await target.rows.sums()
        for refused in (source.rows.check, source.rows.copy):
            with pytest.raises(DatabaseOfAnother, match="written to since"):
                await refused(target.rows)
        assert await target.rows.sums() == before

    async def test_sums_tell_of_any_change(self, source: Registry) -> None:
        await fill(source)
        before = await source.rows.sums()
        assert await source.rows.sums() == before
        async with source.uow() as uow:
            model = await uow.models.get(CHURN)
            model.describe("other", EPOCH)
            await uow.models.save(model)
            await uow.commit()
        after = await source.rows.sums()
        assert {name for name in after if after[name] != before[name]} == {"models"}
        assert after["models"].rows == before["models"].rows

    async def test_uploads_in_several_requests_are_counted_and_stay(
        self, source: Registry, target: Registry
    ) -> None:
        under_way = [await begin(source) for _ in range(2)]
        await begin(source, received=100, sha256=a_digest(7))
        await source.rows.copy(target.rows)
        assert (await source.rows.uploads(), await target.rows.uploads()) == (2, 0)
        assert await find(source, under_way[0]) == under_way[0]

    async def test_a_database_is_itself_and_no_other(
        self, source: Registry, target: Registry
    ) -> None:
        assert await source.rows.same(source.rows)
        assert not await source.rows.same(target.rows)
        await source.rows.copy(target.rows)
        assert not await source.rows.same(target.rows)

    async def test_a_database_that_is_away_is_told(
        self, source: Registry, target: Registry, unreachable: Registry
    ) -> None:
        await fill(source)
        for away in (unreachable.rows.sums, unreachable.rows.uploads):
            with pytest.raises(DatabaseUnavailable):
                await away()
        with pytest.raises(DatabaseUnavailable):
            await source.rows.copy(unreachable.rows)
        with pytest.raises(DatabaseUnavailable):
            await unreachable.rows.copy(target.rows)
        assert (await target.rows.sums())["models"].rows == 0
