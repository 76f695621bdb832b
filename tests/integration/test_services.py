"""The servers that other tests rely on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from google.api_core.exceptions import PreconditionFailed
from google.cloud import storage  # type: ignore[import-untyped]
from obstore.exceptions import AlreadyExistsError
from obstore.store import AzureStore
from redis import Redis
from redis.exceptions import TimeoutError as NoAnswer

from tests.support.services.buckets import Place, S3Buckets, s3_client
from tests.support.services.databases import Databases
from tests.support.services.launchers import postgres_server, redis_server, s3_server
from tests.support.services.probes import redis_answers
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


def query(url: str, *statements: str) -> Any:
    """The value that the last statement gives."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


def test_two_databases_have_nothing_in_common(databases: Databases, postgres_url: str) -> None:
    query(postgres_url, "CREATE TABLE only_here (id int)", "SELECT 1")
    with databases.new() as other:
        assert query(other, "SELECT to_regclass('only_here')") is None
    assert query(postgres_url, "SELECT to_regclass('only_here')") == "only_here"


def test_a_database_can_be_the_copy_of_a_filled_one(databases: Databases) -> None:
    def fill(url: str) -> None:
        query(url, "CREATE TABLE filled AS SELECT 42 AS answer", "SELECT 1")

    with databases.template(fill) as template:
        for _ in range(2):
            with databases.new(template) as url:
                assert query(url, "UPDATE filled SET answer = answer + 1 RETURNING answer") == 43


def test_a_database_can_hold_an_empty_registry(migrated_postgres_url: str) -> None:
    assert query(migrated_postgres_url, "SELECT count(*) FROM models") == 0


def test_redis_keeps_what_it_is_given(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        assert redis.keys() == []
        redis.set("key", "value")
        assert redis.get("key") == b"value"


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_s3_keeps_what_it_is_given_for_one_test(s3_bucket: Place, attempt: str) -> None:
    client = s3_client(s3_bucket.environ)
    assert client.list_objects_v2(Bucket=s3_bucket.bucket)["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_bucket.bucket)
    key = f"{s3_bucket.prefix}/a b"
    client.put_object(Bucket=s3_bucket.bucket, Key=key, Body=b"bytes")
    client.create_multipart_upload(Bucket=s3_bucket.bucket, Key=key)
    assert client.get_object(Bucket=s3_bucket.bucket, Key=key)["Body"].read() == b"bytes"
    client.close()


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_google_cloud_storage_keeps_what_it_is_given(
    gcs_bucket: Place, monkeypatch: pytest.MonkeyPatch, attempt: str
) -> None:
    for name, value in gcs_bucket.environ.items():
        monkeypatch.setenv(name, value)
    client = storage.Client()
    bucket = client.bucket(gcs_bucket.bucket)
    assert list(client.list_blobs(bucket)) == []
    blob = bucket.blob(f"{gcs_bucket.prefix}/a b")
    blob.upload_from_string(b"bytes", if_generation_match=0)
    assert blob.download_as_bytes() == b"bytes"
    with pytest.raises(PreconditionFailed):
        blob.upload_from_string(b"other", if_generation_match=0)
    client.close()


def test_azure_keeps_what_it_is_given(
    azure_container: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azure_container.environ.items():
        monkeypatch.setenv(name, value)
    store = AzureStore.from_url(azure_container.path)
    assert list(store.list()) == []
    store.put("a b", b"bytes", mode="create")
    assert store.get("a b").bytes() == b"bytes"
    with pytest.raises(AlreadyExistsError):
        store.put("a b", b"other", mode="create")


def test_postgres_keeps_its_rows_and_its_port_when_killed() -> None:
    with postgres_server() as server:
        query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer", "SELECT 1")
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            query(server.url, "SELECT 1")
        server.start()
        assert query(server.url, "SELECT answer FROM kept") == 42


def test_s3_keeps_its_objects_and_its_port_when_killed() -> None:
    with s3_server() as server:
        buckets = S3Buckets(server.url)
        with buckets.new() as place:
            client = s3_client(place.environ)
            client.put_object(Bucket=place.bucket, Key="kept", Body=b"bytes")
            server.kill()
            server.start()
            assert client.get_object(Bucket=place.bucket, Key="kept")["Body"].read() == b"bytes"
            client.close()
        buckets.close()


def test_a_frozen_server_does_not_answer_until_it_is_thawed() -> None:
    with redis_server() as server, Redis.from_url(server.url) as redis:
        redis.ping()
        server.freeze()
        hasty = Redis.from_url(server.url, socket_timeout=0.2, retry=None)
        with hasty, pytest.raises(NoAnswer):
            hasty.ping()
        server.thaw()
        assert redis.ping()


def test_no_server_outlives_the_process_that_started_it() -> None:
    """Not even when that is killed and cannot stop it."""
    script = (
        "import sys; from tests.support.services.launchers import redis_server\n"
        "with redis_server() as server: print(server.url, server.folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        url, folder = owner.stdout.readline().decode().split()
        with Redis.from_url(url) as redis:
            redis.ping()
            owner.kill()
            eventually(lambda: not redis_answers(url))
        eventually(lambda: not Path(folder).exists())
