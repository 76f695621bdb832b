"""A bucket of Google Cloud Storage, by Google's own client, which blocks and so runs in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from google.api_core.exceptions import (
    GoogleAPICallError,
    GoogleAPIError,
    PreconditionFailed,
    RetryError,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import storage  # type: ignore[import-untyped]
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # type: ignore[import-untyped]
from google.cloud.storage.fileio import BlobWriter  # type: ignore[import-untyped]
from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter
from requests.exceptions import Timeout

from adapters.object_store.bucket import (
    CHUNK,
    Bucket,
    Location,
    ObjectInfo,
    ObjectMissing,
    attachment,
)
from adapters.object_store.failures import failure
from adapters.object_store.threads import Threads
from domain.errors import InvalidSettings

P = ParamSpec("P")
T = TypeVar("T")
_LOOKERS = 32
_MOVERS = 32
_READ = 8 << 20
_PART_UNIT = 256 * 1024
_QUICK: dict[str, Any] = {"timeout": (3, 10), "retry": DEFAULT_RETRY.with_timeout(10)}
_BULK: dict[str, Any] = {"timeout": (3, 60), "retry": DEFAULT_RETRY.with_timeout(60)}


@contextmanager
def _as_store_errors() -> Iterator[None]:
    """Translates what Google's client raises, but for PreconditionFailed.

    Raises:
        ObjectMissing: there is no such object, or no such bucket.
    """
    try:
        yield
    except PreconditionFailed:
        raise
    except (GoogleAPIError, GoogleAuthError, InvalidResponse, DataCorruption, OSError) as error:
        cause = error.cause if isinstance(error, RetryError) and error.cause else error
        status, code = _answer(cause)
        if status == 404:
            raise ObjectMissing from error
        raise failure(status=status, code=code, slow=isinstance(cause, Timeout)) from error


def _answer(error: Exception) -> tuple[int | None, str]:
    """The HTTP status and Google's word for it, where there was an answer at all."""
    if isinstance(error, GoogleAPICallError):
        told = [str(fault.get("reason", "")) for fault in error.errors if isinstance(fault, dict)]
        return error.code, "".join(told[:1])
    if isinstance(error, InvalidResponse):
        return error.response.status_code, ""
    return None, ""


@contextmanager
def _of_bucket() -> Iterator[None]:
    """Around what needs no object to be there."""
    try:
        yield
    except ObjectMissing as error:
        raise failure(status=404, code="NoSuchBucket") from error


class _Writer(BlobWriter):  # type: ignore[misc]
    """What nobody has closed stays incomplete: Google's own, as any file of Python, closes itself
    as garbage, which would make an object of what has come so far."""

    def __del__(self) -> None:
        pass


