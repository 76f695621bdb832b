"""A whole registry in memory, and short ways to use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from dependency_injector import providers

from adapters.memory.artifact_store import MemoryArtifactStore
from adapters.memory.clock import FixedClock, SequentialIds
from adapters.memory.locks import MemoryLockManager
from adapters.memory.registry import MemoryDatabase, MemoryUnitOfWork
from adapters.memory.registry_reader import MemoryBlobReferences, MemoryRegistryReader
from adapters.memory.segments import MemorySegmentStore
from adapters.memory.validator import MemoryFileValidator
from application.aliases import DeleteAlias, RollBackAlias, SetAlias
from application.blobs import OpenFileHandler, UploadBlob
from application.maintenance import Collected, CollectGarbage, Verified
from application.models import DeleteModel, RegisterModel, UpdateModel
from application.ports import (
    BlobReferences,
    Clock,
    Found,
    IdGenerator,
    LockManager,
    PageRequest,
    UnitOfWork,
)
from application.preconditions import IfMatch
from application.publishing import (
    IncomingFile,
    PublishDetails,
    Published,
    PublishVersion,
    PublishVersionHandler,
    UploadedFile,
)
from application.records import AliasMoveRecord, AliasRecord, ModelRecord, VersionRecord
from application.rescanning import Rescan, Rescanned
from application.versions import DeleteVersion, ReviewVersion, UpdateVersion
from domain.events import Event
from domain.validation import Decision, PolicyName
from domain.values import AliasName, Digest, FilePath, ModelName, VersionNumber, parse_reference
from domain.version import VersionDetails
from entrypoints.container import Container, build_container
from entrypoints.settings import Settings

CAPACITY = 1 << 20
GRACE = timedelta(days=1)
UPLOAD_EXPIRY = timedelta(hours=6)
HELD = b"\x80\x04\x8c\x04acme\x94\x8c\x03Net\x94\x93."
"""A pickle that imports what nobody knows."""
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"

Part = IncomingFile | UploadedFile | PublishDetails


async def in_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def in_turn(*parts: Part) -> AsyncIterator[Part]:
    for part in parts:
        yield part


def a_file(path: str = "model.bin", *chunks: bytes) -> IncomingFile:
    """A file that comes with the request; by default its content is its path."""
    return IncomingFile(FilePath(path), in_chunks(*(chunks or (path.encode(),))))


def digest_of(content: bytes) -> Digest:
    return Digest(sha256(content).hexdigest())


def details(
    *, aliases: Sequence[str] = (), create_model: bool = False, **of_version: object
) -> PublishDetails:
    return PublishDetails(
        VersionDetails(**of_version),  # type: ignore[arg-type]
        tuple(AliasName(alias) for alias in aliases),
        create_model,
    )


@dataclass(slots=True)
class Registry:
    """The container's handlers over the in-memory adapters; nothing in it is feigned.

    Attributes:
        events: what was told, in order.
    """

    policy: PolicyName = PolicyName.REPORT  # most tests publish any bytes
    allow: str = ""
    max_size: int = CAPACITY
    locks: LockManager = field(default_factory=MemoryLockManager)
    clock: FixedClock = field(default_factory=FixedClock)
    ids: IdGenerator = field(default_factory=SequentialIds)
    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    events: list[Event] = field(default_factory=list)
    validator: MemoryFileValidator = field(default_factory=MemoryFileValidator)
    reader: MemoryRegistryReader = field(init=False)
    references: BlobReferences = field(init=False)
    store: MemoryArtifactStore = field(init=False)
    segments: MemorySegmentStore = field(init=False)
    handlers: Container = field(init=False)

    def __post_init__(self) -> None:
        self.reader = MemoryRegistryReader(self.database)
        self.references = MemoryBlobReferences(self.database)
        self.store = MemoryArtifactStore(clock=self.clock, capacity=CAPACITY)
        self.segments = MemorySegmentStore(clock=self.clock, capacity=CAPACITY)
        settings = Settings.model_construct(  # no environment can change these
            validation_policy=self.policy,
            validation_allow=self.allow,
            max_upload_size=self.max_size,
            lock_timeout=5.0,
            upload_expiry=int(UPLOAD_EXPIRY.total_seconds()),
        )
        self.handlers = build_container(settings)
        shared = ("clock", "ids", "locks", "validator", "reader", "references", "store", "segments")
        for name in shared:
            current = providers.Callable(getattr, self, name)  # a test may replace it
            self.handlers.providers[name].override(current)
        self.handlers.uow.override(providers.Callable(self.uow))

    def uow(self) -> UnitOfWork:
        return MemoryUnitOfWork(self.database, self.events.extend)

    # --- models ---

    async def register(
        self,
        name: str = "churn",
        *,
        description: str = "",
        tags: Mapping[str, object] | None = None,
    ) -> Found[ModelRecord]:
        handle = self.handlers.register_model()
        return await handle(RegisterModel(ModelName(name), "ada", description, tags or {}))

    async def model(self, name: str = "churn") -> Found[ModelRecord]:
        return await self.reader.model(ModelName(name))

    async def update_model(
        self, patch: Mapping[str, object], name: str = "churn", *, if_match: IfMatch = None
    ) -> Found[ModelRecord]:
        handle = self.handlers.update_model()
        return await handle(UpdateModel(ModelName(name), "eve", patch, if_match))

    async def delete_model(
        self, name: str = "churn", *, force: bool = False, if_match: IfMatch = None
    ) -> None:
        handle = self.handlers.delete_model()
        await handle(DeleteModel(ModelName(name), "eve", force, if_match))

    # --- versions ---

    def publisher(self, *, clock: Clock | None = None) -> PublishVersionHandler:
        return self.handlers.publish_version(clock=clock or self.clock)

    async def publish(
        self, *parts: Part, model: str = "churn", actor: str = "ada", key: str | None = None
    ) -> Published:
        """By default one small file."""
        stream = in_turn(*(parts or (a_file(),)))
        return await self.publisher()(PublishVersion(ModelName(model), actor, stream, key))

    async def version(
        self, reference: str = "latest", model: str = "churn"
    ) -> Found[VersionRecord]:
        return await self.reader.version(ModelName(model), parse_reference(reference))

    async def numbers(self, model: str = "churn") -> list[int]:
        """The versions there are, newest first."""
        page = await self.reader.versions(PageRequest(size=1000), model=ModelName(model))
        return [record.version for record in page.items]

    async def update_version(
        self, number: int, patch: Mapping[str, object], *, if_match: IfMatch = None
    ) -> Found[VersionRecord]:
        handle = self.handlers.update_version()
        return await handle(
            UpdateVersion(ModelName("churn"), VersionNumber(number), "eve", patch, if_match)
        )

    async def review(
        self,
        number: int,
        decision: Decision,
        reason: str = "It was read.",
        *,
        if_match: IfMatch = None,
    ) -> Found[VersionRecord]:
        handle = self.handlers.review_version()
        version = VersionNumber(number)
        return await handle(
            ReviewVersion(ModelName("churn"), version, "eve", decision, reason, if_match)
        )

    async def rescan(self, *, everything: bool = False, dry_run: bool = False) -> Rescanned:
        command = Rescan("root", everything=everything, dry_run=dry_run)
        return await self.handlers.rescan()(command)

    async def delete_version(
        self, number: int, *, force: bool = False, if_match: IfMatch = None
    ) -> None:
        handle = self.handlers.delete_version()
        await handle(
            DeleteVersion(ModelName("churn"), VersionNumber(number), "eve", force, if_match)
        )

    # --- aliases ---

    async def set_alias(
        self,
        alias: str,
        version: int,
        *,
        model: str = "churn",
        actor: str = "eve",
        if_match: IfMatch = None,
        must_be_new: bool = False,
    ) -> tuple[Found[AliasRecord], bool]:
        handle = self.handlers.set_alias()
        return await handle(
            SetAlias(
                ModelName(model),
                AliasName(alias),
                VersionNumber(version),
                actor,
                if_match,
                must_be_new,
            )
        )

    async def alias(self, alias: str, model: str = "churn") -> Found[AliasRecord]:
        return await self.reader.alias(ModelName(model), AliasName(alias))

    async def roll_back(self, alias: str, *, if_match: IfMatch = None) -> Found[AliasRecord]:
        handle = self.handlers.roll_back_alias()
        return await handle(RollBackAlias(ModelName("churn"), AliasName(alias), "eve", if_match))

    async def delete_alias(self, alias: str, *, if_match: IfMatch = None) -> None:
        handle = self.handlers.delete_alias()
        await handle(DeleteAlias(ModelName("churn"), AliasName(alias), "eve", if_match))

    async def history(self, alias: str, model: str = "churn") -> list[AliasMoveRecord]:
        """Newest first."""
        page = PageRequest(size=1000)
        return (await self.reader.alias_history(ModelName(model), AliasName(alias), page)).items

    # --- bytes ---

    async def upload(self, *chunks: bytes, digest: Digest | None = None) -> bool:
        """Whether the blob is new."""
        handle = self.handlers.upload_blob()
        promised = digest or digest_of(b"".join(chunks))
        _, created = await handle(UploadBlob(promised, in_chunks(*chunks)))
        return created

    @property
    def open_file(self) -> OpenFileHandler:
        return self.handlers.open_file()

    async def blobs(self) -> set[Digest]:
        return {info.digest async for info in self.store.list()}

    def check_nothing_is_held(self) -> None:
        """Fails with StoreFull if a blob, or staged bytes, take room in the store."""
        self.store.make_room(CAPACITY)

    async def collect(
        self,
        *,
        grace: timedelta = GRACE,
        dry_run: bool = False,
        force: bool = False,
        lock_timeout: float = 5.0,
    ) -> Collected:
        handle = self.handlers.collect_garbage(lock_timeout=lock_timeout)
        return await handle(CollectGarbage(grace, dry_run, force))

    async def verify(self) -> Verified:
        return await self.handlers.verify()()
