"""Uploading a blob straight to the store, past the service: it signs, and it checks at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.ports.store_upkeep import BlobInfo
from domain.values import Digest


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One request that the client makes: PUT ``size`` bytes from ``offset`` on to ``url``.

    Attributes:
        number: counts from 1.
    """

    number: int
    offset: int
    size: int
    url: str


@dataclass(frozen=True, slots=True)
class DirectUpload:
    """``id`` is what completing it takes; the URLs are good until ``expires_at``."""

    id: str
    parts: tuple[UploadPart, ...]
    expires_at: datetime


class DirectUploads(Protocol):
    async def begin(self, digest: Digest, size: int) -> DirectUpload:
        """Signs the requests that carry a blob of this size in bytes.

        Raises:
            DirectUploadUnsupported: this store takes none; the error says what to do instead.
            StoreUnavailable
        """
        ...

    async def complete(
        self, digest: Digest, size: int, upload: str, etags: Sequence[str]
    ) -> BlobInfo:
        """Puts the parts together and makes the blob visible, once its bytes have proved right.

        Args:
            upload: the id that :meth:`begin` gave.
            etags: what the store answered to each part, in their order; empty: the store is asked.

        Raises:
            DigestMismatch: other bytes, or another number of them; they are gone.
            DirectUploadUnsupported, UploadNotFound
            InvalidRequest: parts are missing, or the entity tags are not those of the store.
            StoreUnavailable
        """
        ...
