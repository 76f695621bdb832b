"""Publishing a version: everything at once, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from adapters.file_lock import FileLockManager
from adapters.memory.artifact_store import MemoryArtifactStore
from adapters.memory.clock import FixedClock
from adapters.memory.registry import MemoryDatabase
from adapters.no_lock import NoLockManager
from application.ports import BlobInfo
from application.publishing import IncomingFile, PublishDetails, PublishVersion, UploadedFile
from application.records import FileRecord, ParentRecord
from domain.errors import (
    BlobNotUploaded,
    DatabaseUnavailable,
    FieldError,
    FileNotAModel,
    IdempotencyConflict,
    InvalidManifest,
    InvalidRequest,
    LockTimeout,
    ModelNotFound,
    ModelyardError,
    NoModel,
    ParentNotFound,
    RequestTooLarge,
    StoreFull,
    UploadInterrupted,
    VersionNotFound,
    VersionQuarantined,
)
from domain.events import AliasMoved, ModelRegistered, VersionPublished
from domain.validation import PolicyName
from domain.values import (
    MAX_ALIASES_PER_PUBLISH,
    MAX_FILES,
    AliasName,
    Digest,
    FilePath,
    ModelName,
    VersionNumber,
)
from domain.version import Parent
from tests.unit.in_memory import (
    CAPACITY,
    HELD,
    JPEG,
    Part,
    Registry,
    a_file,
    details,
    digest_of,
    in_turn,
)

pytestmark = pytest.mark.anyio

KIB_64 = 64 * 1024


@pytest.fixture
async def registry() -> Registry:
    """With one model, and no version."""
    registry = Registry()
    await registry.register()
    registry.events.clear()
    return registry


@pytest.fixture
async def standard() -> Registry:
    """The same, and it enforces the standard policy."""
    registry = Registry(policy=PolicyName.STANDARD)
    await registry.register()
    registry.events.clear()
    return registry


async def check_that_nothing_happened(registry: Registry) -> None:
    registry.check_nothing_is_held()
    assert registry.events == []
    assert await registry.numbers() == []
    published = await registry.publish(a_file("model.gguf", b"GGUF"))
    assert published.version.record.version == 1  # no number was taken


# --- what comes of it ---------------------------------------------------------------------------


async def test_a_published_version_is_all_that_was_said_and_sent(registry: Registry) -> None:
    await registry.publish()
    published = await registry.publish(
        a_file("weights.gguf", b"GGUF", b" and more"),
        details(
            description="d",
            parameters={"depth": 6, "seed": None},
            metrics={"auc": 0.9},
            tags={"stage": "new"},
            source="git:1",
            parents=(Parent(ModelName("churn"), VersionNumber(1)),),
        ),
        a_file("docs/readme.md", b"hello"),
        actor="bob",
    )
    record = published.version.record
    assert not published.replayed
    assert published.version == await registry.version("2")
    assert (record.model, record.version, record.creator) == ("churn", 2, "bob")
    assert (record.description, record.source) == ("d", "git:1")
    assert record.parameters == {"depth": 6, "seed": None}
    assert (record.metrics, record.tags) == ({"auc": 0.9}, {"stage": "new"})
    assert record.parents == [ParentRecord("churn", 1)]
    binary = "application/octet-stream"
    assert record.files == [
        FileRecord("docs/readme.md", 5, digest_of(b"hello"), binary, None),
        FileRecord("weights.gguf", 13, digest_of(b"GGUF and more"), binary, "gguf"),
    ]
    assert record.size == 18
    assert record.created_at == record.updated_at == registry.clock.now()
    assert (record.validation.policy, record.validation.scanner) == ("report", "memory 1")


async def test_while_others_wait_it_looks_for_all_its_blobs_at_once(registry: Registry) -> None:
    class Counting(MemoryArtifactStore):
        def __init__(self) -> None:
            super().__init__(clock=registry.clock)
            self.asked: list[object] = []

        async def absent(self, digests: Collection[Digest]) -> set[Digest]:
            self.asked.append(set(digests))
            return await super().absent(digests)

        async def stat(self, digest: Digest) -> BlobInfo | None:
            self.asked.append(digest)
            return await super().stat(digest)

    registry.store = store = Counting()
    await registry.publish(*(a_file(str(number)) for number in range(100)))
    assert store.asked == [await registry.blobs()]


async def test_numbers_are_dense_and_the_model_shows_the_latest(registry: Registry) -> None:
    before = (await registry.model()).etag
    for number in (1, 2, 3):
        assert (await registry.publish()).version.record.version == number
    model = await registry.model()
    assert (model.record.latest_version, model.record.version_count) == (3, 3)
    assert model.etag != before


async def test_an_empty_file_is_a_file(registry: Registry) -> None:
    published = await registry.publish(a_file("__init__.py", b""))
    assert published.version.record.files[0].sha256 == digest_of(b"")


async def test_the_order_of_parts_and_the_cut_of_chunks_do_not_matter(registry: Registry) -> None:
    one = await registry.publish(
        details(tags={"a": "1"}), a_file("a", b"12", b"34"), a_file("b", b"x")
    )
    other = await registry.publish(
        a_file("b", b"x"), a_file("a", b"1", b"", b"234"), details(tags={"a": "1"})
    )
    assert other.version.record.digest == one.version.record.digest
    assert other.version.record.files == one.version.record.files
    assert other.version.record.tags == one.version.record.tags


async def test_files_may_come_along_or_have_been_uploaded_before(registry: Registry) -> None:
    await registry.upload(b"GGUF")
    published = await registry.publish(
        UploadedFile(FilePath("a.gguf"), digest_of(b"GGUF")), a_file("b.txt", b"text")
    )
    assert [(file.path, file.size, file.format) for file in published.version.record.files] == [
        ("a.gguf", 4, "gguf"),
        ("b.txt", 4, None),
    ]


async def test_one_blob_serves_every_file_with_its_bytes(registry: Registry) -> None:
    await registry.publish(a_file("a", b"same"), a_file("b", b"same"))
    await registry.publish(a_file("c", b"same"))
    assert await registry.blobs() == {digest_of(b"same")}


async def test_a_publish_is_told_of_once_it_is_committed(registry: Registry) -> None:
    await registry.publish(a_file(), details(aliases=["champion"]))
    now, name, one = registry.clock.now(), ModelName("churn"), VersionNumber(1)
    assert registry.events == [
        AliasMoved(name, AliasName("champion"), one, None, "ada", now),
        VersionPublished(name, one, "ada", now),
    ]


# --- the model ----------------------------------------------------------------------------------


async def test_an_unknown_model_is_refused_before_a_byte_is_read_when_details_come_first() -> None:
    registry = Registry()
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"x"

    with pytest.raises(ModelNotFound):
        await registry.publish(details(), IncomingFile(FilePath("a"), chunks()))
    assert read == 0


@pytest.mark.parametrize("parts", [[], [details(tags={"a": "1"})]], ids=["no details", "details"])
async def test_an_unknown_model_is_refused_after_the_files_as_well(
    parts: list[PublishDetails],
) -> None:
    registry = Registry()
    with pytest.raises(ModelNotFound, match="Register it first, or set create_model"):
        await registry.publish(a_file(), *parts)
    registry.check_nothing_is_held()
    assert registry.events == []


async def test_a_model_is_created_along_with_its_first_version() -> None:
    registry = Registry()
    published = await registry.publish(a_file(), details(create_model=True), actor="bob")
    assert published.version.record.version == 1
    assert (await registry.model()).record.creator == "bob"
    assert [type(event) for event in registry.events] == [ModelRegistered, VersionPublished]
    again = await registry.publish(a_file(), details(create_model=True))
    assert again.version.record.version == 2


async def test_a_refused_publish_does_not_create_the_model() -> None:
    registry = Registry()
    unknown = (Parent(ModelName("nobody"), VersionNumber(1)),)
    with pytest.raises(ParentNotFound):
        await registry.publish(a_file(), details(create_model=True, parents=unknown))
    with pytest.raises(ModelNotFound):
        await registry.model()
    assert registry.events == []


async def test_a_model_created_by_a_publish_goes_on_where_a_namesake_stopped(
    registry: Registry,
) -> None:
    await registry.publish()
    await registry.delete_model()
    published = await registry.publish(a_file(), details(create_model=True))
    assert published.version.record.version == 2


# --- what is refused ----------------------------------------------------------------------------

REFUSALS: dict[str, tuple[Callable[[], list[Part]], type[ModelyardError]]] = {
    "no file": (lambda: [details()], InvalidManifest),
    "metadata twice": (lambda: [details(), a_file(), details()], InvalidRequest),
    "a path twice": (lambda: [a_file("a"), a_file("a")], InvalidManifest),
    "a path in two cases": (lambda: [a_file("Model"), a_file("mODEL")], InvalidManifest),
    "a path in two spellings": (lambda: [a_file("e\u0301"), a_file("\u00e9")], InvalidManifest),
    "a file as a folder": (lambda: [a_file("a/b"), a_file("A")], InvalidManifest),
    "too many files": (
        lambda: [a_file(f"f{index}", b"") for index in range(MAX_FILES + 1)],
        InvalidManifest,
    ),
    "a picture": (lambda: [a_file("a"), a_file("cat.jpg", JPEG)], FileNotAModel),
    "a blob that is not there": (
        lambda: [a_file("a"), UploadedFile(FilePath("b"), digest_of(b"b"))],
        BlobNotUploaded,
    ),
}


@pytest.mark.parametrize(("parts", "error"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_publish_leaves_nothing_and_takes_no_number(
    standard: Registry, parts: Callable[[], list[Part]], error: type[ModelyardError]
) -> None:
    with pytest.raises(error):
        await standard.publish(*parts())
    await check_that_nothing_happened(standard)


async def test_the_highest_number_of_files_is_taken(registry: Registry) -> None:
    parts = [a_file(f"f{index}", b"x") for index in range(MAX_FILES)]
    assert len((await registry.publish(*parts)).version.record.files) == MAX_FILES


async def test_a_missing_parent_is_pointed_at_and_takes_no_number(registry: Registry) -> None:
    await registry.publish()
    parents = tuple(Parent(ModelName("churn"), VersionNumber(number)) for number in (1, 2))
    with pytest.raises(ParentNotFound) as refusal:
        await registry.publish(a_file(), details(parents=parents))
    assert refusal.value.errors == (FieldError("/parents/1", "no such version"),)
    assert (await registry.publish()).version.record.version == 2


async def test_an_alias_is_named_once_and_not_too_often() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        details(aliases=["a", "b", "a"])
    assert refusal.value.errors[0].pointer == "/aliases/2"
    details(aliases=[f"a{index}x" for index in range(MAX_ALIASES_PER_PUBLISH)])
    with pytest.raises(InvalidRequest, match="at most 100"):
        details(aliases=[f"a{index}x" for index in range(MAX_ALIASES_PER_PUBLISH + 1)])


async def test_nobody_publishes_namelessly(registry: Registry) -> None:
    with pytest.raises(InvalidRequest):
        await registry.publish(actor=" ")
    await check_that_nothing_happened(registry)


# --- how much -----------------------------------------------------------------------------------


async def test_files_up_to_the_greatest_size_are_taken() -> None:
    registry = Registry(max_size=10)
    await registry.register()
    published = await registry.publish(a_file("a", b"12345"), a_file("b", b"123", b"45"))
    assert published.version.record.size == 10


async def test_one_byte_more_is_refused_however_it_comes() -> None:
    registry = Registry(max_size=10)
    await registry.register()
    with pytest.raises(RequestTooLarge):
        await registry.publish(a_file("a", b"12345"), a_file("b", b"123", b"456"))
    registry.check_nothing_is_held()
    await registry.upload(b"123456")
    with pytest.raises(RequestTooLarge):
        await registry.publish(
            a_file("a", b"12345"), UploadedFile(FilePath("b"), digest_of(b"123456"))
        )
    assert await registry.numbers() == []


async def test_a_full_store_refuses_and_keeps_nothing() -> None:
    registry = Registry(max_size=2 * CAPACITY)
    await registry.register()
    with pytest.raises(StoreFull):
        await registry.publish(a_file("a", b"x" * KIB_64), a_file("b", b"x" * CAPACITY))
    registry.check_nothing_is_held()
    assert (await registry.publish()).version.record.version == 1


# --- what they are ------------------------------------------------------------------------------


async def test_a_large_picture_is_refused_while_it_is_arriving(standard: Registry) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for chunk in (JPEG, b"x" * KIB_64, b"x" * KIB_64, b"x" * KIB_64):
            read += 1
            yield chunk

    with pytest.raises(FileNotAModel, match="JPEG") as refusal:
        await standard.publish(IncomingFile(FilePath("pets/cat.jpg"), chunks()))
    assert [field.pointer for field in refusal.value.errors] == ["/files/pets~1cat.jpg"]
    assert read == 2
    await check_that_nothing_happened(standard)


async def test_an_uploaded_blob_is_looked_at_as_well(standard: Registry) -> None:
    await standard.upload(JPEG)
    with pytest.raises(FileNotAModel):
        await standard.publish(UploadedFile(FilePath("model.bin"), digest_of(JPEG)))
    assert await standard.numbers() == []


async def test_companions_without_a_model_are_no_version(standard: Registry) -> None:
    with pytest.raises(NoModel, match=r"README\.md, config\.json") as refusal:
        await standard.publish(a_file("README.md"), a_file("config.json"))
    assert refusal.value.code == "version.no_model"
    await check_that_nothing_happened(standard)
    published = await standard.publish(a_file("README.md"), a_file("m.gguf", b"GGUF"))
    assert published.version.record.status == "ready"


async def test_a_service_that_only_reports_flags_a_version_without_a_model(
    registry: Registry,
) -> None:
    record = (await registry.publish(a_file("README.md"))).version.record
    assert (record.validation.verdict, record.status) == ("reject", "ready")
    assert [finding.code for finding in record.validation.findings] == ["version.no_model"]


async def test_a_version_that_would_be_held_takes_no_alias(standard: Registry) -> None:
    held = a_file("m.pkl", HELD)
    with pytest.raises(VersionQuarantined, match="imports acme"):
        await standard.publish(held, details(aliases=["champion"]))
    await check_that_nothing_happened(standard)


async def test_a_service_that_only_reports_lets_a_picture_in_and_keeps_the_finding() -> None:
    registry = Registry(policy=PolicyName.REPORT)
    await registry.register()
    published = await registry.publish(a_file("cat.jpg", JPEG, b"x" * KIB_64), a_file("model"))
    record = published.version.record
    assert (record.validation.verdict, record.status) == ("reject", "ready")
    assert [(f.code, f.severity, f.path) for f in record.validation.findings] == [
        ("file.not_a_model", "critical", "cat.jpg")
    ]


# --- aliases ------------------------------------------------------------------------------------


async def test_aliases_point_at_the_version_from_its_first_moment(registry: Registry) -> None:
    first = await registry.publish(a_file(), details(aliases=["champion", "next"]))
    assert first.version.record.aliases == ["champion", "next"]
    before = (await registry.version("1")).etag
    second = await registry.publish(a_file(), details(aliases=["champion"]), actor="bob")
    assert second.version.record.aliases == ["champion"]
    assert (await registry.model()).record.aliases == {"champion": 2, "next": 1}
    assert (await registry.version("1")).etag != before
    assert [
        (move.previous_version, move.version, move.actor)
        for move in await registry.history("champion")
    ] == [(1, 2, "bob"), (None, 1, "ada")]


# --- once ---------------------------------------------------------------------------------------


async def test_the_same_request_under_the_same_key_gives_the_same_version(
    registry: Registry,
) -> None:
    first = await registry.publish(
        a_file("a", b"1"), a_file("b", b"2"), details(tags={"x": "1", "y": "2"}), key="k"
    )
    told = list(registry.events)
    again = await registry.publish(
        details(tags={"y": "2", "x": "1"}), a_file("b", b"2"), a_file("a", b"1"), key="k"
    )
    assert (first.replayed, again.replayed) == (False, True)
    assert again.version == first.version
    assert registry.events == told
    assert (await registry.publish()).version.record.version == 2


async def test_a_replay_shows_the_version_as_it_is_now(registry: Registry) -> None:
    await registry.publish(key="k")
    changed = await registry.update_version(1, {"description": "better"})
    assert (await registry.publish(key="k")).version == changed


async def test_where_no_lock_can_be_had_the_database_decides(tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"not a folder")
    registry = Registry(locks=FileLockManager(tmp_path / "locks"))
    await registry.register()
    published = await asyncio.gather(*(registry.publish(a_file(str(n))) for n in range(10)))
    assert sorted(one.version.record.version for one in published) == list(range(1, 11))


async def test_a_replay_does_not_wait_in_line(registry: Registry) -> None:
    first = await registry.publish(key="k")
    impatient = replace(registry.publisher(), lock_timeout=0.01)
    async with registry.locks.hold("publish:churn", timeout=1):
        again = await impatient(PublishVersion(ModelName("churn"), "ada", in_turn(a_file()), "k"))
    assert again.replayed
    assert again.version == first.version


@pytest.mark.parametrize(
    "parts",
    [
        [a_file("model.bin", b"other bytes")],
        [a_file("other.bin", b"model.bin")],
        [a_file(), a_file("b")],
        [a_file(), details(description="x")],
        [a_file(), details(parameters={"depth": 6})],
        [a_file(), details(aliases=["champion"])],
        [a_file(), details(create_model=True)],
    ],
    ids=["bytes", "path", "files", "description", "parameters", "aliases", "create_model"],
)
async def test_another_request_under_the_same_key_is_refused(
    registry: Registry, parts: list[Part]
) -> None:
    await registry.publish(key="k")
    with pytest.raises(IdempotencyConflict):
        await registry.publish(*parts, key="k")
    assert await registry.numbers() == [1]


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, "1"), (None, "null"), (0, False), (1, 1.5)]
)
async def test_parameters_of_other_types_make_another_request(
    registry: Registry, one: object, other: object
) -> None:
    await registry.publish(a_file(), details(parameters={"p": one}), key="k")
    with pytest.raises(IdempotencyConflict):
        await registry.publish(a_file(), details(parameters={"p": other}), key="k")


async def test_a_key_is_for_one_model_and_one_user(registry: Registry) -> None:
    await registry.register("fraud")
    await registry.publish(key="k", actor="ada")
    with pytest.raises(IdempotencyConflict):
        await registry.publish(key="k", actor="ada", model="fraud")
    assert not (await registry.publish(key="k", actor="bob")).replayed
    assert await registry.numbers() == [2, 1]
    assert await registry.numbers("fraud") == []


async def test_a_refused_request_does_not_use_up_its_key(standard: Registry) -> None:
    with pytest.raises(FileNotAModel):
        await standard.publish(a_file("a", JPEG), key="k")
    assert not (await standard.publish(a_file("a", b"GGUF"), key="k")).replayed


async def test_a_replay_of_a_version_that_was_deleted_does_not_publish_it_again(
    registry: Registry,
) -> None:
    await registry.publish(key="k")
    await registry.delete_version(1)
    with pytest.raises(VersionNotFound):
        await registry.publish(key="k")
    assert await registry.numbers() == []


async def test_a_key_is_forgotten_after_a_week(registry: Registry) -> None:
    await registry.publish(key="k")
    registry.clock.advance(timedelta(days=7))
    assert (await registry.collect()).receipts == 0
    assert (await registry.publish(key="k")).replayed
    registry.clock.advance(timedelta(seconds=1))
    assert (await registry.collect()).receipts == 1
    assert not (await registry.publish(key="k")).replayed


class MeetingPlace(NoLockManager):
    """Lets nobody in before a number of them has come, then all at once."""

    def __init__(self, expected: int) -> None:
        self._barrier = asyncio.Barrier(expected)

    @asynccontextmanager
    async def hold(self, name: str, *, timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109
        await self._barrier.wait()
        yield


async def test_two_requests_at_once_under_one_key_publish_one_version() -> None:
    registry = Registry(locks=MeetingPlace(2))
    await registry.register()
    both = await asyncio.gather(registry.publish(key="k"), registry.publish(key="k"))
    assert sorted(published.replayed for published in both) == [False, True]
    assert both[0].version == both[1].version
    assert await registry.numbers() == [1]


async def test_of_two_different_requests_at_once_under_one_key_one_is_refused() -> None:
    registry = Registry(locks=MeetingPlace(2))
    await registry.register()
    outcomes = await asyncio.gather(
        registry.publish(a_file("a"), key="k"),
        registry.publish(a_file("b"), key="k"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(IdempotencyConflict) == 1
    assert await registry.numbers() == [1]


async def test_numbers_stay_dense_under_a_lock_that_lets_everybody_in() -> None:
    registry = Registry(locks=MeetingPlace(20))
    await registry.register()
    published = await asyncio.gather(*(registry.publish(a_file(f"f{i}")) for i in range(20)))
    assert {each.version.record.version for each in published} == set(range(1, 21))


async def test_who_waits_too_long_in_line_is_told_so_and_takes_no_number() -> None:
    registry = Registry()
    await registry.register()
    impatient = replace(registry.publisher(), lock_timeout=0.01)
    command = PublishVersion(ModelName("churn"), "ada", in_turn(a_file()))
    async with registry.locks.hold("publish:churn", timeout=1):
        with pytest.raises(LockTimeout):
            await impatient(command)
    assert await registry.numbers() == []
    assert (await registry.publish()).version.record.version == 1


# --- broken off ---------------------------------------------------------------------------------


async def test_an_upload_that_breaks_off_leaves_nothing(registry: Registry) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"the first half"
        raise UploadInterrupted("The connection closed.")

    with pytest.raises(UploadInterrupted):
        await registry.publish(a_file("a"), IncomingFile(FilePath("b"), chunks()))
    await check_that_nothing_happened(registry)


async def test_a_cancelled_upload_leaves_nothing(registry: Registry) -> None:
    with anyio.CancelScope() as scope:

        async def chunks() -> AsyncIterator[bytes]:
            yield b"the first half"
            scope.cancel()
            await anyio.sleep_forever()

        await registry.publish(a_file("a"), IncomingFile(FilePath("b"), chunks()))
    assert scope.cancelled_caught
    await check_that_nothing_happened(registry)


class LastMoment(FixedClock):
    """The database goes away when the time is asked for: after the bytes, before the commit."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__()
        self._database = database

    def now(self) -> datetime:
        self._database.available = False
        return super().now()


async def test_a_failing_commit_takes_no_number_and_leaves_only_blobs_that_gc_reclaims(
    registry: Registry,
) -> None:
    publish = registry.publisher(clock=LastMoment(registry.database))
    parts = in_turn(a_file("a"), details(aliases=["champion"]))
    with pytest.raises(DatabaseUnavailable):
        await publish(PublishVersion(ModelName("churn"), "ada", parts, "k"))
    registry.database.available = True
    assert registry.events == []
    assert (await registry.model()).record.aliases == {}
    assert await registry.blobs() == {digest_of(b"a")}
    registry.clock.advance(timedelta(days=2))
    await registry.collect(force=True)
    await check_that_nothing_happened(registry)
