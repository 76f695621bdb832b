"""Opaque page tokens: where a page of a list ended, sealed so that only that list takes it back."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from domain.errors import InvalidPageToken

Key = str | int | float | None


def write_token(scope: object, keys: Sequence[Key]) -> str:
    """Says which row a page ended with.

    Args:
        scope: what tells this list from others, its filter and order included; its ``repr`` counts.
        keys: the row's place in the list's total order.
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
    raise InvalidPageToken(
        "The page_token does not belong to this list; begin without it, and keep filter and "
        "order_by the same from page to page."
    )


def _is_key(value: object) -> bool:
    """The seal keeps lists apart, not forgers out: what reaches the database is looked at."""
    if isinstance(value, int):
        return abs(value) < 2**63 and not isinstance(value, bool)
    return value is None or isinstance(value, str | float)


def _seal(scope: object, keys: Sequence[Key]) -> str:
    return hashlib.sha256(repr((scope, list(keys))).encode()).hexdigest()[:16]
