"""A validator that knows what it is told."""

from __future__ import annotations

from collections.abc import Mapping

from application.ports.file_validator import FileSource, FileValidator
from domain.validation import NOT_A_MODEL, FileReport, Finding, Severity
from domain.values import FilePath

PICTURES: Mapping[bytes, str] = {
    b"\xff\xd8\xff": "JPEG image data",
    b"\x89PNG\r\n\x1a\n": "PNG image data",
}
MODELS: Mapping[bytes, str] = {b"GGUF": "gguf", b"\x80\x04": "pickle"}
HELD: Mapping[bytes, str] = {b"\x80\x04\x8c\x04acme\x94\x8c\x03Net\x94\x93": "acme.Net"}


class MemoryFileValidator(FileValidator):
    """Goes by the first bytes alone; what no mapping names passes as any bytes.

    Args:
        refused: beginnings of files that are no models, and what they are.
        formats: beginnings of models, and their formats.
        held: beginnings of pickles that import a name nobody knows, and the name.
    """

    def __init__(
        self,
        refused: Mapping[bytes, str] = PICTURES,
        formats: Mapping[bytes, str] = MODELS,
        held: Mapping[bytes, str] = HELD,
    ) -> None:
        self._refused = refused
        self._formats = formats
        self._held = held

    @property
    def engine(self) -> str:
        return "memory 1"

    @property
    def ruleset(self) -> str:
        return "2026-01-01"

    async def sniff(self, head: bytes, path: FilePath) -> FileReport:
        found = next((f for magic, f in self._formats.items() if head.startswith(magic)), None)
        findings = tuple(
            Finding(NOT_A_MODEL, Severity.CRITICAL, f"{path} is {what}, not a model.", path)
            for magic, what in self._refused.items()
            if head.startswith(magic)
        )
        findings += tuple(
            Finding(
                "pickle.unknown_import",
                Severity.WARNING,
                f"{path} imports {name}.",
                path,
                None,
                name,
            )
            for magic, name in self._held.items()
            if head.startswith(magic)
        )
        return FileReport("application/octet-stream", found, findings)

    async def validate(self, source: FileSource, path: FilePath) -> FileReport:
        return await self.sniff(await source.read_at(0, 64 * 1024), path)
