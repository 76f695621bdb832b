"""TAR archives, read forward: the older form, POSIX (ustar, pax) and GNU.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual,
"Basic Tar Format".
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from adapters.inspection.archives.folders import Folder, check_depth
from adapters.inspection.archives.member_streams import MOST_IN_MEMORY, Window
from adapters.inspection.archives.zip_kinds import folder_kind
from adapters.inspection.report import Notes, shown
from adapters.inspection.streams import BLOCK, Malformed, Stream

_BLOCK = 512
_MOST_HEADER = 1 << 20
_EMPTY = bytes(_BLOCK)
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_PAX = re.compile(rb"([1-9][0-9]{0,7}) ([^=]{1,1024})=")
_FILES = frozenset({b"0", b"\0", b"7"})
_HARD_LINK, _LINK, _FOLDER = b"1", b"2", b"5"
_DEVICES = frozenset({b"3", b"4", b"6"})
_LONG = {b"L": "path", b"K": "linkpath"}
_PAX_HEADERS = frozenset({b"x", b"X", b"g"})


@dataclass(slots=True)
class _Header:
    """What stands before a member."""

    name: str
    target: str
    size: int
    kind: bytes


@dataclass(slots=True)
class _Overrides:
    """What the headers before a header say instead of it."""

    values: dict[str, str] = field(default_factory=dict)

    def apply(self, header: _Header) -> None:
        header.name = self.values.pop("path", header.name)
        header.target = self.values.pop("linkpath", header.target)
        size = self.values.pop("size", None)
        if size is not None:
            if not re.fullmatch(r"[0-9]{1,18}", size):
                raise Malformed(f"has a member {shown(header.name)} of a size that is no number")
            header.size = int(size)
        sparse = any(key.startswith("GNU.sparse") for key in self.values)
        self.values.clear()
        if sparse or header.kind == b"S":
            raise Malformed(f"has a member {shown(header.name)} with holes, which is not read here")


def check_tar(stream: Stream, notes: Notes) -> None:
    """Inspects the members one by one, as they come.

    Raises:
        Malformed, LimitExceeded
    """
    check_depth(notes)
    again = stream.again() if stream.seekable else None
    folder = Folder(notes, "TAR")
    try:
        _check_members(stream, None if again is None else again.file, folder)
    finally:
        if again is not None:
            again.file.close()
    _check_rest(stream)
    notes.format = folder_kind(folder.files) or "tar"
    folder.finish()


def _check_members(stream: Stream, whole: BinaryIO | None, folder: Folder) -> None:
    overrides = _Overrides()
    while (header := _next_header(stream)) is not None:
        folder.notes.budget.spend_members()
        padded = -(-header.size // _BLOCK) * _BLOCK
        if header.kind in _LONG:
            text = stream.exactly(padded, most=_MOST_HEADER)[: header.size]
            overrides.values[_LONG[header.kind]] = _text(text.rstrip(b"\0"))
        elif header.kind in _PAX_HEADERS:
            records = _records(stream.exactly(padded, most=_MOST_HEADER)[: header.size])
            _check_global(header, records)
            overrides.values.update(records if header.kind != b"g" else {})
        else:
            overrides.apply(header)
            _check_member(stream, whole, header, folder)


def _next_header(stream: Stream) -> _Header | None:
    """None at the end, which is marked by two blocks of zeros."""
    block = stream.exactly(_BLOCK)
    if block == _EMPTY:
        return None
    checksum = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    if checksum != _number(block[148:156]):
        raise Malformed(f"has a broken TAR header after {stream.tell() - _BLOCK} bytes")
    name = _text(block[:100].split(b"\0", 1)[0])
    prefix = block[345:500].split(b"\0", 1)[0]
    if prefix and block[257:263] == b"ustar\0":
        name = f"{_text(prefix)}/{name}"
    target = _text(block[157:257].split(b"\0", 1)[0])
    kind = block[156:157]
    if kind in {b"0", b"\0"} and name.endswith("/"):
        kind = _FOLDER
    size = _number(block[124:136])
    return _Header(name, target, size, kind)


def _number(text: bytes) -> int:
    """Octal digits, or what GNU writes where those have no room: base 256."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big") & ~(0x80 << 8 * (len(text) - 1))
        if text[0] != 0x80 or value >= 1 << 62:
            raise Malformed("has a TAR header with a size that cannot be")
        return value
    found = _OCTAL.fullmatch(text)
    if found is None:
        raise Malformed("has a TAR header whose numbers are none")
    return int(found[1] or b"0", 8)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _records(data: bytes) -> dict[str, str]:
    """The keys and values of a pax header: each "LENGTH KEY=VALUE" and a line feed."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at:].strip(b"\0"):
        found = _PAX.match(data, at)
        end = at + int(found[1]) if found else 0
        if found is None or end > len(data) or end <= found.end() - 1 or data[end - 1] != 0x0A:
            raise Malformed("has a broken pax header")
        records[_text(found[2])] = _text(data[found.end() : end - 1])
        at = end
    return records


def _check_global(header: _Header, records: dict[str, str]) -> None:
    """Readers differ in what they make of names and sizes for all members."""
    if header.kind == b"g" and records.keys() & {"path", "linkpath", "size"}:
        raise Malformed("has a pax header that names or measures all of its members")


def _check_member(stream: Stream, whole: BinaryIO | None, header: _Header, folder: Folder) -> None:
    kind, name = header.kind, header.name
    start = stream.tell()
    padded = -(-header.size // _BLOCK) * _BLOCK
    if kind == _FOLDER and name in {".", "./"} and not header.size:
        return  # what "tar -C model ." begins with
    folder.enter(name, folder=kind == _FOLDER)
    if kind in _FILES and not folder.hopeless:
        folder.inspect(name, _opener(stream, whole, start, header.size))
    elif kind == _LINK:
        folder.link(name, header.target)
    elif kind == _HARD_LINK:
        folder.hard_link(name, header.target)
    elif kind in _DEVICES:
        folder.device(name)
    elif kind not in _FILES and kind != _FOLDER:
        raise Malformed(f"has a member {shown(name)} of an unknown kind ({shown(repr(kind))})")
    if header.size and kind not in _FILES:
        raise Malformed(f"has a member {shown(name)} that has content though it is no file")
    stream.skip(padded - (stream.tell() - start))


def _opener(stream: Stream, whole: BinaryIO | None, start: int, size: int) -> Callable[[], Stream]:
    """The member as a stream: in memory where it is small, else forward only as the archive is.

    Args:
        whole: the archive once more, to be sought; None where it comes only once.
    """

    def opened() -> Stream:
        if size <= MOST_IN_MEMORY:
            return Stream.of_bytes(stream.exactly(size))
        if whole is None:
            return Stream(io.BufferedReader(_Slice(stream, size), BLOCK), size, seekable=False)

        def window() -> BinaryIO:
            return io.BufferedReader(Window(whole, start, size), BLOCK)

        return Stream(window(), size, seekable=True, reopen=window)

    return opened


class _Slice(io.RawIOBase):
    """The next bytes of a stream that cannot be sought."""

    def __init__(self, stream: Stream, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = min(len(view), self._left, BLOCK)
        data = self._stream.exactly(count)
        self._left -= len(data)
        view[: len(data)] = data
        return len(data)


def _check_rest(stream: Stream) -> None:
    """Behind the end there are zeros, up to the size of a record of tapes."""
    while rest := stream.read(BLOCK):
        if rest.strip(b"\0"):
            raise Malformed("has something behind the end of its TAR archive")
