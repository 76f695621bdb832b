"""Every error the registry raises on purpose, in one tree.

Each concrete class has a stable ``code`` (what clients branch on) and a ``kind`` from a closed
set. Numbers of protocols (HTTP statuses, exit codes) live in the entrypoints: one table each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self


class Kind(StrEnum):
    """What sort of thing went wrong; protocols map each kind once."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    RANGE = "range"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    CHECKSUM = "checksum"
    LOCKED = "locked"
    UNAVAILABLE = "unavailable"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: an RFC 6901 JSON pointer and a sentence about it."""

    pointer: str
    message: str


def pointer_to(parent: str, key: str) -> str:
    """The pointer to a member of the object at ``parent``, in characters that UTF-8 can carry."""
    sound = key[:250].encode(errors="backslashreplace").decode()
    return f"{parent}/{sound.replace('~', '~0').replace('/', '~1')}"


class ModelyardError(Exception):
    """Root of the tree; ``detail`` tells the caller what was wrong and what would be right, and
    ``errors`` which fields are at fault, where the fault is in fields."""

    code: ClassVar[str]
    kind: ClassVar[Kind]
    title: ClassVar[str]

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


# --- the request itself -------------------------------------------------------------------------


class MalformedRequest(ModelyardError):
    code, kind, title = "request.malformed", Kind.MALFORMED, "The request could not be read"


class InvalidRequest(ModelyardError):
    code, kind, title = "request.invalid", Kind.INVALID, "The request has invalid fields"


def invalid_field(pointer: str, fault: str) -> InvalidRequest:
    """The error for one field at fault; ``fault`` is a sentence without its full stop."""
    return InvalidRequest(f"{pointer} is wrong: {fault}.", errors=[FieldError(pointer, fault)])


class RequestTooLarge(ModelyardError):
    code, kind = "request.too_large", Kind.TOO_LARGE
    title = "The request is larger than this service accepts"


class UnsupportedMediaType(ModelyardError):
    code, kind = "request.unsupported_media_type", Kind.UNSUPPORTED
    title = "The content type of the request is not supported"


class CrossSiteRequest(ModelyardError):
    """A browser sends it for a page that is not this service's own."""

    code, kind = "request.cross_site", Kind.FORBIDDEN
    title = "A page of another site asks for a change"


class InvalidFilter(ModelyardError):
    """A filter, an order or a page token that does not parse; ``position`` counts characters."""

    code, kind, title = "filter.invalid", Kind.MALFORMED, "The filter could not be understood"

    def __init__(self, detail: str, *, position: int) -> None:
        detail = f"{detail} (at position {position})"
        super().__init__(detail, errors=[FieldError("/filter", detail)])
        self.position = position


class InvalidOrder(ModelyardError):
    code, kind, title = "order_by.invalid", Kind.MALFORMED, "The order could not be understood"


class InvalidPageToken(ModelyardError):
    code, kind, title = "page_token.invalid", Kind.MALFORMED, "Not a page token of this list"


class SearchTooCostly(ModelyardError):
    code, kind, title = "search.too_costly", Kind.MALFORMED, "The search takes too long"


class PreconditionFailed(ModelyardError):
    code, kind = "precondition.failed", Kind.PRECONDITION_FAILED
    title = "The resource has changed since it was read"


class IdempotencyConflict(ModelyardError):
    code, kind = "idempotency.conflict", Kind.CONFLICT
    title = "This Idempotency-Key was used for another request"


# --- values -------------------------------------------------------------------------------------


class InvalidModelName(ModelyardError):
    code, kind, title = "model.invalid_name", Kind.INVALID, "Not a valid model name"


class InvalidAliasName(ModelyardError):
    code, kind, title = "alias.invalid_name", Kind.INVALID, "Not a valid alias"


class InvalidReference(ModelyardError):
    code, kind, title = "reference.invalid", Kind.INVALID, "Not a reference to a version"


class InvalidFilePath(ModelyardError):
    code, kind, title = "file.invalid_path", Kind.INVALID, "Not a valid path of a file"


class InvalidDigest(ModelyardError):
    code, kind, title = "blob.invalid_digest", Kind.INVALID, "Not a sha256 digest"


