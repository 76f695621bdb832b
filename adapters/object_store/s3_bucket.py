"""A bucket of S3: obstore moves the bytes, boto3 does what obstore cannot."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from adapters.object_store.bucket import Location
from adapters.object_store.obstore_bucket import (
    BULK,
    BULK_AGAIN,
    QUICK,
    QUICK_AGAIN,
    ObstoreBucket,
)
from adapters.object_store.s3_multipart import S3Multipart, open_client, open_session

if TYPE_CHECKING:  # obstore has these for type checkers alone
    from obstore.store import ClientConfig, RetryConfig

_COPIED_AT_ONCE = 1 << 30
"""S3 copies up to 5 GB in one request, but one that takes minutes may be cut on its way."""

_CREDENTIALS_KEPT = timedelta(minutes=5)
"""Those of a role have ten minutes left at least when boto3 hands them out."""


class S3Bucket(ObstoreBucket):
    """A bucket and its multipart uploads.

    Args:
        quick, bulk: see :class:`ObstoreBucket`.
        multipart: what boto3 does with it.
    """

    def __init__(self, quick: S3Store, bulk: S3Store, multipart: S3Multipart) -> None:
        super().__init__(quick, bulk)
        self.multipart = multipart

    async def copy(self, source: str, target: str, size: int) -> None:
        """In parts where it is large."""
        if size <= _COPIED_AT_ONCE:
            await super().copy(source, target, size)
        else:
            await self.multipart.copy(source, target, size)

    async def link(self, key: str, *, filename: str, media_type: str, lifetime: float) -> str:
        return await self.multipart.link(
            key, filename=filename, media_type=media_type, lifetime=lifetime
        )

    async def sweep_parts(
        self, folder: str, older_than: datetime, *, dry_run: bool
    ) -> tuple[int, int]:
        count = size = 0
        async for left in self.multipart.unfinished(f"{folder}/"):
            if left.written_at < older_than:
                if not dry_run:
                    await self.multipart.abort(left.key, left.id)
                count, size = count + 1, size + left.size
        return count, size


def open_s3(location: Location, public_url: str | None) -> S3Bucket:
    """The bucket, by what AWS's own tools look at: ``AWS_*``, profiles, roles.

    Raises:
        InvalidSettings: no credentials.
    """
    session = open_session()
    client = open_client(session)
    signer = open_client(session, public_url) if public_url else client
    credentials = Boto3CredentialProvider(session, ttl=_CREDENTIALS_KEPT)

    def store(options: ClientConfig, retries: RetryConfig) -> S3Store:
        if client.meta.endpoint_url.startswith("http://"):
            options = {**options, "allow_http": True}
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            options = {**options, "root_certificate": Path(bundle).read_bytes()}
        return S3Store(
            location.bucket,
            endpoint=client.meta.endpoint_url,
            region=client.meta.region_name,
            virtual_hosted_style_request=False,
            credential_provider=credentials,
            client_options=options,
            retry_config=retries,
        )

    multipart = S3Multipart(client, signer, location.bucket)
    return S3Bucket(store(QUICK, QUICK_AGAIN), store(BULK, BULK_AGAIN), multipart)
