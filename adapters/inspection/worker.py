"""The process that reads files for the service: ``python -m adapters.inspection.worker``.

A parser of hostile files may be made to run what its author never wrote. So it runs here, where
little is left to be had:

* no secrets: the environment is empty but for a few settings of libraries;
* no files: all bytes come through the one socket it has, and once all is imported, no descriptor
  can be opened any more (RLIMIT_NOFILE), which goes for sockets, too; nothing can be written
  (RLIMIT_FSIZE);
* no memory beyond a limit (RLIMIT_AS), no processor time beyond that of the job (RLIMIT_CPU), and
  the service kills it when a job takes too long;
* on Linux no capabilities and no way to get any, nobody who could trace it, and where the system
  lets it, user and network namespaces of its own, in which there is no network. Docker's and
  Kubernetes' usual profiles forbid namespaces: there it does without.

It is no virtual machine: system calls are not filtered, and it runs as the service's user. What
a system lacks, is left out.

It ends when its socket does, and on Linux also when the service dies while it computes.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys

from adapters.inspection import inspect, libmagic, wire
from adapters.inspection.source import RangedFile, Ranges
from adapters.inspection.streams import Stream

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_LATE = (
    *("_strptime", "bz2", "decimal", "gzip", "h5py", "ijson", "lz4.frame", "lzma", "magic"),
    *("numpy", "numpy.lib.format", "picklescan.scanner", "tarfile", "xml.etree.ElementTree"),
    *("defusedxml.ElementTree", "defusedxml.expatbuilder", "xml.parsers.expat", "zipfile", "zlib"),
)
"""What libraries import when they need it, and then could not."""
_CODECS = "ascii cp437 idna latin-1 punycode raw-unicode-escape unicode-escape utf-16 utf-16-be"
_MORE_CODECS = "utf-16-le utf-32 utf-32-be utf-32-le utf-7 utf-8 utf-8-sig cp1252 iso8859-15"

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITIES = 0x20080522  # version 3 of capset(2)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def main(memory: int) -> None:
    """Works off jobs until the service closes the socket.

    Args:
        memory: bytes of address space that may be used.
    """
    with socket.socket(fileno=os.dup(0)) as service:
        _import_all()
        _lock_down(memory, service)
        service.sendall(wire.framed(wire.READY, b""))
        while (message := _message(service, wire.JOB)) is not None:
            _work(service, message)


def _work(service: socket.socket, message: bytes) -> None:
    job, head = wire.decode_job(message)
    _allow(job.seconds)

    def fetch(offset: int, length: int) -> bytes:
        service.sendall(wire.framed(wire.READ, wire.RANGE.pack(offset, length)))
        data = _message(service, wire.DATA)
        if data is None or len(data) != length:
            os._exit(1)  # whatever parses must not go on
        return data

    ranges = Ranges(head, job.size, fetch)
    stream = Stream(
        RangedFile(ranges),  # type: ignore[arg-type]
        job.size,
        seekable=True,
        reopen=lambda: RangedFile(ranges),  # type: ignore[arg-type,return-value]
    )
    service.sendall(wire.encode_report(inspect.inspect_file(stream, job.path)))


def _message(service: socket.socket, kind: bytes) -> bytes | None:
    """The next one, None when there are no more."""
    start = _exactly(service, wire.FRAME.size)
    if start is None:
        return None
    got, length = wire.FRAME.unpack(start)
    return _exactly(service, length) if got == kind else None


def _exactly(service: socket.socket, length: int) -> bytes | None:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = service.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return bytes(data)


def _import_all() -> None:
    """Everything that reading any file may need beyond what was imported with this module."""
    for name in _LATE:
        importlib.import_module(name)
    for name in f"{_CODECS} {_MORE_CODECS}".split():
        codecs.lookup(name)
    libmagic.media_type(b"opens its data base")
    libmagic.describe(b"once for either question")


def _lock_down(memory: int, service: socket.socket) -> None:
    """Gives up what is not needed from now on; see the module."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None, use_errno=True)
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
            libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)())
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if resource is not None:
        _limit("RLIMIT_AS", memory)
        _limit("RLIMIT_FSIZE", 0)
        _limit("RLIMIT_CORE", 0)
        _limit("RLIMIT_NPROC", 0)
        _limit("RLIMIT_NOFILE", service.fileno() + 1)


def _limit(name: str, most: int) -> None:
    """Where the system knows this limit, and has not set a lower one."""
    kind = getattr(resource, name, None)
    if kind is not None:
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(kind)
            lower = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (lower, lower))


def _allow(seconds: int) -> None:
    """Processor time for one job, from now on."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        most = int(usage.ru_utime + usage.ru_stime) + seconds + 1
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
