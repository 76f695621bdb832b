"""What is said between the service and the processes that read files, and how it is framed.

The service sends a job with the beginning of the file, the process asks for ranges of bytes, and
its last word is a report. Nothing that comes from the process is trusted: it has read a file that
may have taken it over. So the report is JSON, of bounded size, and checked like any input.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

from adapters.inspection.report import printable
from domain.validation import Coverage, Facts, FactValue, FileReport, Finding, Severity
from domain.values import MAX_INTEGER, MAX_NAME, FilePath

FRAME = struct.Struct("!cI")
"""Before every message: its kind, and the bytes that follow."""
RANGE = struct.Struct("!QI")
"""A range that is asked for: offset, bytes."""
LENGTH = struct.Struct("!I")

READY, READ, REPORT = b"h", b"r", b"e"
"""From the process: imports are done; bytes are needed; the job is done."""
JOB, DATA = b"j", b"d"
"""To the process."""

HEAD = 256 * 1024
"""Bytes of the beginning that go along with the job: small files need no second message."""
MOST_READ = 4 << 20
MOST_REPORT = 8 << 20

_MEDIA_TYPE = re.compile(r"[a-z]+/[a-zA-Z0-9][a-zA-Z0-9.+_-]{0,126}")
_MOST_FINDINGS = 200
_MOST_FACTS = 100
_MOST_TEXT = 1_000


class Nonsense(Exception):
    """The process says what it could not say if it worked as it should."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be read. ``seconds`` is the processor time that it may take."""

    path: FilePath
    size: int
    seconds: int

    def encode(self, head: bytes) -> bytes:
        """The message, with the first bytes of the file."""
        told = json.dumps({"path": self.path, "size": self.size, "seconds": self.seconds}).encode()
        return framed(JOB, LENGTH.pack(len(told)) + told + head)


def decode_job(message: bytes) -> tuple[Job, bytes]:
    """The job, and the first bytes of the file."""
    end = LENGTH.size + LENGTH.unpack_from(message)[0]
    told = json.loads(message[LENGTH.size : end])
    return Job(FilePath(told["path"]), told["size"], told["seconds"]), message[end:]


def framed(kind: bytes, message: bytes) -> bytes:
    """A message as it is sent."""
    return FRAME.pack(kind, len(message)) + message


def encode_report(report: FileReport) -> bytes:
    """The last message of a job."""
    findings = [
        [each.code, each.severity, each.message, _cut(each.location), each.subject]
        for each in report.findings
    ]
    told = {
        "media_type": report.media_type,
        "format": report.format,
        "findings": findings,
        "facts": report.facts,
        "coverage": report.coverage,
    }
    return framed(REPORT, json.dumps(told).encode())


def _cut(text: str | None) -> str | None:
    return text and text[:_MOST_TEXT]


def decode_report(message: bytes, path: FilePath) -> FileReport:
    """The report on the file at ``path``.

    Raises:
        Nonsense: it is no report.
    """
    try:
        told = json.loads(message)
        findings = told["findings"]
        if not isinstance(findings, list) or len(findings) > _MOST_FINDINGS:
            raise Nonsense("too many findings")
        if not _MEDIA_TYPE.fullmatch(told["media_type"]):
            raise Nonsense("no media type")
        return FileReport(
            told["media_type"],
            _optional(told["format"]),
            tuple(_finding(each, path) for each in findings),
            _facts(told["facts"]),
            Coverage(told["coverage"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Nonsense(f"no report: {error}") from None


def _finding(told: Any, path: FilePath) -> Finding:
    code, severity, message, location, subject = told
    kind = Severity(severity)
    return Finding(_text(code), kind, _text(message), path, _optional(location), _optional(subject))


def _facts(told: Any) -> Facts:
    if not isinstance(told, dict) or len(told) > _MOST_FACTS:
        raise Nonsense("no facts")
    return {_text(key)[:MAX_NAME]: _value(fact) for key, fact in told.items() if _storable(fact)}


def _storable(value: Any) -> bool:
    """Numbers that JSON or a data base may not take, and no honest file has, are left out."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= MAX_INTEGER


def _value(value: Any) -> FactValue:
    if isinstance(value, list):
        if len(value) > _MOST_TEXT:
            raise Nonsense("an endless list")
        return [_text(each) for each in value]
    return value if isinstance(value, bool | int | float) else _text(value)


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Nonsense("no text")
    return printable(value[:_MOST_TEXT])