class InvalidManifest(ModelyardError):
    code, kind, title = "version.invalid_manifest", Kind.INVALID, "These files cannot be a version"


# --- models -------------------------------------------------------------------------------------


class ModelNotFound(ModelyardError):
    code, kind, title = "model.not_found", Kind.NOT_FOUND, "There is no such model"

    @classmethod
    def named(cls, name: str) -> Self:
        return cls(f"There is no model {name!a}.")


class ModelExists(ModelyardError):
    code, kind, title = "model.exists", Kind.CONFLICT, "A model of this name exists"

    @classmethod
    def named(cls, name: str) -> Self:
        return cls(f"There is a model {name!a} already.")


class ModelNameRetired(ModelyardError):
    """Renaming onto a name whose version numbers another, deleted or renamed, model handed out."""

    code, kind = "model.name_retired", Kind.CONFLICT
    title = "Another model published versions under this name"


class ModelInUse(ModelyardError):
    code, kind, title = "model.in_use", Kind.CONFLICT, "The model has aliases"


# --- versions and files -------------------------------------------------------------------------


class VersionNotFound(ModelyardError):
    code, kind, title = "version.not_found", Kind.NOT_FOUND, "There is no such version"

    @classmethod
    def numbered(cls, number: int, model: str | None = None) -> Self:
        bearer = "The model" if model is None else f"{model!a}"
        return cls(f"{bearer} has no version {number}.")


class VersionConflict(ModelyardError):
    """The allocated number is taken: the unique constraint caught what the counter did not."""

    code, kind, title = "version.conflict", Kind.CONFLICT, "This version number is taken"


class VersionInUse(ModelyardError):
    code, kind, title = "version.in_use", Kind.CONFLICT, "An alias points at this version"


class VersionImmutable(ModelyardError):
    code, kind, title = "version.immutable", Kind.INVALID, "This part of a version cannot change"


class ParentNotFound(ModelyardError):
    code, kind, title = "version.parent_not_found", Kind.INVALID, "A parent does not exist"


class FileNotFound(ModelyardError):
    code, kind, title = "file.not_found", Kind.NOT_FOUND, "The version has no such file"


class FileNotAModel(ModelyardError):
    code, kind, title = "file.not_a_model", Kind.UNSUPPORTED, "This file is not a model"


class NoModel(ModelyardError):
    code, kind, title = "version.no_model", Kind.UNSUPPORTED, "None of the files is a model"


class FileRefused(ModelyardError):
    """It is broken, or loading it would do harm."""

    code, kind, title = "file.refused", Kind.INVALID, "This file must not enter"


class VersionQuarantined(ModelyardError):
    code, kind = "version.quarantined", Kind.CONFLICT
    title = "The version is held until somebody accepts it"


class VersionNotHeld(ModelyardError):
    code, kind, title = "version.not_held", Kind.CONFLICT, "There is nothing to review"


class RangeNotSatisfiable(ModelyardError):
    """The requested byte range lies outside the file of ``size`` bytes (RFC 9110, 14.4)."""

    code, kind, title = "file.range_not_satisfiable", Kind.RANGE, "The range lies outside the file"

    def __init__(self, detail: str, *, size: int) -> None:
        super().__init__(detail)
        self.size = size


# --- aliases ------------------------------------------------------------------------------------


class AliasNotFound(ModelyardError):
    code, kind, title = "alias.not_found", Kind.NOT_FOUND, "There is no such alias"

    @classmethod
    def named(cls, name: str, model: str, others: Sequence[str] = ()) -> Self:
        there = f"; there is {', '.join(f'{other!a}' for other in others[:5])}" if others else ""
        return cls(f"{model!a} has no alias {name!a}{there}.")


class AliasHasNoPrevious(ModelyardError):
    code, kind, title = "alias.no_previous", Kind.CONFLICT, "The alias has no version to go back to"


# --- blobs and the machinery below --------------------------------------------------------------


class BlobNotFound(ModelyardError):
    code, kind, title = "blob.not_found", Kind.NOT_FOUND, "There is no such blob"

    @classmethod
    def named(cls, digest: str) -> Self:
        return cls(f"There is no blob {digest}.")


