"""How long a connection may take to say what it wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from entrypoints.http import protocol

WHOLE = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
SECONDS = 0.5
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer_slowly(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes longer than a head may."""
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SECONDS)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connection() -> AsyncIterator[Streams]:
    """To a service with this protocol."""
    config = uvicorn.Config(answer_slowly, lifespan="off", log_config=None, timeout_keep_alive=60)
    loop, state = asyncio.get_running_loop(), ServerState()
    server = await loop.create_server(
        lambda: protocol.HttpProtocol(config, state, {}), "127.0.0.1", 0
    )
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


def carry_out(monkeypatch: pytest.MonkeyPatch, work: Callable[[Streams], Awaitable[None]]) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", SECONDS)

    async def bounded() -> None:
        async with asyncio.timeout(30), connection() as streams:
            await work(streams)

    asyncio.run(bounded())


async def _answered(reader: asyncio.StreamReader) -> None:
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", WHOLE[:-2], b"\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    async def work(streams: Streams) -> None:
        reader, writer = streams
        writer.write(sent)
        assert await reader.read() == b""

    carry_out(monkeypatch, work)


@pytest.mark.parametrize("sent", [b"GET / HT", WHOLE[:-2], b"\r\n"])
def test_nor_does_the_next_one_have_longer(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    async def work(streams: Streams) -> None:
        reader, writer = streams
        writer.write(WHOLE)
        await _answered(reader)
        writer.write(sent)
        assert await reader.read() == b""

    carry_out(monkeypatch, work)


def test_a_slow_answer_and_an_idle_connection_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(streams: Streams) -> None:
        reader, writer = streams
        for target in (b"/", b"/slow", b"/"):
            writer.write(WHOLE.replace(b"/", target, 1))
            await _answered(reader)
            await asyncio.sleep(2 * SECONDS)
        writer.write(WHOLE.replace(b"/", b"/slow", 1))
        writer.write(WHOLE[:-2])
        await _answered(reader)

    carry_out(monkeypatch, work)
