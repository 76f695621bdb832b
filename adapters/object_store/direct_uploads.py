"""Blobs that clients PUT to S3 themselves, by URLs that are signed for them."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from adapters.object_store.blobs import Blobs
from adapters.object_store.bucket import ObjectMissing
from adapters.object_store.threads import Threads
from application.ports.direct_uploads import DirectUpload, DirectUploads, UploadPart
from application.ports.store_upkeep import BlobInfo
from domain.errors import (
    DigestMismatch,
    DirectUploadUnsupported,
    InvalidRequest,
    RequestTooLarge,
    StoreUnavailable,
    UploadNotFound,
)
from domain.values import Digest

if TYPE_CHECKING:  # its clients are large, and not needed to say that there are no direct uploads
    from adapters.object_store.s3_bucket import S3Bucket

_PART = 64 << 20
_MOST_PARTS = 250
_LARGEST_PART = 5 << 30
_LIFETIME = timedelta(hours=12)
_ID = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9._~=+/-]{1,1024})")
_HASHERS = 4


class NoDirectUploads(DirectUploads):
    """For stores to which clients cannot send bytes themselves."""

    async def begin(self, digest: Digest, size: int) -> DirectUpload:  # noqa: ARG002
        raise _unsupported(digest)

    async def complete(
        self,
        digest: Digest,
        size: int,  # noqa: ARG002
        upload: str,  # noqa: ARG002
        etags: Sequence[str],  # noqa: ARG002
    ) -> BlobInfo:
        raise _unsupported(digest)


def _unsupported(digest: Digest) -> DirectUploadUnsupported:
    return DirectUploadUnsupported(
        f"Only a store on S3 takes direct uploads; PUT the bytes to /api/v1/blobs/{digest} instead."
    )


class S3DirectUploads(DirectUploads):
    """One multipart upload each, to a staging key of its own."""

    def __init__(self, bucket: S3Bucket, blobs: Blobs, *, part_size: int = _PART) -> None:
        self._bucket = bucket
        self._multipart = bucket.multipart
        self._blobs = blobs
        self._part_size = part_size
        self._threads = Threads(_HASHERS, "direct-hasher")

    async def begin(self, digest: Digest, size: int) -> DirectUpload:  # noqa: ARG002
        """Whose digest it will have, the end tells."""
        part_size = max(self._part_size, -(-size // _MOST_PARTS))
        if part_size > _LARGEST_PART:
            most = _LARGEST_PART * _MOST_PARTS >> 30
            raise RequestTooLarge(f"A direct upload has at most {most} GiB.")
        offsets = range(0, max(size, 1), part_size)
        name = secrets.token_hex(16)
        key = self._key(name)
        upload = await self._multipart.begin(key)
        expires_at = datetime.now(UTC) + _LIFETIME
        lifetime = int(_LIFETIME.total_seconds())
        urls = await self._multipart.sign_parts(key, upload, len(offsets), lifetime)
        parts = tuple(
            UploadPart(number, offset, min(part_size, size - offset), url)
            for number, (offset, url) in enumerate(zip(offsets, urls, strict=True), 1)
        )
        return DirectUpload(f"{name}.{upload}", parts, expires_at)

    async def complete(
        self, digest: Digest, size: int, upload: str, etags: Sequence[str]
    ) -> BlobInfo:
        """Completing again, after an answer was lost, finds the blob or goes on with its bytes."""
        found = _ID.fullmatch(upload)
        if found is None:
            raise _unknown()
        key = self._key(found[1])
        with suppress(UploadNotFound):
            await self._put_together(key, found[2], etags)
        staged = await self._bucket.head(key)
        if staged is None:
            return await self._present(digest, size)
        try:
            await self._check(key, staged.size, digest, size)
            copy = partial(self._bucket.copy, key, self._blobs.key(digest), size)
            info = await self._blobs.adopt(digest, copy, mark=True)
        except DigestMismatch:
            await self._bucket.delete([key])
            raise
        except ObjectMissing:  # somebody else has completed it meanwhile
            return await self._present(digest, size)
        except StoreUnavailable:
            with suppress(UploadNotFound):  # or was doing so, while this one was reading
                return await self._present(digest, size)
            raise
        with suppress(StoreUnavailable):  # else a sweep does it
            await self._bucket.delete([key])
        return info

    async def _present(self, digest: Digest, size: int) -> BlobInfo:
        present = await self._blobs.renew(digest)
        if present is None or present.size != size:
            raise _unknown()
        return present

    def _key(self, name: str) -> str:
        return f"{self._blobs.prefix}staging/{name}"

    async def _put_together(self, key: str, upload: str, etags: Sequence[str]) -> None:
        tags = etags or await self._multipart.etags(key, upload)
        if not tags:
            raise InvalidRequest("No part of this upload has arrived; PUT each to its URL first.")
        await self._multipart.complete(key, upload, tags)

    async def _check(self, key: str, staged: int, digest: Digest, size: int) -> None:
        """Raises: DigestMismatch, ObjectMissing."""
        if staged != size:
            raise DigestMismatch(
                f"The parts have {staged} bytes together, not {size}; none of them were kept."
            )
        hasher = hashlib.sha256()
        async with aclosing(self._bucket.read(key, 0, None)) as chunks:
            async for chunk in chunks:
                await self._threads.run(hasher.update, chunk)
        if hasher.hexdigest() != digest:
            raise DigestMismatch.of(hasher.hexdigest(), digest)


def _unknown() -> UploadNotFound:
    return UploadNotFound("There is no such upload; it may have been given up.")
