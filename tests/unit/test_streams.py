"""Streams of bytes: what is closed when, and what is refused."""

from __future__ import annotations

from hashlib import sha256

import pytest

from application.streams import ByteStream, checked, digest_of, primed
from domain.errors import BlobCorrupt

pytestmark = pytest.mark.anyio

CONTENT = b"one two three"


class Source:
    """Yields the chunks and notes that it was closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = False

    async def read(self) -> ByteStream:
        try:
            for chunk in self.chunks:
                yield chunk
        finally:
            self.closed = True


@pytest.mark.parametrize("chunks", [(), (b"",), (b"one",), (b"one ", b"two ", b"three")])
async def test_a_primed_stream_yields_the_same_bytes(chunks: tuple[bytes, ...]) -> None:
    source = Source(*chunks)
    stream = await primed(source.read())
    assert b"".join([chunk async for chunk in stream]) == b"".join(chunks)
    assert source.closed


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_a_primed_stream_closes_its_source(read: int) -> None:
    source = Source(b"one", b"two")
    stream = await primed(source.read())
    for _ in range(read):
        await anext(stream)
    assert not source.closed
    await stream.aclose()
    assert source.closed


async def test_what_fails_before_the_first_chunk_fails_at_once() -> None:
    source = Source()
    with pytest.raises(BlobCorrupt):
        await primed(checked(source.read(), "", 1))
    assert source.closed


async def test_a_checked_stream_closes_its_source_when_stopped_early() -> None:
    source = Source(CONTENT, CONTENT)
    stream = checked(source.read(), "", 0)
    await anext(stream)
    await stream.aclose()
    assert source.closed


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
async def test_another_size_or_digest_is_found_at_the_end(size: int) -> None:
    digest = sha256(CONTENT).hexdigest()
    received = [chunk async for chunk in checked(Source(CONTENT).read(), digest, len(CONTENT))]
    assert received == [CONTENT]
    for expected in ((digest, size), ("0" * 64, len(CONTENT))):
        stream = checked(Source(CONTENT).read(), *expected)
        assert await anext(stream) == CONTENT
        with pytest.raises(BlobCorrupt):
            await anext(stream)


async def test_the_digest_of_a_stream_is_that_of_its_bytes() -> None:
    source = Source(b"one ", b"two ", b"three")
    assert await digest_of(source.read()) == sha256(CONTENT).hexdigest()
    assert source.closed
