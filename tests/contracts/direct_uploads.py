"""What every way to upload past the service must do. A subclass brings the fixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from application.ports import ArtifactStore, BlobInfo, DirectUpload, DirectUploads
from domain.errors import DigestMismatch, InvalidRequest, UploadNotFound
from domain.values import Digest
from tests.contracts.artifact_store import MIB, content_of, digest_of, download, upload
from tests.support.aio import collect

SIZES = (0, 1, 5 * MIB, 5 * MIB + 1, 11 * MIB)


async def send(begun: DirectUpload, content: bytes, leave_out: Collection[int] = ()) -> list[str]:
    """What a client does: a PUT of each part, all at once; the entity tags, in order."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:

        async def put(number: int, offset: int, size: int, url: str) -> str:
            answer = await client.put(url, content=content[offset : offset + size])
            answer.raise_for_status()
            return str(answer.headers["ETag"])

        parts = [part for part in begun.parts if part.number not in leave_out]
        return await asyncio.gather(
            *(put(part.number, part.offset, part.size, part.url) for part in parts)
        )


class DirectUploadsContract:
    """Parts of these uploads have 5 MiB."""

    @pytest.fixture
    def direct(self) -> DirectUploads:
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> ArtifactStore:
        """Where the blobs come out."""
        raise NotImplementedError

    @pytest.fixture
    def leftovers(self) -> Callable[[], int]:
        """How many staged blobs there are, whoever left them."""
        raise NotImplementedError

    async def _whole(self, direct: DirectUploads, content: bytes) -> tuple[BlobInfo, str]:
        digest = digest_of(content)
        begun = await direct.begin(digest, len(content))
        etags = await send(begun, content)
        return await direct.complete(digest, len(content), begun.id, etags), begun.id

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_blob_arrives_in_the_parts_that_were_signed(
        self,
        direct: DirectUploads,
        store: ArtifactStore,
        leftovers: Callable[[], int],
        size: int,
    ) -> None:
        content = content_of(size)
        info, _ = await self._whole(direct, content)
        assert await store.stat(digest_of(content)) == info
        assert await download(store, info.digest) == content
        assert leftovers() == 0

    async def test_parts_cover_the_blob_one_after_another(self, direct: DirectUploads) -> None:
        begun = await direct.begin(digest_of(b"x"), 12 * MIB)
        assert [part.number for part in begun.parts] == [1, 2, 3]
        assert [part.offset for part in begun.parts] == [0, 5 * MIB, 10 * MIB]
        assert [part.size for part in begun.parts] == [5 * MIB, 5 * MIB, 2 * MIB]
        assert begun.expires_at > datetime.now(UTC) + timedelta(minutes=10)

    async def test_a_terabyte_has_no_more_than_a_thousand_parts(
        self, direct: DirectUploads
    ) -> None:
        begun = await direct.begin(digest_of(b"x"), 1 << 40)
        assert len(begun.parts) <= 1000
        assert sum(part.size for part in begun.parts) == 1 << 40

    async def test_the_store_is_asked_for_entity_tags_that_nobody_kept(
        self, direct: DirectUploads, store: ArtifactStore
    ) -> None:
        content = content_of(6 * MIB)
        begun = await direct.begin(digest_of(content), len(content))
        await send(begun, content)
        info = await direct.complete(digest_of(content), len(content), begun.id, [])
        assert await download(store, info.digest) == content

    async def test_nothing_is_visible_before_it_is_complete(
        self, direct: DirectUploads, store: ArtifactStore
    ) -> None:
        content = content_of(6 * MIB)
        await send(await direct.begin(digest_of(content), len(content)), content)
        assert await store.stat(digest_of(content)) is None
        assert await collect(store.list()) == []

    async def test_completing_again_after_a_lost_answer_gives_the_blob(
        self, direct: DirectUploads, store: ArtifactStore
    ) -> None:
        content = content_of(6 * MIB)
        first, upload_id = await self._whole(direct, content)
        again = await direct.complete(first.digest, first.size, upload_id, ["lost", "too"])
        assert (again.digest, again.size) == (first.digest, first.size)
        with pytest.raises(UploadNotFound):
            await direct.complete(first.digest, first.size + 1, upload_id, ["lost"])
        assert await download(store, first.digest) == content

    async def test_completing_twice_at_once_gives_the_blob_to_both(
        self, direct: DirectUploads, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        content = content_of(6 * MIB)
        digest, size = digest_of(content), len(content)
        begun = await direct.begin(digest, size)
        etags = await send(begun, content)
        infos = await asyncio.gather(
            *(direct.complete(digest, size, begun.id, etags) for _ in range(3))
        )
        assert {(info.digest, info.size) for info in infos} == {(digest, size)}
        assert await download(store, digest) == content
        assert leftovers() == 0

    async def test_other_bytes_are_found_out_and_dropped(
        self, direct: DirectUploads, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        begun = await direct.begin(digest_of(b"right"), 5)
        etags = await send(begun, b"wrong")
        with pytest.raises(DigestMismatch):
            await direct.complete(digest_of(b"right"), 5, begun.id, etags)
        assert leftovers() == 0
        assert await collect(store.list()) == []

    async def test_another_number_of_bytes_is_found_out_and_dropped(
        self, direct: DirectUploads, store: ArtifactStore, leftovers: Callable[[], int]
    ) -> None:
        content = content_of(6 * MIB)
        begun = await direct.begin(digest_of(content), len(content))
        await send(begun, content, leave_out=[2])
        with pytest.raises(DigestMismatch):
            await direct.complete(digest_of(content), len(content), begun.id, [])
        assert leftovers() == 0
        assert await collect(store.list()) == []

    async def test_wrong_entity_tags_can_be_corrected(
        self, direct: DirectUploads, store: ArtifactStore
    ) -> None:
        content = content_of(6 * MIB)
        digest, size = digest_of(content), len(content)
        begun = await direct.begin(digest, size)
        etags = await send(begun, content)
        for wrong in (["", ""], ["x", "y"], [f'"{"0" * 32}"', etags[1]], [*etags, etags[0]]):
            with pytest.raises(InvalidRequest):
                await direct.complete(digest, size, begun.id, wrong)
        info = await direct.complete(digest, size, begun.id, etags)
        assert await download(store, info.digest) == content

    async def test_completing_what_has_not_arrived_is_refused(self, direct: DirectUploads) -> None:
        begun = await direct.begin(digest_of(b"x"), 1)
        with pytest.raises(InvalidRequest):
            await direct.complete(digest_of(b"x"), 1, begun.id, [])

    async def test_an_unknown_upload_is_not_found(
        self, direct: DirectUploads, store: ArtifactStore
    ) -> None:
        info = await upload(store, b"somebody's")
        begun = await direct.begin(digest_of(b"x"), 1)
        other = f"{uuid4().hex}.{begun.id.partition('.')[2]}"
        for unknown in ("", "x", f"{uuid4().hex}.x", other, f"../blobs/{info.digest}.x", "é" * 40):
            with pytest.raises(UploadNotFound):
                await direct.complete(digest_of(b"x"), 1, unknown, ['"etag"'])
        assert await download(store, info.digest) == b"somebody's"

    async def test_a_signed_part_is_good_for_nothing_else(self, direct: DirectUploads) -> None:
        begun = await direct.begin(digest_of(b"x"), 6 * MIB)
        url = begun.parts[0].url
        async with httpx.AsyncClient(trust_env=False) as client:
            for tampered in (
                url.replace("partNumber=1", "partNumber=2"),
                url.replace("/staging/", "/blobs/"),
                url.partition("?")[0],
            ):
                assert (await client.put(tampered, content=b"x")).status_code == 403
            assert (await client.get(url)).status_code in {403, 405}
            assert (await client.delete(url)).status_code in {403, 405}

    async def test_a_digest_that_is_there_already_is_replaced_by_itself(
        self, direct: DirectUploads, store: ArtifactStore
    ) -> None:
        content = content_of(6 * MIB)
        first, _ = await self._whole(direct, content)
        second, _ = await self._whole(direct, content)
        assert second.renewed_at >= first.renewed_at
        assert await collect(store.list()) == [second]
        assert Digest(second.digest) == digest_of(content)
