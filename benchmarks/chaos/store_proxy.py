"""A way to the S3 server that can be made to answer 500 to everything."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from tests.support.services.processes import LOOPBACK

_CHUNK = 1 << 18
_REFUSAL_BODY = b"<Error><Code>InternalError</Code><Message>on purpose</Message></Error>"
_REFUSAL = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_REFUSAL_BODY), _REFUSAL_BODY)
)
_DRAINING = 1.0


class StoreProxy:
    """Bytes go both ways as they are, so signatures stay right, in a thread of its own.

    Args:
        port: of the S3 server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._failing = False
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._answer, LOOPBACK, 0)
        self.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._ended.wait()
        server.close()
        self._break_off()

    def fail(self) -> None:
        """From now on all requests are answered with 500; those under way are broken off."""
        self._failing = True
        self._loop.call_soon_threadsafe(self._break_off)

    def recover(self) -> None:
        """From now on requests get through again."""
        self._failing = False

    def close(self) -> None:
        """Ends it."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _break_off(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                if self._failing:
                    await _refuse(reader, writer)
                else:
                    await self._hand_on(reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(LOOPBACK, self._port)
        self._open.add(ours)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, ours))
                both.create_task(_copy(theirs, writer))
        finally:
            self._open.discard(ours)
            ours.close()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_REFUSAL)
    await writer.drain()
    with suppress(TimeoutError):  # else the answer could be lost with what is not read
        async with asyncio.timeout(_DRAINING):
            while await reader.read(_CHUNK):
                pass


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
    sink.close()
