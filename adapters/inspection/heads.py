"""Containers: what the names inside an archive, or the bytes behind a compression, tell."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from adapters.inspection.naming import NEVER_MODELS
from adapters.inspection.recognition import Known, NotAModel, Recognised
from application.ports.file_validator import FileSource
from domain.values import FilePath

_ZIP = "application/zip"
_TAR = "application/x-tar"
_UNPACKED = 64 * 1024
_MOST_MEMORY = 128 << 20
_END = b"PK\x05\x06"
_END_SIZE = 22
_LONGEST_COMMENT = 65_535
_MOST_DIRECTORY = 4 << 20


def is_zip(head: bytes) -> bool:
    """Whether it begins with a member, or with the end of an empty archive."""
    return head.startswith((b"PK\x03\x04", _END))


def zip_names(head: bytes) -> list[str]:
    """The members whose headers lie in the head. Sizes in them may be 0, so headers are sought."""
    names = []
    at = head.find(b"PK\x03\x04")
    while at >= 0 and at + 30 <= len(head):
        (length,) = struct.unpack_from("<H", head, at + 26)
        name = head[at + 30 : at + 30 + length]
        if len(name) == length and length:
            names.append(name.decode("utf-8", "replace"))
        at = head.find(b"PK\x03\x04", at + 30 + length)
    return names


async def zip_end(source: FileSource) -> bytes | None:
    """The record that ends every archive and says where its directory lies; None without one.

    Raises:
        StoreUnavailable: the bytes cannot be read.
    """
    length = min(source.size, _END_SIZE + _LONGEST_COMMENT)
    tail = await source.read_at(source.size - length, length)
    at = tail.rfind(_END)
    end = tail[at : at + _END_SIZE]
    return end if at >= 0 and len(end) == _END_SIZE else None


async def zip_directory(source: FileSource, end: bytes) -> list[str] | None:
    """All members, by the directory; None if it is not there or too large.

    Raises:
        StoreUnavailable: the bytes cannot be read.
    """
    count, size, offset = struct.unpack_from("<HII", end, 10)
    # A ZIP64 archive has 0xFFFFFFFF here: its names in the head must do.
    if size > _MOST_DIRECTORY or offset + size > source.size:
        return None
    names = _directory_names(await source.read_at(offset, size))
    return names if len(names) == count else None


def _directory_names(directory: bytes) -> list[str]:
    names = []
    at = 0
    while directory.startswith(b"PK\x01\x02", at) and at + 46 <= len(directory):
        name, extra, comment = struct.unpack_from("<HHH", directory, at + 28)
        names.append(directory[at + 46 : at + 46 + name].decode("utf-8", "replace"))
        at += 46 + name + extra + comment
    return names


def zip_kind(names: Sequence[str], path: FilePath, *, complete: bool) -> Recognised:
    """What an archive with these members is; not ``complete`` where only its head was seen."""
    files = [name for name in names if not name.endswith("/")]
    if complete and not files:
        return NotAModel("an empty ZIP archive", _ZIP)
    return (
        _zip_of_something_else(files)
        or _zip_of_a_model(files, path)
        or _without_models(files, "ZIP", _ZIP, least=1 if complete else 2)
        or Known("zip", _ZIP)
    )


def _zip_of_something_else(files: Sequence[str]) -> NotAModel | None:
    if "[Content_Types].xml" in files:
        return NotAModel("a Microsoft Office document", _ZIP)
    if files[:1] == ["mimetype"]:
        return NotAModel("an OpenDocument or EPUB document", _ZIP)
    if "AndroidManifest.xml" in files:
        return NotAModel("an Android package", "application/vnd.android.package-archive")
    if "META-INF/MANIFEST.MF" in files:
        return NotAModel("a Java archive", "application/java-archive")
    if any(name.endswith(".dist-info/WHEEL") for name in files):
        return NotAModel("a Python wheel", _ZIP)
    return None


def _zip_of_a_model(files: Sequence[str], path: FilePath) -> Known | None:
    last = {name.rsplit("/", 1)[-1] for name in files}
    torch = bool(last & {"data.pkl", "bytecode.pkl"})
    kinds = (
        ("torch-pt2", "archive_format" in last),
        ("torchscript", torch and ("constants.pkl" in last or "bytecode.pkl" in last)),
        ("pytorch-zip", torch),
        ("keras-v3", {"config.json", "metadata.json"} <= set(files)),
        ("skops", "schema.json" in files or path.name.endswith(".skops")),
        ("coreml-mlpackage", any(".mlpackage/" in name for name in files)),
        ("mlflow", "MLmodel" in last),
        ("npz", bool(files) and all(name.endswith(".npy") for name in files)),
    )
    return next((Known(name, _ZIP) for name, fits in kinds if fits), None)


def _without_models(
    files: Sequence[str], kind: str, media_type: str, *, least: int
) -> NotAModel | None:
    """An archive of nothing but pictures, documents, programs and the like."""
    # Of names that anybody may have made up, however long, the end is looked at.
    if len(files) < least or not all(NEVER_MODELS.search(name[-16:]) for name in files):
        return None
    shown = ", ".join(_printable(name) for name in files[:3])
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return NotAModel(f"a {kind} archive of {shown}{more}", media_type)


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name.rsplit("/", 1)[-1][:60])


# --- tar ----------------------------------------------------------------------------------------


def tar_kind(head: bytes, *, complete: bool) -> Recognised:
    """By the members in the head; None if it is no tar archive."""
    if head[257:262] != b"ustar":
        return None
    names: list[str] = []
    at = 0
    while at + 512 <= len(head) and head[at]:
        header = head[at : at + 512]
        size = header[124:136].strip(b"\0 ")
        if header[156:157] in {b"0", b"\0"}:
            names.append(header[:100].rstrip(b"\0").decode("utf-8", "replace"))
        if not size.isdigit() or any(digit not in b"01234567" for digit in size):
            break
        at += 512 + -(-int(size, 8) // 512) * 512
    if any(name.rsplit("/", 1)[-1] == "saved_model.pb" for name in names):
        return Known("tf-savedmodel", _TAR)
    if any(name.rsplit("/", 1)[-1] == "MLmodel" for name in names):
        return Known("mlflow", _TAR)
    return _without_models(names, "TAR", _TAR, least=1 if complete else 2) or Known("tar", _TAR)


# --- compression --------------------------------------------------------------------------------


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _lzma() -> _Decompressor:
    """The stream itself says how much memory it wants: up to 4 GiB."""
    return lzma.LZMADecompressor(memlimit=_MOST_MEMORY)


_COMPRESSIONS: tuple[tuple[bytes, str, str, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", "gzip", "application/gzip", lambda: zlib.decompressobj(31)),
    (b"BZh", "bz2", "application/x-bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", "xz", "application/x-xz", _lzma),
    (b"]\0\0", "lzma", "application/x-lzma", _lzma),
    (b"x\x01", "zlib", "application/zlib", zlib.decompressobj),
    (b"x^", "zlib", "application/zlib", zlib.decompressobj),
    (b"x\x9c", "zlib", "application/zlib", zlib.decompressobj),
    (b"x\xda", "zlib", "application/zlib", zlib.decompressobj),
)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The beginning of what a compressed file holds."""

    compression: str
    media_type: str
    head: bytes


def unpack(head: bytes) -> Unpacked | None:
    """At most 64 KiB of what is inside; None if it is not compressed in a way known here."""
    for magic, name, media_type, decompressor in _COMPRESSIONS:
        if head.startswith(magic):
            try:
                inside = decompressor().decompress(head, _UNPACKED)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                return None
            return Unpacked(name, media_type, inside) if inside else None
    return None
