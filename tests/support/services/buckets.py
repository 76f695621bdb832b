"""Places of their own for tests in an object store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

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
    """

    def __init__(self, url: str) -> None:
        self._environ = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", S3_KEY),
            "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", S3_SECRET),
            "AWS_REGION": os.environ.get("AWS_REGION", S3_REGION),
            "AWS_ALLOW_HTTP": "true",
        }
        self._bucket = f"modelyard-test-{uuid4().hex[:12]}"
        self._client = s3_client(self._environ)

    @contextmanager
    def new(self) -> Iterator[Place]:
        """An empty place, emptied again at the end."""
        with suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self._client.create_bucket(Bucket=self._bucket)
        try:
            yield Place(f"s3://{self._bucket}/{uuid4().hex[:8]}", self._environ)
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


def s3_client(environ: Mapping[str, str]) -> Any:
    """A client for a place, by its environment."""
    return boto3.client(
        "s3",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_REGION"],
    )
