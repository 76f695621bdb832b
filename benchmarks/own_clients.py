"""Each object store's server, and its own client: what the service is held against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]
from obstore.store import AzureStore, S3Store

from benchmarks.servers import MIB
from tests.support.services.azurite import azure_server
from tests.support.services.buckets import AzureContainers, GcsBuckets, Place, S3Buckets
from tests.support.services.launchers import gcs_server, s3_server

_KEY = "own-client"
_BIG = 16 * MIB


@dataclass(frozen=True, slots=True)
class OwnClient:
    """What the makers of a store give, used as they mean it.

    Attributes:
        settings: of a service that keeps its files in the same bucket.
        upload: takes a file.
        download: returns the sha256 of what was uploaded.
        clear: removes every big object of the bucket, whoever's it is.
    """

    settings: Mapping[str, str]
    upload: Callable[[Path], None]
    download: Callable[[], str]
    clear: Callable[[], None]


@contextmanager
def s3() -> Iterator[OwnClient]:
    """SeaweedFS, and obstore."""
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        buckets = stack.enter_context(closing(S3Buckets(server.url)))
        place = stack.enter_context(buckets.new())
        yield _obstore_client(
            "s3",
            place,
            S3Store(
                place.bucket,
                endpoint=place.environ["AWS_ENDPOINT_URL"],
                access_key_id=place.environ["AWS_ACCESS_KEY_ID"],
                secret_access_key=place.environ["AWS_SECRET_ACCESS_KEY"],
                region=place.environ["AWS_REGION"],
                client_options={"allow_http": True},
            ),
        )


@contextmanager
def azure() -> Iterator[OwnClient]:
    """Azurite, and obstore."""
    with ExitStack() as stack:
        server = stack.enter_context(azure_server())
        containers = stack.enter_context(closing(AzureContainers(server.url)))
        place = stack.enter_context(containers.new())
        yield _obstore_client(
            "azure",
            place,
            AzureStore(
                place.bucket,
                account_name=place.environ["AZURE_STORAGE_ACCOUNT_NAME"],
                account_key=place.environ["AZURE_STORAGE_ACCOUNT_KEY"],
                endpoint=place.environ["AZURE_STORAGE_ENDPOINT"],
                client_options={"allow_http": True},
            ),
        )


@contextmanager
def gcs() -> Iterator[OwnClient]:
    """fake-gcs-server, and google-cloud-storage."""
    with ExitStack() as stack:
        server = stack.enter_context(gcs_server())
        buckets = stack.enter_context(closing(GcsBuckets(server.url)))
        place = stack.enter_context(buckets.new())
        client = storage.Client(
            project=place.environ["GOOGLE_CLOUD_PROJECT"],
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": place.environ["STORAGE_EMULATOR_HOST"]},
        )
        bucket = client.bucket(place.bucket)

        def download() -> str:
            digest = _Digest()
            bucket.blob(_KEY).download_to_file(digest)
            return digest.hexdigest()

        def clear() -> None:
            for found in bucket.list_blobs():
                if found.size >= _BIG:
                    found.delete()

        yield OwnClient(
            _settings("gcs", place),
            lambda path: bucket.blob(_KEY).upload_from_filename(str(path)),
            download,
            clear,
        )


class _Digest:
    """A file that only hashes what is written to it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> int:
        self._digest.update(chunk)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _obstore_client(method: str, place: Place, store: S3Store | AzureStore) -> OwnClient:
    def download() -> str:
        digest = hashlib.sha256()
        for chunk in obstore.get(store, _KEY).stream(min_chunk_size=MIB):
            digest.update(chunk)
        return digest.hexdigest()

    def clear() -> None:
        for page in obstore.list(store):
            for found in page:
                if found["size"] >= _BIG:
                    obstore.delete(store, found["path"])

    return OwnClient(
        _settings(method, place),
        lambda path: _ignore(obstore.put(store, _KEY, path)),
        download,
        clear,
    )


def _ignore(_result: object) -> None:
    """The file is there; its version does not matter."""


def _settings(method: str, place: Place) -> Mapping[str, str]:
    return {
        "MODEL_STORAGE_METHOD": method,
        "MODEL_STORAGE_PATH": place.path,
        **place.environ,
    }
