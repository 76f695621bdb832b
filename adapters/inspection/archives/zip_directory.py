"""The directory of a ZIP archive, read strictly.

Readers of ZIP differ in what they make of a broken or crafted archive, so that one sees a harmless
member where another loads a payload (CVE-2025-1944, -1945, -10156). Here an archive is only what
all readers agree on: members one behind the other from the first byte on, each as the directory
says, then the directory, then its end.

Source: PKWARE APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import re
import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO

from adapters.inspection.report import shown
from adapters.inspection.streams import Malformed

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MOST_ATTACHED = 100
_LONGEST_COMMENT = 0xFFFF
_MOST_DIRECTORY = 16 << 20
_UNKNOWN_16, _UNKNOWN_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075

_DESCRIPTOR, _UTF8 = 0x0008, 0x0800
_ALLOWED_FLAGS = 0x0006 | _DESCRIPTOR | _UTF8
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000


@dataclass(frozen=True, slots=True)
class Entry:
    """A member, as the directory describes it.

    Attributes:
        method: of compression; 0 stored, 8 deflated.
        packed: bytes in the archive.
        size: bytes once decompressed.
        header: where its local header begins.
        mode: of a file under Unix; 0 where nothing says it.
    """

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    mode: int

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the entries lie: ``count`` of them, in ``size`` bytes from ``start`` on."""

    start: int
    size: int
    count: int


