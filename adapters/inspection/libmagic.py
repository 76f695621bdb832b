"""What libmagic says of the first bytes of a file. It is asked about 64 KiB at most.

It knows next to no model, but hundreds of other kinds of files, each by a name that people know.
"""

from __future__ import annotations

import threading

import magic

from adapters.inspection.report import OCTETS

_MOST = 64 * 1024

# A cookie of libmagic's is not made for several threads: each thread has its own, when it asks.
_cookies = threading.local()


def engine() -> str:
    """Name and version."""
    version: int = magic.version()  # type: ignore[no-untyped-call]
    return f"libmagic {version // 100}.{version % 100:02d}"


def media_type(head: bytes) -> str:
    """RFC 6838 type; that of any bytes where libmagic cannot say."""
    return _ask(head, mime=True) or OCTETS


def describe(head: bytes) -> str:
    """In libmagic's words."""
    return _ask(head, mime=False) or "data"


def _ask(head: bytes, *, mime: bool) -> str:
    kind = "mime" if mime else "text"
    cookie = getattr(_cookies, kind, None)
    if cookie is None:
        cookie = magic.Magic(mime=mime)
        setattr(_cookies, kind, cookie)
    try:
        return str(cookie.from_buffer(head[:_MOST]))
    except magic.MagicException:
        return ""
