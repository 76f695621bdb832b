"""What the object stores do beyond the contracts: interrupted work, links, bounded memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2.service_account import Credentials

from adapters.object_store import blobs as blobs_module
from adapters.object_store import open_stores
from adapters.object_store.blobs import Blobs
from adapters.object_store.gcs_bucket import GcsBucket
from adapters.object_store.incoming import MOST_PARTS, Sizes
from adapters.object_store.store import ObjectArtifactStore
from application.ports import ArtifactStore
from domain.errors import RequestTooLarge, StoreUnavailable
from domain.values import Digest
from tests.contracts.artifact_store import (
    ABSENT,
    MIB,
    content_of,
    digest_of,
    download,
    put,
    stream,
    upload,
    write,
)
from tests.contracts.object_stores import KIB, address_of, artifacts, open_place, s3_leftovers
from tests.support.aio import collect
from tests.support.services.buckets import Place, s3_client

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
HOUR = timedelta(hours=1)


@pytest.fixture
def store(s3_bucket: Place) -> ObjectArtifactStore:
    return artifacts(s3_bucket)


@pytest.fixture
def client(s3_bucket: Place) -> Iterator[Any]:
    made = s3_client(s3_bucket.environ)
    yield made
    made.close()


@pytest.fixture
def leftovers(s3_bucket: Place) -> Iterator[Callable[[], int]]:
    with s3_leftovers(s3_bucket) as count:
        yield count


def keys_of(client: Any, place: Place, folder: str) -> list[str]:
    found = client.list_objects_v2(Bucket=place.bucket, Prefix=f"{place.prefix}/{folder}")
    return [entry["Key"].removeprefix(f"{place.prefix}/") for entry in found.get("Contents", [])]


# --- interrupted work ---


def begin_parts(client: Any, place: Place, key: str, size: int) -> None:
    """A multipart upload that nobody will complete."""
    upload = client.create_multipart_upload(Bucket=place.bucket, Key=key)["UploadId"]
    if size:
        client.upload_part(
            Bucket=place.bucket, Key=key, UploadId=upload, PartNumber=1, Body=bytes(size)
        )


async def test_a_sweep_takes_staged_bytes_and_parts_of_this_prefix_alone(
    s3_bucket: Place, store: ArtifactStore, client: Any, leftovers: Callable[[], int]
) -> None:
    prefix = s3_bucket.prefix
    begin_parts(client, s3_bucket, f"{prefix}/blobs/aa/{'a' * 64}", 1000)
    begin_parts(client, s3_bucket, f"{prefix}/staging/{'b' * 32}", 0)
    begin_parts(client, s3_bucket, f"{prefix}-other/staging/{'b' * 32}", 10)
    client.put_object(Bucket=s3_bucket.bucket, Key=f"{prefix}/staging/{'c' * 32}", Body=b"12345")
    info = await upload(store, b"a blob")
    now = datetime.now(UTC)
    assert await store.sweep_staging(older_than=now - HOUR, dry_run=False) == (0, 0)
    assert await store.sweep_staging(older_than=now + HOUR, dry_run=True) == (3, 1005)
    assert leftovers() == 4
    assert await store.sweep_staging(older_than=now + HOUR, dry_run=False) == (3, 1005)
    assert leftovers() == 1
    assert await collect(store.list()) == [info]


_UPLOADER = """
import asyncio, sys
from adapters.object_store import open_stores
from tests.contracts.artifact_store import content_of, digest_of, stream

path, how = sys.argv[1:]
store = open_stores("s3", path).artifacts
content = content_of(56 << 20)

async def endless():
    async for chunk in stream(content):
        yield chunk
    print("now", flush=True)
    await asyncio.sleep(60)

async def main():
    if how == "put":
        await store.put(digest_of(content), endless())
    async with store.stage() as blob:
        async for chunk in stream(content):
            await blob.write(chunk)
        await blob.finish()
        print("now", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def child(code: str, place: Place, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, place.path, *arguments]
    environ = {**os.environ, **place.environ}
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environ)


@pytest.mark.parametrize("how", ["put", "stage"])
async def test_a_killed_upload_leaves_nothing_visible_and_is_swept(
    s3_bucket: Place, store: ArtifactStore, leftovers: Callable[[], int], how: str
) -> None:
    with child(_UPLOADER, s3_bucket, how) as uploader:
        assert uploader.stdout is not None
        assert uploader.stdout.readline() == b"now\n"
        uploader.send_signal(signal.SIGKILL)
    assert await collect(store.list()) == []
    assert leftovers() == 1
    old = datetime.now(UTC) + HOUR
    count, size = await store.sweep_staging(older_than=old, dry_run=False)
    assert count == 1
    assert size >= 8 * MIB  # of 56, four parts of 8 may be on their way, and one being filled
    assert leftovers() == 0
    content = content_of(9 * MIB)
    assert (await put(store, content)).size == len(content)


_MEASURED = """
import asyncio, sys
from adapters.object_store import open_stores
from domain.values import Digest

store = open_stores("s3", sys.argv[1]).artifacts
block = bytes(range(256)) * 4096

def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))

async def send(mib):
    async with store.stage() as blob:
        for _ in range(mib):
            await blob.write(block)
        digest, size = await blob.finish()
        info = await blob.commit()
    async def again():
        for _ in range(mib):
            yield block
    await store.put(digest, again(), size=size)
    return digest

async def main():
    await send(9)
    before = held()
    digest = await send(200)
    size = 0
    async for chunk in store.read(digest):
        size += len(chunk)
    print(size >> 20, held() - before)

asyncio.run(main())
"""


async def test_uploads_and_downloads_hold_little_in_memory(s3_bucket: Place) -> None:
    """In MiB; eight of a part, a few parts on their way, and what the allocator keeps."""
    with child(_MEASURED, s3_bucket) as measured:
        output, _ = measured.communicate(timeout=100)
    size, grown = map(int, output.split())
    assert size == 200
    assert grown < 100


async def test_many_small_files_that_wait_for_their_commit_do_not_fill_the_memory(
    s3_bucket: Place, leftovers: Callable[[], int]
) -> None:
    store = artifacts(s3_bucket, Sizes(small=100 * KIB, held=150 * KIB))
    contents = [content_of(90 * KIB, seed) for seed in range(3)]
    async with store.stage() as one, store.stage() as two, store.stage() as three:
        for blob, content in zip((one, two, three), contents, strict=True):
            await write(blob, content)
            await blob.finish()
            assert await blob.source.read_at(5, 10) == content[5:15]
        assert store.held == 90 * KIB
        assert leftovers() == 2
        for blob in (one, two, three):
            await blob.commit()
    assert (store.held, leftovers()) == (0, 0)
    for content in contents:
        assert await download(store, digest_of(content)) == content


# --- who is about to delete a blob ---


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "_PATIENCE", 0.1)


@pytest.mark.usefixtures("impatient")
async def test_a_blob_that_is_being_collected_is_nobodys(
    s3_bucket: Place, store: ArtifactStore, client: Any
) -> None:
    info = await upload(store, b"x")
    doom = f"{s3_bucket.prefix}/dooms/{info.digest}"
    client.put_object(Bucket=s3_bucket.bucket, Key=doom, Body=b"")
    old = datetime.now(UTC) + HOUR
    assert not await store.discard(info.digest, unless_renewed_since=old)
    for work in (store.renew(info.digest), upload(store, b"x"), put(store, b"x")):
        with pytest.raises(StoreUnavailable, match="try again"):
            await work
    client.delete_object(Bucket=s3_bucket.bucket, Key=doom)
    assert await store.renew(info.digest) is not None


@pytest.mark.usefixtures("impatient")
async def test_a_collector_that_died_blocks_a_blob_only_for_a_while(
    s3_bucket: Place, store: ArtifactStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = await upload(store, b"x")
    doom = f"{s3_bucket.prefix}/dooms/{info.digest}"
    client.put_object(Bucket=s3_bucket.bucket, Key=doom, Body=b"")
    old = datetime.now(UTC) + HOUR
    await store.sweep_staging(older_than=old, dry_run=False)
    assert keys_of(client, s3_bucket, "dooms") == [f"dooms/{info.digest}"]
    monkeypatch.setattr(blobs_module, "STALE", timedelta(seconds=-5))
    assert await store.renew(info.digest) is not None
    await upload(store, b"x")
    await store.sweep_staging(older_than=old, dry_run=False)
    assert keys_of(client, s3_bucket, "dooms") == []
    assert await store.discard(info.digest, unless_renewed_since=old)


async def test_markers_go_with_their_blobs(
    s3_bucket: Place, store: ArtifactStore, client: Any
) -> None:
    kept, gone = [await upload(store, content) for content in (b"kept", b"gone")]
    for info in (kept, gone):
        await store.renew(info.digest)
    lost = f"{s3_bucket.prefix}/renewals/{ABSENT}"
    client.put_object(Bucket=s3_bucket.bucket, Key=lost, Body=b"")
    assert {info.digest for info in await collect(store.list())} == {kept.digest, gone.digest}
    old = datetime.now(UTC) + HOUR
    assert await store.discard(gone.digest, unless_renewed_since=old)
    await store.sweep_staging(older_than=old, dry_run=True)
    assert len(keys_of(client, s3_bucket, "renewals")) == 2
    await store.sweep_staging(older_than=old, dry_run=False)
    assert keys_of(client, s3_bucket, "renewals") == [f"renewals/{kept.digest}"]
    assert keys_of(client, s3_bucket, "dooms") == []


async def test_what_came_in_parts_is_as_young_as_its_end(
    s3_bucket: Place, store: ArtifactStore, client: Any
) -> None:
    """S3 dates an object by the begin of its upload; the marker knows better."""
    info = await put(store, content_of(6 * MIB))
    assert keys_of(client, s3_bucket, "renewals") == [f"renewals/{info.digest}"]


async def test_objects_that_are_no_blobs_are_passed_over(
    s3_bucket: Place, store: ArtifactStore, client: Any
) -> None:
    info = await upload(store, b"x")
    for key in ("blobs/README", f"blobs/zz/{info.digest}", f"{info.digest}", "blobs/aa/stray"):
        client.put_object(Bucket=s3_bucket.bucket, Key=f"{s3_bucket.prefix}/{key}", Body=b"?")
    assert await collect(store.list()) == [info]


# --- large blobs ---


async def test_a_large_blob_is_copied_in_parts(
    s3_bucket: Place,
    client: Any,
    store: ObjectArtifactStore,
    leftovers: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.object_store.s3_bucket._COPIED_AT_ONCE", MIB)
    monkeypatch.setattr("adapters.object_store.s3_multipart._COPIED", 6 * MIB)
    content = content_of(12 * MIB + 1)
    info = await upload(store, content)
    assert await download(store, info.digest) == content
    copied = client.head_object(Bucket=s3_bucket.bucket, Key=store.blobs.key(info.digest))
    assert copied["ETag"].endswith('-3"')
    assert leftovers() == 0


async def test_a_copy_in_parts_that_fails_leaves_no_parts(
    s3_bucket: Place,
    client: Any,
    store: ArtifactStore,
    leftovers: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.object_store.s3_bucket._COPIED_AT_ONCE", MIB)
    async with store.stage() as blob:
        await write(blob, content_of(6 * MIB))
        digest, _ = await blob.finish()
        (staged,) = keys_of(client, s3_bucket, "staging")
        client.delete_object(Bucket=s3_bucket.bucket, Key=f"{s3_bucket.prefix}/{staged}")
        with pytest.raises(StoreUnavailable):
            await blob.commit()
    assert await store.stat(digest) is None
    assert leftovers() == 0


async def test_no_object_has_more_parts_than_s3_takes(
    store: ArtifactStore, leftovers: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (0, 70 << 30, (78 << 30) + 1, 1 << 40):
        assert -(-size // Sizes().part_for(size)) <= MOST_PARTS
    monkeypatch.setattr("adapters.object_store.incoming.MOST_PARTS", 2)
    with pytest.raises(RequestTooLarge, match="Content-Length"):
        await upload(store, content_of(11 * MIB))
    with pytest.raises(RequestTooLarge):
        await store.put(digest_of(content_of(11 * MIB)), stream(content_of(11 * MIB)))
    content = content_of(11 * MIB)
    assert (await put(store, content)).size == len(content)
    assert leftovers() == 0


# --- links ---


async def follow(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as browser:
        return await browser.get(url, headers=headers)


async def link_to(store: ArtifactStore, digest: Digest, lifetime: float = 60) -> str:
    url = await store.link(
        digest, filename='ä "b".onnx', media_type="application/x-onnx", lifetime=lifetime
    )
    assert url is not None
    return url


async def test_a_link_of_s3_gives_the_file_with_its_name_and_type(store: ArtifactStore) -> None:
    content = content_of(20_000)
    info = await upload(store, content)
    url = await link_to(store, info.digest)
    whole, part = await follow(url), await follow(url, Range="bytes=100-199")
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["Content-Type"] == "application/x-onnx"
    assert whole.headers["Content-Disposition"] == (
        "attachment; filename=\"_ _b_.onnx\"; filename*=UTF-8''%C3%A4%20%22b%22.onnx"
    )
    assert (part.status_code, part.content) == (206, content[100:200])


async def test_a_link_of_azure_gives_the_bytes(azure_container: Place) -> None:
    store = artifacts(azure_container)
    info = await upload(store, content_of(20_000))
    url = await link_to(store, info.digest)
    assert (await follow(url)).content == content_of(20_000)
    assert (await follow(url, Range="bytes=100-199")).content == content_of(20_000)[100:200]
    assert (await follow(url.replace("sig=", "sig=A"))).status_code == 403


async def test_a_link_of_s3_is_good_for_one_blob_and_for_reading_it(store: ArtifactStore) -> None:
    info, other = await upload(store, b"x"), await upload(store, b"y")
    url = await link_to(store, info.digest)
    tampered = url.replace(f"{info.digest[:2]}/{info.digest}", f"{other.digest[:2]}/{other.digest}")
    for refused in (tampered, url.replace("Expires=60", "Expires=6000"), url.partition("?")[0]):
        assert refused != url
        assert (await follow(refused)).status_code == 403
    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.put(url, content=b"z")).status_code == 403
        assert (await browser.delete(url)).status_code == 403
    assert await download(store, info.digest) == b"x"


async def test_google_gives_no_links_without_a_key_to_sign_with(gcs_bucket: Place) -> None:
    store = artifacts(gcs_bucket)
    info = await upload(store, b"x")
    link = await store.link(info.digest, filename="x", media_type="text/plain", lifetime=60)
    assert link is None


async def test_google_signs_links_with_the_key_of_a_service_account(gcs_bucket: Place) -> None:
    store = artifacts(gcs_bucket)
    info = await upload(store, content_of(20_000))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    account = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        {"client_email": "a@b.example", "token_uri": "https://x.example", "private_key": key}
    )
    client = storage.Client(project="test", credentials=account)
    signing = GcsBucket(client, gcs_bucket.bucket, address_of(gcs_bucket))
    url = await link_to(ObjectArtifactStore(Blobs(signing, store.blobs.prefix)), info.digest)
    assert "X-Goog-Signature=" in url
    part = await follow(url, Range="bytes=100-199")
    assert part.content == content_of(20_000)[100:200]


async def test_links_to_amazon_lead_to_the_region_of_the_bucket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    settings = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "eu-west-1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    url = await link_to(open_stores("s3", "s3://models/prefix").artifacts, ABSENT)
    assert url.startswith("https://models.s3.eu-west-1.amazonaws.com/prefix/blobs/00/000")


async def test_links_lead_to_where_clients_reach_the_store(
    s3_bucket: Place, azure_container: Place
) -> None:
    public = "https://files.example:9000"
    for place in (s3_bucket, azure_container):
        stores = open_place(place, public_url=public)
        assert (await link_to(stores.artifacts, ABSENT)).startswith(f"{public}/")
    stores = open_place(s3_bucket, public_url=public)
    begun = await stores.direct.begin(ABSENT, 10)
    assert begun.parts[0].url.startswith(f"{public}/{s3_bucket.bucket}/{s3_bucket.prefix}/staging/")
