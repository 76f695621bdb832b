"""The tus protocol, 1.0: what all its requests and replies have in common, and its headers."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from email.utils import format_datetime
from hashlib import new
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from application.upload_intake import CHECKSUMS, Checksum
from domain.errors import MalformedRequest, ModelyardError, TusVersionUnsupported
from domain.upload import Upload
from domain.values import MAX_INTEGER
from entrypoints.http.deps import header_lines
from entrypoints.http.errors import error_reply

VERSION = "1.0.0"
BYTES = "application/offset+octet-stream"
EXTENSIONS = (
    "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration,"
    "concatenation"
)
_PATH = re.compile(r"/api/v1/uploads(/.*)?")
_PART = re.compile(r"(?:[!-~]*/)?uploads/([0-9a-f]{32})")
_DIGITS = re.compile(r"[0-9]{1,19}")
_SIZE = r"^[0-9]{1,19}$"
_DOCUMENTED = {
    "Tus-Resumable": ("The version of the protocol", f"^{VERSION}$", VERSION),
    "Upload-Offset": ("Bytes that came before these", _SIZE, "0"),
    "Upload-Length": ("Bytes of the whole", _SIZE, "1073741824"),
    "Upload-Defer-Length": ("The length comes later", "^1$", "1"),
    "Upload-Metadata": (
        "Keys, and values in Base64. `sha256` is the digest that the whole must have",
        "^[ -~]*$",
        "filename bW9kZWwub25ueA==",
    ),
    "Upload-Concat": ("`partial`, or `final;` and the URLs of parts", "^[ -~]*$", "partial"),
    "Upload-Checksum": (
        f"{', '.join(CHECKSUMS[:-1])} or {CHECKSUMS[-1]}, and that of the body in Base64",
        "^[a-z0-9]+ [0-9A-Za-z+/=]+$",
        "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
    ),
}


class SpeakTus:
    """Around everything below ``/api/v1/uploads``: the version is checked and told, and a POST may
    stand for a PATCH or a DELETE (only a POST: pages of other sites can send a GET)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        found = _PATH.fullmatch(path)
        if scope["type"] != "http" or not found:
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                version = (b"tus-resumable", VERSION.encode())
                message["headers"] = [*message["headers"], version]
            await send(message)

        try:
            _override_method(scope)
            if scope["method"] in ({"HEAD", "PATCH", "DELETE"} if found[1] else {"POST"}):
                _check_version(scope)
        except ModelyardError as error:
            reply = error_reply(Request(scope), error)
            reply.headers["Tus-Version"] = VERSION
            await reply(scope, receive, tell)
        else:
            await self._app(scope, receive, tell)


def _override_method(scope: Scope) -> None:
    method = Headers(scope=scope).get("x-http-method-override")
    if method is not None and scope["method"] == "POST":
        if method.upper() not in {"PATCH", "DELETE"}:
            raise MalformedRequest("X-HTTP-Method-Override takes PATCH and DELETE.")
        scope["method"] = method.upper()


def _check_version(scope: Scope) -> None:
    if (said := Headers(scope=scope).get("tus-resumable")) != VERSION:
        raise TusVersionUnsupported(
            f"This service speaks tus {VERSION}; the request says "
            f"{'nothing' if said is None else ascii(said[:40])} in Tus-Resumable."
        )


def documented(*headers: str, body: bool | None = None) -> dict[str, Any]:
    """What the document tells of an operation beyond its signature.

    Args:
        headers: besides Tus-Resumable.
        body: whether it must have one; None where it has none.
    """
    parameters = [
        {
            "name": name,
            "in": "header",
            "required": name in {"Tus-Resumable", "Upload-Offset"},
            "description": _DOCUMENTED[name][0],
            "schema": {"type": "string", "pattern": _DOCUMENTED[name][1]},
            "example": _DOCUMENTED[name][2],
        }
        for name in ("Tus-Resumable", *headers)
    ]
    content = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
    more = {} if body is None else {"requestBody": {"required": body, "content": content}}
    return {"parameters": parameters, **more}


# --- requests -----------------------------------------------------------------------------------


def number_in(request: Request, header: str) -> int | None:
    """The header as a number from 0; None without it.

    Raises:
        MalformedRequest: it is none.
    """
    text = header_lines(request, header)
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > MAX_INTEGER:
        raise MalformedRequest(f"{header} has a number of bytes, not {text[:40]!a}.")
    return int(text)


def new_length(request: Request) -> int | None:
    """The length of an upload that begins; None where it is to come later.

    Raises:
        MalformedRequest: neither is said, or both.
    """
    length = number_in(request, "Upload-Length")
    deferred = header_lines(request, "Upload-Defer-Length")
    if deferred not in {None, "1"} or (length is None) is (deferred is None):
        raise MalformedRequest(
            "An upload begins with either Upload-Length or Upload-Defer-Length: 1."
        )
    return length


def checksum_in(request: Request) -> Checksum | None:
    """What Upload-Checksum promises.

    Raises:
        MalformedRequest: it is not written so, or not known.
    """
    text = header_lines(request, "Upload-Checksum")
    if text is None:
        return None
    algorithm, _, value = text.partition(" ")
    if algorithm not in CHECKSUMS:
        raise MalformedRequest(f"Upload-Checksum knows {', '.join(CHECKSUMS)}.")
    try:
        digest = b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != new(algorithm, usedforsecurity=False).digest_size:
        raise MalformedRequest(f"Upload-Checksum has no {algorithm} in Base64.")
    return Checksum(algorithm, digest)


def concat_in(request: Request) -> tuple[str, tuple[str, ...]]:
    """Upload-Concat, and the ids of the parts that it names.

    Raises:
        MalformedRequest: it is not written so, or names something else.
    """
    text = header_lines(request, "Upload-Concat") or ""
    if text in {"", "partial"}:
        return text, ()
    kind, _, urls = text.partition(";")
    found = [_PART.fullmatch(url) for url in urls.split()]
    parts = tuple(match[1] for match in found if match)
    if kind != "final" or not parts or len(parts) < len(found):
        raise MalformedRequest("Upload-Concat is 'partial', or 'final;' and the URLs of uploads.")
    return text, parts


# --- replies ------------------------------------------------------------------------------------


def upload_headers(upload: Upload) -> dict[str, str]:
    """How far an upload is, and what it has become."""
    headers = {"Upload-Offset": str(upload.received), "Cache-Control": "no-store"}
    if upload.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.length)
    if upload.sha256 is None:
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    else:
        digest = b64encode(bytes.fromhex(upload.sha256)).decode()
        headers |= {"Upload-Sha256": upload.sha256, "Repr-Digest": f"sha-256=:{digest}:"}
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    if upload.concat:
        headers["Upload-Concat"] = upload.concat
    return headers


def capabilities(max_size: int) -> dict[str, str]:
    """What the service takes."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max_size),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }
