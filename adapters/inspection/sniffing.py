"""The first look at a file, while the rest of it is still arriving."""

from __future__ import annotations

from adapters.inspection.recognition import HEAD, NotAModel, recognise
from adapters.inspection.report import OCTETS, shown_path
from domain.validation import NOT_A_MODEL, FileReport, Finding, Severity
from domain.values import FilePath


def sniff(head: bytes, path: FilePath) -> FileReport:
    """Judges by the first bytes. Refuses only what is certainly no model; what it passes has yet
    to be inspected. Never raises for bad content; may be called by many threads at once.

    Args:
        head: the first 64 KiB, or all of a smaller file.
    """
    found = recognise(head[:HEAD], path, whole=len(head) < HEAD)
    if isinstance(found, NotAModel):
        message = f"{shown_path(path)} is {found.what}, not a model."
        refusal = Finding(NOT_A_MODEL, Severity.CRITICAL, message, path)
        return FileReport(found.media_type, None, (refusal,))
    return FileReport(found.media_type, found.format) if found else FileReport(OCTETS)
