"""Object stores that fail, are not there, or are not what the settings say."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.object_store import Method, blobs, gcs_bucket, obstore_bucket, open_stores
from adapters.object_store.bucket import Location, parse_location
from adapters.sql import postgres
from application.ports import ArtifactStore
from domain.errors import InvalidSettings, StoreFull, StoreUnavailable
from tests.contracts.artifact_store import ABSENT, MIB, content_of, digest_of, put, upload
from tests.contracts.object_stores import address_of, artifacts, s3_leftovers
from tests.support.aio import collect
from tests.support.front import Answer, front
from tests.support.services.buckets import Place

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 60
SECRETS = re.compile(
    r"http|Signature=|testkey|testsecret|devstore|Eby8|127\.0\.0\.1|modelyard-test"
)
AZURE_KEY = "c2VjcmV0"


@pytest.fixture(params=["s3", "gcs", "azure"])
def place(request: pytest.FixtureRequest) -> Place:
    names = {"s3": "s3_bucket", "gcs": "gcs_bucket", "azure": "azure_container"}
    found: Place = request.getfixturevalue(names[request.param])
    return found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that try less often."""
    for retries in (obstore_bucket.QUICK_AGAIN, obstore_bucket.BULK_AGAIN):
        monkeypatch.setitem(retries, "max_retries", 1)
    for patience in (gcs_bucket._QUICK, gcs_bucket._BULK):
        monkeypatch.setitem(patience, "retry", patience["retry"].with_timeout(1))


