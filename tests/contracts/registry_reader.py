"""What every RegistryReader must do."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from application.filters import MODELS, VERSIONS, parse_filter, parse_order
from application.ports.registry_reader import Page, PageRequest
from application.records import (
    AliasMoveRecord,
    AliasRecord,
    FileRecord,
    FindingRecord,
    ModelRecord,
    ParentRecord,
    RegistryStats,
    ReviewRecord,
    ValidationRecord,
    VersionRecord,
)
from domain.errors import (
    AliasNotFound,
    InvalidPageToken,
    ModelNotFound,
    VersionNotFound,
)
from domain.model import Model
from domain.validation import (
    Coverage,
    Decision,
    Finding,
    PolicyName,
    Review,
    Severity,
    Validation,
    Verdict,
)
from domain.values import AliasName, FilePath, Latest, ModelName, VersionNumber
from domain.version import Manifest, Parent
from tests.support.registry import (
    EPOCH,
    Registry,
    a_digest,
    a_manifest,
    point,
    publish,
    register,
)

CHURN = ModelName("churn")
CHAMPION = AliasName("champion")


def versions_request(filter: str = "", order: str = "", **fields: Any) -> PageRequest:
    return PageRequest(
        parse_filter(filter, VERSIONS) if filter else None,
        parse_order(order, VERSIONS) if order else (),
        **fields,
    )


def models_request(filter: str = "", order: str = "", **fields: Any) -> PageRequest:
    return PageRequest(
        parse_filter(filter, MODELS) if filter else None,
        parse_order(order, MODELS) if order else (),
        **fields,
    )


def refs(page: Page[VersionRecord]) -> list[str]:
    return [f"{item.model}/{item.version}" for item in page.items]


def names(page: Page[ModelRecord]) -> list[str]:
    return [item.name for item in page.items]


async def every(registry: Registry, request: PageRequest, size: int) -> list[str]:
    """All pages of the list across models."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = await registry.reader.versions(
            PageRequest(request.filter, request.order, size, token)
        )
        assert len(page.items) <= size
        found += refs(page)
        token = page.next_page_token
        if token is None:
            return found


async def two_models(registry: Registry) -> tuple[Model, Model]:
    """``churn`` with 1 to 4 and ``ads`` with 1 and 2, published in turns."""
    churn, ads = await register(registry), await register(registry, "ads", creator="eve")
    long = "x" * 250
    for model, fields in (
        (churn, {"tags": {"team": "blue", "long": long + "a"}, "metrics": {"auc": 0.5}}),
        (ads, {"tags": {"team": "red"}, "metrics": {"auc": 0.9, "f1": 1.0}, "creator": "eve"}),
        (churn, {"parameters": {"depth": 5, "on": True, "kernel": "5"}, "metrics": {"auc": 0.7}}),
        (churn, {"parameters": {"depth": None, "on": False}, "tags": {"team": "BLÜE_1%"}}),
        (ads, {"manifest": a_manifest(9, format=None), "tags": {"long": long + "b"}}),
        (churn, {"metrics": {"auc": -0.5}, "parameters": {"depth": 10.5, "kernel": "rbf"}}),
    ):
        await publish(registry, model, **fields)
    await point(registry, churn, "champion", 2)
    await point(registry, churn, "candidate", 2)
    await point(registry, ads, "champion", 1)
    return churn, ads


