"""Publishing a version: stage, hash, validate, commit the blobs, then insert the rows.

Nothing is visible and no number is taken before the last byte is durable. Whatever goes wrong on
the way leaves at most staged bytes or blobs that no version names, which ``gc`` reclaims.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime

from application.judging import judged, refuse, sentences
from application.ports import (
    ArtifactStore,
    Clock,
    Fence,
    FileSource,
    FileValidator,
    Found,
    IdGenerator,
    LockManager,
    Receipt,
    RegistryReader,
    StagedBlob,
    UnitOfWork,
)
from application.records import VersionRecord
from application.steps import point_alias, register
from domain.errors import (
    BlobNotUploaded,
    FieldError,
    IdempotencyConflict,
    InvalidManifest,
    InvalidRequest,
    LockUnavailable,
    ModelNotFound,
    ParentNotFound,
    RequestTooLarge,
    StoreUnavailable,
    VersionQuarantined,
    invalid_field,
)
from domain.events import VersionPublished
from domain.model import Model
from domain.validation import Facts, FileReport, Validation, ValidationPolicy
from domain.values import (
    MAX_ALIASES_PER_PUBLISH,
    MAX_FILES,
    AliasName,
    Digest,
    FilePath,
    ModelName,
    check_actor,
    unique,
)
from domain.version import FileEntry, Manifest, VersionDetails

SNIFFED = 64 * 1024
"""Bytes of a file's head that a validator sees while the rest is arriving."""


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """A file whose bytes come with the request."""

    path: FilePath
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file whose bytes were uploaded as a blob earlier."""

    path: FilePath
    sha256: Digest


@dataclass(frozen=True, slots=True)
class PublishDetails:
    """Metadata of the version, aliases to point at it, and whether to create the model."""

    version: VersionDetails = field(default_factory=VersionDetails)
    aliases: tuple[AliasName, ...] = ()
    create_model: bool = False

    def __post_init__(self) -> None:
        if len(self.aliases) > MAX_ALIASES_PER_PUBLISH:
            fault = f"at most {MAX_ALIASES_PER_PUBLISH} entries are allowed"
            raise invalid_field("/aliases", fault)
        unique(self.aliases, "/aliases")


@dataclass(frozen=True, slots=True)
class PublishVersion:
    """``parts`` arrive in any order; details at most once."""

    model: ModelName
    actor: str
    parts: AsyncIterator[IncomingFile | UploadedFile | PublishDetails]
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """``replayed``: this is the result of an earlier request with the same Idempotency-Key."""

    version: Found[VersionRecord]
    replayed: bool


@dataclass(slots=True)
class _Arrival:
    """What has been received so far."""

    staged: list[StagedBlob] = field(default_factory=list)
    entries: list[FileEntry] = field(default_factory=list)
    reports: dict[FilePath, FileReport] = field(default_factory=dict)
    details: PublishDetails | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Content:
    """The files of the version, and what was made of them."""

    manifest: Manifest
    validation: Validation
    facts: Facts


@dataclass(frozen=True, slots=True)
class PublishVersionHandler:
    uow: Callable[[], UnitOfWork]
    reader: RegistryReader
    store: ArtifactStore
    locks: LockManager
    validator: FileValidator
    clock: Clock
    ids: IdGenerator
    policy: ValidationPolicy
    max_size: int
    lock_timeout: float

    async def __call__(self, command: PublishVersion) -> Published:
        """Publishes the next version of a model.

        Raises:
            ModelNotFound: it does not exist, and ``create_model`` is not set.
            FileNotAModel: a file is not a model; the error says what it is.
            NoModel: all of them are companions of a model that is not there.
            FileRefused: a file is broken, or loading it would do harm.
            VersionQuarantined: it would be held, so no alias can point at it.
            ValidationUnavailable: the files cannot be checked now.
            InvalidManifest, InvalidFilePath, InvalidRequest, ParentNotFound, BlobNotUploaded
            IdempotencyConflict: the key was used for another request.
            RequestTooLarge: more than ``max_size`` bytes of files.
            StoreFull, StoreUnavailable, DatabaseUnavailable, LockTimeout: try again later.
        """
        check_actor(command.actor)
        async with AsyncExitStack() as stack:
            arrival = await self._receive(command, stack)
            manifest = Manifest.of(arrival.entries)
            details = arrival.details or PublishDetails()
            keyed = command.idempotency_key is not None
            fingerprint = _fingerprint(command.model, manifest, details) if keyed else ""
            if replay := await self._replay(command, fingerprint):
                return replay
            if arrival.details is None:
                await self._check_model(command.model, details)
            validation, facts = self._judge(arrival, details)
            for blob in arrival.staged:
                await blob.commit()
            content = _Content(manifest, validation, facts)
            try:
                version = await self._insert(command, content, details, fingerprint)
            except IdempotencyConflict:
                if replay := await self._replay(command, fingerprint):
                    return replay
                raise
        return Published(version, replayed=False)

    # --- the bytes ------------------------------------------------------------------------------

    async def _receive(self, command: PublishVersion, stack: AsyncExitStack) -> _Arrival:
        arrival = _Arrival()
        paths: set[str] = set()
        async for part in command.parts:
            if isinstance(part, PublishDetails):
                if arrival.details is not None:
                    raise InvalidRequest("The metadata of the version came twice.")
                arrival.details = part
                await self._check_model(command.model, part)
                continue
            if part.path.folded in paths:
                raise InvalidManifest(
                    f"{part.path[:100]!a} came twice (upper and lower case count as one)."
                )
            if len(paths) == MAX_FILES:
                raise InvalidManifest(f"A version has at most {MAX_FILES} files.")
            paths.add(part.path.folded)
            if isinstance(part, IncomingFile):
                await self._stage(part, arrival, stack)
            else:
                await self._reuse(part, arrival)
        return arrival

    async def _stage(self, part: IncomingFile, arrival: _Arrival, stack: AsyncExitStack) -> None:
        blob = await stack.enter_async_context(self.store.stage())
        head: bytes | None = b""
        async for chunk in part.chunks:
            self._count(arrival, len(chunk))
            await blob.write(chunk)
            if head is not None:
                head += chunk[:SNIFFED]
                if len(head) >= SNIFFED:
                    await self._sniff(head[:SNIFFED], part.path)
                    head = None
        digest, _ = await blob.finish()
        await self._accept(arrival, part.path, digest, blob.source)
        arrival.staged.append(blob)

    async def _reuse(self, part: UploadedFile, arrival: _Arrival) -> None:
        info = await self.store.renew(part.sha256)
        if info is None:
            raise BlobNotUploaded(
                f"The blob {part.sha256} of the file {part.path[:100]!a} is not in the store; "
                f"PUT it to /api/v1/blobs/{part.sha256} first."
            )
        self._count(arrival, info.size)
        source = self.store.source(info.digest, info.size)
        await self._accept(arrival, part.path, info.digest, source)

    def _count(self, arrival: _Arrival, size: int) -> None:
        arrival.size += size
        if arrival.size > self.max_size:
            raise RequestTooLarge(f"A version has at most {self.max_size} bytes of files.")

    async def _accept(
        self, arrival: _Arrival, path: FilePath, digest: Digest, source: FileSource
    ) -> None:
        """Validates a file that is complete, and adds it to the manifest."""
        report = await self.validator.validate(source, path)
        refuse(self.policy.refusals(report))
        arrival.reports[path] = report
        entry = FileEntry(path, source.size, digest, report.media_type, report.format)
        arrival.entries.append(entry)

    # --- what they are --------------------------------------------------------------------------

    async def _sniff(self, head: bytes, path: FilePath) -> None:
        if self.policy.enforced:
            refuse(self.policy.refusals(await self.validator.sniff(head, path)))

    def _judge(self, arrival: _Arrival, details: PublishDetails) -> tuple[Validation, Facts]:
        validation, facts = judged(self.policy, self.validator, arrival.reports, self.clock.now())
        if self.policy.enforced:
            refuse(validation.refusals)
            if validation.held and details.aliases:
                raise VersionQuarantined(
                    f"The version would be held for a review ({sentences(validation.findings)}), "
                    "and no alias may point at it until then: publish it without aliases."
                )
        return validation, facts

    # --- the rows -------------------------------------------------------------------------------

    async def _check_model(self, name: ModelName, details: PublishDetails) -> None:
        if details.create_model:
            return
        try:
            await self.reader.model(name)
        except ModelNotFound as error:
            advice = "Register it first, or set create_model in the metadata."
            raise ModelNotFound(f"{error.detail} {advice}") from None

    async def _replay(self, command: PublishVersion, fingerprint: str) -> Published | None:
        if command.idempotency_key is None:
            return None
        async with self.uow() as uow:
            receipt = await uow.receipts.get(command.actor, command.idempotency_key)
        if receipt is None:
            return None
        if receipt.fingerprint != fingerprint:
            raise IdempotencyConflict(
                "This Idempotency-Key was used for another request; use a new key for a new one."
            )
        return Published(await self.reader.version(command.model, receipt.version), replayed=True)

    async def _insert(
        self,
        command: PublishVersion,
        content: _Content,
        details: PublishDetails,
        fingerprint: str,
    ) -> Found[VersionRecord]:
        async with self._in_line(command.model) as fence, self.uow() as uow:
            await uow.check_fence(fence)
            await self._check_bytes(content.manifest)
            at = self.clock.now()
            model = await self._model(uow, command, details, at)
            await _check_parents(uow, details.version)
            number = await uow.models.allocate(model, at)
            version = details.version.version(
                model_id=model.id,
                number=number,
                manifest=content.manifest,
                validation=content.validation,
                facts=content.facts,
                creator=command.actor,
                at=at,
            )
            await uow.versions.add(version)
            for alias in details.aliases:
                await point_alias(uow, model, alias, number, actor=command.actor, at=at)
            if details.aliases:  # they raised its revision
                version = await uow.versions.get(model, number)
            if (key := command.idempotency_key) is not None:
                receipt = Receipt(command.actor, key, fingerprint, model.id, number, at)
                await uow.receipts.add(receipt)
            uow.record(VersionPublished(model.name, number, command.actor, at))
            await uow.commit()
        return Found(VersionRecord.of(version, model.name, details.aliases), version.etag)

    @asynccontextmanager
    async def _in_line(self, model: ModelName) -> AsyncIterator[Fence | None]:
        """Behind whoever publishes to the model now; or beside them, where no lock can be had.

        Contenders then hold one another up in the database, which decides in any case.
        """
        async with AsyncExitStack() as stack:
            fence = None
            with suppress(LockUnavailable):
                lock = self.locks.hold(f"publish:{model}", timeout=self.lock_timeout)
                fence = await stack.enter_async_context(lock)
            yield fence

    async def _check_bytes(self, manifest: Manifest) -> None:
        """Makes sure that no garbage collection removed a blob before the version named it.

        It can have, where the publish took longer than the grace period. Inside the transaction,
        which excludes collections, the blobs that exist now stay; before the model's row is held,
        since a store may take its time to answer.
        """
        if gone := await self.store.absent({file.sha256 for file in manifest.files}):
            raise StoreUnavailable(
                f"A garbage collection took the blob {min(gone)} before the version named it; "
                "try again."
            )

    async def _model(
        self, uow: UnitOfWork, command: PublishVersion, details: PublishDetails, at: datetime
    ) -> Model:
        try:
            return await uow.models.get(command.model)
        except ModelNotFound:
            if not details.create_model:
                raise
        return await register(uow, command.model, actor=command.actor, at=at, ids=self.ids)


async def _check_parents(uow: UnitOfWork, details: VersionDetails) -> None:
    for index, parent in enumerate(details.parents):
        if not await uow.versions.exists(parent.model, parent.version):
            raise ParentNotFound(
                f"The parent {parent.model!a} version {parent.version} does not exist.",
                errors=[FieldError(f"/parents/{index}", "no such version")],
            )


def _fingerprint(model: ModelName, manifest: Manifest, details: PublishDetails) -> str:
    """A digest of the whole request, independent of the order of its parts and keys."""
    whole = [model, manifest.digest, asdict(details)]
    canonical = json.dumps(whole, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
