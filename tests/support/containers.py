"""Archives made by hand."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable

from tests.support.corpus import CORPUS

MODEL = (CORPUS / "models/model.safetensors").read_bytes()
PAYLOAD = (CORPUS / "attacks/p4_posix_system.pkl").read_bytes()
STATE_DICT = (CORPUS / "models/state_dict.pt").read_bytes()
CAT = (CORPUS / "notmodels/cat.jpg").read_bytes()


def zipped(
    members: Iterable[tuple[str | zipfile.ZipInfo, bytes]],
    method: int = zipfile.ZIP_STORED,
    comment: bytes = b"",
) -> bytes:
    """A ZIP archive of these, in this order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


def tarred(
    members: Iterable[tuple[str | tarfile.TarInfo, bytes]],
    format: int = tarfile.PAX_FORMAT,
) -> bytes:
    """A TAR archive of these, in this order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()