@pytest.mark.anyio
class RegistryReaderContract:
    # --- single records ---

    async def test_a_model_with_its_versions_and_aliases(self, registry: Registry) -> None:
        model = await register(registry, tags={"team": "blue"}, description="Who leaves?")
        for _ in range(3):
            await publish(registry, model)
        await point(registry, model, "b", 2)
        await point(registry, model, "a", 3)
        found = await registry.reader.model(CHURN)
        assert found.record == ModelRecord(
            "churn", "Who leaves?", {"team": "blue"}, "ada", EPOCH, EPOCH, 3, 3, {"a": 3, "b": 2}
        )
        assert list(found.record.aliases) == ["a", "b"]
        async with registry.uow() as uow:
            assert found.etag == (await uow.models.get(CHURN)).etag

    async def test_a_model_without_versions_has_no_latest(self, registry: Registry) -> None:
        await register(registry, last_version=7)
        record = (await registry.reader.model(CHURN)).record
        assert (record.latest_version, record.version_count, record.aliases) == (None, 0, {})

    async def test_a_version_with_all_that_is_known_of_it(self, registry: Registry) -> None:
        model = await register(registry)
        finding = Finding(
            "file.odd", Severity.WARNING, "It is odd.", FilePath("0.bin"), "data.pkl", "acme.Net"
        )
        version = await publish(
            registry,
            model,
            description="first",
            parameters={"depth": 3, "on": True, "none": None, "rate": 0.1},
            metrics={"auc": 0.9},
            tags={"team": "blue"},
            source="git:abc",
            parents=(Parent(ModelName("base"), VersionNumber(4)),),
            validation=Validation(
                Verdict.REVIEW,
                PolicyName.STANDARD,
                "scanner 5",
                "2026-11-24",
                Coverage.PARTIAL,
                (finding,),
                EPOCH,
                (Review(Verdict.REVIEW, Decision.ACCEPT, "It is ours.", "eve", EPOCH),),
            ),
            facts={"parameters": 7, "dtypes": ["F16", "F32"], "framework": "pt"},
        )
        await point(registry, model, "b", 1)
        await point(registry, model, "a", 1)
        found = await registry.reader.version(CHURN, VersionNumber(1))
        assert found.record == VersionRecord(
            model="churn",
            version=1,
            description="first",
            parameters={"depth": 3, "on": True, "none": None, "rate": 0.1},
            metrics={"auc": 0.9},
            tags={"team": "blue"},
            aliases=["a", "b"],
            files=[FileRecord("0.bin", 11, a_digest(1), "application/x", "onnx")],
            size=11,
            digest=version.manifest.digest,
            creator="ada",
            source="git:abc",
            parents=[ParentRecord("base", 4)],
            status="ready",
            facts={"parameters": 7, "dtypes": ["F16", "F32"], "framework": "pt"},
            validation=ValidationRecord(
                verdict="review",
                policy="standard",
                scanner="scanner 5",
                ruleset="2026-11-24",
                coverage="partial",
                findings=[
                    FindingRecord(
                        "file.odd", "warning", "It is odd.", "0.bin", "data.pkl", "acme.Net"
                    )
                ],
                checked_at=EPOCH,
                reviews=[ReviewRecord("review", "accept", "It is ours.", "eve", EPOCH)],
            ),
            created_at=EPOCH + timedelta(seconds=1),
            updated_at=EPOCH + timedelta(seconds=1),
        )
        assert found.etag == version.etag

    async def test_a_reference_of_each_kind(self, registry: Registry) -> None:
        await two_models(registry)
        for reference, expected in (
            (VersionNumber(1), 1),
            (Latest(), 4),
            (CHAMPION, 2),
            (AliasName("candidate"), 2),
        ):
            found = await registry.reader.version(CHURN, reference)
            assert (found.record.model, found.record.version) == ("churn", expected)

    async def test_latest_is_the_highest_that_exists(self, registry: Registry) -> None:
        model = await register(registry)
        await publish(registry, model)
        last = await publish(registry, model)
        async with registry.uow() as uow:
            await uow.versions.remove(last)
            await uow.commit()
        assert (await registry.reader.version(CHURN, Latest())).record.version == 1

    async def test_what_is_missing_is_named(self, registry: Registry) -> None:
        reader = registry.reader
        with pytest.raises(ModelNotFound):
            await reader.model(CHURN)
        for reference in (VersionNumber(1), Latest(), CHAMPION):
            with pytest.raises(ModelNotFound):
                await reader.version(CHURN, reference)
        with pytest.raises(ModelNotFound):
            await reader.versions(PageRequest(), model=CHURN)
        with pytest.raises(ModelNotFound):
            await reader.alias(CHURN, CHAMPION)
        with pytest.raises(ModelNotFound):
            await reader.aliases(CHURN, PageRequest())
        with pytest.raises(ModelNotFound):
            await reader.alias_history(CHURN, CHAMPION, PageRequest())
        await register(registry)
        for reference in (VersionNumber(1), Latest()):
            with pytest.raises(VersionNotFound):
                await reader.version(CHURN, reference)
        with pytest.raises(AliasNotFound):
            await reader.version(CHURN, CHAMPION)
        with pytest.raises(AliasNotFound):
            await reader.alias(CHURN, CHAMPION)
        with pytest.raises(AliasNotFound):
            await reader.alias_history(CHURN, CHAMPION, PageRequest())

    async def test_an_alias_that_is_not_there_is_answered_with_those_that_are(
        self, registry: Registry
    ) -> None:
        await two_models(registry)
        here = "'churn' has no alias 'nobody'; there is 'candidate', 'champion'."
        with pytest.raises(AliasNotFound, match=here):
            await registry.reader.version(CHURN, AliasName("nobody"))
        with pytest.raises(AliasNotFound, match=here):
            await registry.reader.alias(CHURN, AliasName("nobody"))

    async def test_the_stats_count_everything(self, registry: Registry) -> None:
        assert await registry.reader.stats() == RegistryStats(0, 0, 0, 0, 0, 0, 0)
        churn = await register(registry)
        await register(registry, "empty")
        await publish(registry, churn, manifest=a_manifest(1, 2, 2))
        await publish(registry, churn, manifest=a_manifest(2))
        await point(registry, churn, "champion", 1)
        assert await registry.reader.stats() == RegistryStats(
            models=2, versions=2, aliases=1, files=4, blobs=2, size=11 + 3 * 12, distinct_size=23
        )

    # --- aliases ---

    async def test_an_alias_and_its_history(self, registry: Registry) -> None:
        model = await register(registry)
        for _ in range(3):
            await publish(registry, model)
        alias = await point(registry, model, "champion", 1)
        for version in (2, 3):
            alias = await point(registry, model, "champion", version)
        found = await registry.reader.alias(CHURN, CHAMPION)
        assert found.record == AliasRecord("churn", "champion", 3, EPOCH, "bob")
        assert found.etag == alias.etag
        async with registry.uow() as uow:
            await uow.aliases.remove(alias, alias.remove(actor="eve", at=EPOCH))
            await uow.commit()
        moves = [
            AliasMoveRecord(None, 3, "eve", EPOCH),
            AliasMoveRecord(3, 2, "bob", EPOCH),
            AliasMoveRecord(2, 1, "bob", EPOCH),
            AliasMoveRecord(1, None, "bob", EPOCH),
        ]
        page = await registry.reader.alias_history(CHURN, CHAMPION, PageRequest(size=3))
        assert page.items == moves[:3]
        rest = PageRequest(size=3, token=page.next_page_token)
        page = await registry.reader.alias_history(CHURN, CHAMPION, rest)
        assert page.items == moves[3:]
        assert page.next_page_token is None

    async def test_the_aliases_of_a_model_by_name(self, registry: Registry) -> None:
        model, other = await register(registry), await register(registry, "other")
        for owner in (model, other):
            await publish(registry, owner)
        for name in ("c", "é", "a", "Z"):
            await point(registry, model, name, 1)
        await point(registry, other, "b", 1)
        page = await registry.reader.aliases(CHURN, PageRequest(size=2))
        assert [record.alias for record in page.items] == ["Z", "a"]
        page = await registry.reader.aliases(CHURN, PageRequest(size=2, token=page.next_page_token))
        assert [record.alias for record in page.items] == ["c", "é"]
        assert page.next_page_token is None

    # --- lists ---

    async def test_models_are_listed_by_name(self, registry: Registry) -> None:
        for name in ("b", "a", "é", "Z", "a 1"):
            await register(registry, name)
        page = await registry.reader.models(PageRequest(size=3))
        assert names(page) == ["Z", "a", "a 1"]
        page = await registry.reader.models(PageRequest(size=3, token=page.next_page_token))
        assert names(page) == ["b", "é"]
        assert page.next_page_token is None

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("name = 'ads'", ["ads"]),
            ("name LIKE 'c%'", ["churn"]),
            ("name ILIKE 'C%' AND creator = 'ada'", ["churn"]),
            ("creator != 'ada'", ["ads"]),
            ("tags.team = 'blue'", ["zoo"]),
            ("NOT tags.team = 'blue'", ["ads", "churn"]),
            ("tags.team IS NOT NULL", ["zoo"]),
            ("alias = 'candidate'", ["churn"]),
            ("alias = 'champion' AND name > 'b'", ["churn"]),
            ("alias IS NULL", ["zoo"]),
            ("created_at >= '2026-11-24T12:00:00Z'", ["ads", "churn", "zoo"]),
            ("created_at > '2026-11-24T12:00:00Z'", []),
            ("name IN ('zoo', 'ads', 'none')", ["ads", "zoo"]),
        ],
    )
    async def test_models_are_filtered(
        self,
        registry: Registry,
        filter: str,
        expected: list[str],
    ) -> None:
        await two_models(registry)
        await register(registry, "zoo", tags={"team": "blue"})
        assert names(await registry.reader.models(models_request(filter))) == expected

    async def test_models_are_ordered(self, registry: Registry) -> None:
        await register(registry, "a", creator="y")
        await register(registry, "b", creator="x", created_at=EPOCH + timedelta(1))
        await register(registry, "c", creator="y")
        ordered = await registry.reader.models(models_request(order="creator desc, name desc"))
        assert names(ordered) == ["c", "a", "b"]
        ordered = await registry.reader.models(models_request(order="created_at desc"))
        assert names(ordered) == ["b", "a", "c"]

    async def test_versions_are_listed_from_the_newest(self, registry: Registry) -> None:
        await two_models(registry)
        page = await registry.reader.versions(PageRequest())
        assert refs(page) == ["churn/4", "ads/2", "churn/3", "churn/2", "ads/1", "churn/1"]
        page = await registry.reader.versions(PageRequest(), model=CHURN)
        assert refs(page) == ["churn/4", "churn/3", "churn/2", "churn/1"]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("tags.team = 'blue'", ["churn/1"]),
            ("tags.team != 'blue'", ["churn/3", "ads/1"]),
            ("NOT tags.team = 'blue'", ["churn/4", "ads/2", "churn/3", "churn/2", "ads/1"]),
            ("tags.team IS NULL", ["churn/4", "ads/2", "churn/2"]),
            ("tags.team IS NOT NULL", ["churn/3", "ads/1", "churn/1"]),
            ("tags.team LIKE 'bl%'", ["churn/1"]),
            ("tags.team LIKE 'BLÜE\\_1\\%'", ["churn/3"]),
            ("tags.team LIKE 'BL_E__%'", ["churn/3"]),
            ("tags.team NOT LIKE 'bl%'", ["churn/4", "ads/2", "churn/3", "churn/2", "ads/1"]),
            ("tags.team ILIKE 'blü%'", ["churn/3"]),
            ("tags.team ILIKE 'BL%'", ["churn/3", "churn/1"]),
            ("tags.team LIKE 'blue\\'", []),
            ("tags.team IN ('blue', 'red')", ["ads/1", "churn/1"]),
            ("tags.team > 'blue'", ["ads/1"]),
            (f"tags.long = '{'x' * 250}b'", ["ads/2"]),
            (f"tags.long < '{'x' * 250}b'", ["churn/1"]),
            (f"tags.long >= '{'x' * 250}b'", ["ads/2"]),
            (f"tags.long LIKE '{'x' * 220}%b'", ["ads/2"]),
            ("metrics.auc >= 0.7", ["churn/2", "ads/1"]),
            ("metrics.auc < 0", ["churn/4"]),
            ("metrics.auc = 0.5 OR metrics.f1 = 1", ["ads/1", "churn/1"]),
            ("metrics.auc > 0.4 AND metrics.auc <= 0.7", ["churn/2", "churn/1"]),
            ("parameters.depth = 5", ["churn/2"]),
            ("parameters.depth = '5'", ["churn/2"]),
            ("parameters.kernel = 5", []),
            ("parameters.depth > 4", ["churn/4", "churn/2"]),
            ("parameters.depth IS NULL", ["ads/2", "churn/3", "ads/1", "churn/1"]),
            ("parameters.on = true", ["churn/2"]),
            ("parameters.on = 'false'", ["churn/3"]),
            ("parameters.depth IN (5, 10.5)", ["churn/4", "churn/2"]),
            ("parameters.depth IN ('5', 10.5)", ["churn/4", "churn/2"]),
            ("parameters.kernel ILIKE 'RB_'", ["churn/4"]),
            ("alias = 'champion'", ["churn/2", "ads/1"]),
            ("alias IN ('champion', 'candidate')", ["churn/2", "ads/1"]),
            ("alias LIKE 'cand%'", ["churn/2"]),
            ("alias IS NULL AND model = 'churn'", ["churn/4", "churn/3", "churn/1"]),
            ("alias IS NOT NULL", ["churn/2", "ads/1"]),
            ("model = 'ads'", ["ads/2", "ads/1"]),
            ("model = 'none'", []),
            ("model ILIKE 'A%' AND version = 2", ["ads/2"]),
            ("version IN (1, 3.0)", ["churn/3", "ads/1", "churn/1"]),
            ("version > 2.5", ["churn/4", "churn/3"]),
            ("version < 1e300 AND version != 2", ["churn/4", "churn/3", "ads/1", "churn/1"]),
            ("creator = 'eve'", ["ads/1"]),
            ("format IS NULL", ["ads/2"]),
            ("NOT format = 'onnx'", ["ads/2"]),
            ("format != 'x'", ["churn/4", "churn/3", "churn/2", "ads/1", "churn/1"]),
            ("size >= 14", ["churn/4", "ads/2"]),
            ("created_at < '2026-11-24T12:00:02Z'", ["ads/1", "churn/1"]),
            ("created_at = '2026-11-24T13:00:02+01:00'", ["ads/2", "churn/2"]),
        ],
    )
    async def test_versions_are_filtered(
        self,
        registry: Registry,
        filter: str,
        expected: list[str],
    ) -> None:
        await two_models(registry)
        assert refs(await registry.reader.versions(versions_request(filter))) == expected
        of_churn = await registry.reader.versions(versions_request(filter), model=CHURN)
        assert refs(of_churn) == [ref for ref in expected if ref.startswith("churn/")]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("format = 'onnx'", [1, 2]),
            ("format = 'safetensors'", [1, 3]),
            ("format != 'onnx'", [1, 3]),
            ("NOT format = 'onnx'", [3, 4]),
            ("format IN ('onnx', 'safetensors')", [1, 2, 3]),
            ("format LIKE 'on%'", [1, 2]),
            ("format ILIKE 'SAFE%'", [1, 3]),
            ("format = 'onnx' AND format = 'safetensors'", [1]),
            ("format IS NULL", [4]),
            ("format IS NOT NULL", [1, 2, 3]),
        ],
    )
    async def test_a_format_is_that_of_any_file(
        self, registry: Registry, filter: str, expected: list[int]
    ) -> None:
        model = await register(registry)
        onnx, tensors = a_manifest(1).files[0], a_manifest(9, format="safetensors").files[0]
        plain = a_manifest(10, format=None).files[0]
        for entries in ([onnx, tensors, plain], [onnx, onnx], [tensors, plain], [plain]):
            files = (replace(e, path=FilePath(f"{n}.bin")) for n, e in enumerate(entries))
            await publish(registry, model, manifest=Manifest.of(files))
        for only in (None, CHURN):
            page = await registry.reader.versions(versions_request(filter, "version"), model=only)
            assert [item.version for item in page.items] == expected

    @pytest.mark.parametrize(
        ("order", "expected"),
        [
            ("version, model", ["ads/1", "churn/1", "ads/2", "churn/2", "churn/3", "churn/4"]),
            ("model", ["ads/2", "ads/1", "churn/4", "churn/3", "churn/2", "churn/1"]),
            ("created_at", ["ads/1", "churn/1", "ads/2", "churn/2", "churn/3", "churn/4"]),
            ("metrics.auc", ["churn/4", "churn/1", "churn/2", "ads/1", "ads/2", "churn/3"]),
            ("metrics.auc desc", ["ads/1", "churn/2", "churn/1", "churn/4", "ads/2", "churn/3"]),
            (
                "format desc, version",
                ["ads/1", "churn/1", "churn/2", "churn/3", "churn/4", "ads/2"],
            ),
            (
                "format, version desc",
                ["churn/4", "churn/3", "churn/2", "ads/1", "churn/1", "ads/2"],
            ),
            ("size desc, model", ["ads/2", "churn/4", "churn/3", "churn/2", "ads/1", "churn/1"]),
            ("creator desc", ["ads/1", "churn/4", "ads/2", "churn/3", "churn/2", "churn/1"]),
        ],
    )
    @pytest.mark.parametrize("size", [1, 2, 50])
    async def test_versions_are_ordered_and_paged(
        self, registry: Registry, order: str, expected: list[str], size: int
    ) -> None:
        await two_models(registry)
        assert await every(registry, versions_request(order=order), size) == expected

    async def test_pages_are_stable_while_others_insert(self, registry: Registry) -> None:
        churn, ads = await two_models(registry)
        seen, token = [], None
        while True:
            page = await registry.reader.versions(PageRequest(size=2, token=token))
            seen += refs(page)
            await publish(registry, ads)
            await publish(registry, churn)
            if (token := page.next_page_token) is None:
                break
        assert seen == ["churn/4", "ads/2", "churn/3", "churn/2", "ads/1", "churn/1"]

    async def test_a_page_ends_early_where_its_items_are_large(self, registry: Registry) -> None:
        model = await register(registry)
        sizes = {1: 85, 2: 30, 3: 30, 4: 30, 5: 85, 6: 85, 7: 1}
        for size in sizes.values():
            await publish(registry, model, tags={f"{n}": "x" * 100_000 for n in range(size)})
        pages, token = [], None
        while True:
            page = await registry.reader.versions(PageRequest(size=4, token=token))
            pages.append([item.version for item in page.items])
            assert all(len(item.tags) == sizes[item.version] for item in page.items)
            if (token := page.next_page_token) is None:
                break
        assert pages == [[7], [6], [5], [4, 3], [2], [1]]

    async def test_a_token_goes_on_after_its_row_is_gone(self, registry: Registry) -> None:
        churn, _ = await two_models(registry)
        page = await registry.reader.versions(PageRequest(size=3), model=CHURN)
        assert refs(page) == ["churn/4", "churn/3", "churn/2"]
        async with registry.uow() as uow:
            for alias in await uow.aliases.pointing_at(churn, VersionNumber(2)):
                await uow.aliases.remove(alias, alias.remove(actor="eve", at=EPOCH))
            await uow.versions.remove(await uow.versions.get(churn, VersionNumber(2)))
            await uow.commit()
        rest = PageRequest(size=3, token=page.next_page_token)
        assert refs(await registry.reader.versions(rest, model=CHURN)) == ["churn/1"]

    async def test_a_token_of_another_list_is_refused(self, registry: Registry) -> None:
        await two_models(registry)
        page = await registry.reader.versions(versions_request("version > 0", size=1))
        token = page.next_page_token
        assert token is not None
        for request in (
            versions_request(token=token),
            versions_request("version > 1", token=token),
            versions_request("version > 0", "model", token=token),
        ):
            with pytest.raises(InvalidPageToken):
                await registry.reader.versions(request)
        with pytest.raises(InvalidPageToken):
            await registry.reader.versions(
                versions_request("version > 0", token=token), model=CHURN
            )
        with pytest.raises(InvalidPageToken):
            await registry.reader.models(PageRequest(token=token))
        with pytest.raises(InvalidPageToken):
            await registry.reader.aliases(CHURN, PageRequest(token=token))
        with pytest.raises(InvalidPageToken):
            await registry.reader.alias_history(CHURN, CHAMPION, PageRequest(token=token))

    async def test_a_token_that_is_garbage_or_tampered_with_is_refused(
        self, registry: Registry
    ) -> None:
        await two_models(registry)
        token = (await registry.reader.versions(PageRequest(size=1))).next_page_token
        assert token is not None
        plain = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        changed = base64.urlsafe_b64encode(plain.replace(b"6]", b"5]")).decode().rstrip("=")
        null = base64.urlsafe_b64encode(b"null").decode()
        for wrong in ("", "x", "é", "A" * 5000, null, token[:-2], token + "A", changed):
            with pytest.raises(InvalidPageToken):
                await registry.reader.versions(PageRequest(token=wrong))
