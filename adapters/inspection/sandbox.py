"""The processes that read files for the service, as the service sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from adapters.inspection import wire
from application.ports.file_validator import FileSource
from domain.errors import ValidationUnavailable
from domain.validation import FileReport

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60
"""Seconds in which a process must have imported what it needs."""
_RECEIVED = 64 * 1024
_ENVIRONMENT = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "NUMEXPR")},
    "HDF5_PLUGIN_PRELOAD": "::",
    "PYTHONPATH": str(_ROOT),
    "PYTHONUTF8": "1",
}
"""All that a process is told: no threads, no plug-ins, where this package is. No secrets."""


class ChildLost(Exception):
    """The process is of no more use; the text says why, to follow "could not be checked: "."""


class Child:
    """One process, and the socket to it. Whoever gets an error from it must :meth:`end` it.

    Args:
        memory: bytes of address space that it may use.

    Raises:
        ValidationUnavailable: it cannot be started.
    """

    def __init__(self, memory: int) -> None:
        self.jobs = 0
        self._received = bytearray()
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._socket.setblocking(False)
        environment = _ENVIRONMENT | {
            name: os.environ[name]
            for name in ("LD_LIBRARY_PATH", "SYSTEMROOT")
            if name in os.environ
        }
        command = [sys.executable, "-s", "-P", "-m", "adapters.inspection.worker", str(memory)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - of our own words only
                [*command[:1], *(["-B"] if sys.dont_write_bytecode else []), *command[1:]],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                cwd="/" if os.name == "posix" else None,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise ValidationUnavailable("No process can be started to check files.") from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take a job; also tells the system that its end was noticed."""
        return self._process.poll() is None

    @property
    def resident(self) -> int:
        """Bytes of memory in use; 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def ready(self) -> None:
        """Waits until it can take jobs.

        Raises:
            ValidationUnavailable: it ended, or takes too long.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                kind, _ = await self._message(0)
        except (ChildLost, TimeoutError):
            kind = b""
        if kind != wire.READY:
            raise ValidationUnavailable("The process that checks files does not start.")

    async def inspect(self, job: wire.Job, head: bytes, source: FileSource) -> FileReport:
        """Has a file read; gives the bytes that are asked for.

        Raises:
            ChildLost: it died, was killed, or talks nonsense.
            StoreUnavailable: the bytes cannot be read.
        """
        self.jobs += 1
        try:
            await self._send(job.encode(head))
            while True:
                kind, message = await self._message(wire.MOST_REPORT)
                if kind == wire.REPORT:
                    return wire.decode_report(message, job.path)
                await self._send(wire.framed(wire.DATA, await _range(kind, message, source)))
        except wire.Nonsense:
            raise ChildLost("the process that read it gave no sensible answer") from None

    def end(self) -> None:
        """Kills it, at once; :meth:`gone` waits for that."""
        self._socket.close()
        if self.alive:
            self._process.kill()

    async def gone(self) -> None:
        """Waits for its end and has the system forget it."""
        await asyncio.to_thread(self._process.wait)

    async def _send(self, message: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, message)
        except OSError:
            raise ChildLost(await self._cause()) from None

    async def _message(self, most: int) -> tuple[bytes, bytes]:
        await self._receive(wire.FRAME.size)
        kind, length = wire.FRAME.unpack_from(self._received)
        if length > most:
            raise wire.Nonsense("an endless message")
        end = wire.FRAME.size + length
        await self._receive(end)
        message = bytes(self._received[wire.FRAME.size : end])
        del self._received[:end]
        return kind, message

    async def _receive(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        while len(self._received) < count:
            try:
                data = await loop.sock_recv(self._socket, _RECEIVED)
            except OSError:
                data = b""
            if not data:
                raise ChildLost(await self._cause())
            self._received += data

    async def _cause(self) -> str:
        """Why it is silent, after what the system says of its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = await asyncio.to_thread(self._process.wait, 1)
            if hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU:
                return "reading it took too much processor time"
            if code == -signal.SIGKILL:
                return "the process that read it was killed, perhaps for want of memory"
        return "the process that read it ended unexpectedly"


async def _range(kind: bytes, message: bytes, source: FileSource) -> bytes:
    """What the process asks for.

    Raises:
        Nonsense: it asks for something else, or for what is not there.
        StoreUnavailable: the bytes cannot be read.
    """
    if kind != wire.READ or len(message) != wire.RANGE.size:
        raise wire.Nonsense("no request")
    offset, length = wire.RANGE.unpack(message)
    if length > wire.MOST_READ or offset + length > source.size:
        raise wire.Nonsense("bytes that are not there")
    return await source.read_at(offset, length)