@pytest.fixture
def impatient(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that wait less for an answer."""
    for options in (obstore_bucket.QUICK, obstore_bucket.BULK):
        monkeypatch.setitem(options, "timeout", timedelta(seconds=1))
    for patience in (gcs_bucket._QUICK, gcs_bucket._BULK):
        monkeypatch.setitem(patience, "timeout", 1)


def everything(store: ArtifactStore) -> list[Callable[[], Awaitable[object]]]:
    content = content_of(2 * MIB)
    return [
        store.check,
        lambda: store.stat(ABSENT),
        lambda: store.renew(ABSENT),
        lambda: store.absent([ABSENT, digest_of(b"x")]),
        lambda: collect(store.list()),
        lambda: collect(store.read(ABSENT)),
        lambda: store.source(ABSENT, 10).read_at(0, 10),
        lambda: upload(store, b"x"),
        lambda: upload(store, content),
        lambda: put(store, content),
        lambda: store.discard(ABSENT, unless_renewed_since=datetime.now(UTC)),
        lambda: store.sweep_staging(older_than=datetime.now(UTC), dry_run=True),
        lambda: store.claim("x"),
    ]


async def all_unavailable(store: ArtifactStore, reason: str) -> None:
    """Every method says why, in bounded time, and nothing that is nobody's business."""

    async def refused(work: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(StoreUnavailable) as caught:
            await work()
        assert reason in caught.value.detail
        assert not SECRETS.search(caught.value.detail)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*map(refused, everything(store)))


@pytest.mark.usefixtures("hasty")
async def test_a_store_that_answers_errors_is_unavailable(place: Place) -> None:
    with front(address_of(place), lambda *_: (500, b"")) as server:
        await all_unavailable(artifacts(place, server=server), "it answered 500")


@pytest.mark.usefixtures("hasty")
async def test_a_store_that_is_not_there_is_unavailable(place: Place) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        await all_unavailable(artifacts(place, server=server), "it cannot be reached")


@pytest.mark.usefixtures("impatient")
async def test_a_store_that_does_not_answer_is_unavailable(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        server = f"http://127.0.0.1:{mute.getsockname()[1]}"
        await all_unavailable(artifacts(place, server=server), "it does not answer in time")


async def test_one_that_fails_for_a_moment_is_asked_again(place: Place) -> None:
    failures = iter([(503, b"")] * 3)
    with front(address_of(place), lambda *_: next(failures, None)) as server:
        store = artifacts(place, server=server)
        info = await upload(store, content_of(2 * MIB))
        assert await store.stat(info.digest) == info


async def test_an_upload_that_fails_on_its_way_leaves_nothing(s3_bucket: Place) -> None:
    """The third part is refused, and so is every request for it."""
    with (
        front(address_of(s3_bucket), _refuse("partNumber=3")) as server,
        s3_leftovers(s3_bucket) as leftovers,
    ):
        store = artifacts(s3_bucket, server=server)
        for work in (upload(store, content_of(18 * MIB)), put(store, content_of(18 * MIB))):
            with pytest.raises(StoreUnavailable, match="denies access"):
                await work
            assert leftovers() == 0
        assert await collect(store.list()) == []


def _refuse(what: str) -> Callable[[str, str, int], Answer | None]:
    return lambda _, target, __: (403, b"") if what in target else None


async def test_a_store_without_room_says_so(place: Place) -> None:
    full: Answer = (507, b"")
    with front(address_of(place), lambda method, *_: full if method != "GET" else None) as server:
        store = artifacts(place, server=server)
        with pytest.raises(StoreFull):
            await upload(store, b"x")


# --- not what the settings say ---


async def test_a_missing_bucket_is_named_as_the_reason(s3_bucket: Place) -> None:
    path = s3_bucket.path.replace(s3_bucket.bucket, "nobody-made-this-bucket")
    store = artifacts(replace(s3_bucket, path=path))
    for work in (store.check(), collect(store.list()), collect(store.read(ABSENT))):
        with pytest.raises(StoreUnavailable, match="its bucket does not exist"):
            await work


async def test_a_missing_container_is_named_as_the_reason(azure_container: Place) -> None:
    path = azure_container.path.replace(azure_container.bucket, "nobody-made-this")
    store = artifacts(replace(azure_container, path=path))
    for work in (store.check(), upload(store, b"x"), collect(store.read(ABSENT))):
        with pytest.raises(StoreUnavailable, match="its bucket does not exist"):
            await work


async def test_a_missing_bucket_of_google_is_unavailable(gcs_bucket: Place) -> None:
    path = gcs_bucket.path.replace(gcs_bucket.bucket, "nobody-made-this")
    store = artifacts(replace(gcs_bucket, path=path))
    for work in (store.check(), collect(store.list()), upload(store, b"x")):
        with pytest.raises(StoreUnavailable, match="its bucket does not exist"):
            await work


def test_a_collector_gives_up_before_its_transaction_is_given_up() -> None:
    """Else publishes would go on, and name what it is about to delete."""
    patience = obstore_bucket.QUICK["timeout"], obstore_bucket.QUICK_AGAIN["retry_timeout"]
    deleting = sum(each.total_seconds() for each in patience if isinstance(each, timedelta))
    assert blobs._COLLECTING + deleting <= postgres._IDLE


async def test_what_is_cut_off_on_its_way_to_google_never_becomes_an_object(
    gcs_bucket: Place,
) -> None:
    store = artifacts(gcs_bucket)
    taken = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        yield b"and some more"
        taken.set()
        await asyncio.Event().wait()

    key = store.blobs.key(ABSENT)
    sending = asyncio.create_task(store.bucket.put_stream(key, endless(), MIB))
    await taken.wait()
    sending.cancel()  # as the end of the event loop does
    await asyncio.wait({sending})
    del sending
    gc.collect()
    assert await store.bucket.head(key) is None


async def test_wrong_credentials_are_named_as_the_reason(
    s3_bucket: Place, azure_container: Place
) -> None:
    for known, wrong in (
        (s3_bucket, {"AWS_SECRET_ACCESS_KEY": "testsecreT"}),
        (azure_container, {"AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}),
    ):
        store = artifacts(replace(known, environ={**known.environ, **wrong}))
        await all_unavailable(store, "it denies access")


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("s3", "s3://bucket/prefix", Location("bucket", "prefix/")),
        ("s3", "s3://my.bucket-1", Location("my.bucket-1", "")),
        ("s3", "s3://bucket/", Location("bucket", "")),
        ("gcs", "gs://bucket/a/b_c/d=1/", Location("bucket", "a/b_c/d=1/")),
        ("azure", "az://container/x", Location("container", "x/")),
    ],
)
def test_a_path_is_a_bucket_and_a_prefix(method: str, path: str, location: Location) -> None:
    assert parse_location(method, path) == location


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("s3", "gs://bucket/prefix"),
        ("gcs", "s3://bucket/prefix"),
        ("azure", "https://account.blob.core.windows.net/container"),
        ("s3", "bucket/prefix"),
        ("s3", "s3://"),
        ("s3", "s3:///prefix"),
        ("s3", "s3://b"),
        ("s3", "s3://bucket//prefix"),
        ("s3", "s3://bucket/../prefix"),
        ("s3", "s3://bucket/a/./b"),
        ("s3", "s3://bucket/a b"),
        ("s3", "s3://bucket/é"),
        ("s3", "s3://bucket/a?versionId=1"),
        ("s3", "s3://key:secret@bucket/a"),
        ("s3", "s3://bucket/a\nb"),
    ],
)
def test_another_path_is_refused_in_one_line(method: Method, path: str) -> None:
    with pytest.raises(InvalidSettings, match="MODEL_STORAGE_PATH") as caught:
        open_stores(method, path)
    assert "\n" not in caught.value.detail


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which no cloud's tools find anything."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "GCE_", "STORAGE_")):
            monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("method", "path", "advice"),
    [
        ("s3", "s3://bucket", "AWS_ACCESS_KEY_ID"),
        ("gcs", "gs://bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("azure", "az://container", "AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_a_store_without_credentials_says_which_are_looked_for(
    method: Method, path: str, advice: str
) -> None:
    with pytest.raises(InvalidSettings, match=advice) as caught:
        open_stores(method, path)
    assert "\n" not in caught.value.detail


def test_the_clouds_clients_are_not_imported_where_none_is_used() -> None:
    code = (
        "import adapters.object_store, sys;"
        "print({'boto3', 'botocore', 'obstore', 'google.cloud.storage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