class GcsBucket(Bucket):
    """Looking has threads of its own, so that transfers do not keep it waiting."""

    def __init__(self, client: storage.Client, name: str, public_url: str | None) -> None:
        self._bucket = client.bucket(name)
        self._client = client
        self._public_url = public_url
        self._lookers = Threads(_LOOKERS, "gcs-looker")
        self._movers = Threads(_MOVERS, "gcs-mover")

    async def _look(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with _as_store_errors():
            return await self._lookers.run(work, *args, **kwargs)

    async def _move(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with _as_store_errors():
            return await self._movers.run(work, *args, **kwargs)

    async def put(self, key: str, content: bytes) -> None:
        upload = self._bucket.blob(key).upload_from_string
        with _of_bucket():
            if content:
                await self._move(upload, content, **_BULK)
            else:
                await self._look(upload, content, **_QUICK)

    async def create(self, key: str, content: bytes) -> bool:
        upload = self._bucket.blob(key).upload_from_string
        try:
            with _of_bucket():
                await self._look(upload, content, if_generation_match=0, **_QUICK)
        except PreconditionFailed:
            return False
        return True

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes | bytearray], part_size: int
    ) -> None:
        """One part at a time: a resumable upload has an order."""
        part_size = -(-part_size // _PART_UNIT) * _PART_UNIT
        writer = _Writer(self._bucket.blob(key), chunk_size=part_size, **_BULK)
        try:
            with _of_bucket():
                async for chunk in chunks:
                    await self._move(writer.write, chunk)
                await self._move(writer.close)
        except Exception:
            with suppress(Exception):  # what cannot be dropped now Google drops after a week
                await self._movers.run(writer.terminate)
            raise

    async def read(self, key: str, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """Reads a block ahead of the consumer."""
        info = await self.head(key)
        if info is None:
            raise ObjectMissing
        stop = info.size if stop is None else min(stop, info.size)
        ahead = self._block(key, start, stop)
        try:
            while ahead is not None:
                with _as_store_errors():
                    block = await ahead
                start += len(block)
                ahead = self._block(key, start, stop)
                for offset in range(0, len(block), CHUNK):
                    yield block[offset : offset + CHUNK]
        finally:
            if ahead is not None:
                ahead.cancel()

    def _block(self, key: str, start: int, stop: int) -> asyncio.Future[bytes] | None:
        if start >= stop:
            return None
        return self._movers.run(self._fetch, key, start, min(stop, start + _READ), _BULK)

    def _fetch(self, key: str, start: int, stop: int, patience: dict[str, Any]) -> bytes:
        found: bytes = self._bucket.blob(key).download_as_bytes(
            start=start, end=stop - 1, raw_download=True, checksum=None, **patience
        )
        return found

    async def read_at(self, key: str, offset: int, length: int) -> bytes:
        return await self._look(self._fetch, key, offset, offset + length, _QUICK)

    async def head(self, key: str) -> ObjectInfo | None:
        found = await self._look(self._bucket.get_blob, key, **_QUICK)
        return None if found is None else _info(found)

    async def list(self, folder: str) -> AsyncGenerator[ObjectInfo, None]:
        pages = self._client.list_blobs(self._bucket, prefix=f"{folder}/", **_QUICK).pages
        while True:
            with _of_bucket():
                page = await self._look(next, pages, None)
            if page is None:
                return
            for found in page:
                yield _info(found)

    async def delete(self, keys: Sequence[str]) -> None:
        async def delete(key: str) -> None:
            with suppress(ObjectMissing):
                await self._look(self._bucket.blob(key).delete, **_QUICK)

        await asyncio.gather(*map(delete, keys))

    async def copy(self, source: str, target: str, size: int) -> None:  # noqa: ARG002
        """Within one bucket Google copies no bytes, and is done at once or goes on by a token."""
        origin, copy = self._bucket.blob(source), self._bucket.blob(target)
        token: str | None = None
        while True:
            token, _, _ = await self._move(copy.rewrite, origin, token=token, **_BULK)
            if token is None:
                return

    async def link(
        self, key: str, *, filename: str, media_type: str, lifetime: float
    ) -> str | None:
        """None where the credentials have no key to sign with."""
        sign = self._bucket.blob(key).generate_signed_url
        where = {"api_access_endpoint": self._public_url} if self._public_url else {}
        try:
            url: str = await self._look(
                sign,
                version="v4",
                expiration=timedelta(seconds=int(lifetime)),
                response_disposition=attachment(filename),
                response_type=media_type,
                **where,
            )
        except AttributeError:
            return None
        return url

    async def sweep_parts(
        self,
        folder: str,  # noqa: ARG002
        older_than: datetime,  # noqa: ARG002
        *,
        dry_run: bool,  # noqa: ARG002
    ) -> tuple[int, int]:
        """Google forgets them after a week."""
        return 0, 0


def _info(found: storage.Blob) -> ObjectInfo:
    """Google tells milliseconds."""
    return ObjectInfo(found.name, found.size, found.updated + timedelta(milliseconds=1))


def open_gcs(location: Location, public_url: str | None) -> GcsBucket:
    """The bucket, by Google's application default credentials, or ``STORAGE_EMULATOR_HOST``.

    Raises:
        InvalidSettings: no credentials.
    """
    try:
        client = storage.Client(project=None)
    except DefaultCredentialsError as error:
        raise InvalidSettings(
            "MODEL_STORAGE_METHOD=gcs finds no credentials: set GOOGLE_APPLICATION_CREDENTIALS, "
            "or run with a service account."
        ) from error
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=_LOOKERS + _MOVERS))  # noqa: SLF001
    return GcsBucket(client, location.bucket, public_url)
