"""Opaque page tokens: the sort keys of a page's last row, and a checksum that names the list."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence

from domain.errors import InvalidPageToken

Key = str | int | float | None


def write_token(scope: object, keys: Sequence[Key]) -> str:
    """Encodes where a page ended.

    Args:
        scope: identifies the list, its filter and order included, by its ``repr``.
        keys: the last row's values in the list's total order.
    """
    packed = json.dumps([_seal(scope, keys), *keys], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).rstrip(b"=").decode()


def read_token(scope: object, token: str, count: int = 1) -> list[Key]:
    """The ``count`` keys in a token that :func:`write_token` made for the same list.

    Raises:
        InvalidPageToken: it is from another list, or nothing that this service gave.
    """
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        content = None
    keys = content[1:] if isinstance(content, list) else []
    if len(keys) == count and content[0] == _seal(scope, keys) and all(map(_is_key, keys)):
        return keys
    raise of_another_list()


def of_another_list() -> InvalidPageToken:
    """The error for a token with keys that this list cannot have given."""
    return InvalidPageToken(
        "The page_token does not belong to this list; begin without it, and keep filter and "
        "order_by the same from page to page."
    )


def _is_key(value: object) -> bool:
    """The checksum is no signature, so whatever could reach the database is checked."""
    if isinstance(value, int):
        return abs(value) < 2**63 and not isinstance(value, bool)
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _seal(scope: object, keys: Sequence[Key]) -> str:
    return hashlib.sha256(repr((scope, list(keys))).encode()).hexdigest()[:16]
