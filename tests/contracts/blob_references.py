"""What every BlobReferences must do."""

from __future__ import annotations

import pytest

from tests.support.registry import Registry, a_digest, a_manifest, publish, register


@pytest.mark.anyio
class BlobReferencesContract:
    async def test_only_what_a_version_names_is_referenced(self, registry: Registry) -> None:
        model = await register(registry)
        await publish(registry, model, manifest=a_manifest(1, 2))
        digests = [a_digest(number) for number in range(500)]
        assert await registry.references.referenced(digests) == {a_digest(1), a_digest(2)}
        assert await registry.references.referenced([]) == set()

    async def test_a_blob_is_referenced_until_its_last_version_goes(
        self, registry: Registry
    ) -> None:
        model = await register(registry)
        first = await publish(registry, model, manifest=a_manifest(1, 1))
        second = await publish(registry, model, manifest=a_manifest(1, 2))
        for version, left in ((first, {a_digest(1), a_digest(2)}), (second, set())):
            async with registry.uow() as uow:
                await uow.versions.remove(version)
                await uow.commit()
            assert await registry.references.referenced([a_digest(1), a_digest(2)]) == left

    async def test_the_blobs_of_a_removed_model_are_free(self, registry: Registry) -> None:
        model = await register(registry)
        await publish(registry, model, manifest=a_manifest(1))
        async with registry.uow() as uow:
            await uow.models.remove(await uow.models.get(model.name))
            await uow.commit()
        assert await registry.references.page(None, 10) == []

    async def test_what_was_rolled_back_references_nothing(self, registry: Registry) -> None:
        model = await register(registry)
        version = await publish(registry, model, manifest=a_manifest(1))
        async with registry.uow() as uow:
            await uow.versions.remove(version)
        assert await registry.references.referenced([a_digest(1)]) == {a_digest(1)}

    async def test_files_of_versions_are_found_by_their_bytes(self, registry: Registry) -> None:
        churn, fraud = await register(registry), await register(registry, "fraud")
        assert await registry.references.naming(a_digest(1)) == []
        for model in (churn, fraud, churn, churn):
            await publish(registry, model, manifest=a_manifest(1, 2, 1))
        assert await registry.references.naming(a_digest(2)) == [
            ("churn", 1, "1.bin"), ("fraud", 1, "1.bin"), ("churn", 2, "1.bin"),
            ("churn", 3, "1.bin"),
        ]  # fmt: skip
        assert await registry.references.naming(a_digest(1)) == [
            ("churn", 1, "0.bin"), ("churn", 1, "2.bin"), ("fraud", 1, "0.bin"),
            ("fraud", 1, "2.bin"), ("churn", 2, "0.bin"),
        ]  # fmt: skip

    async def test_pages_have_every_digest_once_with_its_size(self, registry: Registry) -> None:
        model = await register(registry)
        for blobs in ((5, 1), (3, 1), (4, 2, 5)):
            await publish(registry, model, manifest=a_manifest(*blobs))
        found, after = [], None
        while page := await registry.references.page(after, 2):
            assert len(page) <= 2
            found += page
            after = page[-1][0]
        assert found == [(a_digest(number), 10 + number) for number in range(1, 6)]
