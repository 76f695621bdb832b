"""The validator of the service: looks at beginnings itself, has whole files read elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import cached_property
from importlib.metadata import version
from types import TracebackType
from typing import Self

from adapters.inspection import RULESET, libmagic, wire
from adapters.inspection.report import OCTETS, shown_path
from adapters.inspection.sandbox import Child, ChildLost
from adapters.inspection.sniffing import sniff
from application.ports.file_validator import FileSource, FileValidator
from domain.errors import ValidationUnavailable
from domain.validation import NOT_CHECKED, FileReport, Finding, Severity
from domain.values import FilePath

_log = logging.getLogger("modelyard.validation")

_RATE = 20_000_000
"""Bytes per second that are read at least, where a store is slow: what a large file may take."""
_LEAST_PROCESSOR = 10
_PROCESSOR_RATE = 2_000_000
"""Seconds of processor time for any file, and bytes for each of which there is another second: what
is read at all takes a hundredth of it. A small file that sends a library in circles is cut soon."""
_MOST_JOBS = 1_000
_MOST_RESIDENT = 256 << 20
"""After so many files, or with so much memory that it did not give back, a process is replaced."""


class SandboxedFileValidator(FileValidator):
    """Reads each file in a process of its own kind, which has no secrets, no files and no network
    (see :mod:`adapters.inspection.worker`). The processes are kept for the next file.

    A process that dies, takes too long or too much memory has not checked the file, which is then
    refused; another process takes the next file.

    Args:
        timeout: seconds that reading a file may take, besides what its bytes take to arrive; as
            long a file waits for its turn.
        memory: bytes of address space for one process.
        workers: processes at most.
    """

    def __init__(self, timeout: float = 60, memory: int = 1 << 30, workers: int = 2) -> None:
        self._timeout = timeout
        self._memory = memory
        self._turns = asyncio.Semaphore(workers)
        self._idle: list[Child] = []
        self._closed = False
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @cached_property
    def engine(self) -> str:
        ours, scanner = version("modelyard-server"), version("picklescan")
        return f"modelyard {ours}, {libmagic.engine()}, picklescan {scanner}"

    @property
    def ruleset(self) -> str:
        return RULESET

    async def start(self) -> None:
        """Has a process ready, so that the first file does not wait for it.

        Raises:
            ValidationUnavailable
        """
        if not self._idle:
            self._idle.append(await self._started())

    async def close(self) -> None:
        """Ends the processes; one that still reads ends after that file."""
        self._closed = True
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    async def sniff(self, head: bytes, path: FilePath) -> FileReport:
        """See the port; in a thread, as libmagic blocks."""
        return await asyncio.to_thread(sniff, head, path)

    async def validate(self, source: FileSource, path: FilePath) -> FileReport:
        """See the port."""
        head = await source.read_at(0, min(wire.HEAD, source.size))
        seconds = self._timeout + source.size / _RATE
        processor = min(seconds, _LEAST_PROCESSOR + source.size / _PROCESSOR_RATE)
        job = wire.Job(path, source.size, int(processor) + 1)
        try:
            async with self._child() as child, asyncio.timeout(seconds):
                return await child.inspect(job, head, source)
        except TimeoutError:
            return _not_checked(path, f"reading it took longer than {seconds:.0f} s")
        except ChildLost as lost:
            return _not_checked(path, str(lost))

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        """A process for one file. After any error, cancellation included, it is ended: what it
        would still say must not be taken for an answer about the next file."""
        await self._turn()
        try:
            child = self._rested() or await self._started()
            try:
                yield child
            except BaseException:
                self._end(child)
                raise
            if self._closed or child.jobs >= _MOST_JOBS or child.resident > _MOST_RESIDENT:
                self._end(child)
            else:
                self._idle.append(child)
        finally:
            self._turns.release()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        except TimeoutError:
            raise ValidationUnavailable("Too many files wait to be checked; try again.") from None

    def _rested(self) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._end(child)
        return None

    async def _started(self) -> Child:
        child = Child(self._memory)
        try:
            await child.ready()
        except BaseException:
            self._end(child)
            raise
        return child

    def _end(self, child: Child) -> None:
        child.end()
        task = asyncio.get_running_loop().create_task(child.gone())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _not_checked(path: FilePath, cause: str) -> FileReport:
    """What could not be read to its end must not enter."""
    message = f"{shown_path(path)} could not be checked: {cause}."
    _log.warning("%s", message)
    return FileReport(OCTETS, None, (Finding(NOT_CHECKED, Severity.CRITICAL, message, path),))
