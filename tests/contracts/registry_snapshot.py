"""What every RegistrySnapshot must do."""

from __future__ import annotations

import pytest

from domain.errors import DatabaseUnavailable, ModelNotFound
from domain.model import RetiredName
from domain.values import AliasName, ModelName, VersionNumber
from tests.support.aio import collect
from tests.support.registry import Registry, point, publish, register

CHURN, FRAUD = ModelName("churn"), ModelName("fraud")
CHAMPION, CANARY = AliasName("champion"), AliasName("canary")
ONE, TWO = VersionNumber(1), VersionNumber(2)


@pytest.mark.anyio
class RegistrySnapshotContract:
    async def test_an_empty_registry_has_nothing(self, registry: Registry) -> None:
        async with registry.snapshot() as snapshot:
            assert await collect(snapshot.models()) == []
            assert await collect(snapshot.retired_names()) == []

    async def test_models_come_by_name_or_one_alone(self, registry: Registry) -> None:
        fraud = await register(registry, FRAUD, tags={"b": "1", "a": "2"}, description="d")
        churn = await register(registry, CHURN)
        async with registry.snapshot() as snapshot:
            assert await collect(snapshot.models()) == [churn, fraud]
            assert await collect(snapshot.models(FRAUD)) == [fraud]
            with pytest.raises(ModelNotFound):
                await collect(snapshot.models(ModelName("absent")))

    async def test_versions_come_by_number_and_whole(self, registry: Registry) -> None:
        churn, fraud = await register(registry, CHURN), await register(registry, FRAUD)
        expected = [await publish(registry, churn, metrics={"auc": 0.5}) for _ in range(12)]
        await publish(registry, fraud)
        async with registry.snapshot() as snapshot:
            assert await collect(snapshot.versions(churn)) == expected

    async def test_aliases_and_moves_also_of_those_that_are_gone(self, registry: Registry) -> None:
        churn, fraud = await register(registry, CHURN), await register(registry, FRAUD)
        for model in (churn, churn, fraud):
            await publish(registry, model)
        await point(registry, fraud, CHAMPION, ONE)
        await point(registry, churn, CHAMPION, ONE)
        await point(registry, churn, CANARY, TWO)
        await point(registry, churn, CHAMPION, TWO)
        async with registry.uow() as uow:
            canary = await uow.aliases.get(churn, CANARY)
            gone = canary.remove(actor="ada", at=canary.updated_at)
            await uow.aliases.remove(canary, gone)
            await uow.commit()
            champion = await registry.reader.alias(CHURN, CHAMPION)
        async with registry.snapshot() as snapshot:
            (alias,) = await snapshot.aliases(churn)
            moves = await collect(snapshot.moves(churn))
        assert (alias.name, alias.version, alias.revision) == (CHAMPION, TWO, 2)
        assert alias.updated_at == champion.record.updated_at
        assert [(move.alias, move.version) for move in moves] == [
            (CHAMPION, ONE),
            (CANARY, TWO),
            (CHAMPION, TWO),
            (CANARY, None),
        ]

    async def test_retired_names_come_by_name(self, registry: Registry) -> None:
        names = [RetiredName(ModelName(name), "0" * 32, 3) for name in ("b", "a")]
        async with registry.uow() as uow:
            for name in names:
                await uow.models.retire(name)
            await uow.commit()
        async with registry.snapshot() as snapshot:
            assert await collect(snapshot.retired_names()) == names[::-1]

    async def test_what_others_write_meanwhile_is_not_in_it(self, registry: Registry) -> None:
        churn = await register(registry, CHURN)
        first = await publish(registry, churn)
        async with registry.snapshot() as snapshot:
            await publish(registry, churn)
            await register(registry, FRAUD)
            async with registry.uow() as uow:
                await uow.versions.remove(first)
                await uow.commit()
            assert [model.name for model in await collect(snapshot.models())] == [CHURN]
            assert await collect(snapshot.versions(churn)) == [first]
        async with registry.snapshot() as snapshot:
            (second,) = await collect(snapshot.versions(churn))
            assert second.number == TWO

    async def test_several_lists_are_read_at_once(self, registry: Registry) -> None:
        models = [await register(registry, name) for name in (CHURN, FRAUD)]
        for model in (*models, *models):
            await publish(registry, model)
        async with registry.snapshot() as snapshot:
            numbers = [
                [version.number async for version in snapshot.versions(model)]
                async for model in snapshot.models()
            ]
        assert numbers == [[1, 2], [1, 2]]

    async def test_leaving_early_hinders_nobody(self, registry: Registry) -> None:
        churn = await register(registry, CHURN)
        await publish(registry, churn)

        async def leave_early() -> None:
            async with registry.snapshot() as snapshot:
                async for _ in snapshot.models():
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave_early()
        await publish(registry, churn)

    async def test_a_database_that_is_away_is_told(self, unreachable: Registry) -> None:
        with pytest.raises(DatabaseUnavailable):
            async with unreachable.snapshot():
                pass
