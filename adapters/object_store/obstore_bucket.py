"""A bucket through obstore: Azure Blob, and most of what S3 needs."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, ObjectStore

from adapters.object_store.bucket import CHUNK, Bucket, Location, ObjectInfo, ObjectMissing
from adapters.object_store.failures import NO_BUCKET, failure
from domain.errors import InvalidSettings

if TYPE_CHECKING:  # obstore has these for type checkers alone
    from obstore.store import AzureConfig, ClientConfig, RetryConfig

# Small requests are given up soon, so that whoever waits is told; a stream may take for ever, as
# long as its bytes go on arriving.
_CONNECTING = timedelta(seconds=3)
QUICK: ClientConfig = {"connect_timeout": _CONNECTING, "timeout": timedelta(seconds=10)}
BULK: ClientConfig = {
    "connect_timeout": _CONNECTING,
    "read_timeout": timedelta(seconds=60),
    "timeout": timedelta(days=7),
}
QUICK_AGAIN: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=10)}
BULK_AGAIN: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_FEW = 64 * 1024
_LISTED = 1000
_DELETED = 256
_PARTS_AT_ONCE = 4
_PARTS_OF_ALL = 16
_BYTES_AT_ONCE = 64 << 20
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")


class _NothingThere(Exception):
    """The range lies beyond the end of the object."""


@contextmanager
def as_store_errors(*, of_object: bool = False) -> Iterator[None]:
    """Translates what obstore raises.

    Args:
        of_object: that nothing is there means that it is this object that is missing.

    Raises:
        ObjectMissing
        AlreadyExistsError, _NothingThere: not translated.
    """
    try:
        yield
    except AlreadyExistsError:
        raise
    except FileNotFoundError as error:
        code = _found(_CODE, error)
        if of_object and code not in NO_BUCKET:
            raise ObjectMissing from error
        raise failure(status=404, code=code) from error
    except BaseError as error:
        status = int(_found(_STATUS, error) or 0)
        if status == 416 or "StartTooLarge" in str(error):
            raise _NothingThere from error
        if not status and isinstance(error, PermissionDeniedError | UnauthenticatedError):
            status = 403
        slow = "kind: Timeout" in str(error)
        raise failure(status=status or None, code=_found(_CODE, error), slow=slow) from error


def _found(pattern: re.Pattern[str], error: Exception) -> str:
    found = pattern.search(str(error))
    return found[1] if found else ""


class ObstoreBucket(Bucket):
    """Two clients of one bucket: for small requests and for streams.

    Args:
        quick, bulk: with the timeouts of the same names.
        signer: makes links to a container, by the address under which others reach it.
    """

    def __init__(
        self, quick: ObjectStore, bulk: ObjectStore, signer: AzureStore | None = None
    ) -> None:
        self._quick = quick
        self._bulk = bulk
        self._signer = signer
        self._streams = 0

    async def put(self, key: str, content: bytes) -> None:
        store = self._quick if len(content) <= _FEW else self._bulk
        with as_store_errors():
            await obstore.put_async(store, key, content, use_multipart=False)

    async def create(self, key: str, content: bytes) -> bool:
        try:
            with as_store_errors():
                await obstore.put_async(self._quick, key, content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes | bytearray], part_size: int
    ) -> None:
        """The more streams there are, the fewer parts each has on its way."""
        self._streams += 1
        at_once = min(_PARTS_AT_ONCE, _PARTS_OF_ALL // self._streams, _BYTES_AT_ONCE // part_size)
        at_once = max(1, at_once)
        try:
            with as_store_errors():
                await obstore.put_async(
                    self._bulk, key, chunks, chunk_size=part_size, max_concurrency=at_once
                )
        finally:
            self._streams -= 1

    async def read(self, key: str, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        answer = await self._get(key, start, stop)
        if answer is None:
            return
        stream = answer.stream(min_chunk_size=CHUNK // 2)
        while True:
            with as_store_errors(of_object=True):
                chunk = await anext(stream, b"")
            if not chunk:
                return
            for offset in range(0, len(chunk), CHUNK):
                yield chunk[offset : offset + CHUNK]

    async def _get(self, key: str, start: int, stop: int | None) -> obstore.GetResult | None:
        """None for a range without a byte, which stores and obstore take for a mistake."""
        options: obstore.GetOptions = {}
        if stop is not None:
            options["range"] = (start, max(stop, start + 1))
        elif start:
            options["range"] = {"offset": start}
        try:
            with as_store_errors(of_object=True):
                answer = await obstore.get_async(self._bulk, key, options=options)
        except _NothingThere:
            return None
        return answer if stop is None or stop > start else None

    async def read_at(self, key: str, offset: int, length: int) -> bytes:
        with as_store_errors(of_object=True):
            found = await obstore.get_range_async(self._bulk, key, start=offset, length=length)
            return bytes(found)

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            with as_store_errors(of_object=True):
                return _info(await obstore.head_async(self._quick, key))
        except ObjectMissing:
            return None

    async def list(self, folder: str) -> AsyncGenerator[ObjectInfo, None]:
        pages = obstore.list(self._quick, folder, chunk_size=_LISTED)
        while True:
            with as_store_errors():
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield _info(found)

    async def delete(self, keys: Sequence[str]) -> None:
        """Azure says when one was not there, and deletes the others."""
        for at in range(0, len(keys), _DELETED):
            with suppress(ObjectMissing), as_store_errors(of_object=True):
                await obstore.delete_async(self._quick, keys[at : at + _DELETED])

    async def copy(self, source: str, target: str, size: int) -> None:  # noqa: ARG002
        with as_store_errors(of_object=True):
            await obstore.copy_async(self._bulk, source, target)

    async def link(
        self,
        key: str,
        *,
        filename: str,  # noqa: ARG002
        media_type: str,  # noqa: ARG002
        lifetime: float,
    ) -> str | None:
        """Without filename and type, which obstore cannot sign; None where credentials cannot."""
        if self._signer is None:
            return None
        try:
            return await obstore.sign_async(
                self._signer, "GET", key, expires_in=timedelta(seconds=lifetime)
            )
        except BaseError:
            return None

    async def sweep_parts(
        self,
        folder: str,  # noqa: ARG002
        older_than: datetime,  # noqa: ARG002
        *,
        dry_run: bool,  # noqa: ARG002
    ) -> tuple[int, int]:
        """Azure forgets blocks after a week."""
        return 0, 0


def _info(found: obstore.ObjectMeta) -> ObjectInfo:
    """Both clouds tell whole seconds in one answer or another."""
    modified = found["last_modified"].replace(microsecond=0) + timedelta(seconds=1)
    return ObjectInfo(found["path"], found["size"], modified)


def open_azure(location: Location, public_url: str | None) -> ObstoreBucket:
    """The container, by the environment that Azure's own tools look at (``AZURE_STORAGE_*``).

    Raises:
        InvalidSettings: no account.
    """

    def store(
        options: ClientConfig, retries: RetryConfig, endpoint: str | None = None
    ) -> AzureStore:
        endpoint = endpoint or os.environ.get("AZURE_STORAGE_ENDPOINT")
        where: AzureConfig = {"endpoint": endpoint} if endpoint else {}
        if endpoint and endpoint.startswith("http://"):
            options = {**options, "allow_http": True}
        return AzureStore(
            location.bucket, config=where, client_options=options, retry_config=retries
        )

    try:
        quick, bulk = store(QUICK, QUICK_AGAIN), store(BULK, BULK_AGAIN)
        signer = store(QUICK, QUICK_AGAIN, public_url)
    except BaseError as error:
        raise InvalidSettings(
            "MODEL_STORAGE_METHOD=azure finds no account: set AZURE_STORAGE_ACCOUNT_NAME and "
            "AZURE_STORAGE_ACCOUNT_KEY, or other credentials that Azure's tools read."
        ) from error
    return ObstoreBucket(quick, bulk, signer)
