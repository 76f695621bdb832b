"""Places of their own for tests in an object store."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import boto3  # type: ignore[import-untyped]
import httpx
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from tests.support.services.azurite import AZURE_ACCOUNT, AZURE_KEY
from tests.support.services.launchers import S3_KEY, S3_REGION, S3_SECRET


@dataclass(frozen=True, slots=True)
class Place:
    """An empty place in an object store.

    Attributes:
        path: as ``MODEL_STORAGE_PATH`` takes it, such as ``s3://bucket/prefix``.
        environ: what leads a process there, under the names that each cloud's own tools read.
    """

    path: str
    environ: Mapping[str, str]

    @property
    def bucket(self) -> str:
        """Its bucket or container."""
        return self.path.split("/")[2]

    @property
    def prefix(self) -> str:
        """What its keys begin with, without a slash at the end."""
        return self.path.split("/", 3)[3]


class S3Buckets:
    """A bucket that every test finds empty.

    It is one for all tests of a process: SeaweedFS takes 0.2 s for the first object in a bucket.

    Args:
        given: the credentials, under their usual names, where they are not those of the tests.
    """

    def __init__(self, url: str, given: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environ = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": given.get("AWS_ACCESS_KEY_ID", S3_KEY),
            "AWS_SECRET_ACCESS_KEY": given.get("AWS_SECRET_ACCESS_KEY", S3_SECRET),
            "AWS_REGION": given.get("AWS_REGION", S3_REGION),
            "AWS_ALLOW_HTTP": "true",
        }
        self._bucket = _new_name()
        self._client = s3_client(self._environ)

    @contextmanager
    def new(self) -> Iterator[Place]:
        """An empty place, emptied again at the end."""
        with suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self._client.create_bucket(Bucket=self._bucket)
        try:
            yield _place("s3", self._bucket, self._environ)
        finally:
            self._empty()

    def close(self) -> None:
        """Removes the bucket."""
        with suppress(ClientError):
            self._client.delete_bucket(Bucket=self._bucket)
        self._client.close()

    def _empty(self) -> None:
        with suppress(self._client.exceptions.NoSuchBucket):
            for page in self._pages("list_multipart_uploads"):
                for upload in page.get("Uploads", []):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
            for page in self._pages("list_objects_v2"):
                if found := [{"Key": entry["Key"]} for entry in page.get("Contents", [])]:
                    self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": found})

    def _pages(self, operation: str) -> Iterator[dict[str, Any]]:
        yield from self._client.get_paginator(operation).paginate(Bucket=self._bucket)


class GcsBuckets:
    """A new bucket of Google Cloud Storage for every test; of an emulator, which knows no accounts.

    The project is called ``test``.
    """

    def __init__(self, url: str) -> None:
        self._environ = {"STORAGE_EMULATOR_HOST": url, "GOOGLE_CLOUD_PROJECT": "test"}
        self._api = httpx.Client(base_url=f"{url}/storage/v1/b", trust_env=False)

    @contextmanager
    def new(self) -> Iterator[Place]:
        """An empty place, removed at the end."""
        bucket = _new_name()
        self._api.post("", params={"project": "test"}, json={"name": bucket}).raise_for_status()
        try:
            yield _place("gs", bucket, self._environ)
        finally:
            while found := self._api.get(f"/{bucket}/o").json().get("items"):
                for entry in found:
                    name = quote(entry["name"], safe="")
                    self._api.delete(f"/{bucket}/o/{name}").raise_for_status()
            self._api.delete(f"/{bucket}")

    def close(self) -> None:
        """Ends its connection."""
        self._api.close()


class AzureContainers:
    """A new container of Azure Blob for every test.

    Args:
        given: the credentials, under their usual names, where they are not Azurite's.
    """

    def __init__(self, url: str, given: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environ = {
            "AZURE_STORAGE_ACCOUNT_NAME": given.get("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT),
            "AZURE_STORAGE_ACCOUNT_KEY": given.get("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
            "AZURE_STORAGE_ENDPOINT": url,
            "AZURE_ALLOW_HTTP": "true",
        }
        self._api = httpx.Client(
            base_url=url, params=self._signature() | {"restype": "container"}, trust_env=False
        )

    @contextmanager
    def new(self) -> Iterator[Place]:
        """An empty place, removed at the end."""
        container = _new_name()
        self._api.put(f"/{container}").raise_for_status()
        try:
            yield _place("az", container, self._environ)
        finally:
            self._api.delete(f"/{container}")

    def close(self) -> None:
        """Ends its connection."""
        self._api.close()

    def _signature(self) -> dict[str, str]:
        """Permits all on containers for a day: an account SAS, as Microsoft describes it."""
        expiry = datetime.now(UTC) + timedelta(days=1)
        fields = {"sp": "cd", "ss": "b", "srt": "c", "st": ""}
        fields |= {"se": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"), "sip": "", "spr": ""}
        fields |= {"sv": "2019-12-12"}
        signed = "\n".join([self._environ["AZURE_STORAGE_ACCOUNT_NAME"], *fields.values(), ""])
        key = base64.b64decode(self._environ["AZURE_STORAGE_ACCOUNT_KEY"])
        digest = hmac.digest(key, signed.encode(), "sha256")
        return {name: value for name, value in fields.items() if value} | {
            "sig": base64.b64encode(digest).decode()
        }


def s3_client(environ: Mapping[str, str]) -> Any:
    """A client for a place, by its environment."""
    return boto3.client(
        "s3",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_REGION"],
    )


def _new_name() -> str:
    return f"modelyard-test-{uuid4().hex[:12]}"


def _place(scheme: str, bucket: str, environ: Mapping[str, str]) -> Place:
    return Place(f"{scheme}://{bucket}/{uuid4().hex[:8]}", environ)
