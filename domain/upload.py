"""Upload: bytes that arrive in several requests, and become a blob with the last of them."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from domain.errors import (
    InvalidDigest,
    MalformedRequest,
    RequestTooLarge,
    UploadConflict,
    UploadExpired,
    UploadSealed,
)
from domain.values import Digest

MAX_UPLOAD_METADATA = 8 * 1024
_PAIR = re.compile(r"([!-+\--~]+)(?: +([0-9A-Za-z+/=]*))?")


def _pair(text: str) -> tuple[str, bytes]:
    """``key base64``, or the key alone."""
    found = _PAIR.fullmatch(text)
    try:
        return (found[1], b64decode(found[2] or "", validate=True)) if found else ("", b"")
    except binascii.Error:
        return "", b""


class UploadMetadata(str):
    """What a client says of an upload, as tus writes it: ``key base64,key base64``, or nothing.

    Raises:
        MalformedRequest: it is not written so, has a key twice, or more than 8 KiB.
        InvalidDigest: the value of ``sha256`` is none, neither in hex nor raw.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) > MAX_UPLOAD_METADATA:
            raise MalformedRequest(
                f"The metadata of an upload has at most {MAX_UPLOAD_METADATA} characters."
            )
        metadata = super().__new__(cls, text.strip(" "))
        keys = [key for key, _ in metadata._pairs()]
        if "" in keys or len(set(keys)) < len(keys):
            raise MalformedRequest(
                "The metadata of an upload is written 'key base64,key base64', each key once."
            )
        metadata.sha256  # noqa: B018 - raises
        return metadata

    def _pairs(self) -> list[tuple[str, bytes]]:
        return [_pair(text.strip(" ")) for text in self.split(",")] if self else []

    @property
    def values(self) -> dict[str, bytes]:
        """The values by key."""
        return dict(self._pairs())

    @property
    def sha256(self) -> Digest | None:
        """The digest that the client promises for the whole, in hex or raw; None without one."""
        value = self.values.get("sha256")
        if value is None:
            return None
        try:
            return Digest(value.hex() if len(value) == 32 else value.decode("ascii").lower())
        except UnicodeDecodeError:
            raise InvalidDigest("The sha256 in the metadata of an upload is not one.") from None


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of an incomplete upload: ``size`` of them from ``start`` on, stored as ``name``."""

    start: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as it stands at a moment.

    Attributes:
        expires_at: when it is given up unless more arrives; once complete, when it is forgotten.
        length: bytes of the whole; None until the client knows.
        received: bytes that will not be asked for again.
        concat: ``partial`` for a part of another upload, ``final;`` and the URLs of the parts for
            that other one, else empty.
        sha256: the blob that it has become. Parts never become one.
    """

    id: str
    creator: str
    created_at: datetime
    expires_at: datetime
    length: int | None
    metadata: UploadMetadata
    concat: str = ""
    received: int = 0
    sha256: Digest | None = None

    @property
    def partial(self) -> bool:
        return self.concat == "partial"

    @property
    def complete(self) -> bool:
        return self.sha256 is not None or (self.partial and self.received == self.length)

    def check_alive(self, at: datetime) -> None:
        """Raises: UploadExpired."""
        if self.sha256 is None and self.expires_at <= at:
            raise UploadExpired(f"The upload {self.id} was given up; begin a new one.")

    def check_takes(self, offset: int, size: int) -> None:
        """Makes sure that so many bytes may follow from there on.

        Raises:
            UploadSealed: it was put together from parts.
            UploadConflict: it is not there.
            RequestTooLarge: they lead beyond its length.
        """
        if self.concat and not self.partial:
            raise UploadSealed(f"The upload {self.id} was put together from parts.")
        if offset != self.received:
            raise UploadConflict(
                f"The upload {self.id} has {self.received} bytes; it cannot go on at {offset}."
            )
        if self.length is not None and offset + size > self.length:
            raise RequestTooLarge(f"The upload {self.id} has {self.length} bytes, and no more.")

    def declared(self, length: int) -> Upload:
        """The same, with its length known from now on.

        Raises:
            UploadConflict: it is known to be another, or less than what is there.
        """
        if self.length not in {None, length} or length < self.received:
            raise UploadConflict(
                f"The upload {self.id} has {self.received} bytes of "
                f"{'unknown' if self.length is None else self.length}; its length cannot be "
                f"{length}."
            )
        return replace(self, length=length)

    def advanced(self, size: int, *, at: datetime, expiry: timedelta) -> Upload:
        """The same, with so many bytes more."""
        return replace(self, received=self.received + size, expires_at=at + expiry)

    def finished(self, sha256: Digest, size: int, *, at: datetime, expiry: timedelta) -> Upload:
        """The same, with so many bytes more, which were the last: it is this blob now."""
        return replace(self.advanced(size, at=at, expiry=expiry), sha256=sha256)