def zip_at_end(file: BinaryIO, size: int) -> bool:
    """Whether a file that begins as something else ends as a ZIP archive, which tools for ZIP open.

    Reads the last 64 KiB.
    """
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read(size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        return False
    end = _END.unpack_from(tail, at)
    count, length, start, comment = end[4:8]
    if at + _END.size + comment < len(tail) or not count:
        return False
    # Readers look where the record says, and where the directory would be if something came first.
    for place in (start, tail_start + at - length):
        if 0 <= place < size:
            file.seek(place)
            if file.read(4) == b"PK\x01\x02":
                return True
    return tail.rfind(b"PK\x06\x07", 0, at) >= 0


def names_at_end(file: BinaryIO, size: int) -> list[str] | None:
    """The members of an archive that a file of something else ends as; None if there is none, and
    no names if they cannot be told or are more than anybody attaches."""
    if not zip_at_end(file, size):
        return None
    try:
        directory = find_directory(file, size)
        small = directory.count <= _MOST_ATTACHED and directory.size <= _LONGEST_COMMENT
        return [entry.name for entry in read_entries(file, directory)] if small else []
    except Malformed:
        return []


def find_directory(file: BinaryIO, size: int) -> Directory:
    """Reads the end of the archive.

    Raises:
        Malformed
    """
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read(size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise Malformed("is a ZIP archive without an end: it was cut short")
    _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise Malformed("has something behind the end of its ZIP archive")
    if disk not in {0, _UNKNOWN_16} or first_disk not in {0, _UNKNOWN_16} or here != count:
        raise Malformed("is one part of a ZIP archive in several parts")
    found = Directory(start, length, count)
    end = tail_start + at
    if at >= _LOCATOR.size and tail.startswith(b"PK\x06\x07", at - _LOCATOR.size):
        end -= _LOCATOR.size
        found, end = _large(file, end, tail[at - _LOCATOR.size : at], found)
    if found.start + found.size != end:
        raise Malformed("has a ZIP directory that is not where its end says")
    if found.size > _MOST_DIRECTORY:
        raise Malformed(f"has a ZIP directory of {found.size} bytes")
    return found


def _large(file: BinaryIO, end: int, locator: bytes, small: Directory) -> tuple[Directory, int]:
    """The end record of ZIP64, which must agree with the older one where that has room."""
    _, _, place, disks = _LOCATOR.unpack(locator)
    if place + _END_64.size > end or disks > 1:
        raise Malformed("has a broken end of its ZIP64 archive")
    file.seek(place)
    record = _END_64.unpack(file.read(_END_64.size))
    signature, length, _, _, disk, first_disk, here, count, size, start = record
    whole = place + 12 + length == end and length == _END_64.size - 12
    if signature != b"PK\x06\x06" or not whole or disk or first_disk or here != count:
        raise Malformed("has a broken end of its ZIP64 archive")
    pairs = ((small.start, start, _UNKNOWN_32), (small.size, size, _UNKNOWN_32))
    for old, new, unknown in (*pairs, (small.count, count, _UNKNOWN_16)):
        if old not in {new, unknown}:
            raise Malformed("has two ends of its ZIP archive that differ")
    return Directory(start, size, count), place


def read_entries(file: BinaryIO, directory: Directory) -> list[Entry]:
    """All members, in the order of the directory. Have ``directory.count`` limited before.

    Raises:
        Malformed
    """
    file.seek(directory.start)
    data = file.read(directory.size)
    entries: list[Entry] = []
    at = 0
    for _ in range(directory.count):
        if at + _ENTRY.size > len(data):
            raise Malformed("has a ZIP directory that ends too early")
        fields = _ENTRY.unpack_from(data, at)
        name_at = at + _ENTRY.size
        extra_at = name_at + fields[10]
        at = extra_at + fields[11] + fields[12]
        if fields[0] != b"PK\x01\x02" or at > len(data):
            raise Malformed("has a broken ZIP directory")
        name = data[name_at:extra_at]
        extra = data[extra_at : extra_at + fields[11]]
        entries.append(_entry(fields, name, extra))
    if at != len(data):
        raise Malformed("has something between its ZIP directory and the end")
    return entries


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> Entry:
    flags, method = fields[3], fields[4]
    crc, packed, size = fields[7:10]
    header = fields[16]
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise Malformed("has a member whose name is not UTF-8") from error
    known = _extra_fields(extra)
    size, packed, header = _large_values(known.get(_ZIP64, b""), size, packed, header)
    renamed = known.get(_UNICODE_PATH, b"")[5:]
    if renamed and renamed != raw_name and renamed.decode("utf-8", "replace") != name:
        raise Malformed(f"has a member with two names ({shown(name)})")
    mode = fields[15] >> 16
    return Entry(name, raw_name, flags, method, crc, packed, size, header, mode)


def _extra_fields(extra: bytes) -> dict[int, bytes]:
    """By their numbers; the first of each counts. Writers pad with zeros: no fault of theirs."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        number, length = struct.unpack_from("<2H", extra, at)
        fields.setdefault(number, extra[at + 4 : at + 4 + length])
        at += 4 + length
    return fields


def _large_values(extra: bytes, *values: int) -> list[int]:
    """Those of ZIP64 stand for the values that have no room, in this order."""
    found = []
    for value in values:
        if value == _UNKNOWN_32 and len(extra) >= 8:
            found.append(int.from_bytes(extra[:8], "little"))
            extra = extra[8:]
        else:
            found.append(value)
    return found


_FLAW = "says in its own header something else than the directory says"


def locate(file: BinaryIO, entry: Entry) -> tuple[int, bool]:
    """Where the bytes of a member begin, and whether its sizes follow them.

    Raises:
        Malformed: its own header says something else than the directory does.
    """
    file.seek(entry.header)
    header = file.read(_LOCAL.size + len(entry.raw_name))
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        raise Malformed(f"has no member {shown(entry.name)} where its directory says")
    _, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack_from(header)
    differs = (flags ^ entry.flags) & ~_UTF8 or method != entry.method
    if differs or name != len(entry.raw_name) or header[_LOCAL.size :] != entry.raw_name:
        raise Malformed(f"has a member {shown(entry.name)} that {_FLAW}")
    extra_data = file.read(extra)
    size, packed = _large_values(_extra_fields(extra_data).get(_ZIP64, b""), size, packed)
    follows = bool(flags & _DESCRIPTOR)
    allowed = {(entry.crc, entry.packed, entry.size)} | ({(0, 0, 0)} if follows else set())
    if (crc, packed, size) not in allowed and not (follows and (packed, size) == (0, 0)):
        raise Malformed(f"has a member {shown(entry.name)} that {_FLAW}")
    return entry.header + len(header) + extra, follows


def check_layout(file: BinaryIO, entries: list[Entry], end: int) -> dict[str, int]:
    """Where the bytes of each member begin. Members must lie one behind the other, from the first
    byte of the file to the directory, with nothing between them.

    Args:
        end: where the directory begins.

    Raises:
        Malformed
    """
    starts: dict[str, int] = {}
    expected, previous = 0, ""
    for entry in sorted(entries, key=lambda each: each.header):
        if entry.header > expected:
            behind = f"its member {shown(previous)}" if previous else "its beginning"
            raise Malformed(f"has hidden bytes behind {behind}")
        if entry.header < expected:
            raise Malformed(f"has members that overlap ({shown(previous)}, {shown(entry.name)})")
        start, follows = locate(file, entry)
        expected = start + entry.packed
        if follows:
            expected += _descriptor_length(file, expected, entry)
        if expected > end:
            raise Malformed(f"has a member {shown(entry.name)} that is cut short")
        starts[entry.name], previous = start, entry.name
    if expected != end:
        raise Malformed(f"has hidden bytes behind its member {shown(previous)}")
    return starts


def _descriptor_length(file: BinaryIO, at: int, entry: Entry) -> int:
    """Of the checksum and sizes that follow a member; their mark and their width are optional."""
    file.seek(at)
    data = file.read(24)
    for mark in (b"PK\x07\x08", b""):
        for layout in ("<IQQ", "<III"):
            length = len(mark) + struct.calcsize(layout)
            if data.startswith(mark) and len(data) >= length:
                values = struct.unpack_from(layout, data, len(mark))
                if values == (entry.crc, entry.packed, entry.size):
                    return length
    raise Malformed(f"has a member {shown(entry.name)} whose sizes behind it are others")


def entry_fault(entry: Entry) -> str | None:
    """What no honest member has, worded to follow its name; None if there is nothing."""
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & _ENCRYPTED:
        return "is encrypted, so nobody can check it"
    if entry.flags & ~_ALLOWED_FLAGS:
        return f"has flags that nothing honest sets ({entry.flags:#x})"
    if entry.method == 0 and entry.packed != entry.size:
        return "is stored in another number of bytes than it has"
    if entry.is_folder and entry.size:
        return "is a folder with content of its own"
    if kind in {stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}:
        return "is a device or a pipe"
    return None


LONGEST_NAME = 4096
"""Characters: PATH_MAX of most systems."""
_DEEPEST_NAME = 100
_NAME_FAULTS = (
    (re.compile(r"\.?/*"), "has no name"),
    (re.compile(r"/.*", re.DOTALL), "has an absolute path"),
    (re.compile(r"[A-Za-z]:.*", re.DOTALL), "has a drive letter"),
    (re.compile(r"(?:.*/)?\.\.(?:/.*)?", re.DOTALL), "leaves the folder it is unpacked into"),
    (re.compile(r".*\\.*", re.DOTALL), "has a backslash in its name"),
    (re.compile(r".*[\0-\x1f\x7f].*", re.DOTALL), "has control characters in its name"),
)


def name_fault(name: str) -> str | None:
    """Why a name would be dangerous to unpack, worded to follow it; None if it would not."""
    if len(name) > LONGEST_NAME or name.count("/") > _DEEPEST_NAME:
        return "has a longer name than can be unpacked"
    return next((fault for pattern, fault in _NAME_FAULTS if pattern.fullmatch(name)), None)
