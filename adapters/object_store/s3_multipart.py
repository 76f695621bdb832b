"""What only boto3 does with S3: signed parts and links with headers, copies in parts, orphans."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    HTTPClientError,
    ReadTimeoutError,
)

from adapters.object_store.bucket import attachment
from adapters.object_store.failures import failure
from adapters.object_store.threads import Threads
from domain.errors import InvalidRequest, InvalidSettings, UploadNotFound

T = TypeVar("T")
_COPIED = 256 << 20
_COPIES_AT_ONCE = 4
_THREADS = 16
_UNFIT = {"EntityTooSmall", "InvalidPart", "InvalidPartOrder", "InvalidRequest", "MalformedXML"}


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload that nobody has completed, and when something last came for it."""

    key: str
    id: str
    size: int
    written_at: datetime


def open_session() -> boto3.Session:
    """Credentials and region by everything that AWS's own tools look at.

    Raises:
        InvalidSettings: there are none.
    """
    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
    if session.get_credentials() is None:
        raise InvalidSettings(
            "MODEL_STORAGE_METHOD=s3 finds no credentials: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with a role."
        )
    return session


def open_client(session: boto3.Session, endpoint: str | None = None) -> Any:
    """A client that signs for this endpoint, else that of the environment, else AWS's own."""
    config = {
        "signature_version": "s3v4",
        "connect_timeout": 3,
        "read_timeout": 60,
        "retries": {"mode": "standard", "total_max_attempts": 4},
        "max_pool_connections": _THREADS,
        # Else every part would need a checksum in a header, which stock clients do not send.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    client = session.client("s3", endpoint_url=endpoint, config=Config(**config))
    if not client.meta.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client
    # Links lead to the region, and not by a redirect that new buckets need for hours.
    config["s3"] = {"addressing_style": "virtual"}
    return session.client("s3", endpoint_url=endpoint, config=Config(**config))


class S3Multipart:
    """All methods may raise StoreUnavailable and StoreFull.

    Args:
        client: for requests of the service.
        signer: for requests of others.
    """

    def __init__(self, client: Any, signer: Any, bucket: str) -> None:
        self._client = client
        self._signer = signer
        self._bucket = bucket
        self._threads = Threads(_THREADS, "s3")

    async def _run(self, work: Callable[[], T], *, unfit: Collection[str] = ()) -> T:
        with _as_store_errors(unfit):
            return await self._threads.run(work)

    async def link(self, key: str, *, filename: str, media_type: str, lifetime: float) -> str:
        """A URL for GET; what it gives is named and typed as asked for."""
        params = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentDisposition": attachment(filename),
            "ResponseContentType": media_type,
        }
        return await self._run(
            lambda: str(
                self._signer.generate_presigned_url(
                    "get_object", Params=params, ExpiresIn=int(lifetime)
                )
            )
        )

    async def begin(self, key: str) -> str:
        """Starts an upload to this key; returns its id."""
        begun = await self._run(
            lambda: self._client.create_multipart_upload(Bucket=self._bucket, Key=key)
        )
        return str(begun["UploadId"])

    async def sign_parts(self, key: str, upload: str, count: int, lifetime: int) -> list[str]:
        """A URL for each part, to PUT it."""

        def sign() -> list[str]:
            whole = {"Bucket": self._bucket, "Key": key, "UploadId": upload}
            return [
                self._signer.generate_presigned_url(
                    "upload_part", Params={**whole, "PartNumber": number}, ExpiresIn=lifetime
                )
                for number in range(1, count + 1)
            ]

        return await self._run(sign)

    async def etags(self, key: str, upload: str) -> list[str]:
        """Of the parts that have arrived, in their order.

        Raises:
            UploadNotFound
        """
        parts = await self._run(partial(self._parts, key, upload))
        return [str(part["ETag"]) for part in parts]

    async def complete(self, key: str, upload: str, etags: Sequence[str]) -> None:
        """Makes one object of its parts.

        Raises:
            UploadNotFound: it is unknown, or was completed or aborted.
            InvalidRequest: parts are missing, or have other entity tags.
        """
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        await self._run(
            lambda: self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            ),
            unfit=_UNFIT,
        )

    async def abort(self, key: str, upload: str) -> None:
        """Drops its parts."""
        try:
            await self._run(
                lambda: self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload
                )
            )
        except UploadNotFound:
            return

    async def copy(self, source: str, target: str, size: int) -> None:
        """Copies an object of any size, a few parts at a time."""
        upload = await self.begin(target)
        limit = asyncio.Semaphore(_COPIES_AT_ONCE)

        async def copy(number: int, start: int) -> str:
            stop = min(size, start + _COPIED) - 1
            async with limit:
                copied = await self._run(
                    lambda: self._client.upload_part_copy(
                        Bucket=self._bucket,
                        Key=target,
                        UploadId=upload,
                        PartNumber=number,
                        CopySource={"Bucket": self._bucket, "Key": source},
                        CopySourceRange=f"bytes={start}-{stop}",
                    )
                )
            return str(copied["CopyPartResult"]["ETag"])

        parts = enumerate(range(0, size, _COPIED), 1)
        copies = [asyncio.ensure_future(copy(number, start)) for number, start in parts]
        try:
            await self.complete(target, upload, await asyncio.gather(*copies))
        except BaseException:
            for part in copies:
                part.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            await self.abort(target, upload)
            raise

    async def unfinished(self, prefix: str) -> AsyncGenerator[Unfinished, None]:
        """Every upload to a key with this prefix."""
        pages = self._pages("list_multipart_uploads", Prefix=prefix)
        while page := await self._run(lambda: next(pages, None)):
            for found in page.get("Uploads", []):
                key, upload = found["Key"], found["UploadId"]
                try:
                    parts = await self._run(partial(self._parts, key, upload))
                except UploadNotFound:
                    continue
                written = [part["LastModified"] for part in parts]
                yield Unfinished(
                    key,
                    upload,
                    sum(part["Size"] for part in parts),
                    max([found["Initiated"], *written]) + timedelta(seconds=1),
                )

    def _parts(self, key: str, upload: str) -> list[dict[str, Any]]:
        pages = self._pages("list_parts", Key=key, UploadId=upload)
        return [part for page in pages for part in page.get("Parts", [])]

    def _pages(self, operation: str, **params: str) -> Iterator[dict[str, Any]]:
        return iter(self._client.get_paginator(operation).paginate(Bucket=self._bucket, **params))


@contextmanager
def _as_store_errors(unfit: Collection[str]) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "NoSuchUpload":
            raise UploadNotFound("There is no such upload; it may have been given up.") from error
        if code in unfit:
            raise InvalidRequest(
                f"The parts of the upload do not fit together ({code}): send the ETag that the "
                "store answered to each part, in their order."
            ) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise failure(status=status, code=code) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise failure(status=None, slow=isinstance(error, ReadTimeoutError)) from error