class BlobNotUploaded(ModelyardError):
    code, kind, title = "blob.not_uploaded", Kind.INVALID, "A file was not uploaded"


class DigestMismatch(ModelyardError):
    code, kind, title = "blob.digest_mismatch", Kind.INVALID, "The bytes have another digest"

    @classmethod
    def of(cls, found: str, promised: str) -> Self:
        return cls(f"The bytes have the sha256 {found}, not {promised}; none of them were kept.")


class BlobCorrupt(ModelyardError):
    """The store lost or changed bytes that a version names."""

    code, kind, title = "blob.corrupt", Kind.CORRUPT, "Stored bytes are missing or damaged"


class UploadInterrupted(ModelyardError):
    code, kind, title = "upload.interrupted", Kind.MALFORMED, "The upload ended too early"


class UploadNotFound(ModelyardError):
    code, kind, title = "upload.not_found", Kind.NOT_FOUND, "There is no such upload"


class UploadExpired(ModelyardError):
    code, kind, title = "upload.expired", Kind.GONE, "The upload has expired"


class UploadConflict(ModelyardError):
    code, kind, title = "upload.conflict", Kind.CONFLICT, "The upload is not at this offset"


class UploadSealed(ModelyardError):
    code, kind, title = "upload.sealed", Kind.FORBIDDEN, "The upload was put together from parts"


class ChecksumMismatch(ModelyardError):
    code, kind, title = "upload.checksum_mismatch", Kind.CHECKSUM, "The bytes are not as promised"


class TusVersionUnsupported(ModelyardError):
    code, kind = "upload.unsupported_version", Kind.PRECONDITION_FAILED
    title = "This version of the tus protocol is not spoken here"


class DirectUploadUnsupported(ModelyardError):
    code, kind = "blob.direct_upload_unsupported", Kind.CONFLICT
    title = "This store takes no direct uploads"


class LockTimeout(ModelyardError):
    code, kind, title = "lock.timeout", Kind.LOCKED, "Others are working on this; try again"


class LockLost(ModelyardError):
    code, kind, title = "lock.lost", Kind.LOCKED, "The lock was lost to another holder; try again"

    @classmethod
    def to_later(cls, name: str) -> Self:
        return cls(f"The lock {name!a} was held too long and went to somebody else; try again.")


class LockUnavailable(ModelyardError):
    code, kind, title = "lock.unavailable", Kind.UNAVAILABLE, "The lock service cannot be reached"


class StoreUnavailable(ModelyardError):
    code, kind = "store.unavailable", Kind.UNAVAILABLE
    title = "The artifact store cannot take or give bytes now"


class ValidationUnavailable(ModelyardError):
    code, kind, title = "validation.unavailable", Kind.UNAVAILABLE, "Files cannot be checked now"


class StoreFull(ModelyardError):
    code, kind, title = "store.full", Kind.UNAVAILABLE, "The artifact store is full"


class DatabaseUnavailable(ModelyardError):
    code, kind = "database.unavailable", Kind.UNAVAILABLE
    title = "The database cannot be reached now"


class DatabaseBehind(ModelyardError):
    code, kind = "database.behind", Kind.UNAVAILABLE
    title = "The database schema is not the one this release needs"


class DatabaseMissing(ModelyardError):
    code, kind = "database.missing", Kind.UNAVAILABLE
    title = "There is no registry where the settings say"


class NotReady(ModelyardError):
    code, kind, title = "service.not_ready", Kind.UNAVAILABLE, "The service is not ready"


class CollectionRefused(ModelyardError):
    code, kind, title = "gc.refused", Kind.CONFLICT, "Every blob of the store would be removed"


class StoreOfAnother(ModelyardError):
    code, kind = "store.of_another", Kind.CONFLICT
    title = "The artifact store belongs to another registry"


class DatabaseOfAnother(ModelyardError):
    code, kind = "database.of_another", Kind.CONFLICT
    title = "The database has rows that would be lost"


class InvalidExport(ModelyardError):
    code, kind, title = "export.invalid", Kind.INVALID, "Not a folder that export wrote"


class InvalidSettings(ModelyardError):
    code, kind, title = "settings.invalid", Kind.INVALID, "The settings are wrong"
