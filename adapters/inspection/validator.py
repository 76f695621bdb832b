"""The validator: own signatures first, then libmagic."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import magic

from adapters.inspection import heads as archives, naming
from adapters.inspection.lengths import safetensors_fault
from adapters.inspection.recognition import OCTETS, Known, NotAModel, Recognised, recognise
from application.ports.file_validator import FileSource, FileValidator, FileVerdict
from domain.values import FilePath
from domain.version import Finding, Severity

HEAD = 64 * 1024
_THREADS = 2
_TEXTUAL = re.compile(r"text/(?!html)|application/(?:json|x-ndjson|xml)$")


class LibmagicValidator(FileValidator):
    """Refuses what is certainly no model, passes models and the small files beside them.

    Pictures, documents, programs, pages, data bases, keys and archives of nothing else are
    refused, each by name. Text passes, unless its extension is that of a binary model format.
    Bytes that nobody knows pass with a warning. The content is not judged beyond what it is.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="libmagic")
        self._libmagic = _Libmagic()

    @property
    def engine(self) -> str:
        version: int = magic.version()  # type: ignore[no-untyped-call]
        return f"libmagic {version // 100}.{version % 100:02d}"

    async def sniff(self, head: bytes, path: FilePath) -> FileVerdict:
        """See the port; an archive is judged by the members that the head shows."""
        names = archives.zip_names(head) if archives.is_zip(head) else ()
        return await self._judge(head, path, names, whole=False)

    async def validate(self, source: FileSource, path: FilePath) -> FileVerdict:
        """See the port; reads the first 64 KiB, and what tells whether a file was cut short."""
        head = await source.read_at(0, HEAD)
        names: Sequence[str] = ()
        directory = fault = None
        if archives.is_zip(head):
            end = await archives.zip_end(source)
            directory = await archives.zip_directory(source, end) if end else None
            names = archives.zip_names(head) if directory is None else directory
            fault = None if end else "is a ZIP archive without an end: it was cut short"
        whole = directory is not None or len(head) == source.size
        verdict = await self._judge(head, path, names, whole=whole)
        if verdict.format == "safetensors":
            fault = await safetensors_fault(source)
        return _cut_short(verdict, path, fault) if fault and not verdict.findings else verdict

    async def _judge(
        self, head: bytes, path: FilePath, names: Sequence[str], *, whole: bool
    ) -> FileVerdict:
        if not head:
            return _empty(path)
        if archives.is_zip(head):
            return _verdict(archives.zip_kind(names, path, complete=whole), path)
        if (known := recognise(head, path)) is not None:
            return _verdict(known, path)
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._look_closer, head, path, whole
        )

    def _look_closer(self, head: bytes, path: FilePath, whole: bool) -> FileVerdict:
        if known := archives.tar_kind(head, complete=whole):
            return _verdict(known, path)
        if unpacked := archives.unpack(head):
            return _verdict(self._compressed(unpacked, path), path)
        if head.startswith(b"\x04\x22\x4d\x18"):
            known = Known(
                "joblib+lz4" if path.name.endswith("joblib") else "lz4", "application/x-lz4"
            )
            return _verdict(known, path)
        return _verdict(self._ask(head, path), path)

    def _compressed(self, unpacked: archives.Unpacked, path: FilePath) -> Recognised:
        inside = (
            recognise(unpacked.head, path)
            or archives.tar_kind(unpacked.head, complete=False)
            or self._ask(unpacked.head, path, inside=True)
        )
        if isinstance(inside, NotAModel):
            what = f"{unpacked.compression}-compressed: {inside.what}"
            return NotAModel(what, unpacked.media_type)
        if inside is None or inside.format is None:
            return Known(None, unpacked.media_type)
        return Known(f"{inside.format}+{unpacked.compression}", unpacked.media_type)

    def _ask(self, head: bytes, path: FilePath, *, inside: bool = False) -> Recognised:
        media_type = self._libmagic.media_type(head)
        text = naming.is_text(head, media_type)
        misnamed = text and not inside and naming.BINARY_MODELS.search(path)
        if misnamed or naming.refuses(media_type, head, path):
            described = self._libmagic.describe(head)
            return NotAModel(naming.for_people(described, media_type), media_type)
        if text:
            plain = media_type if _TEXTUAL.match(media_type) else "text/plain"
            return Known(None, naming.of_text(plain, path))
        return None


class _Libmagic:
    """libmagic's cookies are not made for several threads: each has its own, made when needed."""

    def __init__(self) -> None:
        self._local = threading.local()

    def media_type(self, head: bytes) -> str:
        """RFC 6838 type; that of any bytes where libmagic cannot say."""
        return self._ask(head, mime=True) or OCTETS

    def describe(self, head: bytes) -> str:
        """In libmagic's words."""
        return self._ask(head, mime=False) or "data"

    def _ask(self, head: bytes, *, mime: bool) -> str:
        kind = "mime" if mime else "text"
        asked = getattr(self._local, kind, None)
        if asked is None:
            asked = magic.Magic(mime=mime)
            setattr(self._local, kind, asked)
        try:
            return str(asked.from_buffer(head))
        except magic.MagicException:
            return ""


def _empty(path: FilePath) -> FileVerdict:
    if naming.promises_a_model(path):
        return _verdict(NotAModel("empty", "application/x-empty"), path)
    return FileVerdict(naming.of_text("text/plain", path), None)


def _shown(path: FilePath) -> str:
    return path if len(path) <= 100 else f"...{path[-97:]}"


def _cut_short(verdict: FileVerdict, path: FilePath, fault: str) -> FileVerdict:
    message = f"{_shown(path)} {fault}."
    finding = Finding("file.not_a_model", Severity.CRITICAL, message, path)
    return FileVerdict(verdict.media_type, None, (finding,))


def _verdict(recognised: Recognised, path: FilePath) -> FileVerdict:
    if isinstance(recognised, Known):
        return FileVerdict(recognised.media_type, recognised.format)
    if isinstance(recognised, NotAModel):
        message = f"{_shown(path)} is {recognised.what}, not a model."
        finding = Finding("file.not_a_model", Severity.CRITICAL, message, path)
        return FileVerdict(recognised.media_type, None, (finding,))
    message = f"{_shown(path)} is in no format that is known here; it was not checked."
    return FileVerdict(
        OCTETS, None, (Finding("file.unknown_format", Severity.WARNING, message, path),)
    )
